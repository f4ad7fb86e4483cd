use anyhow::{Context, Result};
use clap::Args;

use super::{StateArg, WorkersArgs};
use pbtnas_core::durable_fs::host;
use pbtnas_core::run::Heartbeat;
use pbtnas_core::search::MemberId;
use pbtnas_engine::attempt::{Claim, Identity, TrainOutcome};
use pbtnas_engine::evaluate::soup_record;
use pbtnas_engine::fault::exit::{BUSY, STOPPED};
use pbtnas_engine::run::Run;
use pbtnas_engine::scheduler::local;
use pbtnas_engine::scheduler::pool::{Round, Watcher};
use pbtnas_engine::scheduler::slurm;
use pbtnas_engine::scheduler::slurm::StepOutcome;
use pbtnas_engine::signal::StopSignal;
use pbtnas_engine::soup::Soup;

/// Make a greedy model soup: average members of the best architecture while that improves fitness.
///
/// With --part, average only that part of the networks (generator or discriminator of a GAN, encoder or actor of an
/// agent) and keep the rest of the best member. Soups of different parts are independent.
///
/// Candidates are evaluated on this machine, on all nodes of the current SLURM job or, with --submit, as one SLURM
/// array job per round of the greedy search. After an interruption, the same command resumes.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pbtnas soup --state runs/first\n  pbtnas soup --state runs/first --submit\n  \
                  pbtnas soup --state runs/first --part generator"
)]
pub struct SoupArgs {
    #[command(flatten)]
    state: StateArg,
    /// Part of the networks to average. [default: all]
    #[arg(long, value_name = "NAME")]
    part: Option<String>,
    /// Evaluate as SLURM jobs; like `pbtnas step`, idempotent.
    #[arg(long)]
    submit: bool,
    #[command(flatten)]
    workers: WorkersArgs,
    /// Evaluate candidates of this round only (called by the jobs).
    #[arg(long, value_name = "N", hide = true)]
    round: Option<u32>,
    #[arg(long, value_name = "ID", requires = "round", hide = true)]
    candidate: Option<super::train::MemberRange>,
    /// Evaluate the candidates whose IDs are read from standard input.
    #[arg(long, requires = "round", hide = true)]
    serve: bool,
}

impl SoupArgs {
    pub fn run(self) -> Result<u8> {
        if self.round.is_some() {
            local::follow_parent()?;
        }
        let run = Run::open(&self.state.state)?;
        if let Some(round) = self.round {
            super::apply_environment(&run.config)?;
            let identity = Identity { job: slurm::own_job(), host: host() };
            let task = run.config.task();
            let work = Soup::new(&run, task.as_ref(), self.part.as_deref())?;
            let claim = Claim::default();
            let abandoned = claim.clone();
            // An evaluation cannot be interrupted and is repeated, which does not count as a failure. libtorch's
            // destructors must not run beside it.
            let stop = StopSignal::listen(move |signal| {
                abandoned.abandon(signal.name());
                signal_hook::low_level::exit(STOPPED.into());
            })
            .context("failed to listen for signals")?;
            if self.serve {
                return local::serve(&work, round, &stop, |candidate| {
                    Ok(match work.evaluate_candidate(round, candidate, &identity, &claim)? {
                        TrainOutcome::Busy => BUSY,
                        TrainOutcome::Done | TrainOutcome::Stopped => 0,
                    })
                });
            }
            for candidate in self.candidate.into_iter().flat_map(|range| range.members()) {
                work.evaluate_candidate(round, candidate, &identity, &claim)?;
            }
            return Ok(0);
        }
        let program = std::env::current_exe().context("failed to find this program")?;
        let task = run.config.task();
        let work = Soup::new(&run, task.as_ref(), self.part.as_deref())?;
        if self.submit {
            match slurm::step(&work, &program)? {
                StepOutcome::Finished { .. } => {}
                StepOutcome::Submitted { generation, members, arrays, step } => {
                    let arrays = arrays.join(", ");
                    println!(
                        "round {generation}: submitted {members} candidate(s) as job(s) {arrays}; job {step} will continue"
                    );
                    return Ok(0);
                }
                StepOutcome::Waiting { generation, missing, tasks } => {
                    println!(
                        "round {generation}: {missing} candidate(s) without a result, {tasks} task(s) in the queue"
                    );
                    return Ok(0);
                }
            }
        } else {
            let command = format!("pbtnas soup --state {}{}", run.layout.root().display(), option(&work));
            if !self.workers.drive(&work, &command, &mut SoupProgress { work: &work, round: 0 })? {
                return Ok(STOPPED);
            }
        }
        print_soup(&work)
    }
}

/// The option --part, if only a part is averaged.
fn option(work: &Soup) -> String {
    work.part().map_or(String::new(), |part| format!(" --part {part}"))
}

fn print_soup(work: &Soup) -> Result<u8> {
    let (run, part) = (work.run(), work.part());
    let soup = soup_record(run, part)?.context("the soup was not recorded")?;
    let best =
        soup.ingredients.first().and_then(|first| first.fitness).context("the soup has no ingredient")?;
    let of = part.map_or(String::new(), |part| format!("the {part} of "));
    println!("soup of {of}{} member(s), fitness {:.4}:", soup.ingredients.len(), soup.fitness);
    for one in &soup.ingredients {
        let fitness = one.fitness.map_or("not trained".to_owned(), |fitness| format!("fitness {fitness:.4}"));
        println!("  member {} of generation {}, {fitness}", one.member, one.generation);
    }
    println!("difference to the best member alone: {:+.4}", soup.fitness - best);
    let state = run.layout.root().display();
    println!(
        "to compare them: pbtnas evaluate --state {state}; pbtnas evaluate --state {state} --soup{}",
        option(work)
    );
    Ok(0)
}

/// Prints a line per candidate.
struct SoupProgress<'a> {
    work: &'a Soup<'a>,
    round: u32,
}

impl Watcher for SoupProgress<'_> {
    fn round_started(&mut self, round: &Round) -> Result<()> {
        self.round = round.number;
        Ok(())
    }
    fn started(&mut self, _: MemberId) {}
    fn heartbeat(&mut self, _: MemberId, _: &Heartbeat) {}
    fn waiting(&mut self, candidate: MemberId) {
        println!("round {}, candidate {candidate}: being evaluated by another process; waiting", self.round);
    }
    fn ended(&mut self, candidate: MemberId, _: bool) {
        match self.work.result(self.round, candidate) {
            Ok(Some(result)) => match (result.fitness, result.failed) {
                (Some(fitness), _) => {
                    println!("round {}, candidate {candidate}: fitness {fitness:.4}", self.round)
                }
                (None, Some(reason)) => {
                    println!("round {}, candidate {candidate}: failed: {reason}", self.round)
                }
                (None, None) => println!("round {}, candidate {candidate}: diverged", self.round),
            },
            _ => println!("round {}, candidate {candidate}: no result", self.round),
        }
    }
}
