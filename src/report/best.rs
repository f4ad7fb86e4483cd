//! Export of the best network to files that other programs can read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::lineage::{Carrier, Plans};
use pbtnas_core::checkpoint::{CheckpointError, Meta, OPTIMIZER, write};
use pbtnas_core::durable_fs::remove;
use pbtnas_core::run::BestRecord;
use pbtnas_core::search::Ancestor;
use pbtnas_engine::member_context::place;
use pbtnas_engine::run::Run;
use pbtnas_engine::signal::StopSignal;
use pbtnas_engine::task::Start;

/// Names the member of the other files: the carriers of its variables.
pub const LINEAGE: &str = "lineage.json";

/// Writes `network.safetensors` (networks and averages, without the optimizer), `genotype.json`, `lineage.json` (the
/// carriers of each variable, with its value) and the files of the task to a directory; returns the paths.
pub fn export_best(run: &Run, best: &BestRecord, output: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(output).with_context(|| format!("failed to create {}", output.display()))?;
    let lineage = output.join(LINEAGE);
    remove(&lineage)?;
    let reader = run.checkpoint(&best.checkpoint)?;

    let network = output.join("network.safetensors");
    let mut file =
        fs::File::create(&network).with_context(|| format!("failed to write {}", network.display()))?;
    let entries = reader.entries().filter(|entry| !entry.name.starts_with(OPTIMIZER)).collect();
    // References to files of the run are invalid elsewhere.
    let meta = Meta { files: Vec::new(), ..reader.meta().clone() };
    write(&mut file, &meta, entries, |entry, out| {
        reader.stream(entry, |chunk| out.write_all(chunk).map_err(CheckpointError::from))
    })
    .with_context(|| format!("failed to write {}", network.display()))?;

    let genotype = output.join("genotype.json");
    let json = serde_json::to_string_pretty(&best.genotype)?;
    fs::write(&genotype, json + "\n").with_context(|| format!("failed to write {}", genotype.display()))?;

    let task = run.config.task();
    for file in &run.record.shared {
        run.check_file(file)?;
    }
    let place = place(run, best.generation, best.member, run.layout.root(), &StopSignal::default());
    let mut session = task.session(Start::Checkpoint(&reader), place)?;
    let pictures = session.export(output)?;
    // Written last: if this file exists, the images next to it belong to the same member.
    let of = Ancestor { generation: best.generation, member: best.member };
    let carriers = Plans::read(run, best.generation)?.all_carriers(&run.space, of);
    fs::write(&lineage, lineage_json(&carriers)?)
        .with_context(|| format!("failed to write {}", lineage.display()))?;
    let mut paths = vec![network, genotype, lineage];
    paths.extend(pictures.into_iter().map(|name| output.join(name)));
    Ok(paths)
}

/// The contents of [`LINEAGE`]: the carriers of each variable.
pub fn lineage_json(variables: &[(String, Vec<Carrier>)]) -> Result<String> {
    let lineage: BTreeMap<_, _> = variables.iter().map(|(name, carriers)| (name, carriers)).collect();
    Ok(serde_json::to_string_pretty(&lineage)? + "\n")
}
