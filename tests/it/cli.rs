//! What a user types, and what they are told when it is wrong.

use std::process::Command;

use crate::support::{PBTNAS, Search, synthetic, text};

#[test]
fn init_is_idempotent_and_refuses_another_configuration() {
    let search = Search::init(&synthetic(0, ""));
    let config = search.folder().join("config.toml");
    let again = search.ok(&["init", "--config", config.to_str().unwrap()]);
    assert!(again.contains("is there already"), "{again}");
    std::fs::write(&config, synthetic(1, "")).unwrap();
    let other = search.call(&["init", "--config", config.to_str().unwrap()]);
    assert_eq!(other.status.code(), Some(4));
    assert!(text(&other).contains("another configuration"), "{}", text(&other));
}

#[test]
fn a_wrong_configuration_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (config, state) = (dir.path().join("c.toml"), dir.path().join("run"));
    let try_init = |content: &str| {
        std::fs::write(&config, content).unwrap();
        let output = Command::new(PBTNAS)
            .arg("init")
            .arg("--config")
            .arg(&config)
            .arg("--state")
            .arg(&state)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert!(!state.exists());
        text(&output)
    };
    let message = try_init(&synthetic(0, "").replace("epochs_per_step", "epoch_per_step"));
    assert!(
        message.contains("c.toml:5: unknown key `epoch_per_step`: did you mean `epochs_per_step`?"),
        "{message}"
    );
    let message = try_init(&synthetic(0, "[slurm]\nmembers_per_task = 0"));
    assert!(message.contains("c.toml:15: slurm.members_per_task: must be at least 1"), "{message}");
}

#[test]
fn every_failure_has_its_exit_code() {
    let code = |arguments: &[&str]| Command::new(PBTNAS).args(arguments).output().unwrap().status.code();
    assert_eq!(code(&["--help"]), Some(0));
    assert_eq!(code(&["stride"]), Some(2));
    assert_eq!(code(&["status", "--state", "/nowhere"]), Some(4));
    assert_eq!(code(&["init", "--config", "/nowhere.toml", "--state", "/tmp/x"]), Some(3));
    let search = Search::init(&synthetic(0, ""));
    // No SLURM on the PATH: trying again elsewhere may help.
    let output = search.command(&["step"]).env("PATH", "/nowhere").output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    assert!(text(&output).contains("pbtnas run"), "{}", text(&output));
}

#[test]
fn status_tells_how_far_a_run_is() {
    let search = Search::init(&synthetic(0, ""));
    assert!(search.ok(&["status"]).contains("no generation yet"));
    assert!(search.call(&["best"]).status.code() == Some(1));
    search.ok(&["run", "--workers", "2"]);
    let status = search.status();
    assert_eq!(status["finished"], true);
    assert_eq!(status["generation"], 2);
    assert_eq!(status["members"].as_array().unwrap().len(), 8);
    assert!(status["best"]["fitness"].as_f64().unwrap() > 0.0);
    let table = search.ok(&["status"]);
    assert!(table.contains("generation 2, up to epoch 6 of 6: finished"), "{table}");
    let out = search.folder().join("best");
    let listed = search.ok(&["best", "--output", out.to_str().unwrap()]);
    assert!(listed.contains("network.safetensors") && out.join("genotype.json").exists(), "{listed}");
    let network = pbtnas::checkpoint::Reader::open(&out.join("network.safetensors")).unwrap();
    assert!(network.entries().all(|entry| !entry.name.starts_with("optimizer/")));
    assert!(network.entries().any(|entry| entry.name.starts_with("average/")));
}
