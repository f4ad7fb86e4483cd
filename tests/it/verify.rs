//! `pbtnas verify` names each fault, and no command uses damaged files silently.

use std::fs;

use pbtnas_core::run::{Outcome, PlanRecord, ResultRecord, read_json, replace_json};
use pbtnas_core::search::Origin;

use crate::support::{Search, synthetic, text};

fn finished() -> Search {
    let search = Search::init(&synthetic(0, ""));
    search.ok(&["run"]);
    search
}

fn faults(search: &Search) -> String {
    let output = search.call(&["verify"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    text(&output)
}

#[test]
fn changed_and_missing_checkpoints_are_named() {
    let search = finished();
    let path = search.path("generations/0001/members/03/final.safetensors");
    let good = fs::read(&path).unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(&path, &bad).unwrap();
    let message = faults(&search);
    assert!(
        message.contains("members/03/final.safetensors") && message.contains("contents have changed"),
        "{message}"
    );
    fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert!(faults(&search).contains("bytes instead of"));
    fs::remove_file(&path).unwrap();
    assert!(faults(&search).contains("the file is missing"));
    fs::write(&path, good).unwrap();
    assert!(search.ok(&["verify"]).starts_with("valid"));
}

#[test]
fn a_changed_decision_is_named() {
    let search = finished();
    let path = search.path("generations/0001/plan.json");
    let good = fs::read_to_string(&path).unwrap();
    let mut wrong: PlanRecord = read_json(&path).unwrap();
    wrong.members.iter_mut().find(|member| member.origin == Origin::Survivor).unwrap().origin =
        Origin::Random;
    replace_json(&path, &wrong).unwrap();
    let message = faults(&search);
    assert!(
        message.contains("0001/plan.json") && message.contains("does not match the decision recomputed"),
        "{message}"
    );
    fs::write(&path, &good[..good.len() / 2]).unwrap();
    assert!(faults(&search).contains("0001/plan.json is damaged"));
    let of_format = |format: &str| {
        let other = good.replacen("\"format\": 2", &format!("\"format\": {format}"), 1);
        fs::write(&path, other.replacen("\"members\"", "\"people\"", 1)).unwrap();
        faults(&search)
    };
    let newer = of_format("9");
    assert!(
        newer.contains("has format 9, this program reads format 2") && newer.contains("newer pbtnas"),
        "{newer}"
    );
    let older = of_format("1");
    let reason =
        "has format 1, this program reads format 2, because generators, mutations and first populations";
    assert!(older.contains(reason) && older.contains("or begin a new run"), "{older}");
}

#[test]
fn a_changed_fitness_is_named() {
    let search = finished();
    let path = search.path("generations/0001/members/00/result.json");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, good.replacen("\"fitness\": ", "\"fitness\": 1", 1)).unwrap();
    assert!(faults(&search).contains("result.json is damaged: it was truncated or modified"));
    // A wrong value with a valid checksum.
    fs::write(&path, good).unwrap();
    let mut wrong: ResultRecord = read_json(&path).unwrap();
    let Outcome::Trained { fitness, .. } = &mut wrong.outcome else { panic!("{wrong:?}") };
    *fitness = Some(1e6);
    replace_json(&path, &wrong).unwrap();
    let message = faults(&search);
    assert!(message.contains("best.json: it does not name the best member"), "{message}");
}

#[test]
fn a_configuration_edited_after_init_is_refused() {
    let search = finished();
    let path = search.path("config.toml");
    let text_before = fs::read_to_string(&path).unwrap();
    fs::write(&path, text_before.replace("population = 8", "population = 12")).unwrap();
    for command in ["verify", "run", "step", "status"] {
        let output = search.call(&[command]);
        assert_eq!(output.status.code(), Some(4));
        assert!(text(&output).contains("it was changed after `pbtnas init`"), "{}", text(&output));
    }
}
