//! The directory of a run, and nothing about what is done with it.
//!
//! What is published never changes, each file appears whole or not at all, and the first writer wins; so any
//! process may die at any instruction and any command may run twice (design rules 2 and 3).

mod attempts;
mod error;
mod layout;
mod lock;
mod publish;
mod records;
mod retention;
mod run;
mod verify;

pub use attempts::{Attempt, begin_attempt, end_attempt, read_attempts};
pub use error::StateError;
pub use layout::{Layout, intent, submission};
pub use lock::Lock;
pub use publish::{Published, Staged, ensure_dir, publish_bytes, publish_json, replace_json, stage};
pub use records::{
    AttemptEnd, AttemptStart, BestRecord, Ending, EvaluationRecord, FORMAT, FileRef, Heartbeat, Ingredient,
    IntentRecord, MemberPlan, Outcome, PlanRecord, ResultRecord, RunRecord, SoupPlan, SoupRecord, SoupResult,
    StartRecord, SubmissionRecord,
};
pub use retention::{collect, kept_generations};
pub use run::{Run, read_json};
pub use verify::{Fault, verify};
