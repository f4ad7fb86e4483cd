use std::str::FromStr;

use anyhow::{Context, Result};
use clap::Args;
use nix::sys::signal::{Signal as Unix, raise};

use super::StateArg;
use pbtnas_core::durable_fs::host;
use pbtnas_core::run::{Heartbeat, PlanRecord};
use pbtnas_core::search::MemberId;
use pbtnas_engine::attempt::{Claim, Identity, TrainOutcome, Trainer};
use pbtnas_engine::fault::exit::{BUSY, FAILED, STOPPED};
use pbtnas_engine::run::Run;
use pbtnas_engine::scheduler::pool::{Round, Watcher};
use pbtnas_engine::scheduler::{Search, local, slurm};
use pbtnas_engine::signal::{Signal, StopSignal};
use pbtnas_engine::task::Task;

/// Train one member, or several side by side, for one generation (called by the jobs).
///
/// On SIGTERM or SIGUSR1, writes a snapshot and exits within 5 s (task `command`: slightly more than its
/// `grace_seconds`). After SIGUSR1 (the time limit is near), also requeues its job.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pbtnas train --state runs/first --member 3\n  \
                        pbtnas train --state runs/first --generation 2 --member 4-7")]
pub struct TrainArgs {
    #[command(flatten)]
    state: StateArg,
    /// Member ID, or an inclusive range; IDs beyond the population are ignored.
    #[arg(long, value_name = "ID[-ID]", required_unless_present = "serve")]
    member: Option<MemberRange>,
    /// Train the members whose IDs are read from standard input (called by `pbtnas run`).
    #[arg(long, hide = true, conflicts_with = "member")]
    serve: bool,
    /// Generation. [default: the latest]
    #[arg(long, value_name = "N")]
    generation: Option<u32>,
}

/// An inclusive range of IDs.
#[derive(Debug, Clone, Copy)]
pub struct MemberRange {
    first: u32,
    last: u32,
}

impl MemberRange {
    pub fn members(self) -> impl Iterator<Item = MemberId> {
        (self.first..=self.last).map(MemberId)
    }
}

impl FromStr for MemberRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| text.parse().map_err(|_| format!("invalid member ID {text:?}"));
        let range = Self { first: number(first)?, last: number(last)? };
        if range.first > range.last { Err("the range is empty".into()) } else { Ok(range) }
    }
}

impl TrainArgs {
    pub fn run(self) -> Result<u8> {
        local::follow_parent()?;
        let run = Run::open(&self.state.state)?;
        super::apply_environment(&run.config)?;
        let none = "the run has no generation yet; run `pbtnas step` or `pbtnas run`";
        let generation = match self.generation {
            Some(generation) => generation,
            None => run.latest_generation()?.context(none)?,
        };
        let plan = match run.plan(generation) {
            Err(error) if error.is_damage() => match run.latest_generation()? {
                None => anyhow::bail!(none),
                Some(latest) if latest < generation => {
                    anyhow::bail!("unknown generation {generation}: the run has generations 0 to {latest}")
                }
                Some(_) => return Err(error.into()),
            },
            found => found?,
        };
        let Some(range) = self.member else { return serve(&run, &plan) };
        let population = run.config.search.population as u32;
        let members: Vec<MemberId> = range.members().take_while(|member| member.0 < population).collect();
        match members.as_slice() {
            [] => anyhow::bail!(
                "unknown member {}: the population has members 0 to {}",
                range.first,
                population - 1
            ),
            [member] => {
                let task = run.config.task();
                let trainer = trainer(&run, task.as_ref())?;
                let (code, summary) = train_here(&trainer, &plan, *member)?;
                println!("{summary}");
                Ok(code)
            }
            several => train_beside(&run, generation, several),
        }
    }
}

/// Returns a trainer. A signal kills its process after the grace period.
fn trainer<'a>(run: &'a Run, task: &'a dyn Task) -> Result<Trainer<'a>> {
    let claim = Claim::default();
    let abandoned = claim.clone();
    // Work since the last snapshot of a member that has not stopped by then is lost.
    let grace = run.config.grace();
    let stop = StopSignal::listen(move |signal| {
        std::thread::sleep(grace);
        eprintln!("pbtnas: exiting without another snapshot, {} s after {}", grace.as_secs(), signal.name());
        abandoned.abandon(signal.name());
        requeue_after(Some(signal));
        let _ = raise(Unix::SIGKILL);
    })
    .context("failed to listen for signals")?;
    let identity = Identity { job: slurm::own_job(), host: host() };
    Ok(Trainer { run, task, identity, stop, claim })
}

/// Trains a member; returns the exit code and the message to print.
fn train_here(trainer: &Trainer, plan: &PlanRecord, member: MemberId) -> Result<(u8, String)> {
    // SLURM starts a job's task again only after the previous one has ended.
    let ended = match trainer.identity.job {
        Some(_) => trainer.train_or_take_over(plan, member)?,
        None => trainer.train(plan, member)?,
    };
    let name = format!("member {member} of generation {}", plan.generation);
    Ok(match ended {
        TrainOutcome::Done => (0, format!("{name} is done")),
        TrainOutcome::Stopped => {
            requeue_after(trainer.stop.get());
            (STOPPED, format!("{name} stopped; it will resume from its last snapshot"))
        }
        TrainOutcome::Busy => (BUSY, format!("{name} is being trained by another process")),
    })
}

fn serve(run: &Run, plan: &PlanRecord) -> Result<u8> {
    let task = run.config.task();
    let trainer = trainer(run, task.as_ref())?;
    local::serve(&Search { run, task: task.as_ref() }, plan.generation, &trainer.stop, |member| {
        let (code, summary) = train_here(&trainer, plan, member)?;
        eprintln!("{summary}");
        Ok(code)
    })
}

/// Trains several members in this job's task (and on its GPU), with one process per member.
fn train_beside(run: &Run, generation: u32, members: &[MemberId]) -> Result<u8> {
    let stop = StopSignal::listen(|_| {}).context("failed to listen for signals")?;
    let program = std::env::current_exe().context("failed to find this program")?;
    let mut failed = Vec::new();
    let task = run.config.task();
    let source = Search { run, task: task.as_ref() };
    let round = Round { source: &source, number: generation, units: members, program: &program, stop: &stop };
    let whole = local::run_round(&round, members.len(), &mut Failures(&mut failed))?;
    if !whole {
        requeue_after(stop.get());
        return Ok(STOPPED);
    }
    for member in &failed {
        println!(
            "member {member} of generation {generation} has no result; see {}",
            run.layout.logs().display()
        );
    }
    Ok(if failed.is_empty() { 0 } else { FAILED })
}

struct Failures<'a>(&'a mut Vec<MemberId>);

impl Watcher for Failures<'_> {
    fn started(&mut self, _: MemberId) {}
    fn heartbeat(&mut self, _: MemberId, _: &Heartbeat) {}
    fn waiting(&mut self, member: MemberId) {
        println!("member {member}: being trained by another process; waiting");
    }
    fn ended(&mut self, member: MemberId, done: bool) {
        if !done {
            self.0.push(member);
        }
    }
}

/// Requeues the job after the warning before its time limit. After SIGTERM the scheduler decides: it requeues a
/// preempted job, and not a cancelled one.
fn requeue_after(signal: Option<Signal>) {
    if signal == Some(Signal::Warning)
        && std::env::var_os(local::PARENT).is_none()
        && let Err(error) = slurm::requeue_own_job()
    {
        eprintln!("pbtnas: {error}; the next `pbtnas step` will resubmit the member");
    }
}
