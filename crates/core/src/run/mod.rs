//! The run directory: its layout, records, retention and verification.
//!
//! Published files never change, each file appears whole or not at all, and the first writer wins. A process may
//! therefore die at any instruction, and any command may run twice (design rules 2 and 3).

mod attempts;
mod best_of;
mod collected;
mod dir;
mod error;
mod json;
mod keep;
mod layout;
mod records;
mod retention;
mod seal;
mod soup_candidates;
mod verify;

pub use attempts::{
    Attempt, Exhausted, begin_attempt, end_attempt, exhausted, failures, find_attempts, is_overtaken,
    read_attempts, refresh_attempts,
};
pub use best_of::BestOf;
pub use collected::digest_in;
pub use dir::{RunDir, Supernet, Terms};
pub use error::StateError;
pub use json::{find_json, find_json_or_quarantine, parse_json, publish_json, read_json, replace_json};
pub use keep::Keep;
pub use layout::{Layout, SoupLayout, intent, submission};
pub use records::{
    ArchiveRecord, AttemptEnd, AttemptEndRecord, AttemptStartRecord, BestRecord, CurvePoint,
    EvaluationRecord, FORMAT, FileRef, Heartbeat, Ingredient, IntentRecord, LastSeen, MemberPlan, Outcome,
    PlanRecord, ResultRecord, RunRecord, SoupPlan, SoupRecord, SoupResult, StartRecord, SubmissionRecord,
};
pub use retention::{abandoned_dirs, collect, drop_folder, drop_temporaries, kept_generations};
pub use seal::{append_checksum, verify_checksum};
pub use soup_candidates::soup_candidates;
pub use verify::{Problem, verify};
