//! From one generation to the next on a cluster: the time from the last member's result until the next generation's array is
//! submitted, on the SLURM sandbox (`scripts/slurm-sandbox`), which it starts. The time of SLURM
//! itself between a job's end and the start of a dependent one is measured in the same run with empty jobs, and printed
//! separately.
//!
//! ```text
//! cargo bench --bench turnaround                         8 members, 15 generations
//! ```

mod shared;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use pbtnas_core::run::submission;
use pbtnas_core::search::MemberId;
use shared::{machine, median, root, run, scratch};

#[derive(Parser)]
struct Options {
    /// Generations.
    #[arg(long, default_value_t = 15)]
    generations: u32,
    /// Members.
    #[arg(long, default_value_t = 8)]
    members: u32,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    println!("Turnaround: {}", machine());
    let up = Command::new(root().join("scripts/slurm-sandbox")).arg("up").output()?;
    ensure!(up.status.success(), "scripts/slurm-sandbox up: {}", String::from_utf8_lossy(&up.stderr));
    let dir = scratch(None)?;
    let alone = chain(dir.path(), options.generations)?;
    println!("SLURM alone, from a job's end to the next one's start: median {:.2} s", median(&alone));
    let (whole, largest) = search(dir.path(), &options)?;
    println!(
        "from the last result to the next array: median {:.2} s, at most {largest:.2} s; {:.2} s beyond SLURM's own",
        median(&whole),
        median(&whole) - median(&alone)
    );
    Ok(())
}

fn slurm(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("SLURM_CONF", root().join(".slurm/slurm.conf"));
    command
}

/// Modification time of a file in seconds.
fn written(path: &Path) -> Result<f64> {
    let there = path.metadata().with_context(|| format!("failed to read {}", path.display()))?;
    Ok(there.mtime() as f64 + there.mtime_nsec() as f64 / 1e9)
}

fn wait_for(path: &Path, patience: Duration) -> Result<()> {
    let began = Instant::now();
    while !path.exists() {
        ensure!(began.elapsed() < patience, "{} has not come", path.display());
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A chain of dependent jobs: seconds from the end of each to the start of the next.
fn chain(dir: &Path, links: u32) -> Result<Vec<f64>> {
    let file = |what: &str, link: u32| dir.join(format!("{what}-{link}"));
    let mut before: Option<String> = None;
    for link in 0..=links {
        let (begun, ended) = (file("begun", link), file("ended", link));
        let script = format!("touch '{}'; sleep 0.3; touch '{}'", begun.display(), ended.display());
        let mut command = slurm("sbatch");
        command.args(["--parsable", "--output=/dev/null", &format!("--wrap={script}")]);
        command.args(before.iter().map(|job| format!("--dependency=afterany:{job}")));
        let output = command.output()?;
        ensure!(output.status.success(), "sbatch: {}", String::from_utf8_lossy(&output.stderr));
        before = Some(String::from_utf8(output.stdout)?.trim().to_owned());
    }
    wait_for(&file("ended", links), Duration::from_secs(20 * u64::from(links)))?;
    (0..links).map(|link| Ok(written(&file("begun", link + 1))? - written(&file("ended", link))?)).collect()
}

/// A search with short generations: seconds from the last result of each generation to the submission of the next one.
fn search(dir: &Path, options: &Options) -> Result<(Vec<f64>, f64)> {
    let text = format!(
        "seed = 1\n[search]\npopulation = {}\nepochs = {}\nepochs_per_generation = 1\n[task]\nkind = \"synthetic\"\n\
         [synthetic]\nlayers = 20\nsteps_per_epoch = 10\nstep_milliseconds = 10\n[storage]\nkeep = \"all\"\n\
         [slurm]\npartition = \"main\"\ncpus = 1\n",
        options.members, options.generations
    );
    let run = run(&dir.join("run"), &text)?;
    let step =
        slurm(env!("CARGO_BIN_EXE_pbtnas")).args(["step", "--state"]).arg(run.layout.root()).output()?;
    ensure!(step.status.success(), "pbtnas step: {}", String::from_utf8_lossy(&step.stderr));
    let last = options.generations - 1;
    for member in 0..options.members {
        wait_for(
            &run.layout.result(last, MemberId(member)),
            Duration::from_secs(30 * u64::from(options.generations)),
        )?;
    }
    let mut seconds = Vec::new();
    for generation in 0..last {
        let results =
            (0..options.members).map(|member| written(&run.layout.result(generation, MemberId(member))));
        let done = results.collect::<Result<Vec<_>>>()?.into_iter().fold(0.0, f64::max);
        seconds.push(written(&submission(&run.layout.generation(generation + 1), 1))? - done);
    }
    let largest = seconds.iter().copied().fold(0.0, f64::max);
    Ok((seconds, largest))
}
