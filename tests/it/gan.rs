//! Small GANs on Fashion-MNIST.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::soup::check_greedy;
use crate::support::{PBTNAS, Search, signal, text, wait_until};

/// The folder of Fashion-MNIST.
pub fn data() -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/data/fashion-mnist");
    assert!(data.exists(), "{} is missing: call scripts/setup data", data.display());
    data
}

/// A configuration of eight small GANs; `gan` holds further keys of `[gan]`.
pub fn config(epochs: u32, gan: &str) -> String {
    let data = data();
    format!(
        "seed = 3\n[search]\npopulation = 8\nepochs = {epochs}\nepochs_per_generation = 1\n[task]\nkind = \"gan\"\n\
         [storage]\nkeep = \"all\"\n\
         [gan]\ndata = {data:?}\nimage_size = 16\nbottom_width = 2\ngenerator_width = 8\n\
         discriminator_width = 8\nlatent = 12\ndiscriminator_steps = 2\n\
         learning_rate = 1e-3\naverage_decay = 0.9\n{gan}\n"
    )
}

#[test]
fn an_interrupted_gan_equals_the_uninterrupted_one() {
    let gan = "subset = 1200\nbatch = 20\ngenerator_batch = 20\nevaluation_images = 100\nfeature_epochs = 1";
    let (calm, disturbed) = (Search::init(&config(2, gan)), Search::init(&config(2, gan)));
    for search in [&calm, &disturbed] {
        search.call(&["step"]);
    }
    // Two members, to the end of generation 0, in two runs: undisturbed and interrupted.
    for member in ["0", "5"] {
        calm.ok(&["train", "--member", member]);
        let mut stops = 0;
        loop {
            let mut train = disturbed.start(&["train", "--member", member]);
            wait_until("an attempt", 20, || {
                let dir = disturbed.path(&format!("generations/0000/members/0{member}/attempts"));
                let begun = std::fs::read_dir(dir).into_iter().flatten().filter(|entry| {
                    entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".start.json")
                });
                begun.count() > stops
            });
            if stops < 2 {
                std::thread::sleep(std::time::Duration::from_millis(250));
                signal(train.id(), "TERM");
            }
            let code = train.wait().unwrap().code();
            if code == Some(0) {
                break;
            }
            assert_eq!(code, Some(75));
            stops += 1;
        }
        assert!(stops >= 1, "the member was too fast to be interrupted");
        let name = format!("generations/0000/members/0{member}/final.safetensors");
        assert!(std::fs::read(calm.path(&name)).unwrap() == std::fs::read(disturbed.path(&name)).unwrap());
        let fitness = |search: &Search| {
            search.json(&format!("generations/0000/members/0{member}/result.json"))["outcome"]["fitness"]
                .clone()
        };
        assert_eq!(fitness(&calm), fitness(&disturbed));
    }
}

#[test]
fn a_search_in_gan_hard_improves_the_generators() {
    let gan = "space = \"gan-hard\"\nsubset = 1200\nbatch = 40\ngenerator_batch = 40\nevaluation_images = 500\nfeature_epochs = 2";
    let search = Search::init(&config(3, gan).replace("keep = \"all\"", "keep = 1"));
    let table = search.ok(&["run", "--workers", "2"]);
    println!("{table}");
    search.ok(&["export", "--format", "jsonl", "--output", search.folder().to_str().unwrap()]);
    let rows = std::fs::read_to_string(search.folder().join("members.jsonl")).unwrap();
    let rows: Vec<Value> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    let first = rows.iter().filter(|row| row["generation"] == 0);
    let first: Vec<f64> = first.map(|row| row["metrics"]["fid"].as_f64().unwrap()).collect();
    assert_eq!((first.len(), rows.len()), (8, 24));
    let mean = first.iter().sum::<f64>() / 8.0;
    let best = search.json("best.json")["metrics"]["fid"].as_f64().unwrap();
    println!("mean FID of the first generation {mean:.1}, best FID {best:.1}");
    assert!(best < mean, "nothing was learnt");
    assert!(search.ok(&["verify"]).starts_with("valid"));
    let exported = search.ok(&["best"]);
    assert!(exported.contains("grid.png") && search.path("best/grid.png").exists(), "{exported}");

    // Each generation has previews; an archived one has that of its best member.
    assert!(!search.path("generations/0000/members").exists());
    let png = |path: &str| std::fs::read(search.path(path)).is_ok_and(|bytes| bytes.starts_with(b"\x89PNG"));
    assert!(png("generations/0000/preview.png"));
    assert!((0..8).all(|member| png(&format!("generations/0002/members/{member:02}/preview.png"))));
    search.ok(&["report"]);
    let report = std::fs::read_to_string(search.path("report.html")).unwrap();
    // The best member of each generation, and the grid of `best`.
    assert!(report.matches("data:image/png;base64,").count() >= 4, "{}", report.len());
    let preview = search.path("generations/0000/preview.png");
    let picture = std::fs::read(&preview).unwrap();
    std::fs::write(&preview, &picture[..picture.len() / 2]).unwrap();
    let damaged = search.call(&["verify"]);
    assert!(damaged.status.code() == Some(4) && text(&damaged).contains("preview.png"), "{}", text(&damaged));
    std::fs::write(&preview, picture).unwrap();

    // The final evaluation has other images, and the Inception Score, too (of a classifier with ten classes).
    let printed = search.ok(&["evaluate", "--samples", "600", "--json"]);
    let record: Value = serde_json::from_str(&printed).unwrap();
    let metric = |name: &str| record["metrics"][name].as_f64().unwrap();
    assert!(metric("fid") > 0.0 && metric("fid") != best);
    assert!((1.0..=10.0).contains(&metric("is")) && metric("is_deviation") > 0.0, "{printed}");
}

/// Fitness depends on the generator alone: its soup equals the whole one, and a soup of discriminators adds nothing.
#[test]
fn a_soup_of_generators_has_the_fitness_of_the_whole_soup() {
    let gan = "subset = 400\nbatch = 20\ngenerator_batch = 20\nevaluation_images = 100\nfeature_epochs = 1";
    // Without mixing, children have their parent's architecture.
    let search = Search::init(&config(3, gan).replace("[search]", "[search]\nmixing = false"));
    search.ok(&["run", "--workers", "2"]);
    for part in [vec![], vec!["--part", "generator"], vec!["--part", "discriminator"]] {
        println!("{}", search.ok(&[vec!["soup", "--workers", "2"], part].concat()));
    }
    let [whole, generator, discriminator] = ["soup", "soup-generator", "soup-discriminator"].map(|folder| {
        check_greedy(&search, folder);
        search.json(&format!("{folder}/soup.json"))
    });
    let best = search.json("best.json");
    for key in ["fitness", "ingredients", "rounds"] {
        assert_eq!(whole[key], generator[key]);
    }
    let candidates = search.json("soup/round-01/plan.json")["candidates"].as_array().unwrap().len();
    assert!(candidates > 0);
    for candidate in 0..candidates {
        let path = |folder: &str| format!("{folder}/round-01/candidates/{candidate:02}/result.json");
        // Those after the first that improves the soup may be left out.
        if ["soup", "soup-generator"].iter().any(|folder| !search.path(&path(folder)).exists()) {
            assert!(candidate > 0);
            continue;
        }
        let fitness = |folder: &str| search.json(&path(folder))["fitness"].clone();
        assert_eq!(fitness("soup"), fitness("soup-generator"));
        assert_ne!(fitness("soup"), best["fitness"]);
        assert_eq!(fitness("soup-discriminator"), best["fitness"]);
    }
    assert_eq!(discriminator["checkpoint"], best["checkpoint"]);
    assert_eq!(discriminator["rounds"], 1);
    assert!(search.ok(&["verify"]).starts_with("valid"));
}

#[test]
fn inception_fid_is_the_fitness_and_real_statistics_are_cached() {
    let dir = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".deps/oracle/bin/python");
    assert!(python.exists(), "{} is missing: call scripts/setup oracle", python.display());
    let made = Command::new(python)
        .args(["-W", "ignore", "tests/oracle/inception.py", "--files-only"])
        .arg(dir.path())
        .current_dir(root)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", text(&made));

    let gan = "subset = 40\nbatch = 20\ngenerator_batch = 20\nevaluation_images = 20\nfinal_images = 30\n";
    let inception = dir.path().join("inception.pt");
    let file = dir.path().join("c.toml");
    std::fs::write(&file, config(1, &format!("{gan}inception = {inception:?}"))).unwrap();
    let call = |state: &str, arguments: &[&str]| {
        let output = Command::new(PBTNAS)
            .args(arguments)
            .arg("--state")
            .arg(dir.path().join(state))
            .env("PBTNAS_CACHE", dir.path().join("cache"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        text(&output)
    };
    let init = ["init", "--config", file.to_str().unwrap()];
    assert!(!call("one", &init).contains("statistics-"));
    assert!(call("two", &init).contains("cache/statistics-"));
    let of_run =
        |state: &str| std::fs::read(dir.path().join(state).join("shared/features.safetensors")).unwrap();
    assert!(of_run("one") == of_run("two"));
    // Other images have other statistics.
    std::fs::write(&file, config(1, &format!("{}inception = {inception:?}", gan.replace("40", "60"))))
        .unwrap();
    assert!(!call("three", &init).contains("statistics-"));
    assert!(of_run("one") != of_run("three"));

    // The plan is written before the submission, which fails without SLURM.
    let _ = Command::new(PBTNAS).args(["step", "--state"]).arg(dir.path().join("one")).output().unwrap();
    call("one", &["train", "--member", "0"]);
    let result = dir.path().join("one/generations/0000/members/00/result.json");
    let result: Value = serde_json::from_slice(&std::fs::read(result).unwrap()).unwrap();
    let outcome = &result["outcome"];
    assert!(outcome["metrics"]["fid"].as_f64().unwrap() > 0.0);
    assert_eq!(outcome["metrics"]["fid"].as_f64(), outcome["fitness"].as_f64().map(|fitness| -fitness));
    let evaluate = ["evaluate", "--generation", "0", "--member", "0", "--json"];
    let record: Value = serde_json::from_str(&call("one", &evaluate)).unwrap();
    assert_eq!(record["samples"], 30);
    assert!((1.0..1008.0).contains(&record["metrics"]["is"].as_f64().unwrap()), "{record}");
}
