//! The best network as files that need no pbtnas to be read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::checkpoint::{CheckpointError, Meta, OPTIMIZER, write};
use crate::place::place;
use crate::search::{Ancestor, MemberId, variable_lineage};
use crate::signal::StopSignal;
use crate::state::{BestRecord, Run};
use crate::tasks::Start;

/// Writes `network.safetensors` (the networks and their averages, without the optimizer), `genotype.json`,
/// `lineage.json` (through which members each variable came, and its value there) and what the task has to show into a directory; the paths of the files.
pub fn export_best(run: &Run, best: &BestRecord, output: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(output).with_context(|| format!("failed to make {}", output.display()))?;
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

    let lineage = output.join("lineage.json");
    let json = serde_json::to_string_pretty(&lineage_of(run, best)?)?;
    fs::write(&lineage, json + "\n").with_context(|| format!("failed to write {}", lineage.display()))?;

    let task = run.config.task()?;
    for file in &run.record.shared {
        run.check_file(file)?;
    }
    let place = place(run, best.generation, best.member, run.layout.root(), &StopSignal::default());
    let mut session = task.session(Start::Checkpoint(&reader), place)?;
    let mut paths = vec![network, genotype, lineage];
    paths.extend(session.export(output)?.into_iter().map(|name| output.join(name)));
    Ok(paths)
}

/// A member through which a variable came.
#[derive(Serialize)]
struct Carrier {
    generation: u32,
    member: MemberId,
    /// Only a hyperparameter has different ones on its way.
    value: String,
}

/// For each variable, the members through which its value and weights came.
fn lineage_of(run: &Run, best: &BestRecord) -> Result<BTreeMap<String, Vec<Carrier>>> {
    let plans =
        (0..=best.generation).map(|generation| run.plan(generation)).collect::<Result<Vec<_>, _>>()?;
    let planned =
        |ancestor: Ancestor| plans.get(ancestor.generation as usize)?.members.get(ancestor.member.0 as usize);
    let of = Ancestor { generation: best.generation, member: best.member };
    let carriers = |name: &str| {
        let lineage = variable_lineage(name, of, |ancestor| planned(ancestor).map(|m| m.origin.clone()));
        let carrier = |ancestor: Ancestor| Carrier {
            generation: ancestor.generation,
            member: ancestor.member,
            value: planned(ancestor).and_then(|m| m.genotype.get(name)).unwrap_or_default().to_owned(),
        };
        lineage.into_iter().map(carrier).collect()
    };
    let names = run.space.variables.iter().map(|variable| variable.name.clone());
    Ok(names.map(|name| (name.clone(), carriers(&name))).collect())
}
