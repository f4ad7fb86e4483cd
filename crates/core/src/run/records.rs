//! The JSON records of a run. Unknown keys are errors, so that files of a later format are not misread.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Attempt;
use crate::durable_fs::Digest;
use crate::search::{Genotype, MemberId, OptionWeights, Origin};

/// Format version of all records.
pub const FORMAT: u64 = 2;

/// A reference from one file to another: its path, size and digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileRef {
    /// Relative to the run's directory.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Digest of the whole file.
    pub digest: Digest,
}

/// `run.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    pub format: u64,
    /// Random; part of job names, which distinguishes the jobs of different runs.
    pub run_id: String,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Version of the program that created the run.
    pub program: String,
    pub created: DateTime<Utc>,
    pub config: FileRef,
    pub space: FileRef,
    /// Files that the task prepared for all members.
    pub shared: Vec<FileRef>,
}

/// `plan.json`: the plan of a generation. It does not depend on clock, host or scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRecord {
    pub format: u64,
    /// Counted from 0.
    pub generation: u32,
    /// Completed epochs at the start of the generation.
    pub from_epoch: u32,
    /// Completed epochs at its end.
    pub to_epoch: u32,
    /// In order of ids.
    pub members: Vec<MemberPlan>,
}

/// A member in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberPlan {
    pub id: MemberId,
    pub genotype: Genotype,
    pub origin: Origin,
    pub start: StartRecord,
}

impl MemberPlan {
    /// Epochs that the network has been trained for when a generation starts at `from_epoch`: 0 for a member that was
    /// redrawn during the search. A derived member continues the count of its supernet.
    pub fn begins_at(&self, from_epoch: u32) -> u32 {
        let anew = self.start == StartRecord::Fresh && self.origin != Origin::Derived;
        if anew { 0 } else { from_epoch }
    }
}

/// What a member's training starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum StartRecord {
    /// Freshly initialised weights.
    Fresh,
    /// A checkpoint: the offspring's own, or the member's final one of the previous generation.
    Checkpoint(FileRef),
    /// The offspring's own checkpoint, which its first attempt builds from its parents' final ones.
    Parents,
}

/// `result.json`: the result of training a member for a generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultRecord {
    pub format: u64,
    pub generation: u32,
    pub member: MemberId,
    pub outcome: Outcome,
}

impl ResultRecord {
    /// None if the member failed or diverged.
    pub fn fitness(&self) -> Option<f64> {
        match self.outcome {
            Outcome::Trained { fitness, .. } => fitness,
            Outcome::Failed { .. } => None,
        }
    }
}

/// The outcome of training a member for a generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// The member was trained and evaluated.
    Trained {
        /// Higher is better; null if it diverged (not a finite number).
        fitness: Option<f64>,
        /// Metrics of the evaluation; those that are not finite are omitted.
        metrics: BTreeMap<String, f64>,
        /// Metrics during training.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        curve: Vec<CurvePoint>,
        /// Option weights of a supernet; empty if it diverged.
        #[serde(default, skip_serializing_if = "OptionWeights::is_empty")]
        option_weights: OptionWeights,
        /// `preview.png`, if the task writes one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        preview: Option<FileRef>,
        /// Epochs that the network has been trained for.
        epoch: u32,
        /// `final.safetensors`.
        checkpoint: FileRef,
        /// Number of the successful attempt.
        attempt: u32,
        host: String,
        started: DateTime<Utc>,
        finished: DateTime<Utc>,
    },
    /// All attempts failed: the member has no network and ranks last.
    Failed {
        /// Why the last attempt failed.
        reason: String,
        /// Number of attempts.
        attempts: u32,
        /// State of the last attempt, if it wrote a heartbeat.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left: Option<LastSeen>,
    },
}

/// Metrics (losses, for example) at a point of training, or their mean around it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurvePoint {
    /// Epochs of training, including the fraction of the current one.
    pub epoch: f64,
    /// Finite numbers by name.
    pub metrics: BTreeMap<String, f64>,
}

/// `attempts/0001.start.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttemptStartRecord {
    pub format: u64,
    /// The scheduler's job id, if any.
    pub job: Option<String>,
    pub host: String,
    pub pid: u32,
    pub started: DateTime<Utc>,
    /// Last state of the previous attempt, if it wrote a heartbeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<LastSeen>,
}

/// Last known state of an attempt, to compute the training time that its end cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastSeen {
    /// Number of the attempt.
    pub attempt: u32,
    /// Time of its last heartbeat.
    pub seen: DateTime<Utc>,
    /// Time of its last snapshot, if any.
    pub saved: Option<DateTime<Utc>>,
}

/// `attempts/0001.end.json`; absent if the attempt was killed or its machine failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttemptEndRecord {
    pub format: u64,
    pub ended: DateTime<Utc>,
    pub ending: AttemptEnd,
}

/// Why an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AttemptEnd {
    /// The result is published.
    Done,
    /// A signal stopped it; it wrote a snapshot if there was time.
    Stopped {
        /// Name, such as `SIGTERM`.
        signal: String,
    },
    /// Another attempt published the result first.
    Superseded,
    /// The filesystem failed (full, broken, unmounted) or a file of the run is damaged; not a failure of the member.
    StorageFailed { message: String },
    /// Training failed with an error.
    Failed { message: String },
}

/// `archive.json`: results and attempts of a generation whose members' files are removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveRecord {
    pub format: u64,
    pub generation: u32,
    /// In order of member ids.
    pub results: Vec<ResultRecord>,
    /// The preview of the best member, which is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<FileRef>,
    /// The attempts of each member.
    pub attempts: Vec<Vec<Attempt>>,
}

/// `submission.intent.json`: a process is about to submit jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntentRecord {
    pub format: u64,
    /// See [`machine`](crate::durable_fs::machine).
    pub host: String,
    pub pid: u32,
    pub at: DateTime<Utc>,
    /// Names of the jobs to submit, the controller job's last.
    pub job_names: Vec<String>,
}

/// `submission.json`: the jobs of a submission round, possibly none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmissionRecord {
    pub format: u64,
    /// As in the intent.
    pub job_names: Vec<String>,
    /// Ids of the training arrays; empty for a round that submits a controller job only.
    pub arrays: Vec<String>,
    /// Id of the controller job that follows; none if the round was abandoned and none of its jobs may run.
    pub step: Option<String>,
    /// Members to train.
    pub members: Vec<MemberId>,
    pub at: DateTime<Utc>,
}

/// `best.json`: replaced whenever a better member is found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BestRecord {
    /// Format version of the record.
    pub format: u64,
    /// The last generation that was considered.
    pub as_of: u32,
    /// The generation of the best member.
    pub generation: u32,
    /// The best member.
    pub member: MemberId,
    /// Its fitness.
    pub fitness: f64,
    /// Metrics of the evaluation.
    pub metrics: BTreeMap<String, f64>,
    /// Its architecture.
    pub genotype: Genotype,
    /// Its checkpoint.
    pub checkpoint: FileRef,
}

/// `evaluation-SAMPLES.json`: a final evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluationRecord {
    /// Format version of the record.
    pub format: u64,
    /// The evaluated checkpoint.
    pub checkpoint: FileRef,
    /// Number of samples (images, for example).
    pub samples: usize,
    /// Higher is better; null if it is not a finite number.
    pub fitness: Option<f64>,
    /// Metrics of the evaluation.
    pub metrics: BTreeMap<String, f64>,
    /// Host on which the evaluation ran.
    pub host: String,
    /// Duration of the evaluation.
    pub seconds: f64,
}

/// A member that is or may become part of a soup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ingredient {
    /// The generation of the checkpoint.
    pub generation: u32,
    pub member: MemberId,
    /// The member's own fitness; null for a child that has not been trained.
    pub fitness: Option<f64>,
    pub checkpoint: FileRef,
}

/// `soup/round-01/plan.json`: a round of the greedy search for a soup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoupPlan {
    pub format: u64,
    /// Counted from 1.
    pub round: u32,
    /// The current ingredients, the best member first.
    pub ingredients: Vec<Ingredient>,
    /// Fitness of the current soup.
    pub fitness: f64,
    /// Members that may be added, best first.
    pub candidates: Vec<Ingredient>,
}

/// `soup/round-01/candidates/03/result.json`: evaluation of the current soup with a candidate added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoupResult {
    pub format: u64,
    /// Null if it is not a finite number, or if all attempts failed.
    pub fitness: Option<f64>,
    /// Metrics of the evaluation.
    pub metrics: BTreeMap<String, f64>,
    /// Why the last attempt failed, if all did.
    pub failed: Option<String>,
}

/// `soup/soup.json`: the finished soup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoupRecord {
    pub format: u64,
    pub rounds: u32,
    /// The best member first.
    pub ingredients: Vec<Ingredient>,
    pub fitness: f64,
    /// The averaged network, or the best member's own checkpoint if it is the only ingredient.
    pub checkpoint: FileRef,
}

/// `progress/heartbeat.json`: replaced every few seconds while a member trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    pub format: u64,
    /// Completed epochs.
    pub epoch: u32,
    /// Progress within the generation, 0 to 1.
    pub fraction: f64,
    /// `training` or `evaluating`.
    pub phase: String,
    /// The latest metrics of training.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// Number of the attempt.
    pub attempt: u32,
    /// Time of its last snapshot, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<DateTime<Utc>>,
    /// Metrics of this generation so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<CurvePoint>,
    /// Time of writing, by the clock of the training machine.
    pub at: DateTime<Utc>,
}

impl Heartbeat {
    pub fn left(&self) -> LastSeen {
        LastSeen { attempt: self.attempt, seen: self.at, saved: self.saved }
    }
}
