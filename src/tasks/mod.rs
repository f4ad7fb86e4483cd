//! What is trained. A task knows networks and data; it knows no scheduler, no directory of a run, and
//! nothing of selection.

use std::path::Path;

use anyhow::Result;

use crate::checkpoint::{Entry, Meta, Reader, TensorSpec};
use crate::search::{Address, Genotype, MemberId, Space};

pub mod gan;
mod hyperparameter;
pub mod synthetic;

pub use hyperparameter::Hyperparameter;

/// A kind of network that can be trained, evaluated and mixed.
pub trait Task: Send + Sync {
    /// The variables, and the tensors each owns.
    fn space(&self) -> &Space;

    /// All tensors of the networks of an architecture, with the distributions of a fresh initialisation.
    fn tensors(&self, genotype: &Genotype) -> Result<Vec<TensorSpec>>;

    /// Samples of a final evaluation, unless somebody asks for another number.
    fn final_samples(&self) -> usize;

    /// Makes the files that all members share (e.g. the network of a quality measure) in `dir`, under the
    /// names it returns. Done once, before the first generation. The files do not depend on the run's seed, so that
    /// runs of different seeds are measured alike.
    fn prepare(&self, dir: &Path) -> Result<Vec<String>>;

    /// A member ready to train, from a checkpoint, or freshly initialised at the address of `seeds`.
    /// `shared` holds the files that [`Task::prepare`] made.
    fn session<'a>(&'a self, start: Start<'a>, seeds: Seeds, shared: &Path) -> Result<Box<dyn Session + 'a>>;
}

/// What a member starts from.
pub enum Start<'a> {
    /// Fresh weights for this architecture.
    Fresh(&'a Genotype),
    /// A checkpoint, whose metadata tells architecture and position.
    Checkpoint(&'a Reader),
}

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

/// One member in memory.
///
/// Training goes by small steps, so that the caller can stop between any two of them. All random numbers of
/// a step depend on its position alone: a session restored from [`Session::save`] continues bit for bit.
pub trait Session {
    /// Epochs complete, and steps done in the next one.
    fn position(&self) -> (u32, u64);

    /// Steps of an epoch, to tell how far it is.
    fn steps_per_epoch(&self) -> u64;

    /// Trains one step.
    fn advance(&mut self) -> Result<()>;

    /// What the metadata of a checkpoint says, and the tensors it holds.
    fn describe(&self) -> Result<(Meta, Vec<Entry>)>;

    /// The bytes of one of the tensors of [`Session::describe`].
    fn tensor(&self, entry: &Entry) -> Result<Vec<u8>>;

    /// Measures fitness.
    fn evaluate(&mut self, measure: Measure) -> Result<Evaluation>;

    /// Writes what a person would look at (images) into `dir`; the names of the files.
    fn export(&mut self, dir: &Path) -> Result<Vec<String>>;
}
