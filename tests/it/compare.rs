//! `pbtnas compare` of real runs.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{PBTNAS, Search, signal, synthetic, text, wait_until};

/// A search of 8 members and 3 generations.
fn configuration(seed: u64, search: &str, step_milliseconds: u64) -> String {
    synthetic(step_milliseconds, "").replace("seed = 7", &format!("seed = {seed}")).replace(
        "epochs = 6\nepochs_per_generation = 2",
        &format!("epochs = 3\nepochs_per_generation = 1\n{search}"),
    )
}

const RANDOM: &str = "algorithm = \"random-search\"";

fn finished(seed: u64, search: &str) -> Search {
    let run = Search::init(&configuration(seed, search, 0));
    run.ok(&["run", "--workers", "4"]);
    run
}

fn call(runs: &[Search], arguments: &[&str]) -> Output {
    let states = runs.iter().map(|run| &run.state);
    Command::new(PBTNAS).arg("compare").args(states).args(arguments).output().unwrap()
}

fn ok(runs: &[Search], arguments: &[&str]) -> String {
    let output = call(runs, arguments);
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The cells of the table row with this label.
pub fn columns(report: &str, label: &str) -> Vec<String> {
    let line = report.lines().find(|line| line.starts_with(&format!("{label}  "))).unwrap_or_else(|| {
        panic!("no row {label}: {report}");
    });
    line.split("  ").map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty()).collect()
}

/// Mean and standard deviation of a metric over the best.json of three runs.
fn expected(runs: &[Search], metric: &str) -> (f64, f64) {
    let value = |best: &Value| match metric {
        "fitness" => best["fitness"].as_f64(),
        _ => best["metrics"][metric].as_f64(),
    };
    let values: Vec<f64> = runs.iter().map(|run| value(&run.json("best.json")).unwrap()).collect();
    let mean = values.iter().sum::<f64>() / 3.0;
    (mean, (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 2.0).sqrt())
}

#[test]
fn compare_two_algorithms_over_three_seeds() {
    let mut runs: Vec<Search> = (1..=3).map(|seed| finished(seed, "")).collect();
    runs.extend((1..=3).map(|seed| finished(seed, RANDOM)));

    let report = ok(&runs, &[]);
    assert_eq!(columns(&report, "variant"), ["variant", "fitness ↑", "distance", "quality"]);
    let (ours, random) = (columns(&report, "pbt-nas"), columns(&report, "random-search"));
    assert!(ours[1].contains(" ± ") && random[1].contains(" ± "), "{report}");
    assert!(ours[2].ends_with("(3)") && random[3].ends_with("(3)"), "{report}");
    assert!(report.contains("[ ]: best mean of its column"), "{report}");
    assert!(!report.contains("not finished"), "{report}");
    assert!(report.contains("\npbt-nas against the others: Wilcoxon signed-rank test"), "{report}");
    assert!(report.contains("is too small for significance"), "{report}");

    let json: Value = serde_json::from_str(&ok(&runs, &["--json"])).unwrap();
    for cell in json["cells"].as_array().unwrap() {
        let group = if cell["variant"] == "pbt-nas" { &runs[..3] } else { &runs[3..] };
        let (mean, deviation) = expected(group, cell["metric"].as_str().unwrap());
        assert!((cell["mean"].as_f64().unwrap() - mean).abs() < 1e-12, "{cell}");
        assert!((cell["standard_deviation"].as_f64().unwrap() - deviation).abs() < 1e-12, "{cell}");
        assert_eq!(cell["n"], 3);
    }
    let marked = |cell: &&Value| cell["metric"] == "fitness" && cell["best"] == true;
    let best = json["cells"].as_array().unwrap().iter().find(marked).unwrap();
    assert!(columns(&report, best["variant"].as_str().unwrap())[1].starts_with('['), "{report}");
    assert_eq!(json["runs"].as_array().unwrap().len(), 6);
    assert_eq!(json["tests"]["reference"], "pbt-nas");
    assert_eq!(json["tests"]["tests"][0]["pairs"], 3);
    assert_eq!(json["tests"]["tests"][0]["significant"], false);

    let markdown = ok(&runs, &["--markdown", "--reference", "random-search"]);
    assert!(markdown.starts_with("| variant | fitness ↑ | distance | quality |\n|---|---:|---:|---:|\n"));
    assert!(markdown.contains("\n| pbt-nas | ") && markdown.contains(" **"), "{markdown}");
    assert!(markdown.contains("\nrandom-search against the others"), "{markdown}");
    let wrong = call(&runs, &["--reference", "pbt"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(text(&wrong).contains("`pbt-nas`, `random-search`"), "{}", text(&wrong));

    let file = runs[0].folder().join("curves.svg");
    ok(&runs, &["--plot", file.to_str().unwrap()]);
    let svg = std::fs::read_to_string(&file).unwrap();
    for part in
        ["<svg ", "best fitness so far", "epoch", "pbt-nas", "random-search", "\"line s0\"", "\"band f1\""]
    {
        assert!(svg.contains(part), "{part}: {svg}");
    }
    let file = file.with_extension("png");
    ok(&runs, &["--plot", file.to_str().unwrap()]);
    assert!(std::fs::read(&file).unwrap().starts_with(b"\x89PNG"));

    // Once all runs have a final evaluation, it counts. And the difference that soups make.
    assert!(report.contains("as measured by the search"), "{report}");
    for (index, run) in runs.iter().enumerate() {
        run.ok(&["soup"]);
        for subject in [vec!["evaluate"], vec!["evaluate", "--soup"]] {
            run.ok(&subject);
        }
        let last = index + 1 == runs.len();
        assert_eq!(ok(&runs, &[]).contains("as measured by `pbtnas evaluate` with 1 samples"), last);
    }
    let soups = ok(&runs, &["--soups"]);
    assert_eq!(columns(&soups, "variant"), ["variant", "Δdistance", "Δfitness", "Δquality"]);
    for (label, runs) in [("pbt-nas", &runs[..3]), ("random-search", &runs[3..])] {
        let differences = runs.iter().map(|run| {
            let [soup, best] = ["soup/soup.json", "best.json"].map(|file| run.json(file)["fitness"].as_f64());
            soup.unwrap() - best.unwrap()
        });
        let mean = differences.sum::<f64>() / 3.0;
        let shown: f64 = columns(&soups, label)[2].split(' ').next().unwrap().parse().unwrap();
        assert!((shown - mean).abs() < 1e-4, "{soups}");
    }
    assert!(ok(&runs, &["--soups", "--markdown"]).starts_with("| variant | Δdistance | Δfitness |"));

    let copy = runs[1].folder().join("copy");
    assert!(Command::new("cp").arg("-r").args([&runs[1].state, &copy]).status().unwrap().success());
    let both = [runs[1].state.to_str().unwrap(), copy.to_str().unwrap()];
    let refused = call(&runs, &[both[1]]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(both.iter().all(|path| text(&refused).contains(*path)), "{}", text(&refused));
    assert!(text(&refused).contains("the same seed 2") && refused.stdout.is_empty(), "{}", text(&refused));
}

#[test]
fn an_unfinished_run_counts_and_is_marked() {
    let mut runs = vec![finished(1, "")];
    let slow = Search::init(&configuration(2, "", 100));
    let nothing = call(std::slice::from_ref(&slow), &[]);
    assert_eq!(nothing.status.code(), Some(1));
    let message = text(&nothing);
    assert!(message.contains(&format!("{} has no best member", slow.state.display())), "{message}");

    let mut child = slow.start(&["run", "--workers", "4"]);
    wait_until("the second generation", 60, || slow.path("generations/0001/plan.json").exists());
    signal(child.id(), "TERM");
    child.wait().unwrap();
    runs.push(slow);

    let report = ok(&runs, &[]);
    assert!(columns(&report, "pbt-nas")[1].ends_with("(2*)"), "{report}");
    let note = format!("* not finished: {} at epoch 1 of 3\n", runs[1].state.display());
    assert!(report.contains(&note), "{report}");
    assert!(!report.contains("tested against"), "{report}");
    let json: Value = serde_json::from_str(&ok(&runs, &["--json"])).unwrap();
    assert_eq!(json["variants"].as_array().unwrap().len(), 1);
    assert_eq!((&json["runs"][0]["finished"], &json["runs"][1]["finished"]), (&true.into(), &false.into()));
    assert_eq!(json["tests"], Value::Null);

    runs[1].ok(&["run", "--workers", "8"]);
    assert!(columns(&ok(&runs, &[]), "pbt-nas")[1].ends_with("(2)"));
}
