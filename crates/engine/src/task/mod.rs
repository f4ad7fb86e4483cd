//! The interface of tasks. A task provides networks and data; it is independent of schedulers, the run directory and
//! selection.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::signal::StopSignal;
use pbtnas_core::checkpoint::{Entry, InitialTensors, Meta, Reader, TensorSpec};
use pbtnas_core::search::{Genotype, MemberId, OptionWeights, RngKey, Space};

mod diagram;
mod hyperparameter;
mod kind;
mod self_test;

pub use diagram::{Diagram, DiagramCluster, DiagramEdge, DiagramLine, DiagramNode, NodeKind};
pub use hyperparameter::Hyperparameter;
pub use kind::{TaskConfig, TaskKind, kinds, read_section, register, section_table};
pub use self_test::SelfTest;

/// A kind of network that can be trained, evaluated and mixed.
pub trait Task: Send + Sync {
    /// The variables and the tensors that they own.
    fn space(&self) -> &Space;

    /// Where the first checkpoints of offspring are built.
    fn offspring_builder(&self) -> OffspringBuilder {
        OffspringBuilder::Step
    }

    /// A freshly initialised network of an architecture, the noise of shrink-perturb for a child's checkpoint.
    fn fresh(&self, genotype: &Genotype, place: &MemberContext) -> Result<InitialTensors>;

    /// The tensors of all networks in a checkpoint.
    fn tensors_in(&self, checkpoint: &Reader) -> Result<Vec<TensorSpec>>;

    /// Checks that everything that the configuration names exists. Called before a run is created.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Tests this machine for what members need to train.
    fn self_tests(&self) -> Vec<SelfTest> {
        Vec::new()
    }

    /// Kills processes that an earlier attempt left running with this scratch folder.
    fn clear(&self, _scratch: &Path) {}

    /// The default number of samples of a final evaluation.
    fn final_samples(&self) -> usize;

    /// Writes the files that all members share (e.g. the network of a quality measure) to `dir` and returns their
    /// names. Called once, before the first generation. The files do not depend on the run's seed, so that runs with
    /// different seeds are measured alike.
    fn prepare(&self, dir: &Path) -> Result<Vec<String>>;

    /// The collected files of a child's first checkpoint, a selection of its parents' files. `donor` is none for a
    /// child of one parent.
    fn inherit(&self, base: &Meta, _donor: Option<&Meta>) -> Vec<String> {
        base.files.clone()
    }

    /// An approximate upper bound of the bytes of the collected files of a run.
    fn collects(&self, _members: u64, _epochs: u32) -> u64 {
        0
    }

    /// The parts of the networks that may have a soup of their own.
    fn parts(&self) -> Vec<Part> {
        Vec::new()
    }

    /// The diagram of an architecture.
    fn diagram(&self, genotype: &Genotype) -> Result<Diagram> {
        Ok(Diagram::tables(self.space(), genotype))
    }

    /// Opens a member for training, from a checkpoint or freshly initialised with the random numbers of `place.seeds`.
    fn session<'a>(&'a self, start: Start<'a>, place: MemberContext) -> Result<Box<dyn Session + 'a>>;
}

/// A part of the networks, for soups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Lower case, because files and jobs are named after it.
    pub name: &'static str,
    /// The prefixes of its tensors' names, after `model/` and `average/`.
    pub prefixes: Vec<String>,
}

/// Where the first checkpoints of offspring are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffspringBuilder {
    /// In the controller, between two generations: a child costs no more than a copy of its parents.
    Step,
    /// In each child's first attempt, because the user's program must run for it. That requires the resources and the
    /// environment of a training job, and a failure affects this member only.
    Member,
}

/// The starting point of a member.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// Fresh weights for this architecture, and the epoch that they start at.
    Fresh(&'a Genotype, u32),
    /// A checkpoint, whose metadata contains the architecture and the position.
    Checkpoint(&'a Reader),
}

impl Start<'_> {
    pub fn genotype(&self) -> &Genotype {
        match self {
            Self::Fresh(genotype, _) => genotype,
            Self::Checkpoint(reader) => &reader.meta().genotype,
        }
    }

    /// The architecture and the position in training: completed epochs and completed steps of the epoch in progress.
    /// Fails if a checkpoint's position is beyond the end of an epoch.
    pub fn origin(&self, steps_per_epoch: u64) -> Result<(Genotype, u32, u64)> {
        match self {
            Self::Fresh(genotype, epoch) => Ok(((*genotype).clone(), *epoch, 0)),
            Self::Checkpoint(reader) => {
                let Meta { genotype, epoch, step, .. } = reader.meta().clone();
                ensure!(
                    step < steps_per_epoch,
                    "{} is at step {step} of an epoch, but an epoch has {steps_per_epoch} steps: did the data set \
                     change since the search began?",
                    reader.path().display()
                );
                Ok((genotype, epoch, step))
            }
        }
    }
}

/// The context of a member: random numbers, folders and the stop signal.
#[derive(Debug, Clone)]
pub struct MemberContext {
    /// The keys of its random numbers.
    pub seeds: Seeds,
    /// The id of the run.
    pub run: String,
    /// The folder of the files that [`Task::prepare`] wrote.
    pub shared: PathBuf,
    /// A folder for exclusive use on the run's filesystem. Its user creates and removes it.
    pub scratch: PathBuf,
    /// The run's folder of collected files (e.g. an agent's experience). A checkpoint lists the files that it needs
    /// ([`Meta::files`]) relative to this folder. `pbtnas verify` checks a file whose name ends in `-` and the first 32
    /// digits of its digest before the extension.
    ///
    /// A member's own files are below [`MemberContext::own`] and are removed once its generation is over and no
    /// remaining checkpoint lists them. The task removes everything else in this folder. Writers create the folders and
    /// publish files atomically.
    pub collected: PathBuf,
    pub stop: StopSignal,
}

impl MemberContext {
    /// A context outside of any run.
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

    /// The folder of this member's collected files of this generation, relative to [`MemberContext::collected`]:
    /// `0007/03`.
    pub fn own(&self) -> String {
        format!("{:04}/{}", self.seeds.generation, self.seeds.member)
    }
}

/// An operation was stopped by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped by a signal")]
pub struct Interrupted;

/// The keys of the random numbers of a member in a generation.
#[derive(Debug, Clone, Copy)]
pub struct Seeds {
    /// The seed of the run.
    pub run: u64,
    /// The generation in training.
    pub generation: u32,
    pub member: MemberId,
}

impl Seeds {
    /// The key of the random numbers for a purpose.
    pub fn at<'a>(&self, purpose: &'a str) -> RngKey<'a> {
        RngKey { run: self.run, generation: self.generation, member: Some(self.member), purpose }
    }
}

/// The result of measuring a member.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Higher is better; not finite if the member has diverged.
    pub fitness: f64,
    /// Named numbers for reports.
    pub metrics: Vec<(String, f64)>,
}

/// The thoroughness of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// The evaluation of the search, after each generation's training.
    Search,
    /// The evaluation of a soup of the networks, or of a `part`, by the candidate that was added last. As in the search;
    /// but where few random samples measure fitness, not those by which the best member was found to be the best.
    Soup { part: Option<&'static str>, generation: u32, member: MemberId },
    /// A final evaluation, with the given number of samples (e.g. images), all metrics, and random numbers that the
    /// search has not used.
    Final { samples: usize },
}

/// A member in training.
///
/// Training proceeds in small steps, so that the caller can stop between any two of them. All random numbers of a step
/// depend only on its position: a session restored from the state of [`Session::describe`] continues bit for bit.
pub trait Session {
    /// Completed epochs and completed steps of the epoch in progress.
    fn position(&self) -> (u32, u64);

    /// Steps per epoch, for progress reports.
    fn steps_per_epoch(&self) -> u64;

    /// The progress of training in epochs. It may be ahead of the position where that is the last checkpoint's.
    fn progress(&self) -> f64 {
        let (epoch, step) = self.position();
        f64::from(epoch) + step as f64 / self.steps_per_epoch().max(1) as f64
    }

    /// Metrics of the current training (e.g. a loss), for display.
    fn metrics(&self) -> Vec<(String, f64)> {
        Vec::new()
    }

    /// The weight that a supernet gives each option of each variable; empty if it diverged and for other networks.
    fn option_weights(&self) -> OptionWeights {
        OptionWeights::new()
    }

    /// Trains one step towards `target` epochs.
    fn advance(&mut self, target: u32) -> Result<()>;

    /// Called before the process exits: a session that trains in another process collects its state.
    fn leave(&mut self) -> Result<()> {
        Ok(())
    }

    /// The file of this state's checkpoint, if there is one: complete, immutable and on the run's filesystem. A later
    /// state has another file.
    fn file(&self) -> Option<&Path> {
        None
    }

    /// The metadata and the tensors of this state's checkpoint.
    fn describe(&self) -> Result<(Meta, Vec<Entry>)>;

    /// The bytes of one of the tensors of [`Session::describe`].
    fn tensor(&self, entry: &Entry) -> Result<Vec<u8>>;

    /// Measures fitness.
    fn evaluate(&mut self, measure: Measure) -> Result<Evaluation>;

    /// A small preview of the network's output for reports, as the bytes of a PNG file. All members have the same kind
    /// of preview, so that they can be compared. Called after [`Session::evaluate`].
    fn preview(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// Writes viewable output (e.g. images) to `dir` and returns the names of the files.
    fn export(&mut self, dir: &Path) -> Result<Vec<String>>;
}
