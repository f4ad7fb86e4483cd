//! The work of a step between two generations, at the size of the paper: GanHard at full width, 24 members, six children of
//! trained checkpoints of 220 to 300 MB, against
//!
//! - the same children made in PyTorch, one after the other (benches/step.py): both parents loaded, the child's network built,
//!   layers shrink-perturbed, the whole saved with the same fsync, from tensor to tensor or through modules and optimizers as
//!   is usual; without the digests of pbtnas;
//! - copying the children's files, as many at a time as there are cores, with the same fsync.
//!
//! All in turns, with warm caches. Needs 10 GB of disk, and some minutes to train the members.
//!
//! ```text
//! cargo bench --bench step
//! cargo bench --bench step -- --dir /scratch/bench --turns 10      keeps the trained members there for the next time
//! ```

mod shared;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use pbtnas_core::parallel;
use pbtnas_core::run::{Heartbeat, PlanRecord};
use pbtnas_core::search::{MemberId, Origin};
use pbtnas_engine::advance::{NextAction, advance};
use pbtnas_engine::run::Run;
use pbtnas_engine::scheduler::Search;
use pbtnas_engine::scheduler::local::run_round;
use pbtnas_engine::scheduler::pool::{Round, Watcher};
use pbtnas_engine::signal::StopSignal;
use pbtnas_torch::gan::GanConfig;
use serde_json::json;
use shared::{PYTHON, Peer, machine, median, memory, root, run, scratch};

#[derive(Parser)]
struct Options {
    /// Repetitions of each.
    #[arg(long, default_value_t = 5)]
    turns: usize,
    /// Where the run is kept; by default in a folder of `target` that is removed at the end.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Channels of the generator.
    #[arg(long, default_value_t = 256)]
    generator: usize,
    /// Channels of the discriminator.
    #[arg(long, default_value_t = 128)]
    discriminator: usize,
    /// A Python with PyTorch.
    #[arg(long, default_value = PYTHON)]
    python: PathBuf,
    /// Do the step in this run and print time and memory: in its own process, for its own memory.
    #[arg(long, hide = true)]
    step: Option<PathBuf>,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(state) = &options.step {
        return step(state);
    }
    let scratch = scratch(None)?;
    let dir = options.dir.clone().unwrap_or_else(|| scratch.path().to_owned());
    println!("Making six children: {}", machine());
    let run = trained(&options, &dir.join("run"))?;
    // The first turn determines the children that the others build.
    let first = step_apart(&run)?;
    let plan = run.plan(1)?;
    let children: Vec<MemberId> = replaced(&plan).map(|(id, _, _)| id).collect();
    let files: Vec<PathBuf> = children.iter().map(|child| run.layout.start(1, *child)).collect();
    let sizes = files.iter().map(|file| Ok(file.metadata()?.len())).collect::<Result<Vec<u64>>>()?;
    let mb = |bytes: u64| bytes as f64 / 1e6;
    println!(
        "{} children of {:.0} to {:.0} MB, {:.0} MB together",
        children.len(),
        mb(sizes.iter().copied().min().unwrap_or_default()),
        mb(sizes.iter().copied().max().unwrap_or_default()),
        mb(sizes.iter().sum())
    );
    println!("memory of the step: {:.0} MiB above the {:.0} MiB at its start", first[1], first[2]);
    let mut peer = Peer::start(&options.python, "step.py", &[&case(&run, &plan, &dir)?.to_string()])?;
    let (mut ours, mut copies, mut plain, mut modules, mut above) =
        (vec![], vec![], vec![], vec![], first[1]);
    for turn in 1..=options.turns {
        let copied = copy(&files, &dir.join("copies"))?;
        let made = step_apart(&run)?;
        let [lean, usual] = [peer.ask("plain")?, peer.ask("modules")?];
        println!(
            "turn {turn}: step {:.2} s, copy {copied:.2} s, PyTorch {:.2} s ({:.0} MiB), through its modules {:.2} s ({:.0} MiB)",
            made[0], lean[0], lean[1], usual[0], usual[1]
        );
        ours.push(made[0]);
        copies.push(copied);
        plain.push(lean[0]);
        modules.push(usual[0]);
        above = above.max(made[1]);
    }
    let [ours, copies, plain, modules] = [&ours, &copies, &plain, &modules].map(|seconds| median(seconds));
    println!(
        "medians: step {ours:.2} s, copy {copies:.2} s, PyTorch {plain:.2} s, through its modules {modules:.2} s"
    );
    println!(
        "{:.1} and {:.1} times as fast as PyTorch; {:.2} times the time of copying; {above:.0} MiB",
        plain / ours,
        modules / ours,
        ours / copies
    );
    Ok(())
}

/// A run whose first generation is trained: a cycle of one discriminator and one generator step each, so that optimizers have
/// moments and averages differ.
fn trained(options: &Options, state: &Path) -> Result<Run> {
    let text = format!(
        "seed = 1\n[search]\npopulation = 24\nepochs = 2\nepochs_per_generation = 1\n[task]\nkind = \"gan\"\n[gan]\n\
         space = \"gan-hard\"\ndata = {:?}\nsubset = 4\nbatch = 4\ngenerator_batch = 4\ngenerator_width = {}\n\
         discriminator_width = {}\nevaluation_images = 20\nfeature_epochs = 1\nthreads = 2\ndevice = \"cpu\"\n\
         [storage]\nvisibility_timeout = 0\n",
        root().join(".deps/data/fashion-mnist"),
        options.generator,
        options.discriminator
    );
    let run = run(state, &text)?;
    let task = run.config.task();
    undo(&run)?;
    if run.plan(0).is_err() {
        advance(&run, task.as_ref(), false)?;
    }
    let missing = run
        .results(0)?
        .iter()
        .zip(0..)
        .filter(|(result, _)| result.is_none())
        .map(|(_, id)| MemberId(id))
        .collect::<Vec<_>>();
    if !missing.is_empty() {
        println!("training {} members", missing.len());
        let search = Search { run: &run, task: task.as_ref() };
        let program = Path::new(env!("CARGO_BIN_EXE_pbtnas"));
        let stop = StopSignal::default();
        let round = Round { source: &search, number: 0, units: &missing, program, stop: &stop };
        run_round(&round, 1, &mut Quiet)?;
    }
    ensure!(
        run.results(0)?.iter().all(Option::is_some),
        "a member was not trained: see {}",
        run.layout.logs().display()
    );
    Ok(run)
}

struct Quiet;

impl Watcher for Quiet {
    fn started(&mut self, _: MemberId) {}
    fn heartbeat(&mut self, _: MemberId, _: &Heartbeat) {}
    fn ended(&mut self, _: MemberId, _: bool) {}
}

/// Removes the second generation.
fn undo(run: &Run) -> Result<()> {
    for path in [run.layout.generation(1), run.layout.best()] {
        if path.is_dir() {
            std::fs::remove_dir_all(&path)?;
        } else if path.exists() {
            std::fs::remove_file(&path)?;
        }
    }
    // Writes of the removal must not overlap with the next measurement.
    nix::unistd::sync();
    Ok(())
}

/// The step in its own process: seconds, MiB above those at its start, MiB at its start.
fn step_apart(run: &Run) -> Result<Vec<f64>> {
    undo(run)?;
    let output = Command::new(std::env::current_exe()?).arg("--step").arg(run.layout.root()).output()?;
    ensure!(output.status.success(), "the step failed: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    text.split_whitespace().map(|word| word.parse().context("no number")).collect()
}

/// The work of `pbtnas step` before it submits.
fn step(state: &Path) -> Result<()> {
    let before = memory("VmRSS");
    let began = Instant::now();
    let run = Run::open(state)?;
    let next = advance(&run, run.config.task().as_ref(), false)?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(matches!(next, NextAction::Train { generation: 1, .. }), "no step: {next:?}");
    println!("{seconds} {} {before}", memory("VmHWM") - before);
    Ok(())
}

/// Children, their parents, and the variables that come from the donor.
fn replaced(plan: &PlanRecord) -> impl Iterator<Item = (MemberId, [MemberId; 2], &[String])> {
    plan.members.iter().filter_map(|member| match &member.origin {
        Origin::Mix { base, donor, replaced, .. } => Some((member.id, [*base, *donor], replaced.as_slice())),
        _ => None,
    })
}

/// The input of benches/step.py.
fn case(run: &Run, plan: &PlanRecord, dir: &Path) -> Result<serde_json::Value> {
    let mut case = serde_json::to_value(run.config.task.settings::<GanConfig>().context("the task is gan")?)?;
    case["channels"] = 1.into();
    case["folder"] = json!(dir.join("peer"));
    let prefixes = |variable: &str| {
        let found = run.space.variables.iter().find(|found| found.name == variable);
        found.map(|found| found.owns().to_vec()).unwrap_or_default()
    };
    case["children"] = replaced(plan)
        .map(|(id, parents, replaced)| {
            json!({
                "genotype": plan.members[id.0 as usize].genotype,
                "parents": parents.map(|parent| run.layout.final_checkpoint(0, parent)),
                "replaced": replaced.iter().flat_map(|variable| prefixes(variable)).collect::<Vec<_>>(),
            })
        })
        .collect();
    Ok(case)
}

/// Seconds to copy files and sync the copies.
fn copy(files: &[PathBuf], to: &Path) -> Result<f64> {
    std::fs::create_dir_all(to)?;
    let began = Instant::now();
    let numbered: Vec<(usize, &PathBuf)> = files.iter().enumerate().collect();
    parallel::each(&numbered, |(number, file)| {
        let mut copy = File::create(to.join(number.to_string()))?;
        std::io::copy(&mut File::open(file)?, &mut copy)?;
        copy.sync_all()
    })?;
    let seconds = began.elapsed().as_secs_f64();
    std::fs::remove_dir_all(to)?;
    nix::unistd::sync();
    Ok(seconds)
}
