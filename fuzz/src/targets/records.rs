//! The JSON files of a run: each type of record, read alone and by a run. The input is a record without the digest at its
//! end, which is appended here.

use std::path::{Component, Path};
use std::sync::LazyLock;

use super::folder;
use pbtnas_core::run::{
    ArchiveRecord, AttemptEndRecord, AttemptStartRecord, BestRecord, EvaluationRecord, FORMAT, FileRef,
    Heartbeat, IntentRecord, Layout, Outcome, PlanRecord, ResultRecord, RunRecord, SoupPlan, SoupRecord,
    SoupResult, StartRecord, SubmissionRecord, append_checksum, parse_json, read_attempts, verify,
    verify_checksum,
};
use pbtnas_core::search::{MemberId, next_generation};
use pbtnas_engine::config::Config;
use pbtnas_engine::create::create;
use pbtnas_engine::run::Run;
use serde::Serialize;
use serde::de::DeserializeOwned;

const CONFIG: &str = "seed = 7\n[search]\npopulation = 4\nepochs = 6\nepochs_per_generation = 2\ntau = 0.5\n[task]\nkind = \"synthetic\"\n[synthetic]\nlayers = 2\noptions = 3\n";

/// A run without any generation.
static RUN: LazyLock<Run> = LazyLock::new(|| {
    let config = Config::parse(Path::new("run.toml"), CONFIG).expect("it is sound");
    create(&folder().join("run"), &config, config.task().as_ref()).expect("a run").0
});

pub fn fuzz(input: &[u8]) {
    stays_inside(&String::from_utf8_lossy(input));
    verify_checksum(input);
    let input = &append_checksum(input.trim_ascii_end());
    let any = [
        read::<RunRecord>(input).map(open),
        read::<PlanRecord>(input).map(|record| plan(input, &record)),
        read::<ResultRecord>(input).map(|record| result(input, &record)),
        read::<ArchiveRecord>(input).map(|record| archive(input, &record)),
        read::<BestRecord>(input).map(|record| best(input, &record)),
        read::<SoupPlan>(input).map(|record| soup_plan(input, &record)),
        read::<AttemptStartRecord>(input).map(|_| attempt(input)),
        read::<AttemptEndRecord>(input).map(drop),
        read::<IntentRecord>(input).map(drop),
        read::<SubmissionRecord>(input).map(drop),
        read::<EvaluationRecord>(input).map(drop),
        read::<SoupResult>(input).map(drop),
        read::<SoupRecord>(input).map(drop),
        read::<Heartbeat>(input).map(drop),
    ];
    if any.iter().flatten().count() > 0 {
        let _ = std::fs::remove_dir_all(RUN.layout.generations());
        let _ = std::fs::remove_dir_all(RUN.layout.soup(None).dir());
    }
}

/// A record that can be read can be written, and then reads the same.
fn read<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(input: &[u8]) -> Option<T> {
    let path = Path::new("record.json");
    let record: T = parse_json(path, input).ok()?;
    let bytes = append_checksum(&serde_json::to_vec_pretty(&record).expect("a record can be written"));
    assert_eq!(parse_json::<T>(path, &bytes).expect("and read"), record);
    Some(record)
}

/// A name never leads out of the run's directory.
fn stays_inside(name: &str) {
    let root = Path::new("/runs/first");
    if let Some(path) = Layout::new(root).resolve(name) {
        let inside = path.strip_prefix(root).expect("it begins at the root");
        assert!(inside.components().count() > 0);
        assert!(inside.components().all(|part| matches!(part, Component::Normal(_))));
        assert!(!name.contains('\0'));
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, bytes).expect("a file");
}

/// The digest of the file as it is.
fn is(file: &FileRef, path: std::path::PathBuf) -> bool {
    stays_inside(&file.path);
    RUN.path_of(file).is_ok_and(|found| found == path)
}

/// `run.json` with the digests of the existing files.
fn open(record: RunRecord) {
    let (path, good) = (RUN.layout.run(), &RUN.record);
    let record = RunRecord { config: good.config.clone(), space: good.space.clone(), ..record };
    write(&path, &append_checksum(&serde_json::to_vec_pretty(&record).expect("a record")));
    if let Ok(run) = Run::open(RUN.layout.root()) {
        // It is part of the names of jobs.
        assert!(
            !run.record.run_id.is_empty()
                && run.record.run_id.bytes().all(|byte| byte.is_ascii_alphanumeric())
        );
    }
    write(&path, &append_checksum(&serde_json::to_vec_pretty(good).expect("a record")));
}

fn plan(input: &[u8], record: &PlanRecord) {
    let generation = record.generation;
    write(&RUN.layout.plan(generation), input);
    let faults = verify(&RUN).expect("it can be looked at");
    let Ok(plan) = RUN.plan(generation) else {
        // Numbers beyond the last generation are not read.
        assert!(!faults.is_empty() || generation >= RUN.config.search.epochs);
        return;
    };
    assert_eq!(&plan, record);
    assert!(plan.from_epoch < plan.to_epoch && plan.to_epoch <= RUN.config.search.epochs);
    assert!(generation < RUN.config.search.epochs);
    for member in &plan.members {
        if let StartRecord::Checkpoint(file) = &member.start {
            let own = is(file, RUN.layout.start(generation, member.id));
            assert!(own || is(file, RUN.layout.final_checkpoint(generation - 1, member.id)));
        }
    }
    let result = |fitness| ResultRecord {
        format: FORMAT,
        generation,
        member: MemberId(0),
        outcome: Outcome::Trained {
            fitness,
            metrics: Default::default(),
            option_weights: Default::default(),
            curve: Vec::new(),
            preview: None,
            epoch: plan.to_epoch,
            checkpoint: RUN.record.config.clone(),
            attempt: 1,
            host: String::new(),
            started: Default::default(),
            finished: Default::default(),
        },
    };
    let results = vec![result(Some(0.0)); plan.members.len()];
    let trained = RUN.trained(&plan, results.iter()).expect("no supernet");
    let next =
        next_generation(&RUN.space, &RUN.config.settings(), 7, generation + 1, &trained).expect("parents");
    assert_eq!(next.len(), RUN.config.search.population);
}

fn result(input: &[u8], record: &ResultRecord) {
    let ResultRecord { generation, member, .. } = *record;
    write(&RUN.layout.result(generation, member), input);
    if let Ok(Some(result)) = RUN.result(generation, member)
        && let Outcome::Trained { checkpoint, .. } = &result.outcome
    {
        assert!(is(checkpoint, RUN.layout.final_checkpoint(generation, member)));
    }
}

fn archive(input: &[u8], record: &ArchiveRecord) {
    write(&RUN.layout.archive(record.generation), input);
    if let Ok(results) = RUN.results(record.generation) {
        assert_eq!(results.len(), RUN.config.search.population);
        for result in results.iter().flatten() {
            if let Outcome::Trained { checkpoint, .. } = &result.outcome {
                assert!(is(checkpoint, RUN.layout.final_checkpoint(record.generation, result.member)));
            }
        }
    }
}

fn best(input: &[u8], record: &BestRecord) {
    let path = RUN.layout.best();
    write(&path, input);
    if let Ok(Some(best)) = RUN.best() {
        assert_eq!(&best, record);
        assert!(is(&best.checkpoint, RUN.layout.final_checkpoint(best.generation, best.member)));
        assert!(best.generation <= best.as_of && best.as_of < RUN.config.search.epochs);
    }
    std::fs::remove_file(path).expect("it was there");
}

fn soup_plan(input: &[u8], record: &SoupPlan) {
    let soup = RUN.layout.soup(None);
    write(&soup.plan(record.round), input);
    if let Ok(plan) = RUN.soup_plan(&soup, record.round) {
        assert!(!plan.ingredients.is_empty() && plan.round == plan.ingredients.len() as u32);
        for one in plan.ingredients.iter().chain(&plan.candidates) {
            assert!(is(&one.checkpoint, RUN.layout.final_checkpoint(one.generation, one.member)));
        }
    }
}

fn attempt(input: &[u8]) {
    let dir = RUN.layout.attempts(0, MemberId(0));
    write(&dir.join("0001.start.json"), input);
    assert!(read_attempts(&dir).is_ok_and(|attempts| attempts.len() == 1));
}
