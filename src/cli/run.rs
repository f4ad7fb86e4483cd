use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{StateArg, WorkersArgs};
use crate::report;
use pbtnas_core::run::{Heartbeat, Outcome, read_attempts};
use pbtnas_core::search::{MemberId, Origin};
use pbtnas_engine::config::Config;
use pbtnas_engine::create::create;
use pbtnas_engine::fault::exit::STOPPED;
use pbtnas_engine::run::Run;
use pbtnas_engine::scheduler::Search;
use pbtnas_engine::scheduler::pool::{Round, Watcher};

/// Run a search to its end, on this machine or on all nodes of the current SLURM job.
///
/// After an interruption, the same command resumes from the last snapshots. In the script of a SLURM job (or in the
/// shell of salloc), members train as job steps, as many at a time as fit. Near its time limit the job requeues
/// itself.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pbtnas run --config configs/fashion-small.toml --state runs/first\n  \
    pbtnas run --state runs/first --workers 4\n  \
    sbatch --nodes=4 slurm/allocation.sbatch configs/fashion-small.toml runs/first")]
pub struct RunArgs {
    #[command(flatten)]
    state: StateArg,
    /// Create the run from this configuration if it does not exist.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Replace the configuration's seed.
    #[arg(long, value_name = "N", requires = "config", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    #[command(flatten)]
    workers: WorkersArgs,
}

impl RunArgs {
    pub fn run(self) -> Result<u8> {
        if let Some(path) = &self.config {
            let mut config = Config::load(path)?;
            config.seed = self.seed.unwrap_or(config.seed);
            super::apply_environment(&config)?;
            create(&self.state.state, &config, config.task().as_ref())?;
        }
        let run = Run::open(&self.state.state)?;
        let task = run.config.task();
        let search = Search { run: &run, task: task.as_ref() };
        let command = format!("pbtnas run --state {}", run.layout.root().display());
        if !self.workers.drive(&search, &command, &mut RunProgress::new(&run))? {
            return Ok(STOPPED);
        }
        print!("{}", report::result_table(&run)?);
        Ok(0)
    }
}

/// Progress bars on a terminal; elsewhere, a line per finished member.
struct RunProgress<'a> {
    run: &'a Run,
    generation: u32,
    bars: Option<MultiProgress>,
    total: ProgressBar,
    members: BTreeMap<MemberId, ProgressBar>,
}

impl<'a> RunProgress<'a> {
    fn new(run: &'a Run) -> Self {
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        Self { run, generation: 0, bars, total: ProgressBar::hidden(), members: BTreeMap::new() }
    }

    /// Describes the generation that begins.
    fn headline(&self) -> Result<String> {
        let generation = self.generation;
        let plan = self.run.plan(generation)?;
        let count_of = |which: fn(&Origin) -> bool| plan.members.iter().filter(|m| which(&m.origin)).count();
        let word = if generation == 0 { "new" } else { "replaced" };
        let replaced = format!("{} {word}", count_of(Origin::is_replacement));
        let origins = match count_of(|origin| *origin == Origin::Derived) {
            0 => replaced,
            derived => format!("{replaced}, {derived} derived from supernets"),
        };
        let (from, to) = (plan.from_epoch, plan.to_epoch);
        let epochs = self.run.config.search.epochs;
        Ok(format!("generation {generation}, epochs {from}-{to} of {epochs} ({origins})"))
    }
}

impl Watcher for RunProgress<'_> {
    fn round_started(&mut self, round: &Round) -> Result<()> {
        self.generation = round.number;
        self.members.clear();
        let message = self.headline()?;
        let Some(bars) = &self.bars else {
            println!("{message}");
            return Ok(());
        };
        self.total = bars.add(ProgressBar::new(round.units.len() as u64));
        self.total.set_style(ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} members  {elapsed}")?);
        self.total.set_message(message);
        self.total.enable_steady_tick(Duration::from_secs(1));
        Ok(())
    }

    /// Removes the bars and prints the summary of the generation.
    fn round_ended(&mut self) -> Result<()> {
        self.total.finish_and_clear();
        if let Some(line) = report::generation_line(self.run, self.generation)? {
            println!("{line}");
        }
        Ok(())
    }

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
