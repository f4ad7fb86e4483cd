//! Training, evaluation and films of agents, with libtorch and MuJoCo.

mod agent;
mod env_worker;
mod environment;
mod evaluation;
#[cfg(test)]
mod parity_tests;
mod replay;
mod session;
#[cfg(test)]
mod session_tests;
mod video;

pub use environment::{Environment, test};
pub use session::RlSession;
