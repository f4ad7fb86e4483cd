//! `pbtnas verify` names each fault, and no command works on damaged files in silence.

use std::fs;

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
    assert!(faults(&search).contains("No such file"));
    fs::write(&path, good).unwrap();
    assert!(search.ok(&["verify"]).starts_with("sound"));
}

#[test]
fn a_changed_decision_is_named() {
    let search = finished();
    let path = search.path("generations/0001/plan.json");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, good.replacen("\"kind\": \"survivor\"", "\"kind\": \"random\"", 1)).unwrap();
    let message = faults(&search);
    assert!(
        message.contains("0001/plan.json") && message.contains("is not what the search decides"),
        "{message}"
    );
    fs::write(&path, &good[..good.len() / 2]).unwrap();
    assert!(faults(&search).contains("0001/plan.json is damaged"));
    fs::write(
        &path,
        good.replacen("\"format\": 1", "\"format\": 9", 1).replacen("\"members\"", "\"people\"", 1),
    )
    .unwrap();
    assert!(faults(&search).contains("has format 9, this program reads format 1"));
}

#[test]
fn a_changed_fitness_is_named() {
    let search = finished();
    let path = search.path("generations/0001/members/00/result.json");
    let mut result = search.json("generations/0001/members/00/result.json");
    result["outcome"]["fitness"] = 1e6.into();
    fs::write(&path, result.to_string()).unwrap();
    let message = faults(&search);
    assert!(message.contains("best.json: it does not name the member of the highest fitness"), "{message}");
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

#[test]
fn a_child_is_not_made_of_a_damaged_parent() {
    let search = Search::init(&synthetic(0, ""));
    search.call(&["step"]);
    for member in 0..8 {
        search.ok(&["train", "--member", &member.to_string()]);
    }
    for member in 0..8 {
        let path = search.path(&format!("generations/0000/members/{member:02}/final.safetensors"));
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let output = search.call(&["run"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output).contains("final.safetensors is damaged"), "{}", text(&output));
    assert!(!search.path("generations/0001/plan.json").exists());
}
