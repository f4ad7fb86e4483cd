//! The program: its commands (`cli`) and their output (`report`, `watch`, `doctor`). The search itself is in `crates/`;
//! see docs/architecture.md.

pub mod cli;
pub mod doctor;
pub mod fmt;
pub mod report;
pub mod term;
pub mod watch;

/// Registers the tasks of this program. Called once, before a configuration is read.
pub fn register_tasks() {
    pbtnas_engine::task::register(&pbtnas_torch::KINDS);
}
