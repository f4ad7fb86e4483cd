//! A conformance test of a configuration's task: everything that a search requires of it, once, on this machine.
//!
//! The existence, shape and type of a tensor may depend only on the variable that owns it: mixing relies on this, and
//! pbtnas cannot derive it from a user's network. Each variable is therefore changed alone, to each of its options, and
//! the tensors of fresh networks are compared.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::task::{Measure, MemberContext, Seeds, Start, Task};
use pbtnas_core::checkpoint::TensorSpec;
use pbtnas_core::durable_fs::digest_file;
use pbtnas_core::fault::message;
use pbtnas_core::search::{
    Genotype, Initial, MemberId, SearchSettings, Space, first_generation, initial_population,
};

/// Receives the lines of the report as they are produced.
pub type Report<'a> = &'a mut dyn FnMut(String);

/// Runs the test in an existing scratch folder. Fails with the first problem that a search would have.
pub fn rehearse(
    task: &dyn Task,
    settings: &SearchSettings,
    seed: u64,
    folder: &Path,
    report: Report,
) -> Result<()> {
    task.check()?;
    for name in task.prepare(folder).context("failed to write the shared files of the members")? {
        folder
            .join(&name)
            .metadata()
            .with_context(|| format!("the task did not write its shared file {name}"))?;
    }
    let genotype =
        initial_population(task.space(), 1, Initial::Uniform, seed).pop().context("no genotype")?;
    let mut rehearsal = Rehearsal { task, seed, folder, calls: 0 };
    rehearsal.ownership(&genotype, report)?;
    rehearsal.training(&genotype, report)?;
    let first = first_generation(task.space(), settings, seed).pop().context("no member")?.genotype;
    if first.is_supernet() {
        report("the supernet:".into());
        rehearsal.training(&first, report)?;
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
    /// A context with a new scratch folder at each call, for the same member.
    fn place(&mut self) -> MemberContext {
        self.calls += 1;
        let seeds = Seeds { run: self.seed, generation: 0, member: MemberId(0) };
        let scratch = self.folder.join(format!("scratch-{}", self.calls));
        MemberContext { scratch, ..MemberContext::outside(seeds, self.folder) }
    }

    fn tensors(&mut self, genotype: &Genotype) -> Result<Vec<TensorSpec>> {
        let place = self.place();
        let mut tensors = self.task.fresh(genotype, &place)?.tensors().to_vec();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tensors)
    }

    fn ownership(&mut self, genotype: &Genotype, report: Report) -> Result<()> {
        let space = self.task.space();
        let began = Instant::now();
        let first = self.tensors(genotype)?;
        report(format!("a fresh network has {} tensors and took {}", first.len(), seconds(began)));
        for variable in &space.variables {
            if let Some(prefix) = variable.owns().iter().find(|prefix| prefix.starts_with("model/")) {
                bail!(
                    "variable {:?} owns {prefix:?}: remove \"model/\", which prefixes in `owns` must not contain",
                    variable.name
                );
            }
        }
        let began = Instant::now();
        let mut made = 1;
        for variable in &space.variables {
            let mut owned = first.iter().any(|spec| owns(space, &variable.name, &spec.name));
            // Both ends of a range: no tensor may depend on its value.
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
                        "{:?} differs between {} = {option:?} and {:?}, but the variable does not own it: add its \
                         prefix to `owns`, or make it independent of the variable",
                        spec.name,
                        variable.name,
                        genotype.get(&variable.name).unwrap_or_default(),
                    );
                }
            }
            if !owned && !variable.owns().is_empty() {
                bail!(
                    "no network has a tensor that starts with {}, which variable {:?} owns; the tensors of a fresh \
                     network are {}",
                    variable.owns().join(" or "),
                    variable.name,
                    first.iter().map(|spec| spec.name.as_str()).take(20).collect::<Vec<_>>().join(" "),
                );
            }
        }
        report(format!(
            "changed each variable alone, {made} networks: tensors depend only on their owners ({})",
            seconds(began)
        ));
        Ok(())
    }

    /// Trains an epoch and evaluates, then trains the epoch once more with an interruption.
    fn training(&mut self, genotype: &Genotype, report: Report) -> Result<()> {
        let began = Instant::now();
        let place = self.place();
        let mut session = self.task.session(Start::Fresh(genotype, 0), place)?;
        while session.position().0 < 1 {
            session.advance(1)?;
        }
        let whole = began.elapsed();
        report(format!("an epoch took {}", seconds(began)));
        let began = Instant::now();
        let evaluation = session.evaluate(Measure::Search).context("failed to evaluate the network")?;
        let metrics: String =
            evaluation.metrics.iter().map(|(name, value)| format!(", {name} {value:.4}")).collect();
        report(format!("fitness {:.4}{metrics}; the evaluation took {}", evaluation.fitness, seconds(began)));
        if !evaluation.fitness.is_finite() {
            report("the fitness is not finite: such a member counts as diverged and ranks last".into());
        }
        match session.file().map(digest_file).transpose()? {
            Some(undisturbed) => self.interruption(genotype, whole, &undisturbed.digest.to_string(), report),
            None => Ok(()),
        }
    }

    fn interruption(
        &mut self,
        genotype: &Genotype,
        whole: Duration,
        undisturbed: &str,
        report: Report,
    ) -> Result<()> {
        let place = self.place();
        let mut session = self.task.session(Start::Fresh(genotype, 0), place)?;
        let began = Instant::now();
        // Interrupts within the epoch if the program reports progress, otherwise after about half of the epoch's time.
        while session.position().0 < 1 && session.progress() == 0.0 && began.elapsed() < whole / 2 {
            session.advance(1)?;
        }
        let asked = Instant::now();
        let left = session.leave();
        let (epoch, step) = session.position();
        report(match &left {
            Ok(()) => {
                format!("stopped {} after SIGTERM, with epoch {epoch} and step {step} saved", seconds(asked))
            }
            Err(error) => {
                format!("note: {}; a signal then loses the work since the last snapshot", message(error))
            }
        });
        if epoch >= 1 {
            report("the epoch ended before it could be interrupted".to_owned());
            return Ok(());
        }
        while session.position().0 < 1 {
            session.advance(1)?;
        }
        let again = session.file().map(digest_file).transpose()?.context("the task wrote no checkpoint")?;
        report(match again.digest.to_string() == undisturbed {
            true => "resuming after the interruption gives the same bytes".to_owned(),
            false => {
                "note: resuming after the interruption changed the result, so a run is not exactly repeatable; \
                 possible causes: random numbers of the script, threads, the GPU"
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

/// The first tensor of either network that differs and does not belong to the variable.
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
            && one.average == other.average
    };
    let lacks = |spec: &&TensorSpec, all: &[TensorSpec]| !all.iter().any(|other| same(spec, other));
    let mut differing = a.iter().filter(|spec| lacks(spec, b)).chain(b.iter().filter(|spec| lacks(spec, a)));
    differing.find(|spec| !owns(space, variable, &spec.name))
}

fn seconds(since: Instant) -> String {
    format!("{:.1} s", since.elapsed().as_secs_f64())
}
