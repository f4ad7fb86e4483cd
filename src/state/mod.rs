//! The directory of a run, and nothing about what is done with it.
//!
//! What is published never changes, each file appears whole or not at all, and the first writer wins; so any
//! process may die at any instruction and any command may run twice (design rules 2 and 3).

mod attempts;
mod collected;
#[cfg(test)]
mod collected_tests;
mod error;
mod layout;
mod lock;
mod process;
mod publish;
mod read;
mod records;
mod retention;
mod run;
mod seal;
mod verify;

pub use attempts::{
    Attempt, begin_attempt, end_attempt, failures, find_attempts, is_overtaken, read_attempts,
    refresh_attempts,
};
pub use error::StateError;
pub use layout::{Layout, SoupLayout, intent, submission};
pub use lock::Lock;
pub use process::{is_gone, machine};
pub use publish::{
    Draft, Published, Staged, ensure_dir, ensure_dirs, is_left_behind, link, publish_bytes, publish_json,
    remove, replace_json, stage, stage_link, temporary_name, withdraw,
};
pub use read::{find_json, find_sound_json, is_there, names_in, parse_json, read_json, refresh};
pub use records::{
    ArchiveRecord, AttemptEnd, AttemptStart, BestRecord, CurvePoint, Ending, EvaluationRecord, FORMAT,
    FileRef, Heartbeat, Ingredient, IntentRecord, Left, MemberPlan, Outcome, PlanRecord, ResultRecord,
    RunRecord, SoupPlan, SoupRecord, SoupResult, StartRecord, SubmissionRecord,
};
pub use retention::{collect, drop_folder, drop_temporaries, kept_generations, left_folders};
pub use run::Run;
pub use seal::{seal, unseal};
pub use verify::{Fault, verify};
