//! End-to-end tests through the program: as its users call it, on a real SLURM, with real kills.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod checkpoint_memory;
mod cli;
mod compare;
mod features;
mod gan;
mod local;
mod slurm;
mod soup;
mod support;
mod verify;
