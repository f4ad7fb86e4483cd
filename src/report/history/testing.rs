//! Test histories.

use chrono::{DateTime, Utc};

use super::{Generation, Member};
use pbtnas_core::durable_fs::Digest;
use pbtnas_core::run::{
    Attempt, AttemptEnd, AttemptEndRecord, AttemptStartRecord, FORMAT, FileRef, Heartbeat, MemberPlan,
    Outcome, ResultRecord, StartRecord,
};
use pbtnas_core::search::{Genotype, MemberId, Origin};

/// Seconds since 1970.
pub fn second(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(second, 0).unwrap()
}

/// A generation of two epochs.
pub fn generation(number: u32, members: Vec<Member>) -> Generation {
    Generation { number, from_epoch: 2 * number, to_epoch: 2 * number + 2, members, preview: None }
}

/// A random member, done if it has a fitness.
pub fn member(id: u32, fitness: Option<f64>) -> Member {
    let id = MemberId(id);
    let plan =
        MemberPlan { id, genotype: Genotype::new([]), origin: Origin::Random, start: StartRecord::Fresh };
    let outcome = |fitness| Outcome::Trained {
        fitness: Some(fitness),
        metrics: [("quality".to_owned(), fitness)].into(),
        curve: Vec::new(),
        option_weights: Default::default(),
        preview: None,
        epoch: 2,
        checkpoint: FileRef { path: "final".into(), size: 1, digest: Digest::of(b"") },
        attempt: 1,
        host: "here".into(),
        started: second(0),
        finished: second(60),
    };
    let record =
        |fitness| ResultRecord { format: FORMAT, generation: 0, member: id, outcome: outcome(fitness) };
    Member { plan, result: fitness.map(record), attempts: Vec::new(), heartbeat: None }
}

/// An attempt that started at a second and has not ended.
pub fn attempt(number: u32, at: i64) -> Attempt {
    let (host, started) = ("here".to_owned(), second(at));
    let start = AttemptStartRecord { format: FORMAT, job: None, host, pid: 1, started, left: None };
    Attempt { number, start, end: None }
}

/// The end of an attempt at a second.
pub fn ended(at: i64, ending: AttemptEnd) -> AttemptEndRecord {
    AttemptEndRecord { format: FORMAT, ended: second(at), ending }
}

/// The first heartbeat of an attempt.
pub fn beat(attempt: u32) -> Heartbeat {
    Heartbeat {
        format: FORMAT,
        epoch: 0,
        fraction: 0.0,
        phase: "training".into(),
        metrics: Default::default(),
        attempt,
        saved: None,
        curve: Vec::new(),
        at: second(0),
    }
}
