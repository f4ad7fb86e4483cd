//! Training and evaluation of GANs, with libtorch.

mod cursor;
mod evaluation;
mod features;
mod frechet;
mod grid;
mod inception;
mod inception_score;
#[cfg(test)]
pub(super) mod networks_tests;
#[cfg(test)]
mod parity_tests;
mod session;
mod supernet_session;
#[cfg(test)]
mod supernet_tests;

pub use features::{Features, prepare as prepare_features};
pub use frechet::{Statistics, frechet_distance};
pub use inception::check_inception;
pub use session::GanSession;
pub use supernet_session::SupernetSession;
