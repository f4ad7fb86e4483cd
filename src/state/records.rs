//! The JSON files of a run. Unknown keys are refused: a file of a later format must not be half understood.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Attempt;
use crate::checkpoint::Digest;
use crate::search::{Genotype, MemberId, OptionWeights, Origin};

/// Version of all records.
pub const FORMAT: u64 = 1;

/// A file that another file names: where, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileRef {
    /// Relative to the run's directory.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Of the whole file.
    pub digest: Digest,
}

/// `run.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// [`FORMAT`].
    pub format: u64,
    /// Random; part of job names, so that two runs never mistake each other's jobs.
    pub run_id: String,
    /// Seed of every random number.
    pub seed: u64,
    /// Version of the program that made the run.
    pub program: String,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// The configuration.
    pub config: FileRef,
    /// The search space.
    pub space: FileRef,
    /// Files that the task made for all members.
    pub shared: Vec<FileRef>,
}

/// `plan.json`: a generation. Nothing in it depends on clock, host or scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRecord {
    /// [`FORMAT`].
    pub format: u64,
    /// Counted from 0.
    pub generation: u32,
    /// Epochs that are complete when the step starts.
    pub from_epoch: u32,
    /// Epochs that are complete when it ends.
    pub to_epoch: u32,
    /// In order of their ids.
    pub members: Vec<MemberPlan>,
}

/// A member in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberPlan {
    /// Its place.
    pub id: MemberId,
    /// Its architecture.
    pub genotype: Genotype,
    /// Where it comes from.
    pub origin: Origin,
    /// What it starts from.
    pub start: StartRecord,
}

impl MemberPlan {
    /// Epochs behind the network when a step from an epoch on begins. One that was drawn in the middle of a search has seen
    /// fewer than the others; one that was derived counts on where its supernet ended.
    pub fn begins_at(&self, from_epoch: u32) -> u32 {
        let anew = self.start == StartRecord::Fresh && self.origin != Origin::Derived;
        if anew { 0 } else { from_epoch }
    }
}

/// What a member starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum StartRecord {
    /// Fresh weights, drawn at the member's address.
    Fresh,
    /// A checkpoint: the offspring's own, or the final one of the generation before.
    Checkpoint(FileRef),
    /// The offspring's own, which its first attempt makes of its parents' final ones.
    Parents,
}

/// `result.json`: the end of a member's step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultRecord {
    /// [`FORMAT`].
    pub format: u64,
    /// The generation.
    pub generation: u32,
    /// The member.
    pub member: MemberId,
    /// What came out.
    pub outcome: Outcome,
}

impl ResultRecord {
    /// Its fitness; none if it failed or diverged.
    pub fn fitness(&self) -> Option<f64> {
        match self.outcome {
            Outcome::Trained { fitness, .. } => fitness,
            Outcome::Failed { .. } => None,
        }
    }
}

/// What came out of a member's step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// It was trained and evaluated.
    Trained {
        /// Higher is better; null if it diverged (not a finite number).
        fitness: Option<f64>,
        /// Numbers behind the fitness; those that are not finite are left out.
        metrics: BTreeMap<String, f64>,
        /// What training told on its way.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        curve: Vec<CurvePoint>,
        /// What a supernet gives each option of each variable; nothing if it diverged.
        #[serde(default, skip_serializing_if = "OptionWeights::is_empty")]
        option_weights: OptionWeights,
        /// `preview.png`, if the task has something to look at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        preview: Option<FileRef>,
        /// Epochs of training behind the network.
        epoch: u32,
        /// `final.safetensors`.
        checkpoint: FileRef,
        /// The attempt that succeeded, counted from 1.
        attempt: u32,
        /// Where it ran.
        host: String,
        /// When the attempt began.
        started: DateTime<Utc>,
        /// When it ended.
        finished: DateTime<Utc>,
    },
    /// All its attempts failed; it has no network and ranks last.
    Failed {
        /// Why the last attempt failed.
        reason: String,
        /// How many there were.
        attempts: u32,
        /// What the last of them left, if it left a heartbeat.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left: Option<Left>,
    },
}

/// What training told at a moment (losses, say), or the mean of what it told around it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurvePoint {
    /// Epochs of training behind the network, with the part of the one under way.
    pub epoch: f64,
    /// Numbers by name, all finite.
    pub metrics: BTreeMap<String, f64>,
}

/// `attempts/0001.start.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttemptStart {
    /// [`FORMAT`].
    pub format: u64,
    /// The scheduler's name for the job, if there is one.
    pub job: Option<String>,
    /// Where it runs.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// When it began.
    pub started: DateTime<Utc>,
    /// What the attempt before it left, if it left a heartbeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Left>,
}

/// What an attempt left, for whoever counts the cost of its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Left {
    /// The attempt.
    pub attempt: u32,
    /// When it was last seen alive.
    pub seen: DateTime<Utc>,
    /// When it kept its last snapshot, if it kept one.
    pub saved: Option<DateTime<Utc>>,
}

/// `attempts/0001.end.json`; absent if the attempt was killed or its machine lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttemptEnd {
    /// [`FORMAT`].
    pub format: u64,
    /// When it ended.
    pub ended: DateTime<Utc>,
    /// Why.
    pub ending: Ending,
}

/// Why an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ending {
    /// The result is published.
    Done,
    /// A signal told it to leave; its snapshot is kept, if there was time for one.
    Stopped {
        /// Name of the signal.
        signal: String,
    },
    /// Somebody else published the member's result meanwhile.
    Superseded,
    /// The filesystem refused (full, broken, gone), or a file of the run is damaged: none of the member's doing.
    Hindered {
        /// What happened.
        message: String,
    },
    /// An error.
    Failed {
        /// What happened.
        message: String,
    },
}

/// `archive.json`: what became of the members of a generation whose files are dropped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveRecord {
    /// [`FORMAT`].
    pub format: u64,
    /// The generation.
    pub generation: u32,
    /// Their results, in order of their ids.
    pub results: Vec<ResultRecord>,
    /// The preview of the best of them, which stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<FileRef>,
    /// The attempts at each of them.
    pub attempts: Vec<Vec<Attempt>>,
}

/// `submission.intent.json`: somebody sets out to submit jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntentRecord {
    /// [`FORMAT`].
    pub format: u64,
    /// Where: see [`machine`](super::machine).
    pub host: String,
    /// The process.
    pub pid: u32,
    /// When.
    pub at: DateTime<Utc>,
    /// Names of the jobs that it will submit, the step's last.
    pub job_names: Vec<String>,
}

/// `submission.json`: the jobs of a round, or that there will be none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmissionRecord {
    /// [`FORMAT`].
    pub format: u64,
    /// Job names, as in the intent.
    pub job_names: Vec<String>,
    /// Ids of the training arrays; empty for a round that only adds a step.
    pub arrays: Vec<String>,
    /// Id of the step that follows; none if the round was given up and nothing of it may run.
    pub step: Option<String>,
    /// Members that are trained.
    pub members: Vec<MemberId>,
    /// When.
    pub at: DateTime<Utc>,
}

/// `best.json`: replaced whenever a better member is found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BestRecord {
    /// [`FORMAT`].
    pub format: u64,
    /// The last generation that was looked at.
    pub as_of: u32,
    /// The generation of the best member.
    pub generation: u32,
    /// The best member.
    pub member: MemberId,
    /// Its fitness.
    pub fitness: f64,
    /// Numbers behind it.
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
    /// [`FORMAT`].
    pub format: u64,
    /// What was evaluated.
    pub checkpoint: FileRef,
    /// With how many samples (images, say).
    pub samples: usize,
    /// Higher is better; null if it is no finite number.
    pub fitness: Option<f64>,
    /// Numbers behind it.
    pub metrics: BTreeMap<String, f64>,
    /// Where.
    pub host: String,
    /// How long it took.
    pub seconds: f64,
}

/// A member that may be in a soup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ingredient {
    /// The generation whose step it has behind it.
    pub generation: u32,
    /// Its place.
    pub member: MemberId,
    /// Its own fitness.
    pub fitness: f64,
    /// Its checkpoint.
    pub checkpoint: FileRef,
}

/// `soup/round-01/plan.json`: a round of the greedy search for a soup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoupPlan {
    /// [`FORMAT`].
    pub format: u64,
    /// Counted from 1.
    pub round: u32,
    /// What is in the soup so far, the best member first.
    pub ingredients: Vec<Ingredient>,
    /// Its fitness.
    pub fitness: f64,
    /// What may be added, best first.
    pub candidates: Vec<Ingredient>,
}

/// `soup/round-01/candidates/03/result.json`: the soup so far with a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoupResult {
    /// [`FORMAT`].
    pub format: u64,
    /// Its fitness; null if it is no finite number, or all attempts failed.
    pub fitness: Option<f64>,
    /// Numbers behind it.
    pub metrics: BTreeMap<String, f64>,
    /// Why the last attempt failed, if all did.
    pub failed: Option<String>,
}

/// `soup/soup.json`: what came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoupRecord {
    /// [`FORMAT`].
    pub format: u64,
    /// Rounds that it took.
    pub rounds: u32,
    /// What is in it, the best member first.
    pub ingredients: Vec<Ingredient>,
    /// Its fitness.
    pub fitness: f64,
    /// The mean; the best member's own checkpoint if it is alone.
    pub checkpoint: FileRef,
}

/// `progress/heartbeat.json`: replaced every few seconds while a member trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// [`FORMAT`].
    pub format: u64,
    /// Epochs complete.
    pub epoch: u32,
    /// Part of the step that is done, 0 to 1.
    pub fraction: f64,
    /// What it does: `training` or `evaluating`.
    pub phase: String,
    /// Numbers that training tells on its way.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// The attempt.
    pub attempt: u32,
    /// When it kept its last snapshot, if it kept one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<DateTime<Utc>>,
    /// What training told in this step so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<CurvePoint>,
    /// When this was written, by the clock of the machine that trains.
    pub at: DateTime<Utc>,
}

impl Heartbeat {
    /// What the attempt leaves if it ends now.
    pub fn left(&self) -> Left {
        Left { attempt: self.attempt, seen: self.at, saved: self.saved }
    }
}
