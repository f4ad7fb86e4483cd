//! The best network as files that need no pbtnas to be read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::lineage::{Carrier, Plans};
use crate::checkpoint::{CheckpointError, Meta, OPTIMIZER, write};
use crate::place::place;
use crate::search::Ancestor;
use crate::signal::StopSignal;
use crate::state::{BestRecord, Run, remove};
use crate::tasks::Start;

/// The file that tells which member the others are of.
pub const LINEAGE: &str = "lineage.json";

/// Writes `network.safetensors` (the networks and their averages, without the optimizer), `genotype.json`,
/// `lineage.json` (through which members each variable came, and its value there) and what the task has to show into a directory; the paths of the files.
pub fn export_best(run: &Run, best: &BestRecord, output: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(output).with_context(|| format!("failed to make {}", output.display()))?;
    let lineage = output.join(LINEAGE);
    remove(&lineage)?;
    let reader = run.checkpoint(&best.checkpoint)?;

    let network = output.join("network.safetensors");
    let mut file =
        fs::File::create(&network).with_context(|| format!("failed to write {}", network.display()))?;
    let entries = reader.entries().filter(|entry| !entry.name.starts_with(OPTIMIZER)).collect();
    // Files of the run mean nothing elsewhere.
    let meta = Meta { files: Vec::new(), ..reader.meta().clone() };
    write(&mut file, &meta, entries, |entry, out| {
        reader.stream(entry, |chunk| out.write_all(chunk).map_err(CheckpointError::from))
    })
    .with_context(|| format!("failed to write {}", network.display()))?;

    let genotype = output.join("genotype.json");
    let json = serde_json::to_string_pretty(&best.genotype)?;
    fs::write(&genotype, json + "\n").with_context(|| format!("failed to write {}", genotype.display()))?;

    let task = run.config.task()?;
    for file in &run.record.shared {
        run.check_file(file)?;
    }
    let place = place(run, best.generation, best.member, run.layout.root(), &StopSignal::default());
    let mut session = task.session(Start::Checkpoint(&reader), place)?;
    let pictures = session.export(output)?;
    // At last: whoever finds it finds pictures of the same member beside it.
    let of = Ancestor { generation: best.generation, member: best.member };
    let carriers = Plans::read(run, best.generation)?.all_carriers(&run.space, of);
    fs::write(&lineage, lineage_json(&carriers)?)
        .with_context(|| format!("failed to write {}", lineage.display()))?;
    let mut paths = vec![network, genotype, lineage];
    paths.extend(pictures.into_iter().map(|name| output.join(name)));
    Ok(paths)
}

/// What is in [`LINEAGE`]: for each variable, the members through which its value and weights came.
pub fn lineage_json(variables: &[(String, Vec<Carrier>)]) -> Result<String> {
    let lineage: BTreeMap<_, _> = variables.iter().map(|(name, carriers)| (name, carriers)).collect();
    Ok(serde_json::to_string_pretty(&lineage)? + "\n")
}
