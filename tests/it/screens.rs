//! Help texts and tables as snapshots (tests/it/snapshots). After an intended change:
//!
//! ```text
//! INSTA_UPDATE=always cargo test --test it screens:: && git diff tests/it/snapshots
//! ```

use std::process::Command;

use crate::support::{PBTNAS, Search, commands, help, synthetic, text};

#[test]
fn help_texts() {
    insta::assert_snapshot!("help", help(&[]));
    for command in commands() {
        insta::assert_snapshot!(format!("help-{command}"), help(&[&command]));
    }
    insta::assert_snapshot!("help-features-check", help(&["features", "check"]));
}

/// Output without the values that differ from run to run.
fn redact(search: &Search, output: &str) -> String {
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let run_id = search.json("run.json")["run_id"].as_str().unwrap().to_owned();
    output.replace(search.state.to_str().unwrap(), "RUN").replace(&run_id, "00000000").replace(&host, "HOST")
}

/// A finished search with a hyperparameter.
fn finished(search: &str) -> Search {
    let config = synthetic(0, "rate = { low = 0.01, high = 0.5, scale = \"log\" }");
    let run = Search::init(&config.replace("[search]", &format!("[search]\n{search}")));
    run.ok(&["run", "--workers", "1"]);
    run
}

#[test]
fn tables_of_a_run() {
    let search = Search::init(&synthetic(0, ""));
    insta::assert_snapshot!("status-new", redact(&search, &search.ok(&["status"])));
    let search = finished("");
    for (name, arguments) in [
        ("status", &["status"][..]),
        ("verify", &["verify"]),
        ("lineage", &["lineage", "best"]),
        ("diff", &["diff", "1/7", "2/0"]),
        ("draw", &["draw", "best"]),
    ] {
        insta::assert_snapshot!(name, redact(&search, &search.ok(arguments)));
    }
    let unknown = search.call(&["lineage", "9/1"]);
    insta::assert_snapshot!("lineage-unknown", redact(&search, &text(&unknown)));
}

#[test]
fn tables_of_spaces() {
    let root = env!("CARGO_MANIFEST_DIR");
    for (name, config) in [
        ("space", "examples/spirals-numpy/search.toml"),
        ("space-gan", "configs/paper/cifar10-gan/pbt-nas.toml"),
    ] {
        let output =
            Command::new(PBTNAS).args(["space", "--config", config]).current_dir(root).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        insta::assert_snapshot!(name, text(&output));
    }
}

#[test]
fn table_of_a_comparison() {
    let runs = [finished(""), finished("algorithm = \"random-search\"")];
    let output = Command::new(PBTNAS).arg("compare").args(runs.each_ref().map(|run| &run.state)).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let printed = redact(&runs[1], &redact(&runs[0], &text(&output)));
    insta::assert_snapshot!("compare", printed);
}
