//! The engine of pbtnas: reads a configuration, trains members through a task, advances a run generation by generation,
//! and submits its units to a scheduler. It depends neither on libtorch nor on the command line, and reports through
//! `tracing` events.

pub mod advance;
pub mod attempt;
mod backoff;
pub mod command;
pub mod config;
pub mod create;
pub mod device;
pub mod evaluate;
pub mod fault;
pub mod fmt;
pub mod member_context;
pub mod offspring;
pub mod png;
pub mod printable;
pub mod rehearse;
pub mod run;
pub mod scheduler;
pub mod signal;
pub mod soup;
pub mod synthetic;
pub mod task;
