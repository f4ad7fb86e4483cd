//! Tests that records which do not match their run are refused.

use serde_json::{Value, json};

use std::path::Path;

use super::Run;
use crate::advance::advance;
use crate::config::Config;
use crate::create::create;
use pbtnas_core::durable_fs::Digest;
use pbtnas_core::run::{
    ArchiveRecord, BestRecord, FORMAT, FileRef, Ingredient, Outcome, ResultRecord, SoupPlan, StartRecord,
    StateError, replace_json,
};
use pbtnas_core::search::MemberId;

const CONFIG: &str = "seed = 7\n[search]\npopulation = 8\nepochs = 6\nepochs_per_generation = 2\n\
                      [task]\nkind = \"synthetic\"\n[synthetic]\nlayers = 2\n";

/// A run with its first plan.
fn begun(dir: &Path) -> Run {
    let config = Config::parse(Path::new("run.toml"), CONFIG).unwrap();
    let task = config.task();
    let run = create(&dir.join("run"), &config, task.as_ref()).unwrap().0;
    advance(&run, task.as_ref(), false).unwrap();
    run
}

/// Writes a record with one value (a JSON pointer) replaced.
fn rewrite(path: &Path, record: &impl serde::Serialize, pointer: &str, value: Value) {
    let mut changed = serde_json::to_value(record).unwrap();
    *changed.pointer_mut(pointer).unwrap() = value;
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    replace_json(path, &changed).unwrap();
}

fn reason<T: std::fmt::Debug>(result: Result<T, StateError>) -> String {
    match result.unwrap_err() {
        StateError::Damaged { reason, .. } => reason,
        other => panic!("{other}"),
    }
}

#[test]
fn plan_numbers_must_match_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let run = begun(dir.path());
    let plan = run.plan(0).unwrap();
    for (pointer, value) in [
        ("/generation", json!(1)),
        ("/from_epoch", json!(3)),
        ("/from_epoch", json!(u32::MAX)),
        ("/to_epoch", json!(0)),
        ("/to_epoch", json!(u32::MAX)),
        ("/members", json!([])),
        ("/members/1/id", json!(0)),
    ] {
        rewrite(&run.layout.plan(0), &plan, pointer, value.clone());
        let reason = reason(run.plan(0));
        assert!(reason.contains("not fit the run"), "{pointer} {value}: {reason}");
    }
    // A directory with a number beyond the last epoch is not a generation, whatever it contains.
    rewrite(&run.layout.plan(0), &plan, "/generation", json!(0));
    rewrite(&run.layout.plan(u32::MAX), &plan, "/generation", json!(u32::MAX));
    assert_eq!(run.latest_generation().unwrap(), Some(0));
}

#[test]
fn records_must_name_their_own_files() {
    let dir = tempfile::tempdir().unwrap();
    let run = begun(dir.path());
    let file = |path: &Path| FileRef { path: run.layout.relative(path), size: 1, digest: Digest::of(b"") };
    let member = MemberId(3);
    let own = file(&run.layout.final_checkpoint(0, member));
    let others = [
        "../../victim",
        "/etc/passwd",
        "run.json",
        "config.toml",
        "generations/0000/members/04/final.safetensors",
        "generations/0000/members/03/../03/final.safetensors",
    ];

    let mut result = ResultRecord {
        format: FORMAT,
        generation: 0,
        member,
        outcome: Outcome::Trained {
            fitness: Some(1.0),
            metrics: Default::default(),
            curve: Vec::new(),
            option_weights: Default::default(),
            preview: None,
            epoch: 2,
            checkpoint: own.clone(),
            attempt: 1,
            host: "here".into(),
            started: Default::default(),
            finished: Default::default(),
        },
    };
    let best = BestRecord {
        format: FORMAT,
        as_of: 0,
        generation: 0,
        member,
        fitness: 1.0,
        metrics: Default::default(),
        genotype: run.plan(0).unwrap().members[3].genotype.clone(),
        checkpoint: own.clone(),
    };
    let ingredient = Ingredient { generation: 0, member, fitness: Some(1.0), checkpoint: own.clone() };
    let soup = SoupPlan {
        format: FORMAT,
        round: 1,
        ingredients: vec![ingredient.clone()],
        fitness: 1.0,
        candidates: vec![ingredient],
    };
    let mut plan = run.plan(0).unwrap();
    plan.members[3].start = StartRecord::Checkpoint(own.clone());

    let paths =
        [run.layout.result(0, member), run.layout.best(), run.layout.soup(None).plan(1), run.layout.plan(0)];
    rewrite(&paths[0], &result, "/format", json!(FORMAT));
    rewrite(&paths[1], &best, "/format", json!(FORMAT));
    rewrite(&paths[2], &soup, "/format", json!(FORMAT));
    assert_eq!(run.result(0, member).unwrap().as_ref(), Some(&result));
    assert_eq!(run.best().unwrap().as_ref(), Some(&best));
    assert_eq!(run.soup_plan(&run.layout.soup(None), 1).unwrap(), soup);
    for other in others {
        rewrite(&paths[0], &result, "/outcome/checkpoint/path", json!(other));
        rewrite(&paths[1], &best, "/checkpoint/path", json!(other));
        rewrite(&paths[2], &soup, "/candidates/0/checkpoint/path", json!(other));
        rewrite(&paths[3], &plan, "/members/3/start/checkpoint/path", json!(other));
        for reason in [
            reason(run.result(0, member)),
            reason(run.best()),
            reason(run.soup_plan(&run.layout.soup(None), 1)),
            reason(run.plan(0)),
        ] {
            assert!(reason.contains("it names the file"), "{other}: {reason}");
        }
    }
    // The same holds for archives.
    result.outcome = Outcome::Failed { reason: "no".into(), attempts: 3, left: None };
    let mut results: Vec<ResultRecord> =
        (0..8).map(|id| ResultRecord { member: MemberId(id), ..result.clone() }).collect();
    if let Outcome::Failed { .. } = results[3].outcome {
        let checkpoint = FileRef { path: "run.json".into(), ..own };
        results[3].outcome = Outcome::Trained {
            fitness: None,
            metrics: Default::default(),
            curve: Vec::new(),
            option_weights: Default::default(),
            preview: None,
            epoch: 2,
            checkpoint,
            attempt: 1,
            host: "here".into(),
            started: Default::default(),
            finished: Default::default(),
        };
    }
    let attempts = vec![vec![]; 8];
    let archive = ArchiveRecord { format: FORMAT, generation: 0, results, preview: None, attempts };
    rewrite(&run.layout.archive(0), &archive, "/format", json!(FORMAT));
    assert!(reason(run.results(0)).contains("it names the file \"run.json\""));
}

#[test]
fn best_record_and_soup_rounds_must_match_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let run = begun(dir.path());
    let own = run.layout.relative(&run.layout.final_checkpoint(1, MemberId(0)));
    let checkpoint = FileRef { path: own, size: 1, digest: Digest::of(b"") };
    let best = BestRecord {
        format: FORMAT,
        as_of: 1,
        generation: 1,
        member: MemberId(0),
        fitness: 1.0,
        metrics: Default::default(),
        genotype: run.plan(0).unwrap().members[0].genotype.clone(),
        checkpoint: checkpoint.clone(),
    };
    for (pointer, value) in
        [("/as_of", json!(0)), ("/as_of", json!(6)), ("/genotype", json!({ "layer0": "o99" }))]
    {
        rewrite(&run.layout.best(), &best, pointer, value);
        reason(run.best());
    }
    let ingredient = Ingredient { generation: 1, member: MemberId(0), fitness: Some(1.0), checkpoint };
    let ingredients = vec![ingredient];
    let soup = SoupPlan { format: FORMAT, round: 1, ingredients, fitness: 1.0, candidates: vec![] };
    for (pointer, value) in [("/round", json!(2)), ("/round", json!(u32::MAX)), ("/ingredients", json!([]))] {
        rewrite(&run.layout.soup(None).plan(1), &soup, pointer, value);
        assert!(reason(run.soup_plan(&run.layout.soup(None), 1)).contains("do not fit the round"));
    }
}

#[test]
fn run_id_space_and_record_size_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let run = begun(dir.path());
    let (root, path) = (run.layout.root(), run.layout.run());
    for id in ["", "a,another-job", "a b", "../a", "é", &"a".repeat(33)] {
        rewrite(&path, &run.record, "/run_id", json!(id));
        assert!(reason(Run::open(root)).contains("invalid run id"));
    }
    // A variable without options would make the search divide by zero.
    let space = r#"{"variables":[{"name":"layer0","options":[],"owns":[]}]}"#;
    std::fs::write(run.layout.space(), space).unwrap();
    rewrite(&path, &run.record, "/space/digest", json!(Digest::of(space.as_bytes())));
    assert!(reason(Run::open(root)).contains("not the space of the run's configuration"));
    // A sparse file of one terabyte.
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(reason(Run::open(root)).contains("bytes"));
}
