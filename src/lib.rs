//! Neural architecture search by Population Based Training (PBT-NAS), driven by SLURM.
//!
//! A module may use the ones it names here, and no other:
//!
//! ```text
//! search      nobody                         pure decisions: selection, mixing, lineage, seeds
//! checkpoint  search                         safetensors streaming, layer surgery, shrink-perturb
//! failpoint   nobody                         where tests let a process die
//! gpu         nobody                         device and precision; loads libtorch's CUDA half
//! parallel    nobody                         the same for many things, on all cores
//! plain       nobody                         texts of others, for a terminal
//! signal      nobody                         what asks to leave
//! tasks       search, checkpoint, gpu,       what is trained: gan, rl, synthetic, or a program of the
//!             signal, failpoint              user's own
//! config      search, tasks                  typed, validated TOML
//! rehearse    search, checkpoint, tasks      what a search will ask of a task, once
//! state       search, checkpoint, config     the run's directory: publish, read, verify
//! place       state, tasks, signal           where a run's members live
//! create      all of the above               a new run
//! children    all of the above but create    first checkpoints of mixes and mutations
//! advance     all of the above               from one generation to the next
//! trainer     all of the above but advance   one member's life
//! soup        all of the above               the greedy search for a model soup
//! evaluate    state, tasks                   final evaluations
//! scheduler   state, advance, soup           slurm, local
//! doctor      config, state, tasks, gpu,     what would go wrong with a search
//!             signal, plain, scheduler
//! report      state, evaluate, scheduler     tables, plots, the best network's files
//! watch       state, report, scheduler       a search, watched while it goes on
//! schema      whoever prints JSON            what programs may rely on in it
//! cli         everything                     argument parsing and messages
//! ```

pub mod advance;
pub mod checkpoint;
pub mod children;
pub mod cli;
pub mod config;
pub mod create;
pub mod doctor;
pub mod error;
pub mod evaluate;
pub mod failpoint;
pub mod gpu;
pub mod parallel;
pub mod place;
pub mod plain;
pub mod rehearse;
pub mod report;
pub mod scheduler;
pub mod schema;
pub mod search;
pub mod signal;
pub mod soup;
pub mod state;
pub mod tasks;
pub mod trainer;
pub mod watch;
