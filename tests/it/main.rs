//! End-to-end tests of the program: as its users call it, on a real SLURM, with real kills.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[cfg(feature = "torch")]
mod adversarial;
mod all_keys;
mod checkpoint_memory;
mod cli;
mod cluster;
mod command;
mod compare;
#[cfg(feature = "failpoints")]
mod crash;
mod damage;
mod disk;
#[cfg(feature = "torch")]
mod docs;
mod doctor;
#[cfg(feature = "torch")]
mod features;
#[cfg(feature = "torch")]
mod fuzz;
#[cfg(feature = "torch")]
mod gan;
mod hyperparameters;
mod lineage;
mod local;
mod nfs;
mod report;
mod rl;
mod screens;
mod soup;
mod support;
mod tiny;
mod verify;
mod watch;
