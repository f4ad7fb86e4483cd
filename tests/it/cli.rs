//! Commands, their messages for wrong input, and exit codes.

use std::process::Command;

use crate::support::{PBTNAS, Search, synthetic, text};

#[test]
fn init_is_idempotent_and_refuses_another_configuration() {
    let search = Search::init(&synthetic(0, ""));
    let config = search.folder().join("config.toml");
    let again = search.ok(&["init", "--config", config.to_str().unwrap()]);
    assert!(again.contains("already exists"), "{again}");
    std::fs::write(&config, synthetic(1, "")).unwrap();
    let other = search.call(&["init", "--config", config.to_str().unwrap()]);
    assert_eq!(other.status.code(), Some(4));
    assert!(text(&other).contains("a different configuration"), "{}", text(&other));
}

#[test]
fn a_missing_run_or_generation_is_reported() {
    let search = Search::init(&synthetic(0, ""));
    let none = search.call(&["train", "--member", "0", "--generation", "0"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none).contains("the run has no generation yet"), "{}", text(&none));
    let best = search.call(&["best"]);
    assert!(text(&best).contains("has no best member: no generation is complete yet"), "{}", text(&best));
    let file = search.folder().join("config.toml");
    let wrong = Command::new(PBTNAS).args(["status", "--state", file.to_str().unwrap()]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(4));
    assert!(text(&wrong).contains("is a file: --state takes a run directory"), "{}", text(&wrong));
}

#[test]
fn an_unfinished_init_is_not_taken_for_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let (config, state) = (dir.path().join("c.toml"), dir.path().join("run"));
    std::fs::write(&config, synthetic(0, "")).unwrap();
    std::fs::create_dir(&state).unwrap();
    std::fs::write(state.join("config.toml"), "seed = 1\n").unwrap();
    let output = Command::new(PBTNAS)
        .args(["init", "--config", config.to_str().unwrap(), "--state", state.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output).contains("unfinished `pbtnas init`"), "{}", text(&output));
}

#[test]
fn a_closed_output_pipe_ends_the_program_silently() {
    let mut schema = Command::new(PBTNAS);
    schema
        .args(["schema", "compare"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut schema = schema.spawn().unwrap();
    drop(schema.stdout.take());
    let output = schema.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output).as_str()), (Some(141), ""));
}

#[test]
fn a_wrong_configuration_creates_no_run() {
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
    let message = try_init(&synthetic(0, "").replace("epochs_per_generation", "epoch_per_generation"));
    assert!(
        message
            .contains("c.toml:5: unknown key `epoch_per_generation`: did you mean `epochs_per_generation`?"),
        "{message}"
    );
    let message = try_init(&synthetic(0, "").replace("epochs_per_generation", "epochs_per_step"));
    assert!(message.contains("c.toml:5: search.epochs_per_step: this key is now called"), "{message}");
    let message = try_init(&synthetic(0, "[slurm]\nmembers_per_task = 0"));
    assert!(
        message.contains("c.toml:15: slurm.members_per_task: must be between 1 and 1000000"),
        "{message}"
    );
}

#[test]
fn every_failure_has_its_exit_code() {
    let code = |arguments: &[&str]| Command::new(PBTNAS).args(arguments).output().unwrap().status.code();
    assert_eq!(code(&["--help"]), Some(0));
    assert_eq!(code(&["stride"]), Some(2));
    assert_eq!(code(&["status", "--state", "/nowhere"]), Some(4));
    assert_eq!(code(&["init", "--config", "/nowhere.toml", "--state", "/tmp/x"]), Some(3));
    let search = Search::init(&synthetic(0, ""));
    // No SLURM on the PATH: another machine may have it.
    let output = search.command(&["step"]).env("PATH", "/nowhere").output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    assert!(text(&output).contains("pbtnas run"), "{}", text(&output));
}

#[test]
fn status_shows_the_progress_of_a_run() {
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
    let network = pbtnas_core::checkpoint::Reader::open(&out.join("network.safetensors")).unwrap();
    assert!(network.entries().all(|entry| !entry.name.starts_with("optimizer/")));
    assert!(network.entries().any(|entry| entry.name.starts_with("average/")));
}

#[test]
fn space_needs_no_data() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/paper");
    let space = |config: &str, more: &[&str]| {
        let output = Command::new(PBTNAS)
            .arg("space")
            .arg("--config")
            .arg(root.join(config))
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let gan = space("cifar10-gan/pbt-nas.toml", &[]);
    assert!(gan.contains("21 variables, 0 of them without weights; 3460972340748447 architectures"), "{gan}");
    let hard = space("stl10-gan-hard/mutation.toml", &[]);
    let size = "29064744805785532203881706814130106923056021635072000";
    assert!(
        hard.contains(&format!("72 variables, 12 of them without weights; {size} architectures")),
        "{hard}"
    );
    let line = hard.lines().find(|line| line.starts_with("generator/projection2/linear ")).unwrap();
    assert!(
        line.contains(" generator/projection2/linear/ ") && line.ends_with("whole_previous whole_target")
    );
    let json: serde_json::Value =
        serde_json::from_str(&space("cifar10-gan-hard/pbt-nas.toml", &["--json"])).unwrap();
    assert_eq!(json["architectures"], size);
    assert_eq!(json["variables"].as_array().unwrap().len(), 72);
}

#[cfg(feature = "torch")]
#[test]
fn a_missing_data_set_or_network_is_reported_before_init() {
    let dir = tempfile::tempdir().unwrap();
    let (config, state) = (dir.path().join("c.toml"), dir.path().join("run"));
    let base =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/paper/cifar10-gan/pbt-nas.toml");
    let init = |gan: &str| {
        std::fs::write(&config, format!("extends = {base:?}\n[gan]\n{gan}\n")).unwrap();
        let output = Command::new(PBTNAS)
            .args(["init", "--config"])
            .arg(&config)
            .arg("--state")
            .arg(&state)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(!state.exists());
        text(&output)
    };
    let message = init("data = \"nowhere\"");
    assert!(
        message.contains("nowhere/data_batch_1.bin") && message.contains("CIFAR-10 binary version"),
        "{message}"
    );
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/data/fashion-mnist");
    let message = init(&format!("dataset = \"idx\"\ndata = {data:?}\ninception = \"missing.pt\""));
    assert!(
        message.contains("missing.pt, which does not exist") && message.contains("inception-2015-12-05.pt"),
        "{message}"
    );
}

#[cfg(not(feature = "torch"))]
#[test]
fn without_the_feature_gan_names_the_build_command() {
    let config = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/fashion-small.toml");
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("run");
    let mut init = Command::new(PBTNAS);
    let output = init.args(["init", "--config"]).arg(config).arg("--state").arg(&state).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("cargo build --release --locked --features torch"), "{}", text(&output));
    assert!(!state.exists());
}
