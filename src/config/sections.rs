//! The sections of a configuration that belong to no task, with their defaults.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::search::{Algorithm, Initial, Piece, Schedule, ScheduleError};

/// `[search]`: paper, Algorithms 1 and 2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchConfig {
    /// `pbt-nas`, `mutation`, `random-search` or `adversarial-nas`.
    #[serde(default = "pbt_nas")]
    pub algorithm: Algorithm,
    /// N, the number of networks.
    pub population: usize,
    /// Epochs of the whole search.
    pub epochs: u32,
    /// e_step: epochs between two selections, or pieces `[{ epochs = 20, until = 150 }, { epochs = 10 }]`.
    pub epochs_per_step: EpochsPerStep,
    /// Part of the population that is replaced, and part that may be a parent.
    #[serde(default = "quarter")]
    pub tau: f64,
    /// p, the probability that a variable is replaced.
    #[serde(default = "quarter")]
    pub replace_probability: f64,
    /// lambda of shrink-perturb.
    #[serde(default = "lambda")]
    pub shrink: f32,
    /// gamma of shrink-perturb.
    #[serde(default = "gamma")]
    pub perturb: f32,
    /// False is the ablation "no mixing": both parents are the same network.
    #[serde(default = "yes")]
    pub mixing: bool,
    /// True shrink-perturbs the whole network of every member at the start of each step but the first: Table 3,
    /// for random search only.
    #[serde(default)]
    pub perturb_survivors: bool,
    /// `balanced` or `uniform`.
    #[serde(default = "balanced")]
    pub initial: Initial,
    /// Of the explore step of Population Based Training: the probability that a hyperparameter of a child is
    /// drawn anew from its range.
    #[serde(default = "quarter")]
    pub resample_probability: f64,
    /// Otherwise it is multiplied by one of these.
    #[serde(default = "factors")]
    pub perturb_factors: Vec<f64>,
}

fn pbt_nas() -> Algorithm {
    Algorithm::PbtNas
}
fn quarter() -> f64 {
    0.25
}
fn lambda() -> f32 {
    0.4
}
fn gamma() -> f32 {
    0.1
}
fn yes() -> bool {
    true
}
fn factors() -> Vec<f64> {
    vec![0.8, 1.2]
}
fn balanced() -> Initial {
    Initial::Balanced
}

impl SearchConfig {
    /// A search of this size, everything else as it is by default.
    pub fn new(population: usize, epochs: u32, epochs_per_step: EpochsPerStep) -> Self {
        Self {
            algorithm: pbt_nas(),
            population,
            epochs,
            epochs_per_step,
            tau: quarter(),
            replace_probability: quarter(),
            shrink: lambda(),
            perturb: gamma(),
            mixing: yes(),
            perturb_survivors: false,
            initial: balanced(),
            resample_probability: quarter(),
            perturb_factors: factors(),
        }
    }

    /// Whether only its size is its own.
    pub fn is_default(&self) -> bool {
        *self == Self::new(self.population, self.epochs, self.epochs_per_step.clone())
    }

    /// The epochs at which steps end.
    pub fn schedule(&self) -> Result<Schedule, ScheduleError> {
        Schedule::new(self.epochs_per_step.pieces(), self.epochs)
    }
}

/// One number, or pieces. Written by hand because serde's untagged enums lose the line of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EpochsPerStep {
    /// The same length always.
    Constant(u32),
    /// Lengths that change on the way.
    Pieces(Vec<Piece>),
}

impl EpochsPerStep {
    fn pieces(&self) -> Vec<Piece> {
        match self {
            Self::Constant(epochs) => vec![Piece { epochs: *epochs, until: None }],
            Self::Pieces(pieces) => pieces.clone(),
        }
    }
}

impl Serialize for EpochsPerStep {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Constant(epochs) => epochs.serialize(serializer),
            Self::Pieces(pieces) => pieces.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for EpochsPerStep {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = EpochsPerStep;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(
                    "a number of epochs, or a list such as [{ epochs = 20, until = 150 }, { epochs = 10 }]",
                )
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
                match u32::try_from(value) {
                    Ok(epochs) => Ok(EpochsPerStep::Constant(epochs)),
                    Err(_) => Err(E::invalid_value(serde::de::Unexpected::Signed(value), &self)),
                }
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut pieces = Vec::new();
                while let Some(piece) = seq.next_element()? {
                    pieces.push(piece);
                }
                Ok(EpochsPerStep::Pieces(pieces))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// `[task]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskConfig {
    /// Which task; its settings stand in the section of that name.
    pub kind: TaskKind,
}

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// Image generation (paper, section 4.2).
    Gan,
    /// A program of the user's.
    Command,
    /// Control from pixels (paper, section 4.3).
    Rl,
    /// No training at all: tiny tensors and an analytic fitness, for trying out a cluster.
    Synthetic,
}

/// `[training]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingConfig {
    /// Attempts that may fail before a member counts as failed. Being preempted is no failure.
    pub max_attempts: u32,
    /// Seconds between two snapshots.
    pub snapshot_seconds: u64,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self { max_attempts: 3, snapshot_seconds: 600 }
    }
}

/// `[storage]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// Which generations keep their members' files: a number of trained ones, `"all"` or `"best"`. Of older ones
    /// results and attempts stay, in one file each; the best member's checkpoint always stays.
    pub keep: Keep,
    /// Seconds for which a result that should be there is waited for: another node may see a directory late.
    pub visibility_timeout: u64,
    /// Seconds for which a filesystem that refuses (full, a server restarts) is tried again, and after which
    /// another process that trains the same member without a sign of life is taken for dead.
    pub patience_seconds: u64,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self { keep: Keep::Generations(2), visibility_timeout: 20, patience_seconds: 600 }
    }
}

/// How many trained generations keep their tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The last ones.
    Generations(u32),
    /// All of them.
    All,
    /// Only what the search needs to go on, and the best member.
    Best,
}

impl Serialize for Keep {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Generations(count) => serializer.serialize_u32(*count),
            Self::All => serializer.serialize_str("all"),
            Self::Best => serializer.serialize_str("best"),
        }
    }
}

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Keep;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of generations of at least 1, \"all\" or \"best\"")
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Keep, E> {
                match u32::try_from(value) {
                    Ok(count) if count > 0 => Ok(Keep::Generations(count)),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Signed(value), &self)),
                }
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Keep, E> {
                match value {
                    "all" => Ok(Keep::All),
                    "best" => Ok(Keep::Best),
                    _ => Err(E::unknown_variant(value, &["all", "best"])),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// `[local]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalConfig {
    /// Members that train at a time; by default one for each core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,
}

/// `[slurm]`: what the jobs ask for. Absent keys leave the cluster's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlurmConfig {
    /// `--partition` of the training tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// `--account` of all jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// `--qos` of the training tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qos: Option<String>,
    /// `--gres` of a training task, e.g. `gpu:1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gres: Option<String>,
    /// `--cpus-per-task` of a training task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// `--mem` of a training task, e.g. `16G`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// `--time` of a training task, e.g. `04:00:00`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// `--constraint` of a training task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constraint: Option<String>,
    /// Tasks that run at a time (`%K` of the array).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u32>,
    /// Members that one task trains side by side, to share a GPU.
    pub members_per_task: u32,
    /// Seconds for which `step`, called by hand, tries again while SLURM does not answer or the queue is full. A
    /// step that runs as a job tries without end.
    pub patience_seconds: u64,
    /// Seconds before the time limit at which a task is told to snapshot and requeue itself.
    pub warning_seconds: u32,
    /// Further arguments of `sbatch` for the training tasks, one each.
    pub extra: Vec<String>,
    /// Shell lines that every job runs first, e.g. `module load cuda`.
    pub setup: Vec<String>,
    /// Environment variables of every job.
    pub environment: BTreeMap<String, String>,
    /// What a training task calls in place of this program, a word each, e.g. a container's runtime with an image whose
    /// program this is. Empty: this program.
    pub program: Vec<String>,
    /// What the short `step` jobs ask for.
    pub step: SlurmStepConfig,
}

impl Default for SlurmConfig {
    fn default() -> Self {
        Self {
            partition: None,
            account: None,
            qos: None,
            gres: None,
            cpus: None,
            memory: None,
            time: None,
            constraint: None,
            max_running: None,
            members_per_task: 1,
            patience_seconds: 120,
            warning_seconds: 120,
            extra: Vec::new(),
            setup: Vec::new(),
            environment: BTreeMap::new(),
            program: Vec::new(),
            step: SlurmStepConfig::default(),
        }
    }
}

/// `[slurm.step]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlurmStepConfig {
    /// `--partition`; one without GPUs will do. It should not be preemptible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// `--qos`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qos: Option<String>,
    /// `--mem`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// `--time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Further arguments of `sbatch`.
    pub extra: Vec<String>,
    /// What a step's job calls in place of this program; SLURM's commands must be there for it. Empty: this program.
    pub program: Vec<String>,
}

impl SlurmConfig {
    /// The first value that cannot be passed to sbatch or into a job script.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        let step = &self.step;
        let single = [
            ("partition", &self.partition),
            ("account", &self.account),
            ("qos", &self.qos),
            ("gres", &self.gres),
            ("memory", &self.memory),
            ("time", &self.time),
            ("constraint", &self.constraint),
            ("step.partition", &step.partition),
            ("step.qos", &step.qos),
            ("step.memory", &step.memory),
            ("step.time", &step.time),
        ];
        let several = [
            ("extra", &self.extra),
            ("setup", &self.setup),
            ("program", &self.program),
            ("step.extra", &step.extra),
            ("step.program", &step.program),
        ];
        let values =
            single.into_iter().flat_map(|(key, value)| value.iter().map(move |value| (key, value))).chain(
                several.into_iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value))),
            );
        for (key, value) in values {
            if value.trim().is_empty() || value.chars().any(char::is_control) {
                return Err((key.into(), "must be a single line of text that is not empty".into()));
            }
        }
        for (key, values) in [("extra", &self.extra), ("step.extra", &step.extra)] {
            if let Some(value) = values.iter().find(|value| !value.starts_with('-')) {
                return Err((
                    key.into(),
                    format!("{value:?} is no option of sbatch: it must start with `-`"),
                ));
            }
        }
        for (name, value) in &self.environment {
            let identifier = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && name.chars().next().is_some_and(|c| !c.is_ascii_digit());
            if !identifier {
                return Err((format!("environment.{name}"), "is no name of an environment variable".into()));
            }
            if value.contains('\0') {
                return Err((format!("environment.{name}"), "must not hold a character of code 0".into()));
            }
            // A script calculates with SLURM's variables, and a shell runs commands that it finds in what it
            // calculates with.
            if name.starts_with("SLURM_") && name != "SLURM_CONF" {
                return Err((format!("environment.{name}"), "is set by SLURM in every job".into()));
            }
        }
        for (key, count) in [
            ("members_per_task", Some(self.members_per_task)),
            ("max_running", self.max_running),
            ("cpus", self.cpus),
        ] {
            if count.is_some_and(|count| count == 0 || count > 1_000_000) {
                return Err((key.into(), "must be between 1 and 1000000".into()));
            }
        }
        // sbatch's own limit.
        if self.warning_seconds > 65535 {
            return Err(("warning_seconds".into(), "must be at most 65535".into()));
        }
        Ok(())
    }
}
