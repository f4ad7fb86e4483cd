//! What is trained. A task knows networks and data; it knows no scheduler, no directory of a run, and
//! nothing of selection.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::checkpoint::{Entry, Fresh, Meta, Reader, TensorSpec};
use crate::search::{Address, Genotype, MemberId, OptionWeights, Space};
use crate::signal::StopSignal;

pub mod command;
mod diagram;
pub mod gan;
mod hyperparameter;
mod nn;
#[cfg(test)]
mod oracle;
pub mod png;
pub mod rl;
pub mod synthetic;
mod words;

pub use diagram::{Cluster, Diagram, Edge, Kind, Line, Node};
pub use hyperparameter::Hyperparameter;
pub use words::{Words, short};

/// A kind of network that can be trained, evaluated and mixed.
pub trait Task: Send + Sync {
    /// The variables, and the tensors each owns.
    fn space(&self) -> &Space;

    /// Who makes the first checkpoints of children.
    fn maker(&self) -> Maker {
        Maker::Step
    }

    /// A freshly initialised network of an architecture: the source of noise for a child's checkpoint.
    fn fresh(&self, genotype: &Genotype, place: &Place) -> Result<Fresh>;

    /// All tensors of the networks in a checkpoint.
    fn tensors_in(&self, checkpoint: &Reader) -> Result<Vec<TensorSpec>>;

    /// Whether everything that the configuration names is there. Looked at before a run is made.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Ends what a process that is gone has left running with this scratch folder.
    fn clear(&self, _scratch: &Path) {}

    /// Samples of a final evaluation, unless somebody asks for another number.
    fn final_samples(&self) -> usize;

    /// Makes the files that all members share (e.g. the network of a quality measure) in `dir`, under the
    /// names it returns. Done once, before the first generation. The files do not depend on the run's seed, so that
    /// runs of different seeds are measured alike.
    fn prepare(&self, dir: &Path) -> Result<Vec<String>>;

    /// The collected files that a child's first checkpoint names; `donor` is none for a child of one parent. They must
    /// be files that the parents name.
    fn inherit(&self, base: &Meta, _donor: Option<&Meta>) -> Vec<String> {
        base.files.clone()
    }

    /// Bytes that the collected files of a run of so many members and epochs take at most, by and large.
    fn collects(&self, _members: u64, _epochs: u32) -> u64 {
        0
    }

    /// The parts of the networks that soups may be made of, beside that of everything.
    fn parts(&self) -> Vec<Part> {
        Vec::new()
    }

    /// An architecture as a picture shows it.
    fn diagram(&self, genotype: &Genotype) -> Result<Diagram> {
        Ok(Diagram::tables(self.space(), genotype))
    }

    /// A variable in words.
    fn variable_in_words(&self, variable: &str) -> Words {
        Words::of_name(variable)
    }

    /// A value of a variable in words.
    fn value_in_words(&self, _variable: &str, value: &str) -> String {
        value.to_owned()
    }

    /// A member ready to train, from a checkpoint, or freshly initialised at the address of `place.seeds`.
    fn session<'a>(&'a self, start: Start<'a>, place: Place) -> Result<Box<dyn Session + 'a>>;
}

/// A part of the networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is called: small letters, since files and jobs are called after it.
    pub name: &'static str,
    /// What the names of its tensors begin with, behind `model/` and `average/`.
    pub prefixes: Vec<String>,
}

/// Who makes the first checkpoints of children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// The step between two generations: a child costs no more than copying its parents.
    Step,
    /// Each child's own first attempt, because a program of the user's must run for it. That needs the resources and
    /// the environment of a training job, and may fail: then it fails for this member alone.
    Member,
}

/// What a member starts from.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// Fresh weights for this architecture, and from which epoch on they count.
    Fresh(&'a Genotype, u32),
    /// A checkpoint, whose metadata tells architecture and position.
    Checkpoint(&'a Reader),
}

impl Start<'_> {
    /// The architecture.
    fn genotype(&self) -> &Genotype {
        match self {
            Self::Fresh(genotype, _) => genotype,
            Self::Checkpoint(reader) => &reader.meta().genotype,
        }
    }

    /// The architecture, and the position in training: epochs complete, and steps done in the next one, which has
    /// `steps_per_epoch`. Fails if a checkpoint's position is beyond the end of an epoch.
    fn origin(&self, steps_per_epoch: u64) -> Result<(Genotype, u32, u64)> {
        match self {
            Self::Fresh(genotype, epoch) => Ok(((*genotype).clone(), *epoch, 0)),
            Self::Checkpoint(reader) => {
                let Meta { genotype, epoch, step, .. } = reader.meta().clone();
                ensure!(
                    step < steps_per_epoch,
                    "{} is {step} steps into an epoch, and an epoch has {steps_per_epoch} now: was the data set changed \
                     since the search began?",
                    reader.path().display()
                );
                Ok((genotype, epoch, step))
            }
        }
    }
}

/// Where a member lives, and as whom.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its random numbers.
    pub seeds: Seeds,
    /// Id of the run.
    pub run: String,
    /// The folder of the files that [`Task::prepare`] made.
    pub shared: PathBuf,
    /// A folder that nobody else uses, on the run's filesystem. Who needs it makes it, and removes it.
    pub scratch: PathBuf,
    /// The run's folder of collected files (what an agent has lived through, say). A checkpoint names those that it
    /// needs ([`Meta::files`]), relative to this folder, and a file whose name ends in `-` and the first 32 digits of
    /// its digest before the extension is checked by `pbtnas verify`.
    ///
    /// What a member collects for itself lies below [`Place::own`], and is removed once its generation is over and no
    /// checkpoint that is left names it. Everything else in this folder is the task's to remove. Whoever writes here
    /// makes the folders, and makes files appear whole.
    pub collected: PathBuf,
    /// Tells when to leave.
    pub stop: StopSignal,
}

impl Place {
    /// Outside of any run.
    pub fn outside(seeds: Seeds, folder: &Path) -> Self {
        Self {
            seeds,
            run: "none".into(),
            shared: folder.into(),
            scratch: folder.join("scratch"),
            collected: folder.join("collected"),
            stop: StopSignal::default(),
        }
    }

    /// The folder of what this member collects in this generation, relative to [`Place::collected`]: `0007/03`.
    pub fn own(&self) -> String {
        format!("{:04}/{}", self.seeds.generation, self.seeds.member)
    }
}

/// What was under way was left because of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signal asked to leave")]
pub struct Interrupted;

/// Addresses of the random numbers of one member in one generation.
#[derive(Debug, Clone, Copy)]
pub struct Seeds {
    /// Seed of the run.
    pub run: u64,
    /// Generation that is being trained.
    pub generation: u32,
    /// The member.
    pub member: MemberId,
}

impl Seeds {
    /// The address of the numbers for a purpose.
    pub fn at<'a>(&self, purpose: &'a str) -> Address<'a> {
        Address { run: self.run, generation: self.generation, member: Some(self.member), purpose }
    }
}

/// How good a member is.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Higher is better; not finite if the member diverged.
    pub fitness: f64,
    /// Named numbers behind it, for people to read.
    pub metrics: Vec<(String, f64)>,
}

/// How thoroughly a member is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// As the search does it, after every step.
    Search,
    /// For a report: with so many samples (images, say), everything there is to measure, and random numbers
    /// that the search has not seen.
    Final {
        /// Number of samples.
        samples: usize,
    },
}

/// One member in training.
///
/// Training goes by small steps, so that the caller can stop between any two of them. All random numbers of
/// a step depend on its position alone: a session restored from what [`Session::describe`] tells continues bit for
/// bit.
pub trait Session {
    /// Epochs complete, and steps done in the next one.
    fn position(&self) -> (u32, u64);

    /// Steps of an epoch, to tell how far it is.
    fn steps_per_epoch(&self) -> u64;

    /// How far training is, in epochs. It may be ahead of the position if that is the last checkpoint's.
    fn progress(&self) -> f64 {
        let (epoch, step) = self.position();
        f64::from(epoch) + step as f64 / self.steps_per_epoch().max(1) as f64
    }

    /// Numbers that training tells on its way (a loss, say), for people to read.
    fn news(&self) -> Vec<(String, f64)> {
        Vec::new()
    }

    /// What a supernet gives each option of each variable; nothing if it diverged, and for other networks.
    fn option_weights(&self) -> OptionWeights {
        OptionWeights::new()
    }

    /// Trains one step on the way to `target` epochs.
    fn advance(&mut self, target: u32) -> Result<()>;

    /// The process has to leave: what trains elsewhere hands over how far it is.
    fn leave(&mut self) -> Result<()> {
        Ok(())
    }

    /// A checkpoint of this state that is a file already, whole and never changed again, on the run's filesystem.
    /// A later state is another file.
    fn file(&self) -> Option<&Path> {
        None
    }

    /// What the metadata of a checkpoint says, and the tensors it holds.
    fn describe(&self) -> Result<(Meta, Vec<Entry>)>;

    /// The bytes of one of the tensors of [`Session::describe`].
    fn tensor(&self, entry: &Entry) -> Result<Vec<u8>>;

    /// Measures fitness.
    fn evaluate(&mut self, measure: Measure) -> Result<Evaluation>;

    /// A small picture of what the network can do, for reports: a PNG file's bytes, the same kind of picture for
    /// every member so that they can be compared. Asked for after [`Session::evaluate`].
    fn preview(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// Writes what a person would look at (images) into `dir`; the names of the files.
    fn export(&mut self, dir: &Path) -> Result<Vec<String>>;
}
