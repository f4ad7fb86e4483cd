//! The loop on a SLURM cluster: submit the training array and the step that follows it, exactly once.
//!
//! A round of submission goes: publish an intent (the first process to do so submits), sbatch the arrays
//! *held*, sbatch the step behind them, publish `submission.json`, release. Whoever finds an intent without
//! a submission for too long publishes an empty submission in its place: the round is given up, its held
//! jobs, which have never run, are cancelled by name, and the next round begins. Since only one submission
//! can be published for a round, no crash and no slow process can double or lose work.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;
use chrono::Utc;

use super::parse::{self, Job, JobState};
use super::script::{Context, chunks};
use super::{SchedulerError, Work};
use crate::advance::Next;
use crate::search::MemberId;
use crate::state::{
    Ending, FORMAT, IntentRecord, Lock, Published, Run, SubmissionRecord, intent, publish_json,
    read_attempts, read_json, submission,
};

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
pub fn step(work: &dyn Work, program: &Path) -> Result<Stepped> {
    let run = work.run();
    let _lock = Lock::take(&run.layout.step_lock(), LOCK_PATIENCE);
    let cluster = Cluster { work, run, program, own_job: std::env::var("SLURM_JOB_ID").ok() };
    let mut next = work.advance(false)?;
    loop {
        let (generation, members) = match next {
            Next::Finished { generation } => return Ok(Stepped::Finished { generation }),
            Next::Train { generation, members } => (generation, members),
        };
        let rounds = cluster.settled_rounds(generation)?;
        let live = cluster.queue(generation, rounds.len() as u32)?;
        let (training, steps): (Vec<Job>, Vec<Job>) =
            live.into_iter().partition(|job| !job.name.ends_with(STEP_SUFFIX));
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
            cluster.release_recorded(&training, &rounds)?;
            let follows = steps.iter().any(|job| Some(&job.id) != cluster.own_job.as_ref());
            if follows {
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

struct Cluster<'a> {
    work: &'a dyn Work,
    run: &'a Run,
    program: &'a Path,
    /// The job in which this process runs.
    own_job: Option<String>,
}

impl Cluster<'_> {
    /// Names of the jobs of a round: an array for each chunk, then the step.
    fn names(&self, generation: u32, round: u32, arrays: usize) -> Vec<String> {
        let stem = format!("pbtnas-{}-{}-r{round}", self.run.record.run_id, self.work.label(generation));
        (0..arrays).map(|array| format!("{stem}-a{array}")).chain([format!("{stem}{STEP_SUFFIX}")]).collect()
    }

    /// The submissions of a generation, oldest first, after every round has got one.
    fn settled_rounds(&self, generation: u32) -> Result<Vec<SubmissionRecord>> {
        let mut rounds = Vec::new();
        loop {
            let round = rounds.len() as u32 + 1;
            let dir = self.work.dir(generation);
            let (intent, submission) = (intent(&dir, round), submission(&dir, round));
            if submission.exists() {
                rounds.push(read_json(&submission)?);
            } else if intent.exists() {
                self.wait_or_give_up(&read_json(&intent)?, &submission)?;
            } else {
                return Ok(rounds);
            }
        }
    }

    /// Waits for the submission of a round whose intent is there; gives the round up if it does not come.
    fn wait_or_give_up(&self, intent: &IntentRecord, submission: &Path) -> Result<()> {
        let waited = Instant::now();
        while !submission.exists() && waited.elapsed() < INTENT_PATIENCE && !is_dead(intent) {
            std::thread::sleep(Duration::from_millis(200));
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
        let context = Context {
            config: &self.run.config.slurm,
            program: self.program,
            state: self.run.layout.root(),
            label: self.work.label(generation),
            piece: self.work.piece_arguments(generation),
            pieces_per_task: self.work.pieces_per_task(),
            step: self.work.step_arguments(),
        };
        let chunks = if members.is_empty() {
            Vec::new()
        } else {
            let config = command("scontrol", &["show", "config"], None)?;
            let limit = parse::max_array_size(&config).unwrap_or(1001);
            chunks(members, self.work.pieces_per_task(), limit)
        };
        let names = self.names(generation, round, chunks.len());
        let intent = IntentRecord {
            format: FORMAT,
            host: host(),
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
                arrays.push(sbatch(&context.piece_arguments(name, chunk), &script)?);
            }
            let after: Vec<String> = arrays.iter().chain(after).cloned().collect();
            let name = names.last().map_or("", String::as_str);
            let step = sbatch(&context.step_arguments(name, &after), &context.step_script())?;
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
                publish_json(&path, &record(Vec::new(), None, Vec::new()))?;
                Err(error.into())
            }
            Ok((arrays, step)) => {
                let record = record(arrays.clone(), Some(step.clone()), members.to_vec());
                if publish_json(&path, &record)? == Published::Existed {
                    self.cancel(&names)?;
                    return Ok(None);
                }
                for array in &arrays {
                    command("scontrol", &["release", array], None)?;
                }
                Ok(Some(Stepped::Submitted { generation, members: members.len(), arrays, step }))
            }
        }
    }

    /// The live jobs of the first rounds of a generation.
    fn queue(&self, generation: u32, rounds: u32) -> Result<Vec<Job>> {
        let mut names = Vec::new();
        for round in 1..=rounds {
            let path = submission(&self.work.dir(generation), round);
            names.extend(read_json::<SubmissionRecord>(&path)?.job_names);
        }
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let names = format!("--name={}", names.join(","));
        let format = format!("--format={}", parse::QUEUE_FORMAT);
        let output = command("squeue", &["--noheader", "--array", &format, &names], None)?;
        Ok(parse::queue(&output).into_iter().filter(|job| job.state.alive()).collect())
    }

    /// Releases arrays that are recorded and still held: their submitter died before it could.
    fn release_recorded(&self, training: &[Job], rounds: &[SubmissionRecord]) -> Result<()> {
        for array in rounds.iter().flat_map(|round| &round.arrays) {
            let task_of = |job: &&Job| job.id.split('_').next() == Some(array.as_str());
            if training.iter().filter(task_of).any(|job| job.state == JobState::Held) {
                command("scontrol", &["release", array], None)?;
            }
        }
        Ok(())
    }

    fn cancel(&self, names: &[String]) -> Result<()> {
        for name in names {
            command("scancel", &[&format!("--name={name}")], None)?;
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
                matches!(
                    attempt.end.as_ref().map(|end| &end.ending),
                    None | Some(Ending::Done | Ending::Superseded)
                )
            });
            while may_be_late
                && Instant::now() < until
                && !self.work.is_done(generation, member)?
                && read_attempts(&self.work.attempts(generation, member))? == attempts
            {
                std::thread::sleep(Duration::from_millis(500));
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
            let begun = read_attempts(&self.work.attempts(generation, *member))?.len();
            if submitted >= begun + self.run.config.training.max_attempts as usize {
                return Err(SchedulerError::Refused {
                    command: "the training job".into(),
                    message: format!(
                        "number {member} of {} was submitted {submitted} times, and {begun} of the tasks came as far as \
                         starting pbtnas; look at {} and then call `pbtnas {} --state {}`",
                        self.work.label(generation),
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

/// Whether the process that published an intent is known to be gone; of another machine nothing is known.
fn is_dead(intent: &IntentRecord) -> bool {
    let pid = i32::try_from(intent.pid).unwrap_or(i32::MAX);
    intent.host == host()
        && nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) == Err(nix::errno::Errno::ESRCH)
}

/// The name of this machine.
pub fn host() -> String {
    nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned()
}

/// The job in which this process runs, in SLURM's words (`123_4` for a task of an array), if it does.
pub fn own_job() -> Option<String> {
    let variable = |name| std::env::var(name).ok();
    match (variable("SLURM_ARRAY_JOB_ID"), variable("SLURM_ARRAY_TASK_ID")) {
        (Some(job), Some(task)) => Some(format!("{job}_{task}")),
        _ => variable("SLURM_JOB_ID"),
    }
}

/// Puts the job in which this process runs back into the queue; nothing outside of a job.
pub fn requeue_own_job() -> Result<(), SchedulerError> {
    match own_job() {
        Some(job) => command("scontrol", &["requeue", &job], None).map(|_| ()),
        None => Ok(()),
    }
}

fn sbatch(arguments: &[String], script: &str) -> Result<String, SchedulerError> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = command("sbatch", &arguments, Some(script))?;
    parse::submitted(&output).ok_or(SchedulerError::Output { command: "sbatch".into(), output })
}

/// Runs one of SLURM's commands. Variables of the job in which this runs are kept away from it: a step's
/// memory or number of tasks must not become those of the training jobs.
fn command(program: &str, arguments: &[&str], input: Option<&str>) -> Result<String, SchedulerError> {
    let started = |source| SchedulerError::Start { command: program.into(), source };
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let of_job = name.starts_with("SLURM_") && name != "SLURM_CONF";
        if of_job
            || name.starts_with("SBATCH_")
            || name.starts_with("SQUEUE_")
            || name.starts_with("SCANCEL_")
        {
            command.env_remove(name.as_ref());
        }
    }
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(started)?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes()).map_err(started)?;
    }
    let output = child.wait_with_output().map_err(started)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(SchedulerError::Refused {
        command: format!("{program} {}", arguments.join(" ")),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
