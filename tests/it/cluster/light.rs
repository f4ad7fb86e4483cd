//! A program without libtorch on the login node, one with it on the nodes.

use std::ffi::OsString;
use std::process::{Command, Output};

use super::Cluster;
use crate::gan;
use crate::support::{PBTNAS, Search, text};

/// The program of the default build.
fn light() -> OsString {
    std::env::var_os("PBTNAS_LIGHT").expect("PBTNAS_LIGHT must name a program without libtorch")
}

#[test]
#[ignore = "needs a program without libtorch, which scripts/test names in PBTNAS_LIGHT"]
fn a_light_program_steps_and_reports_a_run_of_a_full_one() {
    let cluster = Cluster::get();
    let small = "subset = 200\nbatch = 20\ngenerator_batch = 20\nevaluation_images = 50\nfeature_epochs = 1";
    let config = gan::config(2, small);
    let alone = Search::init(&config);
    alone.ok(&["run", "--workers", "2"]);
    let search = Search::init(&format!("{config}[slurm]\nprogram = [{:?}]\n", PBTNAS.path()));
    let call = |arguments: &[&str]| -> Output {
        let mut command = Command::new(light());
        command.args(arguments).arg("--state").arg(&search.state).env("SLURM_CONF", cluster.conf());
        command.output().unwrap()
    };
    let step = call(&["step"]);
    assert!(step.status.success(), "{}", text(&step));
    cluster.wait(&search);
    // The offspring of generation 1 were built by the light program.
    search.assert_same(&alone);
    for command in ["status", "verify", "lineage", "watch", "report"] {
        let output = call(&[command]);
        assert!(output.status.success(), "{command}: {}", text(&output));
    }
}

#[test]
#[ignore = "needs a program without libtorch, which scripts/test names in PBTNAS_LIGHT"]
fn a_light_program_names_the_build_that_a_task_needs() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    for (config, feature) in
        [(gan::config(2, ""), "torch"), (gan::config(2, "").replace("kind = \"gan\"", "kind = \"rl\""), "rl")]
    {
        std::fs::write(&file, config).unwrap();
        for arguments in [&["init"][..], &["check"]] {
            let mut command = Command::new(light());
            command.args(arguments).arg("--config").arg(&file);
            if arguments == ["init"] {
                command.arg("--state").arg(dir.path().join("run"));
            }
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{}", text(&output));
            assert!(text(&output).contains(&format!("--features {feature}")), "{}", text(&output));
        }
        assert!(!dir.path().join("run").exists());
    }
}
