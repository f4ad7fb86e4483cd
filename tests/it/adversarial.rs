//! AdversarialNAS: a supernet, the architecture derived from it, and its training from scratch.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::gan;
use crate::support::{PBTNAS, Search, text, wait_until};

/// Two independent members: two epochs of a supernet, two of the derived architecture.
pub fn config(extra: &str) -> String {
    let gan = "space = \"gan\"\nsubset = 160\nbatch = 20\ngenerator_batch = 20\nevaluation_images = 100\n\
               feature_epochs = 1\n[gan.supernet]\nepochs = 2\ngenerator_width = 4\ndiscriminator_width = 4\n\
               batch = 40\ngenerator_batch = 20\nlearning_rate = 0.03\n";
    let config = gan::config(4, gan);
    config.replace("population = 8", "algorithm = \"adversarial-nas\"\npopulation = 2") + extra
}

/// The distinct options in the genotype that a plan gives a member.
fn values(search: &Search, generation: u32, member: usize) -> BTreeSet<String> {
    let plan = search.json(&format!("generations/{generation:04}/plan.json"));
    let genotype = plan["members"][member]["genotype"].as_object().unwrap().clone();
    assert_eq!(genotype.len(), 21);
    genotype.values().map(|value| value.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_supernet_is_searched_derived_and_retrained_despite_kills() {
    let (calm, disturbed) = (Search::init(&config("")), Search::init(&config("")));
    let table = calm.ok(&["run"]);
    assert!(
        table.contains("generation 2, epochs 2-3 of 4 (0 replaced, 2 derived from supernets)"),
        "{table}"
    );
    // Stopped in each generation, in the supernet and after it; the same command resumes.
    for generation in 0..4 {
        let mut run = disturbed.start(&["run"]);
        let heartbeat =
            disturbed.path(&format!("generations/{generation:04}/members/00/progress/heartbeat.json"));
        wait_until("a member in training", 60, || heartbeat.exists());
        if generation % 2 == 0 {
            run.kill().unwrap();
        } else {
            crate::support::signal(run.id(), "TERM");
        }
        run.wait().unwrap();
    }
    disturbed.ok(&["run"]);
    calm.assert_same(&disturbed);
    let interrupted: usize = (0..4)
        .map(|generation| disturbed.endings(generation))
        .map(|endings| endings.iter().filter(|ending| *ending != "done").count())
        .sum();
    assert!(interrupted >= 2, "nothing was interrupted");
    assert_eq!(calm.endings(0), ["done", "done"]);

    // First all options at once (`*`), then one option per variable.
    for member in 0..2 {
        for generation in [0, 1] {
            assert_eq!(values(&calm, generation, member), BTreeSet::from(["*".to_owned()]));
            let result = calm.json(&format!("generations/{generation:04}/members/{member:02}/result.json"));
            let weights = result["outcome"]["option_weights"].as_object().unwrap();
            assert_eq!(weights.len(), 21);
            for of in weights.values() {
                let sum: f64 = of.as_array().unwrap().iter().map(|weight| weight.as_f64().unwrap()).sum();
                assert!((sum - 1.0).abs() < 1e-9, "{of}");
            }
        }
        for generation in [2, 3] {
            assert!(!values(&calm, generation, member).contains("*"));
            let result = calm.json(&format!("generations/{generation:04}/members/{member:02}/result.json"));
            assert_eq!(result["outcome"]["option_weights"], Value::Null);
            assert_eq!(result["outcome"]["epoch"], generation + 1);
        }
    }
    let plan = calm.json("generations/0002/plan.json");
    assert_eq!(plan["members"][0]["origin"]["kind"], "derived");
    assert_eq!(plan["members"][0]["start"], "fresh");
    // The members are independent searches.
    assert_ne!(plan["members"][0]["genotype"], plan["members"][1]["genotype"]);

    // The best member is an architecture, even if a supernet has a higher fitness.
    let best = calm.json("best.json");
    assert!(best["generation"].as_u64().unwrap() >= 2);
    let exported = calm.ok(&["best"]);
    assert!(exported.contains("genotype.json"), "{exported}");
    calm.ok(&["evaluate", "--samples", "100"]);
    let status = calm.ok(&["status"]);
    assert!(status.contains("(adversarial-nas)"), "{status}");
    calm.ok(&["report"]);
    let report = std::fs::read_to_string(calm.path("report.html")).unwrap();
    assert!(report.contains("Weight of each option in the supernet"), "no weights in the report");
    assert!(calm.ok(&["lineage", "best"]).contains("derived from the supernet"));
    // A supernet is drawn as the architecture that it yields, and that is the one that was derived.
    let picture = calm.folder().join("supernet.svg");
    calm.ok(&["draw", "1/0", "--output", picture.to_str().unwrap()]);
    assert!(std::fs::read_to_string(picture).unwrap().contains("derived from its supernet"));
    let difference = calm.ok(&["diff", "1/0", "2/0"]);
    assert!(difference.contains("0 of 21 variables differ"), "{difference}");
    assert!(difference.contains("(derived from the supernet)"), "{difference}");
}

#[test]
fn steps_by_hand_equal_run_and_no_supernet_is_the_best_member() {
    let (calm, search) = (Search::init(&config("")), Search::init(&config("")));
    calm.ok(&["run"]);
    for generation in 0..4 {
        search.call(&["step"]);
        if generation < 3 {
            assert!(!search.path("best.json").exists());
        }
        if generation == 0 {
            let untrained = text(&search.call(&["draw", "0/0"]));
            assert!(untrained.contains("is a supernet without a result"), "{untrained}");
        }
        for member in ["0", "1"] {
            search.ok(&["train", "--member", member]);
        }
    }
    search.call(&["step"]);
    calm.assert_same(&search);
}

#[test]
fn a_failed_member_restarts_and_trains_all_its_epochs() {
    // The member fails in the last generation of the supernet, or in the first one of the derived architecture.
    for (lost, kinds) in [
        (1, ["random", "survivor", "random", "survivor", "derived", "survivor"]),
        (2, ["random", "survivor", "derived", "derived", "survivor", "survivor"]),
    ] {
        // Attempts fail on a data set of damaged files.
        let folder = tempfile::tempdir().unwrap();
        let (data, away, real) = (folder.path().join("data"), folder.path().join("away"), gan::data());
        std::fs::create_dir(&data).unwrap();
        for file in std::fs::read_dir(&real).unwrap().map(Result::unwrap) {
            std::os::unix::fs::symlink(file.path(), data.join(file.file_name())).unwrap();
        }
        let config = config("[training]\nmax_attempts = 1\n")
            .replace("epochs = 4\n", "epochs = 6\n")
            .replace("population = 2", "population = 1")
            .replace(real.to_str().unwrap(), data.to_str().unwrap());
        let search = Search::init(&config);
        for _ in 0..lost {
            search.call(&["step"]);
            search.ok(&["train", "--member", "0"]);
        }
        search.call(&["step"]);
        std::fs::rename(&data, &away).unwrap();
        std::fs::create_dir(&data).unwrap();
        for file in std::fs::read_dir(&away).unwrap().map(Result::unwrap) {
            std::fs::write(data.join(file.file_name()), "no images").unwrap();
        }
        let failed = search.call(&["train", "--member", "0"]);
        assert!(!failed.status.success(), "{}", text(&failed));
        std::fs::remove_dir_all(&data).unwrap();
        std::fs::rename(&away, &data).unwrap();
        search.ok(&["run"]);
        for (generation, kind) in kinds.into_iter().enumerate() {
            let plan = search.json(&format!("generations/{generation:04}/plan.json"));
            assert_eq!(plan["members"][0]["origin"]["kind"], kind, "{lost}, {generation}");
        }
        let result = search.json("generations/0005/members/00/result.json");
        assert_eq!(result["outcome"]["epoch"], 6, "{result}");
        assert!(search.ok(&["verify"]).starts_with("valid"));
    }
}

#[test]
fn a_diverged_supernet_restarts() {
    let search = Search::init(&config("").replace("learning_rate = 1e-3", "learning_rate = 1e30"));
    search.ok(&["run"]);
    for generation in 0..4 {
        assert_eq!(values(&search, generation, 0), BTreeSet::from(["*".to_owned()]));
        let plan = search.json(&format!("generations/{generation:04}/plan.json"));
        assert_eq!(plan["members"][0]["origin"]["kind"], "random");
        let result = search.json(&format!("generations/{generation:04}/members/00/result.json"));
        assert_eq!(result["outcome"]["fitness"], Value::Null);
    }
    assert!(search.ok(&["verify"]).starts_with("valid"));
    search.ok(&["status"]);
    search.ok(&["report"]);
    let best = text(&search.call(&["best"]));
    assert!(best.contains("no best"), "{best}");
}

#[test]
fn compare_treats_it_as_any_other_algorithm() {
    let searched = Search::init(&config(""));
    let (random, _) =
        config("").split_once("[gan.supernet]").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let random = Search::init(
        &random.replace("adversarial-nas", "random-search").replace("population = 2", "population = 4"),
    );
    for search in [&searched, &random] {
        search.ok(&["run"]);
    }
    let compared =
        Command::new(PBTNAS).arg("compare").args([&searched.state, &random.state]).output().unwrap();
    let table = text(&compared);
    assert!(compared.status.success(), "{table}");
    println!("{table}");
    for label in ["adversarial-nas", "random-search"] {
        assert!(table.contains(label), "{table}");
    }
    // One setting: the supernet belongs to the algorithm.
    assert!(!table.contains("supernet"), "{table}");
}

#[test]
fn an_unsuitable_configuration_is_refused_with_the_reason() {
    for (config, said) in [
        (
            config("").replace("space = \"gan\"", "space = \"gan-hard\""),
            "options whose outputs differ in shape",
        ),
        (config("").replace("kind = \"gan\"", "kind = \"synthetic\""), "needs a supernet"),
        (
            config("").replace("[gan.supernet]\nepochs = 2", "[gan.supernet]\nepochs = 4"),
            "epochs must be left",
        ),
        (
            config("").replace("epochs_per_generation = 1", "epochs_per_generation = 3"),
            "a generation must end after epoch 2",
        ),
        (
            config("").replace("learning_rate = 1e-3", "learning_rate = { low = 1e-4, high = 1e-2 }"),
            "searches architectures only",
        ),
        (config("").replace("batch = 40", "batch = 41"), "must be even"),
        (config("").replace("subset = 160", "subset = 30"), "more than the images in use"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (file, state) = (dir.path().join("c.toml"), dir.path().join("run"));
        std::fs::write(&file, config).unwrap();
        let mut init = Command::new(PBTNAS);
        let init = init.arg("init").arg("--config").arg(&file).arg("--state").arg(&state).output().unwrap();
        let message = text(&init);
        assert!(
            init.status.code() == Some(3) && message.contains(said) && message.contains("c.toml:"),
            "{message}"
        );
        assert!(!state.exists());
    }
}
