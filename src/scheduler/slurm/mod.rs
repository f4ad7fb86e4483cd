//! The loop on a SLURM cluster: submit the training array and the step that follows it, exactly once.
//!
//! A round of submission goes: publish an intent (the first process to do so submits), sbatch the arrays
//! *held*, sbatch the step behind them, publish `submission.json`, release. Whoever finds an intent without
//! a submission for too long publishes an empty submission in its place: the round is given up, its held
//! jobs, which have never run, are cancelled by name, and the next round begins. Since only one submission
//! can be published for a round, no crash and no slow process can double or lose work.

mod allocation;
mod ask;
pub mod cluster;
mod commands;
mod look;
mod room;
pub mod show;
#[cfg(test)]
mod show_tests;
mod steps;
pub mod units;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use chrono::Utc;

use super::parse::{self, Job, JobState};
use super::script::{Context, chunks};
use super::{SchedulerError, Work};
use crate::advance::Next;
use crate::error::{IO, STOPPED, exit_code, message};
use crate::search::MemberId;
use crate::signal::{Signal, StopSignal};
use crate::state::{
    Ending, FORMAT, IntentRecord, Lock, Published, Run, StateError, SubmissionRecord, ensure_dir, find_json,
    find_sound_json, intent, is_gone, is_there, machine, publish_json, read_attempts, refresh, submission,
};
pub use allocation::Allocation;
pub use ask::Ask;
use commands::Slurm;
pub use commands::{host, own_job, requeue_own_job};
pub use look::{Queue, look};

/// How long an intent may stay without a submission before the round is given up.
const INTENT_PATIENCE: Duration = Duration::from_secs(30);
/// How long a `step` waits for another one on the same filesystem.
const LOCK_PATIENCE: Duration = Duration::from_secs(120);

/// What a `step` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stepped {
    /// The search is over.
    Finished {
        /// The last generation.
        generation: u32,
    },
    /// It submitted jobs.
    Submitted {
        /// The generation.
        generation: u32,
        /// Members that will be trained.
        members: usize,
        /// Ids of the arrays.
        arrays: Vec<String>,
        /// Id of the step that follows.
        step: String,
    },
    /// Jobs are at work already, and a step will follow them.
    Waiting {
        /// The generation.
        generation: u32,
        /// Members without a result.
        missing: usize,
        /// Training tasks in the queue.
        tasks: usize,
    },
}

/// Brings the run forward as far as possible and makes sure that jobs for the rest are in the queue.
///
/// A step that runs as a job has nobody who would call it again: as long as the filesystem refuses, it goes on
/// trying, until its time limit, and then in its next turn.
pub fn step(work: &dyn Work, program: &Path) -> Result<Stepped> {
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
                    eprintln!(
                        "pbtnas: {error}; this step is near its time limit, and nothing calls the next one now: call \
                         {again}"
                    );
                }
            }
            _ => eprintln!(
                "pbtnas: this step was ended by {} before it was done; unless SLURM puts its job back into the queue, \
                 nothing calls the next one: call {again}",
                signal.name()
            ),
        }
        std::process::exit(STOPPED.into());
    })
    .context("failed to listen for signals")?;
    let mut pause = Duration::from_secs(1);
    loop {
        match step_once(work, program) {
            Err(error) if exit_code(&error) == IO => {
                eprintln!("pbtnas: {}; trying again in {} s", message(&error), pause.as_secs());
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_secs(60));
            }
            other => return other,
        }
    }
}

fn step_once(work: &dyn Work, program: &Path) -> Result<Stepped> {
    let run = work.run();
    let lock = run.layout.step_lock();
    let _lock = Lock::try_take(&lock).unwrap_or_else(|| {
        eprintln!(
            "pbtnas: another step is at work on this run; waiting for it, {} s at most",
            LOCK_PATIENCE.as_secs()
        );
        Lock::take(&lock, LOCK_PATIENCE)
    });
    ensure_dir(&run.layout.logs())?;
    let own_job = std::env::var("SLURM_JOB_ID").ok();
    // A job has nobody who would call it again, and nothing else to do.
    let patience = Duration::from_secs(run.config.slurm.patience_seconds);
    let slurm = Slurm { patience: own_job.is_none().then_some(patience) };
    let cluster = Cluster { work, run, program, slurm, own_job };
    let mut next = work.advance(false)?;
    loop {
        let (generation, members) = match next {
            Next::Finished { generation } => return Ok(Stepped::Finished { generation }),
            Next::Train { generation, members } => (generation, members),
        };
        let rounds = cluster.settled_rounds(generation)?;
        let live = cluster.queue(generation, rounds.len() as u32)?;
        let (steps, training): (Vec<Job>, Vec<Job>) =
            live.into_iter().partition(|job| job.name.ends_with(STEP_SUFFIX));
        let training = cluster.heal_training(training, &rounds)?;
        let steps = cluster.heal_steps(steps)?;
        if training.is_empty() {
            if !rounds.is_empty() {
                cluster.wait_until_visible(generation, &members)?;
                let after = work.advance(true)?;
                if after != (Next::Train { generation, members: members.clone() }) {
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
                return Ok(Stepped::Waiting { generation, missing: members.len(), tasks: training.len() });
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
/// Why a job is cancelled that SLURM calls `DependencyNeverSatisfied`.
const NEVER: &str = "what it waits for can never come about (DependencyNeverSatisfied)";

struct Cluster<'a> {
    work: &'a dyn Work,
    run: &'a Run,
    program: &'a Path,
    slurm: Slurm,
    /// The job in which this process runs.
    own_job: Option<String>,
}

impl Cluster<'_> {
    /// Names of the jobs of a round: an array for each chunk, then the step.
    fn names(&self, generation: u32, round: u32, arrays: usize) -> Vec<String> {
        let stem = format!("pbtnas-{}-{}-r{round}", self.run.record.run_id, self.work.label(generation));
        (0..arrays).map(|array| format!("{stem}-a{array}")).chain([format!("{stem}{STEP_SUFFIX}")]).collect()
    }

    /// A submission that is there, if it can be this run's.
    fn submission(&self, path: &Path) -> Result<Option<SubmissionRecord>, StateError> {
        let Some(record) = find_sound_json::<SubmissionRecord>(path)? else { return Ok(None) };
        self.check_names(path, &record.job_names)?;
        let ids = record.arrays.iter().chain(&record.step);
        match ids.into_iter().find(|id| parse::submitted(id).as_ref() != Some(*id)) {
            Some(id) => Err(StateError::damaged(path, format!("{id:?} is no number of a job"))),
            None => Ok(Some(record)),
        }
    }

    fn check_names(&self, path: &Path, names: &[String]) -> Result<(), StateError> {
        let prefix = prefix(self.run);
        match names.iter().find(|name| !is_own(&prefix, name)) {
            Some(name) => Err(StateError::damaged(path, format!("{name:?} is no job of this run"))),
            None => Ok(()),
        }
    }

    /// The submissions of a generation, oldest first, after every round has got one.
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
                self.wait_or_give_up(&record, &submission)?;
            } else {
                return Ok(rounds);
            }
        }
    }

    /// Waits for the submission of a round whose intent is there; gives the round up if it does not come.
    fn wait_or_give_up(&self, intent: &IntentRecord, submission: &Path) -> Result<()> {
        let waited = Instant::now();
        while !is_there(submission)? && waited.elapsed() < INTENT_PATIENCE && !is_dead(intent) {
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

    /// Submits a round: arrays for the members, and a step behind them and behind the jobs in `after`.
    /// None if another process was faster.
    fn submit(
        &self,
        generation: u32,
        round: u32,
        members: &[MemberId],
        after: &[String],
    ) -> Result<Option<Stepped>> {
        let context = Context::new(self.work, self.program, generation);
        let chunks = if members.is_empty() {
            Vec::new()
        } else {
            let config = self.slurm.call("scontrol", &["show", "config"])?;
            let limit = parse::max_array_size(&config).unwrap_or(show::USUAL_ARRAY_SIZE);
            chunks(members, self.work.pieces_per_task(), limit)
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
                let script = context.piece_script(chunk.offset);
                arrays.push(self.slurm.submit(name, &context.piece_arguments(name, chunk), &script)?);
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
                // What was submitted is held and not recorded: it must not run.
                let _ = self.cancel(&names);
                // What sbatch says is what has to be mended.
                if let Err(other) = publish_json(&path, &record(Vec::new(), None, Vec::new())) {
                    eprintln!("pbtnas: {other}");
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
                Ok(Some(Stepped::Submitted { generation, members: members.len(), arrays, step }))
            }
        }
    }

    /// The live jobs of the first rounds of a generation.
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

    /// Gets training tasks going that wait for nothing, and cancels those that must not or cannot run; the
    /// rest.
    fn heal_training(&self, training: Vec<Job>, rounds: &[SubmissionRecord]) -> Result<Vec<Job>> {
        let recorded = |array: &str| rounds.iter().any(|round| round.arrays.iter().any(|id| id == array));
        let mut alive = Vec::new();
        let mut mended: Vec<String> = Vec::new();
        for job in training {
            let array = job.id.split('_').next().unwrap_or(&job.id).to_owned();
            // In no record: its submitter failed between sbatch and the record. It is held and has never run.
            let stray = job.state == JobState::Held && !recorded(&array);
            if stray || job.state == JobState::Hopeless {
                if !mended.contains(&array) {
                    let why = match stray {
                        true => "it is held, and the step that submitted it failed before it recorded it",
                        false => NEVER,
                    };
                    eprintln!("pbtnas: cancelling job {array}: {why}; its members are submitted again");
                    self.slurm.call("scancel", &[&array])?;
                    mended.push(array);
                }
                continue;
            }
            if job.state == JobState::Held && !mended.contains(&array) {
                // Its submitter died before the release, or somebody or SLURM itself held it later.
                self.release(&array);
                mended.push(array);
            }
            alive.push(job);
        }
        Ok(alive)
    }

    /// The same for steps that wait behind the training.
    fn heal_steps(&self, steps: Vec<Job>) -> Result<Vec<Job>> {
        let mut alive = Vec::new();
        for job in steps.into_iter().filter(|job| Some(&job.id) != self.own_job.as_ref()) {
            match job.state {
                JobState::Hopeless => {
                    eprintln!("pbtnas: cancelling the step {}: {NEVER}; another one takes its place", job.id);
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

    /// Releases a job. An administrator's hold stays, and is told.
    fn release(&self, job: &str) {
        if let Err(error) = self.slurm.call("scontrol", &["release", job]) {
            eprintln!("pbtnas: {error}; job {job} stays held");
        }
    }

    fn cancel(&self, names: &[String]) -> Result<()> {
        for name in names {
            self.slurm.call("scancel", &[&format!("--name={name}")])?;
        }
        Ok(())
    }

    /// Waits for the results of members whose task began and did not say that it failed: another node may see
    /// them late.
    fn wait_until_visible(&self, generation: u32, members: &[MemberId]) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(self.run.config.storage.visibility_timeout);
        for &member in members {
            let attempts = read_attempts(&self.work.attempts(generation, member))?;
            let may_be_late = attempts.last().is_some_and(|attempt| {
                matches!(attempt.ending(), None | Some(Ending::Done | Ending::Superseded))
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

    /// Stops a loop of jobs that end before the program starts (a wrong `setup` line, a missing program).
    /// A person who calls `step` by hand gets another round.
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
            let begun = attempts.iter().filter(|attempt| !attempt.hindered()).count();
            if submitted >= begun + self.run.config.training.max_attempts as usize {
                return Err(SchedulerError::Refused {
                    command: "the training job".into(),
                    message: format!(
                        "{} was submitted {submitted} times, and {begun} of the tasks came as far as training{}; look at \
                         {} and then call `pbtnas {} --state {}`",
                        self.work.name(generation, *member),
                        attempts.last().filter(|last| last.hindered()).map_or(String::new(), |last| format!(
                            " (the last: {})",
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

/// What names of a run's jobs begin with: no record makes this program touch another job.
fn prefix(run: &Run) -> String {
    format!("pbtnas-{}-", run.record.run_id)
}

fn is_own(prefix: &str, name: &str) -> bool {
    name.starts_with(prefix) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Whether the process that published an intent is known to be gone; of another machine nothing is known.
fn is_dead(intent: &IntentRecord) -> bool {
    intent.host == machine() && is_gone(intent.pid)
}
