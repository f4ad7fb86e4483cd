//! The time of a step apart from building children: reading results and planning for many members, and its growth with the
//! number of finished generations. Members are those of the task `synthetic`, with as many variables as GanHard.
//!
//! ```text
//! cargo bench --bench plan                                          10 000 members; 24 members and 1000 generations
//! cargo bench --bench plan -- --members 1000 --generations 100 --dir /scratch
//! ```

mod shared;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Parser;
use nix::unistd::{dup, dup2_stderr};
use pbtnas_core::parallel;
use pbtnas_core::search::{MemberId, next_generation};
use pbtnas_engine::advance::{NextAction, advance};
use pbtnas_engine::attempt::{Claim, Identity, Trainer};
use pbtnas_engine::run::Run;
use pbtnas_engine::signal::StopSignal;
use shared::{machine, median, run, scratch};

#[derive(Parser)]
struct Options {
    /// Members of a large population.
    #[arg(long, default_value_t = 10_000)]
    members: u32,
    /// Generations of a long search of 24 members.
    #[arg(long, default_value_t = 1000)]
    generations: u32,
    /// Parent of the runs; by default a folder in memory: the disk is not measured.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    println!("Planning: {}", machine());
    let quick = Some(PathBuf::from("/dev/shm")).filter(|dir| dir.is_dir());
    let dir = scratch(options.dir.as_ref().or(quick.as_ref()))?;
    large(&dir.path().join("large"), options.members)?;
    long(&dir.path().join("long"), options.generations)
}

fn new(state: &Path, members: u32, epochs: u32) -> Result<Run> {
    let text = format!(
        "seed = 1\n[search]\npopulation = {members}\nepochs = {epochs}\nepochs_per_generation = 1\n[task]\n\
         kind = \"synthetic\"\n[synthetic]\nlayers = 72\nsteps_per_epoch = 1\n[storage]\nvisibility_timeout = 0\n"
    );
    run(state, &text)
}

/// Trains the members of a generation in this process, without their logs.
fn train(run: &Run, generation: u32, members: &[MemberId]) -> Result<()> {
    let task = run.config.task();
    let plan = run.plan(generation)?;
    let log = dup(std::io::stderr())?;
    dup2_stderr(std::fs::File::create("/dev/null")?)?;
    let trained = parallel::each(members, |member| {
        let trainer = Trainer {
            run,
            task: task.as_ref(),
            identity: Identity { job: None, host: "here".into() },
            stop: StopSignal::default(),
            claim: Claim::default(),
        };
        trainer.train(&plan, *member).with_context(|| format!("member {member}"))
    });
    dup2_stderr(log)?;
    trained.map(|_| ())
}

fn large(state: &Path, members: u32) -> Result<()> {
    let run = new(state, members, 2)?;
    let task = run.config.task();
    let NextAction::Train { members: all, .. } = advance(&run, task.as_ref(), false)? else {
        bail!("nothing to train")
    };
    train(&run, 0, &all)?;

    let began = Instant::now();
    let run = Run::open(state)?;
    let plan = run.plan(0)?;
    let mut results = Vec::new();
    for member in &plan.members {
        results.push(run.result_or_quarantine(0, member.id)?.context("a member has no result")?);
    }
    let trained = run.trained(&plan, results.iter())?;
    let read = began.elapsed().as_secs_f64();
    let planned = next_generation(&run.space, &run.config.settings(), run.record.seed, 1, &trained)?;
    let both = began.elapsed().as_secs_f64();
    let children = planned.iter().filter(|member| member.origin.is_replacement()).count();
    let began = Instant::now();
    advance(&run, task.as_ref(), false)?;
    println!(
        "{members} members: read {read:.2} s, read and planned {both:.2} s; the whole step, with {children} children of a few \
         kilobytes made, {:.2} s",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

fn long(state: &Path, generations: u32) -> Result<()> {
    let run = new(state, 24, generations + 1)?;
    let task = run.config.task();
    let mut steps = Vec::new();
    loop {
        let began = Instant::now();
        let next = advance(&run, task.as_ref(), false)?;
        let seconds = began.elapsed().as_secs_f64();
        let NextAction::Train { generation, members } = next else { break };
        steps.push(1e3 * seconds);
        train(&run, generation, &members)?;
    }
    // The first generations have no files to remove.
    let steps = steps.get(3..).context("too few generations")?;
    let part = (steps.len() / 10).max(1);
    let early = steps.get(..part).context("too few generations")?;
    let (early, late) = (median(early), median(&steps[steps.len() - part..]));
    println!(
        "24 members, {generations} generations: a step takes {early:.1} ms at first and {late:.1} ms in the end ({:.2} times)",
        late / early
    );
    Ok(())
}
