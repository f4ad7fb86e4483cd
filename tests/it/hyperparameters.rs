//! Hyperparameters that are searched together with the architecture.

use serde_json::Value;

use crate::support::{Search, signal, synthetic, text, wait_until};

const RATE: &str = "rate = { low = 0.01, high = 0.5, scale = \"log\" }";
const GENERATIONS: u64 = 10;

fn config(step_milliseconds: u64) -> String {
    synthetic(step_milliseconds, RATE).replace("epochs = 6", "epochs = 20")
}

fn rate(member: &Value) -> f64 {
    member["genotype"]["rate"].as_str().unwrap().parse().unwrap()
}

#[test]
fn children_explore_and_survivors_keep_their_values() {
    let search = Search::init(&config(0));
    let space = search.json("space.json");
    let range = serde_json::json!({ "low": 0.01, "high": 0.5, "scale": "log" });
    assert_eq!(space["variables"][7], serde_json::json!({ "name": "rate", "range": range }));
    let printed = search.ok(&["run"]);
    assert!(search.ok(&["verify"]).starts_with("valid"));

    // One rate in each eighth of the log scale.
    let mut first: Vec<f64> =
        search.json("generations/0000/plan.json")["members"].as_array().unwrap().iter().map(rate).collect();
    first.sort_by(f64::total_cmp);
    for (part, rate) in first.iter().enumerate() {
        let at = |part: usize| 0.01 * 50f64.powf(part as f64 / 8.0);
        assert!((at(part)..at(part + 1)).contains(rate), "{first:?}");
    }

    let (mut multiplied, mut resampled, mut kept) = (0, 0, 0);
    for generation in 1..GENERATIONS {
        let plan = |generation: u64| search.json(&format!("generations/{generation:04}/plan.json"));
        let (before, after) = (plan(generation - 1), plan(generation));
        for member in after["members"].as_array().unwrap() {
            let origin = &member["origin"];
            let names =
                |key: &str| origin[key].as_array().is_some_and(|names| names.contains(&"rate".into()));
            let source = match origin["kind"].as_str().unwrap() {
                "survivor" => &member["id"],
                "mix" => &origin[if names("replaced") { "donor" } else { "base" }],
                kind => panic!("{kind}"),
            };
            let (old, new) = (rate(&before["members"][source.as_u64().unwrap() as usize]), rate(member));
            assert_eq!(old != new, names("explored"));
            assert!((0.01..=0.5).contains(&new));
            match origin["kind"] == "mix" {
                false => assert_eq!(old, new),
                true if old == new => kept += 1,
                true if [0.8, 1.2].iter().any(|factor| (old * factor).clamp(0.01, 0.5) == new) => {
                    multiplied += 1
                }
                true => resampled += 1,
            }
        }
    }
    println!("multiplied {multiplied}, resampled {resampled}, kept at a bound {kept}");
    assert_eq!(multiplied + resampled + kept, 18);
    assert!(multiplied >= 5 && resampled >= 1 && kept <= 4);

    let member = &search.status()["members"][3];
    let last = search.json("generations/0009/plan.json");
    assert_eq!(member["hyperparameters"]["rate"].as_f64(), Some(rate(&last["members"][3])));
    let table = search.ok(&["status"]);
    assert!(table.contains("fitness  rate ") && table.contains("explored"), "{table}");
    assert!(printed.contains("trained  rate") && printed.contains(" to 0."), "{printed}");
    assert!(printed.contains("median (lowest to highest)") && printed.contains("\n  rate 0."), "{printed}");
    let best = search.path("exported");
    search.ok(&["best", "--output", best.to_str().unwrap()]);
    let lineage: Value =
        serde_json::from_str(&std::fs::read_to_string(best.join("lineage.json")).unwrap()).unwrap();
    for carrier in lineage["rate"].as_array().unwrap() {
        let plan = format!("generations/{:04}/plan.json", carrier["generation"].as_u64().unwrap());
        let member = search.json(&plan)["members"][carrier["member"].as_u64().unwrap() as usize].clone();
        assert_eq!(carrier["value"], member["genotype"]["rate"]);
    }
}

#[test]
fn an_interrupted_search_explores_the_same_values() {
    let search = Search::init(&config(20));
    for generation in [1, 4] {
        let mut run = search.start(&["run", "--workers", "3"]);
        let begun = || search.path(&format!("generations/{generation:04}/members/00/attempts")).exists();
        wait_until("a generation", 60, begun);
        signal(run.id(), "TERM");
        assert_eq!(run.wait().unwrap().code(), Some(75), "stopped, to be continued");
    }
    search.ok(&["run"]);
    let undisturbed = Search::init(&config(0));
    undisturbed.ok(&["run", "--workers", "2"]);
    search.assert_same(&undisturbed);
}

#[test]
fn a_soup_has_one_architecture_and_any_hyperparameters() {
    let search = Search::init(&synthetic(0, &format!("{RATE}\nlayers = 1\noptions = 1")));
    search.ok(&["run"]);
    search.ok(&["soup"]);
    let candidates = search.json("soup/round-01/plan.json")["candidates"].as_array().unwrap().len();
    assert!(candidates >= 7, "{candidates}");
    assert!(search.ok(&["verify"]).starts_with("valid"));
}

#[test]
fn the_baselines_search_hyperparameters() {
    for (algorithm, origin) in [("mutation", "mutation"), ("random-search", "survivor")] {
        let algorithm = format!("[search]\nalgorithm = \"{algorithm}\"");
        let config = synthetic(0, RATE).replace("[search]", &algorithm);
        let search = Search::init(&config);
        search.ok(&["run"]);
        assert!(search.ok(&["verify"]).starts_with("valid"));
        let plan = search.json("generations/0002/plan.json");
        assert!(plan["members"].as_array().unwrap().iter().any(|member| member["origin"]["kind"] == origin));
    }
}

#[test]
fn a_space_shows_its_ranges() {
    let search = Search::init(&config(0));
    let file = search.folder().join("config.toml");
    let space = std::process::Command::new(crate::support::PBTNAS)
        .args(["space", "--config", file.to_str().unwrap()])
        .output()
        .unwrap();
    let printed = text(&space);
    assert!(printed.contains("0.01 … 0.5 (log)"), "{printed}");
    assert!(printed.contains("16384 architectures; the range is continuous"), "{printed}");
}
