//! The job chain on a SLURM cluster: submits the training arrays and the controller job that follows them, exactly
//! once.
//!
//! The protocol of a submission: publish an intent (the first process to do so submits), sbatch the arrays *held*,
//! sbatch the controller job that depends on them, publish `submission.json`, release the arrays. A process that finds
//! an intent without a submission for too long publishes an empty submission in its place: that submission is
//! abandoned, its held jobs, which have never run, are cancelled by name, and the next submission begins. Only one
//! record can be published for each submission, so neither a crash nor a slow process can duplicate or lose work.

mod allocation;
pub mod cluster;
mod commands;
pub mod config;
pub mod options;
pub mod parse;
mod queue;
mod request;
mod room;
pub mod script;
pub mod show;
#[cfg(test)]
mod show_tests;
mod steps;
pub mod units;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use chrono::Utc;

use super::{JobSource, SchedulerError};
use crate::advance::NextAction;
use crate::backoff::retry;
use crate::config::Config;
use crate::fault::exit::STOPPED;
use crate::fault::fault_of;
use crate::run::Run;
use crate::signal::{Signal, StopSignal};
pub use allocation::Allocation;
use commands::Slurm;
pub use commands::{own_job, requeue_own_job};
pub use config::{ControllerConfig, SlurmConfig};
use parse::{Job, JobState};
use pbtnas_core::durable_fs::{Lock, Published, ensure_dir, exists, is_gone, machine, refresh};
use pbtnas_core::fault::{Fault, message};
use pbtnas_core::run::{
    AttemptEnd, FORMAT, IntentRecord, StateError, SubmissionRecord, find_json, find_json_or_quarantine,
    intent, publish_json, read_attempts, submission,
};
use pbtnas_core::search::MemberId;
pub use queue::{Queue, query_queue};
pub use request::JobRequest;
use script::{ScriptContext, chunks};

/// GPUs per member in a job: a GPU that four members share counts as a quarter for each.
pub fn gpus_per_member(config: &Config) -> f64 {
    JobRequest::of_members(config).gpus() as f64 / f64::from(config.slurm.members_per_task.max(1))
}

/// How long an intent may stay without a submission before that submission is abandoned.
const INTENT_PATIENCE: Duration = Duration::from_secs(30);
/// How long a controller waits for the lock of another one.
const LOCK_PATIENCE: Duration = Duration::from_secs(120);

/// The outcome of `pbtnas step`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepOutcome {
    /// The search is complete.
    Finished {
        /// The last generation.
        generation: u32,
    },
    /// Jobs were submitted.
    Submitted {
        generation: u32,
        /// Number of members to train.
        members: usize,
        /// Job ids of the arrays.
        arrays: Vec<String>,
        /// Job id of the next controller job.
        step: String,
    },
    /// Training jobs and the next controller job are in the queue already.
    Waiting {
        generation: u32,
        /// Number of members without a result.
        missing: usize,
        /// Number of training tasks in the queue.
        tasks: usize,
    },
}

/// Advances the run as far as possible and makes sure that jobs for the rest are in the queue.
///
/// A controller job is not restarted after a failure. It therefore retries storage errors until its time limit, and
/// then requeues itself.
pub fn step(work: &dyn JobSource, program: &Path) -> Result<StepOutcome> {
    if own_job().is_none() {
        return step_once(work, program);
    }
    let again = format!(
        "`pbtnas {} --state {}`",
        work.step_arguments().join(" "),
        work.run().layout.root().display()
    );
    StopSignal::listen(move |signal| {
        match signal {
            Signal::Warning => {
                if let Err(error) = requeue_own_job() {
                    tracing::warn!(
                        "{error}; the controller job is near its time limit and was not requeued: run {again} to \
                         resume the search"
                    );
                }
            }
            _ => tracing::warn!(
                "{} stopped the controller job before it finished; unless SLURM requeues it, run {again} to \
                 resume the search",
                signal.name()
            ),
        }
        signal_hook::low_level::exit(STOPPED.into());
    })
    .context("failed to listen for signals")?;
    retry(
        || step_once(work, program),
        |error, delay| {
            let again = fault_of(error) == Fault::Io;
            if again {
                tracing::warn!("{}; retrying in {} s", message(error), delay.as_secs());
                std::thread::sleep(delay);
            }
            again
        },
    )
}

fn step_once(work: &dyn JobSource, program: &Path) -> Result<StepOutcome> {
    let run = work.run();
    let lock = run.layout.step_lock();
    let _lock = Lock::try_take(&lock).unwrap_or_else(|| {
        tracing::info!(
            "another `pbtnas step` is active on this run; waiting for it, {} s at most",
            LOCK_PATIENCE.as_secs()
        );
        Lock::take(&lock, LOCK_PATIENCE)
    });
    ensure_dir(&run.layout.logs())?;
    let own_job = std::env::var("SLURM_JOB_ID").ok();
    // A controller job is not restarted after a failure, so it retries until its time limit.
    let patience = Duration::from_secs(run.config.slurm.retry_seconds);
    let slurm = Slurm { patience: own_job.is_none().then_some(patience) };
    let cluster = SlurmClient { work, run, program, slurm, own_job };
    let mut next = work.advance(false)?;
    loop {
        let (generation, members) = match next {
            NextAction::Finished { generation } => return Ok(StepOutcome::Finished { generation }),
            NextAction::Train { generation, members } => (generation, members),
        };
        let rounds = cluster.settled_rounds(generation)?;
        let live = cluster.queue(generation, rounds.len() as u32)?;
        let (steps, training): (Vec<Job>, Vec<Job>) =
            live.into_iter().partition(|job| job.name.ends_with(STEP_SUFFIX));
        let training = cluster.repair_training(training, &rounds)?;
        let steps = cluster.repair_steps(steps)?;
        if training.is_empty() {
            if !rounds.is_empty() {
                cluster.wait_until_visible(generation, &members)?;
                let after = work.advance(true)?;
                if after != (NextAction::Train { generation, members: members.clone() }) {
                    next = after;
                    continue;
                }
                cluster.check_progress(generation, &members, &rounds)?;
            }
            if let Some(stepped) = cluster.submit(generation, rounds.len() as u32 + 1, &members, &[])? {
                return Ok(stepped);
            }
        } else {
            if !steps.is_empty() {
                return Ok(StepOutcome::Waiting {
                    generation,
                    missing: members.len(),
                    tasks: training.len(),
                });
            }
            let mut after: Vec<String> =
                training.iter().map(|job| job.id.split('_').next().unwrap_or(&job.id).to_owned()).collect();
            after.dedup();
            cluster.submit(generation, rounds.len() as u32 + 1, &[], &after)?;
        }
        next = work.advance(false)?;
    }
}

const STEP_SUFFIX: &str = "-step";
/// The reason for cancelling a job in the state `DependencyNeverSatisfied`.
const NEVER: &str = "its dependency can never be satisfied (DependencyNeverSatisfied)";

struct SlurmClient<'a> {
    work: &'a dyn JobSource,
    run: &'a Run,
    program: &'a Path,
    slurm: Slurm,
    /// The job that this process runs in.
    own_job: Option<String>,
}

impl SlurmClient<'_> {
    /// The job names of a submission: an array for each chunk, then the controller job.
    fn names(&self, generation: u32, round: u32, arrays: usize) -> Vec<String> {
        let stem = format!("pbtnas-{}-{}-r{round}", self.run.record.run_id, self.work.label(generation));
        (0..arrays).map(|array| format!("{stem}-a{array}")).chain([format!("{stem}{STEP_SUFFIX}")]).collect()
    }

    /// Reads a submission record and checks that its jobs belong to this run.
    fn submission(&self, path: &Path) -> Result<Option<SubmissionRecord>, StateError> {
        let Some(record) = find_json_or_quarantine::<SubmissionRecord>(path)? else { return Ok(None) };
        self.check_names(path, &record.job_names)?;
        let ids = record.arrays.iter().chain(&record.step);
        match ids.into_iter().find(|id| parse::submitted(id).as_ref() != Some(*id)) {
            Some(id) => Err(StateError::damaged(path, format!("invalid SLURM job id {id:?}"))),
            None => Ok(Some(record)),
        }
    }

    fn check_names(&self, path: &Path, names: &[String]) -> Result<(), StateError> {
        let prefix = prefix(self.run);
        match names.iter().find(|name| !is_own(&prefix, name)) {
            Some(name) => Err(StateError::damaged(path, format!("job {name:?} does not belong to this run"))),
            None => Ok(()),
        }
    }

    /// The submissions of a generation, oldest first. Waits until every intent has a submission.
    fn settled_rounds(&self, generation: u32) -> Result<Vec<SubmissionRecord>> {
        let mut rounds = Vec::new();
        loop {
            let round = rounds.len() as u32 + 1;
            let dir = self.work.dir(generation);
            let (intent, submission) = (intent(&dir, round), submission(&dir, round));
            if let Some(record) = self.submission(&submission)? {
                rounds.push(record);
            } else if let Some(record) = find_json::<IntentRecord>(&intent)? {
                self.check_names(&intent, &record.job_names)?;
                self.wait_or_abandon(&record, &submission)?;
            } else {
                return Ok(rounds);
            }
        }
    }

    /// Waits for the submission that belongs to an intent; abandons it if it does not appear in time.
    fn wait_or_abandon(&self, intent: &IntentRecord, submission: &Path) -> Result<()> {
        let waited = Instant::now();
        while !exists(submission)? && waited.elapsed() < INTENT_PATIENCE && !is_dead(intent) {
            std::thread::sleep(Duration::from_millis(200));
            refresh(submission.parent().unwrap_or(Path::new(".")));
        }
        let nothing = SubmissionRecord {
            format: FORMAT,
            job_names: intent.job_names.clone(),
            arrays: Vec::new(),
            step: None,
            members: Vec::new(),
            at: Utc::now(),
        };
        if publish_json(submission, &nothing)? == Published::Created {
            self.cancel(&intent.job_names)?;
        }
        Ok(())
    }

    /// Submits arrays for the members, and a controller job that depends on them and on the jobs in `after`. None if
    /// another process was faster.
    fn submit(
        &self,
        generation: u32,
        round: u32,
        members: &[MemberId],
        after: &[String],
    ) -> Result<Option<StepOutcome>> {
        let context = ScriptContext::new(self.work, self.program, generation);
        let chunks = if members.is_empty() {
            Vec::new()
        } else {
            let config = self.slurm.call("scontrol", &["show", "config"])?;
            let limit = parse::max_array_size(&config).unwrap_or(show::DEFAULT_MAX_ARRAY_SIZE);
            chunks(members, self.work.units_per_task(), limit)
        };
        let names = self.names(generation, round, chunks.len());
        let intent = IntentRecord {
            format: FORMAT,
            host: machine().into(),
            pid: std::process::id(),
            at: Utc::now(),
            job_names: names.clone(),
        };
        let dir = self.work.dir(generation);
        if publish_json(&self::intent(&dir, round), &intent)? == Published::Existed {
            return Ok(None);
        }
        let submitted = (|| {
            let mut arrays = Vec::new();
            for (chunk, name) in chunks.iter().zip(&names) {
                let script = context.unit_script(chunk.offset);
                arrays.push(self.slurm.submit(name, &context.unit_arguments(name, chunk), &script)?);
            }
            let after: Vec<String> = arrays.iter().chain(after).cloned().collect();
            let name = names.last().map_or("", String::as_str);
            let arguments = context.step_arguments(name, &after);
            let step = self.slurm.submit(name, &arguments, &context.step_script())?;
            Ok::<_, SchedulerError>((arrays, step))
        })();
        let path = submission(&dir, round);
        let record = |arrays, step, members| SubmissionRecord {
            format: FORMAT,
            job_names: names.clone(),
            arrays,
            step,
            members,
            at: Utc::now(),
        };
        match submitted {
            Err(error) => {
                // The submitted jobs are held and not recorded: they must not run.
                let _ = self.cancel(&names);
                // The error of sbatch is the cause, so it is the one that is returned.
                if let Err(other) = publish_json(&path, &record(Vec::new(), None, Vec::new())) {
                    tracing::warn!("{other}");
                }
                Err(error.into())
            }
            Ok((arrays, step)) => {
                let record = record(arrays.clone(), Some(step.clone()), members.to_vec());
                if publish_json(&path, &record)? == Published::Existed {
                    self.cancel(&names)?;
                    return Ok(None);
                }
                for array in &arrays {
                    self.slurm.call("scontrol", &["release", array])?;
                }
                Ok(Some(StepOutcome::Submitted { generation, members: members.len(), arrays, step }))
            }
        }
    }

    /// The live jobs of the first `rounds` submissions of a generation.
    fn queue(&self, generation: u32, rounds: u32) -> Result<Vec<Job>> {
        let mut names = Vec::new();
        for round in 1..=rounds {
            let record = self.submission(&submission(&self.work.dir(generation), round))?;
            names.extend(record.into_iter().flat_map(|record| record.job_names));
        }
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let names = format!("--name={}", names.join(","));
        let format = format!("--format={}", parse::QUEUE_FORMAT);
        let output = self.slurm.call("squeue", &["--noheader", "--array", &format, &names])?;
        Ok(parse::queue(&output).into_iter().filter(|job| job.state.alive()).collect())
    }

    /// Releases held training tasks and cancels those that must not or cannot run. Returns the remaining ones.
    fn repair_training(&self, training: Vec<Job>, rounds: &[SubmissionRecord]) -> Result<Vec<Job>> {
        let recorded = |array: &str| rounds.iter().any(|round| round.arrays.iter().any(|id| id == array));
        let mut alive = Vec::new();
        let mut mended: Vec<String> = Vec::new();
        for job in training {
            let array = job.id.split('_').next().unwrap_or(&job.id).to_owned();
            // Not recorded: its submitter failed between sbatch and the record. It is held and has never run.
            let stray = job.state == JobState::Held && !recorded(&array);
            if stray || job.state == JobState::DependencyFailed {
                if !mended.contains(&array) {
                    let why = match stray {
                        true => "it is held, and its submitter failed before recording it",
                        false => NEVER,
                    };
                    tracing::info!("cancelling job {array}: {why}; its members will be resubmitted");
                    self.slurm.call("scancel", &[&array])?;
                    mended.push(array);
                }
                continue;
            }
            if job.state == JobState::Held && !mended.contains(&array) {
                // Its submitter exited before the release, or a user or SLURM held the job later.
                self.release(&array);
                mended.push(array);
            }
            alive.push(job);
        }
        Ok(alive)
    }

    /// Like [`Self::repair_training`], for controller jobs.
    fn repair_steps(&self, steps: Vec<Job>) -> Result<Vec<Job>> {
        let mut alive = Vec::new();
        for job in steps.into_iter().filter(|job| Some(&job.id) != self.own_job.as_ref()) {
            match job.state {
                JobState::DependencyFailed => {
                    tracing::warn!("cancelling controller job {}: {NEVER}; it will be replaced", job.id);
                    self.slurm.call("scancel", &[&job.id])?;
                    continue;
                }
                JobState::Held => self.release(&job.id),
                _ => {}
            }
            alive.push(job);
        }
        Ok(alive)
    }

    /// Releases a job. An administrator's hold remains and is reported.
    fn release(&self, job: &str) {
        if let Err(error) = self.slurm.call("scontrol", &["release", job]) {
            tracing::warn!("{error}; job {job} stays held");
        }
    }

    fn cancel(&self, names: &[String]) -> Result<()> {
        for name in names {
            self.slurm.call("scancel", &[&format!("--name={name}")])?;
        }
        Ok(())
    }

    /// Waits for the results of members whose last attempt did not report a failure: the results may become visible on
    /// this node late.
    fn wait_until_visible(&self, generation: u32, members: &[MemberId]) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(self.run.config.storage.visibility_timeout);
        for &member in members {
            let attempts = read_attempts(&self.work.attempts(generation, member))?;
            let may_be_late = attempts.last().is_some_and(|attempt| {
                matches!(attempt.ending(), None | Some(AttemptEnd::Done | AttemptEnd::Superseded))
            });
            while may_be_late
                && Instant::now() < until
                && !self.work.is_done(generation, member)?
                && read_attempts(&self.work.attempts(generation, member))? == attempts
            {
                std::thread::sleep(Duration::from_millis(500));
                let attempts = self.work.attempts(generation, member);
                refresh(&attempts);
                refresh(attempts.parent().unwrap_or(&attempts));
            }
        }
        Ok(())
    }

    /// Breaks a loop of jobs that end before the program starts (a wrong `setup` line, a missing program). `pbtnas
    /// step` outside of a job submits again.
    fn check_progress(
        &self,
        generation: u32,
        members: &[MemberId],
        rounds: &[SubmissionRecord],
    ) -> Result<()> {
        if self.own_job.is_none() {
            return Ok(());
        }
        for member in members {
            let submitted = rounds.iter().filter(|round| round.members.contains(member)).count();
            let attempts = read_attempts(&self.work.attempts(generation, *member))?;
            let begun = attempts.iter().filter(|attempt| !attempt.storage_failed()).count();
            if submitted >= begun + self.run.config.training.max_attempts as usize {
                return Err(SchedulerError::Refused {
                    command: "the training job".into(),
                    message: format!(
                        "{} was submitted {submitted} times, but only {begun} of the tasks started training{}; see the logs \
                         in {}, then run `pbtnas {} --state {}`",
                        self.work.name(generation, *member),
                        attempts.last().filter(|last| last.storage_failed()).map_or(String::new(), |last| format!(
                            " (last failure: {})",
                            last.reason()
                        )),
                        self.run.layout.logs().display(),
                        self.work.step_arguments().join(" "),
                        self.run.layout.root().display(),
                    ),
                }
                .into());
            }
        }
        Ok(())
    }
}

/// The prefix of a run's job names. Jobs with other names are never touched, whatever a record says.
fn prefix(run: &Run) -> String {
    format!("pbtnas-{}-", run.record.run_id)
}

fn is_own(prefix: &str, name: &str) -> bool {
    name.starts_with(prefix) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Whether the process that published an intent has exited; false if it ran on another machine.
fn is_dead(intent: &IntentRecord) -> bool {
    intent.host == machine() && is_gone(intent.pid)
}
