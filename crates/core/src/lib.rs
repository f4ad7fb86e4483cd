//! The base layer of pbtnas: the search as pure functions, checkpoints and the run directory. It does not depend on
//! libtorch, a scheduler or the command line, and prints nothing.

pub mod checkpoint;
pub mod durable_fs;
pub mod fault;
pub mod parallel;
pub mod run;
pub mod search;
