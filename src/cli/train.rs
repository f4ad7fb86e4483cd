use std::str::FromStr;

use anyhow::{Context, Result};
use clap::Args;
use nix::sys::signal::{Signal as Unix, raise};

use super::StateArg;
use crate::error::{BUSY, FAILED, STOPPED};
use crate::scheduler::pool::Watcher;
use crate::scheduler::{Search, local, slurm};
use crate::search::MemberId;
use crate::signal::{Signal, StopSignal};
use crate::state::{Heartbeat, PlanRecord, Run};
use crate::tasks::Task;
use crate::trainer::{Claim, Ended, Identity, Trainer};

/// Train one member, or several side by side, to the end of the generation's step.
///
/// Jobs call this. On SIGTERM or SIGUSR1 it writes a snapshot and leaves within 5 seconds (a task of kind
/// `command`: a little more than its `grace_seconds`); after SIGUSR1 (the time limit is near) it also puts its job
/// back into the queue.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pbtnas train --state runs/first --member 3\n  \
                        pbtnas train --state runs/first --generation 2 --member 4-7")]
pub struct Train {
    #[command(flatten)]
    state: StateArg,
    /// Member, or a range of members; those beyond the population are left out.
    #[arg(long, value_name = "ID[-ID]", required_unless_present = "serve")]
    member: Option<Range>,
    /// Train the members whose numbers come in on standard input: what `pbtnas run` calls.
    #[arg(long, hide = true, conflicts_with = "member")]
    serve: bool,
    /// Generation; by default the latest.
    #[arg(long, value_name = "N")]
    generation: Option<u32>,
}

/// A number, or a range of numbers.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    first: u32,
    last: u32,
}

impl Range {
    /// All of them.
    pub fn members(self) -> impl Iterator<Item = MemberId> {
        (self.first..=self.last).map(MemberId)
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is no member's number"));
        let range = Self { first: number(first)?, last: number(last)? };
        if range.first > range.last { Err("the range is empty".into()) } else { Ok(range) }
    }
}

impl Train {
    pub fn run(self) -> Result<u8> {
        local::follow_parent()?;
        let run = Run::open(&self.state.state)?;
        super::settle(&run.config)?;
        let none = "the run has no generation yet: call `pbtnas step` or `pbtnas run`";
        let generation = match self.generation {
            Some(generation) => generation,
            None => run.latest_generation()?.context(none)?,
        };
        let plan = match run.plan(generation) {
            Err(error) if error.is_damage() => match run.latest_generation()? {
                None => anyhow::bail!(none),
                Some(latest) if latest < generation => {
                    anyhow::bail!("there is no generation {generation}: the run has 0 to {latest}")
                }
                Some(_) => return Err(error.into()),
            },
            found => found?,
        };
        let Some(range) = self.member else { return serve(&run, &plan) };
        let population = run.config.search.population as u32;
        let members: Vec<MemberId> = range.members().take_while(|member| member.0 < population).collect();
        match members.as_slice() {
            [] => anyhow::bail!("the population has no member {}, only 0 to {}", range.first, population - 1),
            [member] => {
                let task = run.config.task()?;
                let trainer = trainer(&run, task.as_ref())?;
                let (code, said) = train_here(&trainer, &plan, *member)?;
                println!("{said}");
                Ok(code)
            }
            several => train_beside(&run, generation, several),
        }
    }
}

/// A trainer that leaves at a signal, in time.
fn trainer<'a>(run: &'a Run, task: &'a dyn Task) -> Result<Trainer<'a>> {
    let claim = Claim::default();
    let abandoned = claim.clone();
    // A member that has not left by then is left behind: what it did since its last snapshot is lost.
    let grace = run.config.grace();
    let stop = StopSignal::listen(move |signal| {
        std::thread::sleep(grace);
        eprintln!("pbtnas: leaving without another snapshot, {} s after {}", grace.as_secs(), signal.name());
        abandoned.abandon(signal.name());
        requeue_after(Some(signal));
        let _ = raise(Unix::SIGKILL);
    })
    .context("failed to listen for signals")?;
    let identity = Identity { job: slurm::own_job(), host: slurm::host() };
    Ok(Trainer { run, task, identity, stop, claim })
}

/// Exit code, and what to tell.
fn train_here(trainer: &Trainer, plan: &PlanRecord, member: MemberId) -> Result<(u8, String)> {
    // The scheduler starts a task only when it believes that the one before is over.
    let ended = match trainer.identity.job {
        Some(_) => trainer.train_for_certain(plan, member)?,
        None => trainer.train(plan, member)?,
    };
    let name = format!("member {member} of generation {}", plan.generation);
    Ok(match ended {
        Ended::Done => (0, format!("{name} is done")),
        Ended::Stopped => {
            requeue_after(trainer.stop.get());
            (STOPPED, format!("{name} stopped; it goes on from its last snapshot"))
        }
        Ended::Busy => (BUSY, format!("{name} is being trained by another process")),
    })
}

fn serve(run: &Run, plan: &PlanRecord) -> Result<u8> {
    let task = run.config.task()?;
    let trainer = trainer(run, task.as_ref())?;
    local::serve(&Search { run, task: task.as_ref() }, plan.generation, &trainer.stop, |member| {
        let (code, said) = train_here(&trainer, plan, member)?;
        eprintln!("{said}");
        Ok(code)
    })
}

/// Several members share this task (and its GPU): a process for each.
fn train_beside(run: &Run, generation: u32, members: &[MemberId]) -> Result<u8> {
    let stop = StopSignal::listen(|_| {}).context("failed to listen for signals")?;
    let program = std::env::current_exe().context("failed to find this program")?;
    let mut failed = Vec::new();
    let task = run.config.task()?;
    let whole = local::work_off(
        &Search { run, task: task.as_ref() },
        &program,
        generation,
        members,
        members.len(),
        &stop,
        &mut Failures(&mut failed),
    )?;
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
        println!("member {member}: another process trains it; waiting");
    }
    fn ended(&mut self, member: MemberId, done: bool) {
        if !done {
            self.0.push(member);
        }
    }
}

/// After the warning before a time limit the job asks for another turn. After SIGTERM the scheduler decides:
/// a preempted job is requeued by it, a cancelled one is not.
fn requeue_after(signal: Option<Signal>) {
    if signal == Some(Signal::Warning)
        && std::env::var_os(local::PARENT).is_none()
        && let Err(error) = slurm::requeue_own_job()
    {
        eprintln!("pbtnas: {error}; the next step will submit the member again");
    }
}
