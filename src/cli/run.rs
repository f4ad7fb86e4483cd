use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::StateArg;
use crate::report;
use pbtnas_core::fault::message;
use pbtnas_core::run::{Heartbeat, Outcome, read_attempts};
use pbtnas_core::search::{MemberId, Origin};
use pbtnas_engine::advance::{NextAction, advance};
use pbtnas_engine::config::Config;
use pbtnas_engine::create::create;
use pbtnas_engine::fault::exit::{IO, STOPPED};
use pbtnas_engine::fault::exit_code;
use pbtnas_engine::run::Run;
use pbtnas_engine::scheduler::pool::{LOOK, Watcher};
use pbtnas_engine::scheduler::slurm::Allocation;
use pbtnas_engine::scheduler::{JobSource, Search, local};
use pbtnas_engine::signal::StopSignal;

/// Run a search to its end, on this machine or on all nodes of the current SLURM job.
///
/// After an interruption, the same command resumes from the last snapshots. In the script of a SLURM job (or in the
/// shell of salloc), members train as job steps, as many at a time as fit. Near its time limit the job requeues
/// itself.
#[derive(Debug, Args)]
#[command(
    name = "run",
    after_help = "Examples:\n  \
    pbtnas run --config configs/fashion-small.toml --state runs/first\n  \
    pbtnas run --state runs/first --workers 4\n  \
    sbatch --nodes=4 slurm/allocation.sbatch configs/fashion-small.toml runs/first"
)]
pub struct RunLocally {
    #[command(flatten)]
    state: StateArg,
    /// Create the run from this configuration if it does not exist.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Replace the configuration's seed.
    #[arg(long, value_name = "N", requires = "config", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    /// Members to train at a time. [default: `local.workers`, or one per core; in a SLURM job, as many as fit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    workers: Option<u32>,
    /// Train on this machine only, even in a SLURM job.
    #[arg(long)]
    here: bool,
}

impl RunLocally {
    pub fn run(self) -> Result<u8> {
        if let Some(path) = &self.config {
            let mut config = Config::load(path)?;
            config.seed = self.seed.unwrap_or(config.seed);
            super::apply_environment(&config)?;
            create(&self.state.state, &config, config.task().as_ref())?;
        }
        let run = Run::open(&self.state.state)?;
        let place = Place::find(&run.config, self.here, self.workers.map(|workers| workers as usize))?;
        let stop = StopSignal::listen(|_| {}).context("failed to listen for signals")?;
        if let Place::Job(job) = &place {
            println!("{}", job.describe());
            job.watch_time(&stop);
        }
        let program = std::env::current_exe().context("failed to find this program")?;
        let task = run.config.task();
        let mut search = Loop {
            search: Search { run: &run, task: task.as_ref() },
            program,
            place,
            stop,
            tries: BTreeMap::new(),
        };
        let mut pause = Duration::from_secs(1);
        loop {
            let turn = match search.turn() {
                // In a job, retry: the job waited for its nodes and is not started again after a failure.
                Err(error) if matches!(search.place, Place::Job(_)) && exit_code(&error) == IO => {
                    search.wait_after(&error, &mut pause)
                }
                other => other?,
            };
            match turn {
                Turn::Next => pause = Duration::from_secs(1),
                Turn::Again => {}
                Turn::Finished => break,
                Turn::Stopped => {
                    println!("stopped; {}", search.place.after(&run, &search.stop));
                    return Ok(STOPPED);
                }
            }
        }
        print!("{}", report::result_table(&run)?);
        Ok(0)
    }
}

/// The outcome of an iteration of the loop.
enum Turn {
    Next,
    /// The filesystem failed; retry.
    Again,
    Finished,
    /// A signal arrived.
    Stopped,
}

/// The loop of a search: decide, train, repeat.
struct Loop<'a> {
    search: Search<'a>,
    program: PathBuf,
    place: Place,
    stop: StopSignal,
    tries: BTreeMap<(u32, MemberId), usize>,
}

impl Loop<'_> {
    fn turn(&mut self) -> Result<Turn> {
        let Search { run, task } = self.search;
        let (generation, members) = match advance(run, task, true)? {
            NextAction::Finished { .. } => return Ok(Turn::Finished),
            NextAction::Train { generation, members } => (generation, members),
        };
        for member in &members {
            *self.tries.entry((generation, *member)).or_default() += 1;
        }
        let mut progress = Progress::new(run, generation, members.len())?;
        let whole = self.place.run_round(
            &self.search,
            &self.program,
            generation,
            &members,
            &self.stop,
            &mut progress,
        )?;
        progress.finish()?;
        if !whole {
            return Ok(Turn::Stopped);
        }
        let of_generation =
            self.tries.iter().filter(|((g, _), _)| *g == generation).map(|((_, m), n)| (*m, *n)).collect();
        check_unfinished(&self.search, generation, of_generation)?;
        Ok(Turn::Next)
    }

    /// Waits after a filesystem error, with exponential back-off up to 60 s.
    fn wait_after(&mut self, error: &anyhow::Error, pause: &mut Duration) -> Turn {
        eprintln!("pbtnas: {}; retrying in {} s", message(error), pause.as_secs());
        self.tries.clear();
        let until = Instant::now() + *pause;
        while Instant::now() < until {
            if self.stop.get().is_some() {
                return Turn::Stopped;
            }
            std::thread::sleep(LOOK);
        }
        *pause = (*pause * 2).min(Duration::from_secs(60));
        Turn::Again
    }
}

/// Where the members train.
enum Place {
    /// As processes on this machine, at most this many at a time.
    Here(usize),
    /// On the nodes of the current job.
    Job(Box<Allocation>),
}

impl Place {
    fn find(config: &Config, here: bool, workers: Option<usize>) -> Result<Self> {
        let job = if here { None } else { Allocation::find(config, workers)? };
        Ok(match job {
            Some(job) => Self::Job(Box::new(job)),
            None => Self::Here(
                workers
                    .or(config.local.workers)
                    .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
            ),
        })
    }

    fn run_round(
        &self,
        work: &dyn JobSource,
        program: &Path,
        stage: u32,
        pieces: &[MemberId],
        stop: &StopSignal,
        watcher: &mut dyn Watcher,
    ) -> Result<bool> {
        match self {
            Self::Here(workers) => local::run_round(work, program, stage, pieces, *workers, stop, watcher),
            Self::Job(job) => job.run_round(work, program, stage, pieces, stop, watcher),
        }
    }

    /// Arranges for the search to resume after a signal, where possible; returns a description.
    fn after(&self, run: &Run, stop: &StopSignal) -> String {
        let by_hand = format!("`pbtnas run --state {}` resumes from here", run.layout.root().display());
        match self {
            Self::Here(_) => by_hand,
            Self::Job(job) => job.after(stop.get(), &by_hand),
        }
    }
}

/// Fails if members without a result cannot start.
fn check_unfinished(search: &Search, generation: u32, tries: BTreeMap<MemberId, usize>) -> Result<()> {
    let mut unfinished = BTreeMap::new();
    for (member, count) in tries {
        if !search.is_done(generation, member)? {
            unfinished.insert(member, count);
        }
    }
    local::check_begun(search, generation, &unfinished)
}

/// Progress bars on a terminal; elsewhere, a line per finished member.
struct Progress<'a> {
    run: &'a Run,
    generation: u32,
    bars: Option<MultiProgress>,
    total: ProgressBar,
    members: BTreeMap<MemberId, ProgressBar>,
}

impl<'a> Progress<'a> {
    fn new(run: &'a Run, generation: u32, count: usize) -> Result<Self> {
        let plan = run.plan(generation)?;
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        let total = match &bars {
            Some(bars) => bars.add(ProgressBar::new(count as u64)),
            None => ProgressBar::hidden(),
        };
        total.set_style(ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} members  {elapsed}")?);
        let count_of = |which: fn(&Origin) -> bool| plan.members.iter().filter(|m| which(&m.origin)).count();
        let word = if generation == 0 { "new" } else { "replaced" };
        let replaced = format!("{} {word}", count_of(Origin::is_replacement));
        let news = match count_of(|origin| *origin == Origin::Derived) {
            0 => replaced,
            derived => format!("{replaced}, {derived} derived from supernets"),
        };
        let message = format!(
            "generation {generation}, epochs {}-{} of {} ({news})",
            plan.from_epoch, plan.to_epoch, run.config.search.epochs
        );
        if bars.is_none() {
            println!("{message}");
        }
        total.set_message(message);
        if bars.is_some() {
            total.enable_steady_tick(Duration::from_secs(1));
        }
        Ok(Self { run, generation, bars, total, members: BTreeMap::new() })
    }

    /// Removes the bars and prints the summary of the generation.
    fn finish(&self) -> Result<()> {
        self.total.finish_and_clear();
        if let Some(line) = report::generation_line(self.run, self.generation)? {
            println!("{line}");
        }
        Ok(())
    }
}

impl Watcher for Progress<'_> {
    fn started(&mut self, member: MemberId) {
        let Some(bars) = &self.bars else { return };
        let bar = bars.add(ProgressBar::new(1000));
        if let Ok(style) = ProgressStyle::with_template("  member {prefix} {bar:30} {percent:>3} %  {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(member.to_string());
        self.members.insert(member, bar);
    }

    fn heartbeat(&mut self, member: MemberId, beat: &Heartbeat) {
        if let Some(bar) = self.members.get(&member) {
            bar.set_position((beat.fraction * 1000.0) as u64);
            let metrics = beat.metrics.iter().map(|(name, value)| format!(", {name} {value:.4}"));
            bar.set_message(format!("epoch {}, {}{}", beat.epoch, beat.phase, metrics.collect::<String>()));
        }
    }

    fn waiting(&mut self, member: MemberId) {
        let line = format!("  member {member}: being trained by another process; waiting");
        match &self.bars {
            Some(bars) => bars.suspend(|| println!("{line}")),
            None => println!("{line}"),
        }
    }

    fn ended(&mut self, member: MemberId, done: bool) {
        if let Some(bar) = self.members.remove(&member) {
            bar.finish_and_clear();
        }
        if done {
            self.total.inc(1);
        }
        if self.bars.is_some() {
            return;
        }
        match self.run.result(self.generation, member) {
            Ok(Some(result)) => match result.outcome {
                Outcome::Trained { fitness: Some(fitness), .. } => {
                    println!("  member {member}: {fitness:.4}")
                }
                Outcome::Trained { fitness: None, .. } => println!("  member {member}: diverged"),
                Outcome::Failed { reason, .. } => println!("  member {member}: failed: {reason}"),
            },
            _ => {
                let attempts = read_attempts(&self.run.layout.attempts(self.generation, member));
                let reason = attempts.ok().and_then(|attempts| Some(attempts.last()?.reason()));
                println!("  member {member}: {}", reason.as_deref().unwrap_or("no result"));
            }
        }
    }
}
