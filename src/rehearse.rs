//! A rehearsal of a configuration: everything that a search will ask of its task, once, on this machine.
//!
//! Which tensors there are may depend on nothing but the variable that owns them: that is what mixing rests on, and
//! what only the user knows of a network of their own. So each variable is changed alone, to each of its options, and
//! the tensors of fresh networks are compared.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::checkpoint::{TensorSpec, digest_file};
use crate::error::message;
use crate::search::{
    Genotype, Initial, MemberId, SearchSettings, Space, first_generation, initial_population,
};
use crate::tasks::{Measure, Place, Seeds, Start, Task};

/// What a rehearsal has to tell, line by line, as it goes.
pub type Tell<'a> = &'a mut dyn FnMut(String);

/// Rehearses in a folder that is there and may be filled. Fails with the first thing that would go wrong in a search.
pub fn rehearse(
    task: &dyn Task,
    settings: &SearchSettings,
    seed: u64,
    folder: &Path,
    tell: Tell,
) -> Result<()> {
    task.check()?;
    for name in task.prepare(folder).context("failed to make the files that members share")? {
        folder.join(&name).metadata().with_context(|| format!("{name} was announced but not made"))?;
    }
    let genotype =
        initial_population(task.space(), 1, Initial::Uniform, seed).pop().context("no genotype")?;
    let mut rehearsal = Rehearsal { task, seed, folder, calls: 0 };
    rehearsal.ownership(&genotype, tell)?;
    rehearsal.training(&genotype, tell)?;
    let first = first_generation(task.space(), settings, seed).pop().context("no member")?.genotype;
    if first.is_supernet() {
        tell("the supernet:".into());
        rehearsal.training(&first, tell)?;
    }
    Ok(())
}

struct Rehearsal<'a> {
    task: &'a dyn Task,
    seed: u64,
    folder: &'a Path,
    calls: u32,
}

impl Rehearsal<'_> {
    /// Another place at each call, for the same member.
    fn place(&mut self) -> Place {
        self.calls += 1;
        let seeds = Seeds { run: self.seed, generation: 0, member: MemberId(0) };
        let scratch = self.folder.join(format!("scratch-{}", self.calls));
        Place { scratch, ..Place::outside(seeds, self.folder) }
    }

    fn tensors(&mut self, genotype: &Genotype) -> Result<Vec<TensorSpec>> {
        let place = self.place();
        let mut tensors = self.task.fresh(genotype, &place)?.tensors().to_vec();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tensors)
    }

    fn ownership(&mut self, genotype: &Genotype, tell: Tell) -> Result<()> {
        let space = self.task.space();
        let began = Instant::now();
        let first = self.tensors(genotype)?;
        tell(format!("a fresh network has {} tensors and took {}", first.len(), seconds(began)));
        for variable in &space.variables {
            if let Some(prefix) = variable.owns().iter().find(|prefix| prefix.starts_with("model/")) {
                bail!(
                    "variable {:?} owns {prefix:?}: leave \"model/\" out, prefixes in `owns` begin behind it",
                    variable.name
                );
            }
        }
        let began = Instant::now();
        let mut made = 1;
        for variable in &space.variables {
            let mut owned = first.iter().any(|spec| owns(space, &variable.name, &spec.name));
            // Of a range the ends: no tensor may depend on it.
            let ends = variable.as_range().map(|range| [range.text(range.low()), range.text(range.high())]);
            for option in variable.options().iter().chain(ends.iter().flatten()) {
                let mut changed = genotype.clone();
                changed.set(&variable.name, option);
                if genotype.get(&variable.name) == Some(option) || !space.allows(&changed) {
                    continue;
                }
                let tensors = self.tensors(&changed)?;
                made += 1;
                owned = owned || tensors.iter().any(|spec| owns(space, &variable.name, &spec.name));
                if let Some(spec) = difference(space, &variable.name, &first, &tensors) {
                    bail!(
                        "{:?} is not the same with {} = {option:?} as with {:?}, but the variable does not own it: \
                         add its prefix to `owns`, or make it independent of the variable",
                        spec.name,
                        variable.name,
                        genotype.get(&variable.name).unwrap_or_default(),
                    );
                }
            }
            if !owned && !variable.owns().is_empty() {
                bail!(
                    "no network has a tensor that starts with {}, which variable {:?} owns; a fresh one has {}",
                    variable.owns().join(" or "),
                    variable.name,
                    first.iter().map(|spec| spec.name.as_str()).take(20).collect::<Vec<_>>().join(" "),
                );
            }
        }
        tell(format!(
            "each variable changed alone, {made} networks: tensors belong to their owners ({})",
            seconds(began)
        ));
        Ok(())
    }

    /// Trains an epoch undisturbed and once more with an interruption, and evaluates.
    fn training(&mut self, genotype: &Genotype, tell: Tell) -> Result<()> {
        let began = Instant::now();
        let place = self.place();
        let mut session = self.task.session(Start::Fresh(genotype, 0), place)?;
        while session.position().0 < 1 {
            session.advance(1)?;
        }
        let whole = began.elapsed();
        tell(format!("an epoch took {}", seconds(began)));
        let began = Instant::now();
        let evaluation = session.evaluate(Measure::Search).context("failed to evaluate the network")?;
        let metrics: String =
            evaluation.metrics.iter().map(|(name, value)| format!(", {name} {value:.4}")).collect();
        tell(format!("fitness {:.4}{metrics}: it took {}", evaluation.fitness, seconds(began)));
        if !evaluation.fitness.is_finite() {
            tell("that is no finite number: such a member counts as diverged and ranks last".into());
        }
        match session.file().map(digest_file).transpose()? {
            Some(undisturbed) => self.interruption(genotype, whole, &undisturbed.digest.to_string(), tell),
            None => Ok(()),
        }
    }

    fn interruption(
        &mut self,
        genotype: &Genotype,
        whole: Duration,
        undisturbed: &str,
        tell: Tell,
    ) -> Result<()> {
        let place = self.place();
        let mut session = self.task.session(Start::Fresh(genotype, 0), place)?;
        let began = Instant::now();
        // Into the epoch if the program tells where it is, else for about as long as half of it takes.
        while session.position().0 < 1 && session.progress() == 0.0 && began.elapsed() < whole / 2 {
            session.advance(1)?;
        }
        let asked = Instant::now();
        let left = session.leave();
        let (epoch, step) = session.position();
        tell(match &left {
            Ok(()) => {
                format!(
                    "asked to leave, it left after {} with epoch {epoch} and step {step} saved",
                    seconds(asked)
                )
            }
            Err(error) => {
                format!("note: {}; what it does between two snapshots is lost then", message(error))
            }
        });
        if epoch >= 1 {
            tell("an epoch was over before it could be interrupted".to_owned());
            return Ok(());
        }
        while session.position().0 < 1 {
            session.advance(1)?;
        }
        let again = session.file().map(digest_file).transpose()?.context("there is no checkpoint")?;
        tell(match again.digest.to_string() == undisturbed {
            true => "interrupted or not, it comes to the same bytes".to_owned(),
            false => {
                "note: interrupted it came to other bytes than undisturbed, so a run cannot be repeated \
                      exactly; that may lie in the script's random numbers, in threads or in a GPU"
                    .to_owned()
            }
        });
        Ok(())
    }
}

/// Whether a variable owns a tensor.
fn owns(space: &Space, variable: &str, tensor: &str) -> bool {
    space.owner(tensor).is_some_and(|owner| owner.name == variable)
}

/// The first tensor, of one or the other network, that differs and does not belong to the variable.
fn difference<'a>(
    space: &Space,
    variable: &str,
    a: &'a [TensorSpec],
    b: &'a [TensorSpec],
) -> Option<&'a TensorSpec> {
    let same = |one: &TensorSpec, other: &TensorSpec| {
        one.name == other.name
            && one.shape == other.shape
            && one.dtype == other.dtype
            && one.averaged == other.averaged
    };
    let lacks = |spec: &&TensorSpec, all: &[TensorSpec]| !all.iter().any(|other| same(spec, other));
    let mut differing = a.iter().filter(|spec| lacks(spec, b)).chain(b.iter().filter(|spec| lacks(spec, a)));
    differing.find(|spec| !owns(space, variable, &spec.name))
}

fn seconds(since: Instant) -> String {
    format!("{:.1} s", since.elapsed().as_secs_f64())
}
