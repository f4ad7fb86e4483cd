//! The examples and the projects that `pbtnas new` writes.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::python;
use crate::support::{PBTNAS, text};

/// Runs pbtnas with a `python3` that has NumPy and PyTorch; returns what it printed.
fn pbtnas(arguments: &[&str]) -> String {
    let bin = python().parent().unwrap().to_owned();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let output = Command::new(PBTNAS).args(arguments).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "pbtnas {arguments:?}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn search(config: &Path, state: &Path) -> serde_json::Value {
    let (config, state) = (config.to_str().unwrap(), state.to_str().unwrap());
    pbtnas(&["run", "--config", config, "--state", state]);
    assert!(pbtnas(&["verify", "--state", state]).starts_with("valid"));
    serde_json::from_str(&pbtnas(&["status", "--state", state, "--json"])).unwrap()
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name).join("search.toml")
}

/// The accuracy of chance is 0.1.
#[test]
fn fashion_in_pytorch() {
    let dir = tempfile::tempdir().unwrap();
    let (config, state) = (dir.path().join("smaller.toml"), dir.path().join("run"));
    let whole = example("fashion-pytorch");
    let smaller = format!(
        "extends = {whole:?}\n[search]\npopulation = 4\ntau = 0.5\nepochs = 2\n[command]\ndirectory = {:?}\n",
        whole.parent().unwrap()
    );
    std::fs::write(&config, smaller).unwrap();
    let status = search(&config, &state);
    assert!(status["best"]["fitness"].as_f64().unwrap() > 0.6, "{status}");
    // On images that the search has not seen.
    let state = state.to_str().unwrap();
    let evaluated = pbtnas(&["evaluate", "--state", state, "--json"]);
    let evaluated: serde_json::Value = serde_json::from_str(&evaluated).unwrap();
    assert!(evaluated["fitness"].as_f64().unwrap() > 0.6, "{evaluated}");
}

/// The accuracy of chance is 1/3.
#[test]
fn spirals_in_numpy() {
    let dir = tempfile::tempdir().unwrap();
    let status = search(&example("spirals-numpy"), &dir.path().join("run"));
    assert!(status["best"]["fitness"].as_f64().unwrap() > 0.8, "{status}");
}

#[test]
fn check_finds_a_tensor_that_depends_on_a_foreign_variable() {
    let printed = pbtnas(&["check", "--config", example("spirals-numpy").to_str().unwrap()]);
    for said in ["tensors depend only on their owners", "fitness 0.", "after SIGTERM", "ready: "] {
        assert!(printed.contains(said), "{said}: {printed}");
    }
    let dir = tempfile::tempdir().unwrap();
    let project = dir.path().join("project");
    pbtnas(&["new", project.to_str().unwrap(), "--template", "numpy"]);
    let config = project.join("search.toml");
    let good = std::fs::read_to_string(&config).unwrap();
    for (wrong, said) in [
        ("owns = []", "\"net/block2.bias\" differs between block2 = "),
        ("owns = [\"net/blok2.\"]", "\"net/block2.bias\" differs between block2 = "),
        ("owns = [\"net/block2.\", \"net/block3.\"]", ""),
    ] {
        std::fs::write(&config, good.replace("owns = [\"net/block2.\"]", wrong)).unwrap();
        let path = format!("{}:{}", python().parent().unwrap().display(), std::env::var("PATH").unwrap());
        let output = Command::new(PBTNAS)
            .args(["check", "--config", config.to_str().unwrap()])
            .env("PATH", path)
            .output()
            .unwrap();
        assert_eq!(output.status.success(), said.is_empty(), "{wrong}: {}", text(&output));
        assert!(text(&output).contains(said), "{wrong}: {}", text(&output));
    }
}

/// The accuracy of chance is 1/4.
#[test]
fn a_new_project_runs_and_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let project = dir.path().join("my search");
    let printed = pbtnas(&["new", project.to_str().unwrap()]);
    assert!(printed.contains("pbtnas run --config"), "{printed}");
    // One generation, with the printed command.
    let config = project.join("search.toml");
    let text_of = std::fs::read_to_string(&config).unwrap();
    let smaller =
        text_of.replace("epochs = 6", "epochs = 2").replace("population = 8", "population = 4\ntau = 0.5");
    assert_ne!(smaller, text_of);
    std::fs::write(&config, smaller).unwrap();
    let status = search(&config, &project.join("runs/first"));
    assert!(status["best"]["fitness"].as_f64().unwrap() > 0.5, "{status}");
    let again = Command::new(PBTNAS).arg("new").arg(&project).output().unwrap();
    assert!(!again.status.success() && text(&again).contains("already exists"), "{}", text(&again));
    for (template, import) in [("pytorch", "import torch"), ("numpy", "import numpy")] {
        let other = dir.path().join(template);
        pbtnas(&["new", other.to_str().unwrap(), "--template", template]);
        assert!(std::fs::read_to_string(other.join("train.py")).unwrap().contains(import));
    }
}
