//! End-to-end tests through the program: as its users call it, on a real SLURM, with real kills.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod adversarial;
mod allocation;
mod checkpoint_memory;
mod cli;
mod cluster_faults;
mod command;
mod compare;
#[cfg(feature = "failpoints")]
mod crash;
mod damage;
mod disk;
mod docs;
mod doctor;
mod features;
mod fuzz;
mod gan;
mod hyperparameters;
mod lineage;
mod local;
mod nfs;
mod report;
mod rl;
mod slurm;
mod soup;
mod support;
mod tiny;
mod verify;
mod watch;
