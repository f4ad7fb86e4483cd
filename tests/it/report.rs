//! The report, its charts, exports, completions and manual pages.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{PBTNAS, Search, commands, synthetic, text, wait_until};

/// Ten steps of 0.2 s an epoch, so that heartbeats record the training.
fn slow() -> String {
    synthetic(200, "rate = { low = 0.01, high = 0.5, scale = \"log\" }").replace("epochs = 6", "epochs = 4")
}

/// (generation, member, fitness) of every trained member, from the records.
fn trained(search: &Search) -> Vec<(u32, u32, f64)> {
    let mut found = Vec::new();
    for generation in 0..3 {
        for member in 0..8 {
            let path = format!("generations/{generation:04}/members/{member:02}/result.json");
            if search.path(&path).exists() {
                let fitness = search.json(&path)["outcome"]["fitness"].as_f64();
                found.extend(fitness.map(|fitness| (generation, member, fitness)));
            }
        }
    }
    found
}

/// The values of an HTML attribute.
fn attributes<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    let pattern = format!(" {name}=\"");
    page.split(&pattern).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn a_report_shows_every_member_and_needs_no_network() {
    let search = Search::init(&synthetic(0, "rate = { low = 0.01, high = 0.5, scale = \"log\" }"));
    // Before the first generation.
    let early = search.folder().join("early.html");
    search.ok(&["report", "--output", early.to_str().unwrap()]);
    assert!(fs::read_to_string(&early).unwrap().contains("running"));

    search.ok(&["run", "--workers", "4"]);
    let plots = search.folder().join("plots");
    let printed = search.ok(&["report", "--plots", plots.to_str().unwrap()]);
    let page = fs::read_to_string(search.path("report.html")).unwrap();
    assert!(printed.contains("report.html") && page.starts_with("<!DOCTYPE html>"));
    // The page loads no picture, script or style.
    for elsewhere in ["http:", "https:", "@import", "src=\"/", "<link"] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    let ids = attributes(&page, "data-id");
    let expected: Vec<String> =
        trained(&search).iter().map(|(generation, member, _)| format!("{generation}-{member:02}")).collect();
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected, "a dot for every member that is trained");
    // Lines begin at the parents that the plans name.
    for (id, from) in ids.iter().zip(attributes(&page, "data-from")) {
        let (generation, member) = id.split_once('-').unwrap();
        let (generation, member): (u32, usize) = (generation.parse().unwrap(), member.parse().unwrap());
        let plan = search.json(&format!("generations/{generation:04}/plan.json"));
        let origin = &plan["members"][member]["origin"];
        let parent = |key: &str| origin[key].as_u64().map(|id| format!("{}-{id:02}", generation - 1));
        let parents: Vec<String> = match origin["kind"].as_str().unwrap() {
            "random" => vec![],
            "survivor" => vec![format!("{}-{member:02}", generation - 1)],
            _ => ["donor", "base"].into_iter().filter_map(parent).collect(),
        };
        assert_eq!(from, parents.join(" "), "{id}");
    }
    let best = search.json("best.json")["fitness"].as_f64().unwrap();
    for shown in [format!("{best:.4}"), "rate".into(), "epochs_per_generation = 2".into(), "finished".into()]
    {
        assert!(page.contains(&shown), "{shown}");
    }
    for name in [
        "fitness",
        "variable-lineage",
        "diversity",
        "cost",
        "measure-quality",
        "hyperparameter-rate",
        "option-layer0",
    ] {
        let svg = fs::read_to_string(plots.join(format!("{name}.svg"))).unwrap();
        assert!(svg.starts_with("<svg xmlns=") && !svg.contains("NaN"), "{name}");
        assert!(fs::read(plots.join(format!("{name}.png"))).unwrap().starts_with(b"\x89PNG"), "{name}");
    }
}

/// The output of a script in tests/oracle.
fn oracle(script: &str, arguments: &[PathBuf]) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".deps/oracle/bin/python");
    assert!(python.exists(), "{} is missing: call scripts/setup oracle", python.display());
    let script = root.join("tests/oracle").join(script);
    let output = Command::new(python).arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    output.stdout
}

fn assert_near(found: &Value, expected: &[(u32, f64)]) {
    let found = found.as_array().unwrap_or_else(|| panic!("nothing instead of {expected:?}"));
    assert_eq!(found.len(), expected.len(), "{found:?} {expected:?}");
    for (found, (step, value)) in found.iter().zip(expected) {
        assert_eq!(found[0].as_u64(), Some(u64::from(*step)));
        assert!((found[1].as_f64().unwrap() - value).abs() < 1e-5 * value.abs().max(1.0), "{found} {value}");
    }
}

#[test]
fn exports_agree_with_the_records_and_grow() {
    let search = Search::init(&slow());
    let mut run = search.start(&["run", "--workers", "8"]);
    let folder = search.folder().join("out");
    let out = folder.to_str().unwrap();
    wait_until("the first generation", 60, || search.path("generations/0001/plan.json").exists());
    search.ok(&["export", "--output", out]);
    let events = |member: &str| {
        let mut files = fs::read_dir(folder.join("tensorboard").join(member)).unwrap();
        files.next().unwrap().unwrap().path()
    };
    let early = (fs::read(events("member-03")).unwrap(), fs::metadata(events("member-03")).unwrap().ino());
    assert!(run.wait().unwrap().success());
    search.ok(&["export", "--output", out]);
    let late = (fs::read(events("member-03")).unwrap(), fs::metadata(events("member-03")).unwrap().ino());
    assert!(late.0.starts_with(&early.0) && late.0.len() > early.0.len() && late.1 == early.1, "it grew");

    let read = oracle("tensorboard_reader.py", &[folder.join("tensorboard")]);
    let read: Value = serde_json::from_slice(&read).unwrap();
    let rows = trained(&search);
    let mut best: BTreeMap<u32, f64> = BTreeMap::new();
    for member in 0..8 {
        let scalars = &read[format!("member-{member:02}")]["scalars"];
        let own: Vec<(u32, f64)> =
            rows.iter().filter(|row| row.1 == member).map(|row| (2 * row.0 + 2, row.2)).collect();
        assert_near(&scalars["fitness"], &own);
        for (epoch, fitness) in own {
            let highest = best.entry(epoch).or_insert(f64::NEG_INFINITY);
            *highest = highest.max(fitness);
        }
        let rate = |generation: u32| -> f64 {
            let plan = search.json(&format!("generations/{generation:04}/plan.json"));
            plan["members"][member as usize]["genotype"]["rate"].as_str().unwrap().parse().unwrap()
        };
        assert_near(&scalars["hyperparameter/rate"], &[(0, rate(0)), (2, rate(1))]);
        assert!(
            read[format!("member-{member:02}")]["texts"]["member"][0][1].as_str().unwrap().contains("random")
        );
    }
    assert_near(&read["population"]["scalars"]["fitness/best"], &best.into_iter().collect::<Vec<_>>());

    let lines = |name: &str| -> Vec<Value> {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let members = lines("members.jsonl");
    assert_eq!(members.len(), 16);
    for (row, (generation, member, fitness)) in members.iter().zip(&rows) {
        assert_eq!((&row["generation"], &row["member"]), (&(*generation).into(), &(*member).into()));
        assert_eq!(row["fitness"].as_f64(), Some(*fitness));
        assert!(row["genotype"]["layer0"].is_string() && row["seconds"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(lines("attempts.jsonl").len(), 16);
    let table = fs::read_to_string(folder.join("members.csv")).unwrap();
    assert_eq!(table.lines().count(), 17);
    assert!(
        table.starts_with("generation,member,") && table.lines().next().unwrap().contains("variable:layer0")
    );
}

#[test]
fn json_output_matches_its_schema() {
    let search =
        Search::init(&synthetic(0, "rate = { low = 0.01, high = 0.5, scale = \"log\" }\ndiverge_option = 0"));
    search.ok(&["run", "--workers", "4"]);
    let folder = search.folder();
    search.ok(&["export", "--output", folder.to_str().unwrap(), "--format", "jsonl"]);
    let config = folder.join("config.toml");
    let print = |name: &str, arguments: &[&str]| {
        let output = Command::new(PBTNAS).args(arguments).output().unwrap();
        assert!(!output.stdout.is_empty(), "{arguments:?}: {}", text(&output));
        fs::write(folder.join(format!("{name}.json")), output.stdout).unwrap();
    };
    let state = search.state.to_str().unwrap();
    for name in ["status", "best", "evaluate"] {
        print(name, &[name, "--json", "--state", state]);
    }
    print("space", &["space", "--json", "--config", config.to_str().unwrap()]);
    print("compare", &["compare", "--json", state]);
    print("lineage", &["lineage", "2/0", "--json", "--state", state]);
    print("diff", &["diff", "0/0", "2/1", "--json", "--state", state]);
    print("doctor", &["doctor", "--json", "--no-jobs", "--state", state]);
    let watched = search.ok(&["watch", "--json"]);
    fs::write(folder.join("watch.jsonl"), watched).unwrap();
    // A damaged file.
    fs::write(search.path("generations/0001/members/03/result.json"), "{}").unwrap();
    print("verify", &["verify", "--json", "--state", state]);

    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas");
    let mut pairs = Vec::new();
    for name in ["status", "best", "evaluate", "space", "compare", "doctor", "verify", "lineage", "diff"] {
        pairs.extend([schemas.join(format!("{name}.json")), folder.join(format!("{name}.json"))]);
    }
    for name in ["members", "curves", "attempts", "watch"] {
        pairs.extend([schemas.join(format!("{name}.json")), folder.join(format!("{name}.jsonl"))]);
    }
    oracle("validate.py", &pairs);
}

#[test]
fn completions_and_manual_pages_have_every_command() {
    let call = |arguments: &[&str]| {
        let output = Command::new(PBTNAS).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    call(&["man", dir.path().to_str().unwrap()]);
    let bash = call(&["completions", "bash"]);
    for command in commands() {
        assert!(bash.contains(&format!("pbtnas,{command})")), "{command}");
        let page = fs::read_to_string(dir.path().join(format!("pbtnas-{command}.1"))).unwrap();
        assert!(page.contains("EXTRA") && page.contains(&format!("pbtnas {command}")), "{command}: {page}");
    }
    // The shell accepts the script.
    let script = dir.path().join("completion.bash");
    fs::write(&script, &bash).unwrap();
    assert!(Command::new("bash").arg("-n").arg(script).status().unwrap().success());
}
