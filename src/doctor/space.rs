//! Estimate of the disk space of a run before it is created.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;
use walkdir::WalkDir;

use pbtnas_core::run::Keep;
use pbtnas_core::search::{Genotype, MemberId, first_generation};
use pbtnas_engine::config::Config;
use pbtnas_engine::task::{MemberContext, OffspringBuilder, Seeds, Task};

/// Architectures whose checkpoint sizes are averaged.
const LOOKED_AT: usize = 24;
/// Snapshots per member: two are kept while a third is written.
const SNAPSHOTS: u64 = 3;
/// Files and folders per member and generation, without checkpoints.
const FILES: u64 = 14;

/// The largest size of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Mean bytes of a checkpoint over architectures.
    pub checkpoint: u64,
    /// Bytes of the replay buffers.
    pub collected: u64,
    /// Total bytes.
    pub bytes: u64,
    /// Number of files and folders.
    pub files: u64,
}

/// The present size of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Number of files and folders.
    pub files: u64,
}

/// Measures a run directory; a file with several hard links counts once.
pub fn held(root: &Path) -> Held {
    let (mut seen, mut held) = (BTreeSet::new(), Held::default());
    // Entries that vanish or cannot be read are ignored.
    for entry in WalkDir::new(root).min_depth(1).into_iter().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.nlink() < 2 || metadata.is_dir() || seen.insert((metadata.dev(), metadata.ino())) {
            held.bytes = held.bytes.saturating_add(metadata.blocks().saturating_mul(512));
            held.files += 1;
        }
    }
    held
}

/// Estimates the largest size of a run. None if the size of a checkpoint depends on the user's program.
pub fn need(config: &Config, task: &dyn Task) -> Result<Option<Need>> {
    let checkpoint = match task.offspring_builder() {
        OffspringBuilder::Member => return Ok(None),
        OffspringBuilder::Step => checkpoint(config, task)?,
    };
    let members = config.search.population as u64;
    let collected = task.collects(members, config.search.epochs);
    Ok(Some(Need { collected, ..total(config, checkpoint, collected) }))
}

/// Returns the mean bytes of weights, averages and two optimizer moments over networks of the first generation.
fn checkpoint(config: &Config, task: &dyn Task) -> Result<u64> {
    let first = first_generation(task.space(), &config.settings(), config.seed);
    let genotypes: Vec<Genotype> = first.into_iter().take(LOOKED_AT).map(|member| member.genotype).collect();
    let seeds = Seeds { run: config.seed, generation: 0, member: MemberId(0) };
    let mut sum = 0;
    for genotype in &genotypes {
        let fresh = task.fresh(genotype, &MemberContext::outside(seeds, Path::new(".")))?;
        let sizes = fresh.tensors().iter().map(|spec| {
            let copies = 1 + u64::from(spec.average.is_some()) + 2 * u64::from(spec.trained);
            (spec.len() * spec.dtype.bitsize() / 8) as u64 * copies
        });
        sum += sizes.sum::<u64>();
    }
    Ok(sum / genotypes.len().max(1) as u64)
}

fn total(config: &Config, checkpoint: u64, collected: u64) -> Need {
    let members = config.search.population as u64;
    let generations = generations(config);
    let trained = match config.storage.keep {
        Keep::All => generations.saturating_sub(1),
        Keep::Best => 1,
        Keep::Generations(count) => u64::from(count.max(1)),
    }
    .min(generations.saturating_sub(1));
    // Offspring have a first and a final checkpoint.
    let offspring = (members as f64 * config.search.tau).ceil() as u64;
    let each_generation = members.saturating_add(offspring);
    // At most those of the best member's generation, for its soup.
    let of_the_best = if trained + 1 < generations { each_generation } else { 0 };
    let checkpoints = each_generation.saturating_mul(trained + 1) + members * SNAPSHOTS + of_the_best;
    Need {
        checkpoint,
        collected: 0,
        bytes: checkpoints.saturating_mul(checkpoint).saturating_add(collected),
        files: checkpoints + members * FILES * (trained + 1) + generations * 3,
    }
}

/// Returns the number of generations of the search.
fn generations(config: &Config) -> u64 {
    let Ok(schedule) = config.search.schedule() else { return 1 };
    let (mut epoch, mut count) = (0, 0);
    while let Some(next) = schedule.next_boundary(epoch) {
        (epoch, count) = (next, count + 1);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use pbtnas_core::search::{Initial, initial_population};
    use pbtnas_engine::task::Start;

    fn config(more: &str) -> Config {
        let text = format!(
            "seed = 1\n[search]\npopulation = 8\nepochs = 10\nepochs_per_generation = 2\n[task]\nkind = \"synthetic\"\n{more}"
        );
        Config::parse(std::path::Path::new("c.toml"), &text).unwrap()
    }

    #[test]
    fn size_depends_on_retention() {
        let total = |more: &str| total(&config(more), 1000, 5).bytes;
        // Two trained generations and one in training, 8 members and 2 offspring each, snapshots, and the best member
        // with the candidates of its soup.
        assert_eq!(total(""), (10 * 3 + 8 * 3 + 10) * 1000 + 5);
        assert_eq!(total("[storage]\nkeep = \"all\"\n"), (10 * 5 + 8 * 3) * 1000 + 5);
        assert_eq!(total("[storage]\nkeep = \"best\"\n"), (10 * 2 + 8 * 3 + 10) * 1000 + 5);
        assert_eq!(total("[storage]\nkeep = 100\n"), total("[storage]\nkeep = \"all\"\n"));
    }

    #[test]
    fn hard_links_are_counted_once() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(held(dir.path()), Held::default());
        let (folder, file) = (dir.path().join("a"), dir.path().join("a/b"));
        std::fs::create_dir(&folder).unwrap();
        let without = held(dir.path());
        assert_eq!(without.files, 1);
        std::fs::write(&file, vec![7; 100_000]).unwrap();
        std::fs::File::open(&file).unwrap().sync_all().unwrap();
        std::fs::hard_link(&file, folder.join("c")).unwrap();
        let with = held(dir.path());
        assert_eq!(with.files, 2);
        assert!((100_000..200_000).contains(&(with.bytes - without.bytes)), "{with:?} {without:?}");
        assert_eq!(held(&dir.path().join("gone")), Held::default());
    }

    #[test]
    fn the_estimate_bounds_a_real_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let config = config("[synthetic]\nsteps_per_epoch = 1\nstep_milliseconds = 0\n");
        let task = config.task();
        let need = need(&config, task.as_ref()).unwrap().unwrap();
        let genotype = initial_population(task.space(), 1, Initial::Uniform, 1).remove(0);
        let place = MemberContext::outside(Seeds { run: 1, generation: 0, member: MemberId(0) }, dir.path());
        let fresh = task.session(Start::Fresh(&genotype, 0), place).unwrap();
        let (_, entries) = fresh.describe().unwrap();
        let real: usize = entries.iter().map(|entry| entry.shape.iter().product::<usize>() * 4).sum();
        assert!((real as u64) < need.checkpoint * 2 && need.checkpoint < real as u64 * 4, "{real} {need:?}");
        assert!(need.files > 8 * 14 && need.bytes > need.checkpoint * 8);
    }
}
