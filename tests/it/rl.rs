//! Small agents on the DeepMind Control suite.

#[cfg(feature = "rl")]
use std::collections::BTreeSet;
use std::path::Path;

use crate::support::{PBTNAS, text};
#[cfg(feature = "rl")]
use crate::support::{Search, signal, wait_until};

/// A configuration of four small walkers; `rl` holds further keys of `[rl]`.
fn config(rl: &str) -> String {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/data/dm-control");
    format!(
        "seed = 3\n[search]\npopulation = 4\ntau = 0.5\nepochs = 3\nepochs_per_generation = 1\n[task]\nkind = \"rl\"\n\
         [storage]\nvisibility_timeout = 2\n[training]\nsnapshot_seconds = 1\n\
         [rl]\nenvironment = \"walker-run\"\nmodels = {models:?}\nepisode_frames = 40\nframes_per_epoch = 80\n\
         seed_frames = 40\nrandom_frames = 40\nhidden = 8\nbatch = 4\nexploration_steps = 100\n\
         replay_capacity = 60\nevaluation_episodes = 1\nfinal_episodes = 2\n{rl}\n"
    )
}

/// The names of the episodes on disk.
#[cfg(feature = "rl")]
fn episodes(search: &Search) -> BTreeSet<String> {
    let root = search.path("collected");
    // Temporary files may vanish while members train.
    let entries = walkdir::WalkDir::new(&root).into_iter().flatten();
    let files = entries
        .filter(|e| e.file_type().is_file() && e.path().extension().is_some_and(|e| e == "safetensors"));
    files.map(|entry| entry.path().strip_prefix(&root).unwrap().display().to_string()).collect()
}

/// The names of the episodes in the checkpoints on disk.
#[cfg(feature = "rl")]
fn named(search: &Search) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in walkdir::WalkDir::new(&search.state) {
        let path = entry.unwrap().into_path();
        if path.extension().is_some_and(|e| e == "safetensors") && !path.starts_with(search.path("collected"))
        {
            names.extend(pbtnas_core::checkpoint::Reader::open(&path).unwrap().meta().files.clone());
        }
    }
    names
}

#[cfg(feature = "rl")]
#[test]
fn an_interrupted_and_killed_search_equals_the_undisturbed_one() {
    let (calm, disturbed) = (Search::init(&config("")), Search::init(&config("")));
    calm.ok(&["run", "--workers", "2"]);
    let begun = || (0..3).flat_map(|generation| disturbed.endings(generation)).count();
    for (name, code) in [("TERM", Some(75)), ("KILL", None)] {
        let before = begun();
        let mut run = disturbed.start(&["run", "--workers", "2"]);
        wait_until("an attempt that learns", 120, || begun() > before && !episodes(&disturbed).is_empty());
        std::thread::sleep(std::time::Duration::from_millis(700));
        signal(run.id(), name);
        assert_eq!(run.wait().unwrap().code(), code);
    }
    disturbed.ok(&["run", "--workers", "2"]);
    let endings: Vec<String> = (0..3).flat_map(|generation| disturbed.endings(generation)).collect();
    assert!(endings.iter().any(|ending| ending == "stopped SIGTERM"), "{endings:?}");
    calm.assert_same(&disturbed);
    let fitness = |search: &Search| search.json("best.json")["fitness"].as_f64().unwrap();
    assert!(fitness(&calm) > 0.0 && fitness(&calm) == fitness(&disturbed));

    // Buffers are bounded, named episodes exist, and those that no checkpoint names are removed.
    let named = named(&calm);
    let (on_disk, last) = (episodes(&calm), calm.json("generations/0002/plan.json"));
    assert!(named.is_subset(&on_disk), "{named:?} {on_disk:?}");
    assert!(
        on_disk.iter().filter(|name| !name.starts_with("0002/")).all(|name| named.contains(name)),
        "{on_disk:?}"
    );
    for member in last["members"].as_array().unwrap() {
        let path =
            format!("generations/0002/members/{:02}/final.safetensors", member["id"].as_u64().unwrap());
        let reader = pbtnas_core::checkpoint::Reader::open(&calm.path(&path)).unwrap();
        assert_eq!(reader.meta().files.len(), 3, "60 transitions are three episodes of 20");
        // A child inherits the episodes of its base.
        if let Some(base) = member["origin"]["base"].as_u64() {
            let path = calm.path(&format!("generations/0001/members/{base:02}/final.safetensors"));
            let of_base = pbtnas_core::checkpoint::Reader::open(&path).unwrap().meta().files.clone();
            assert_eq!(reader.meta().files[0], of_base[2]);
        }
    }

    // The commands that follow a search.
    let best = calm.ok(&["best"]);
    assert!(best.contains("episode.png") && calm.path("best/episode.png").exists(), "{best}");
    let record: serde_json::Value = serde_json::from_str(&calm.ok(&["evaluate", "--json"])).unwrap();
    assert_eq!(record["samples"], 2);
    assert_eq!(record["fitness"], record["metrics"]["return"]);
    calm.ok(&["report"]);
    let report = std::fs::read(calm.path("report.html")).unwrap();
    let film = calm.path("best/episode.png");
    assert!(report.len() as u64 > film.metadata().unwrap().len(), "the film is in it");

    // A lost episode is reported.
    let victim = named.iter().next().unwrap();
    std::fs::remove_file(calm.path("collected").join(victim)).unwrap();
    let verify = calm.call(&["verify"]);
    assert!(!verify.status.success() && text(&verify).contains(victim.as_str()), "{}", text(&verify));
}

#[cfg(feature = "rl")]
#[test]
fn a_shared_replay_buffer_is_bounded() {
    let search = Search::init(&config("share = \"run\"").replace("epochs = 3", "epochs = 2"));
    search.ok(&["run", "--workers", "2"]);
    assert!(search.ok(&["verify"]).starts_with("valid"));
    let episodes = episodes(&search);
    // Four members, two generations, two episodes each: no more than that, and all in one folder.
    assert_eq!(episodes.len(), 16);
    assert!(episodes.iter().all(|name| name.starts_with("run/")), "{episodes:?}");
    assert!(named(&search).is_empty());
}

#[cfg(feature = "rl")]
#[test]
fn a_wrong_rl_configuration_is_reported_before_init() {
    let dir = tempfile::tempdir().unwrap();
    let init = |text: String| {
        let file = dir.path().join("c.toml");
        std::fs::write(&file, text).unwrap();
        std::process::Command::new(PBTNAS)
            .args(["init", "--config"])
            .arg(&file)
            .arg("--state")
            .arg(dir.path().join("run"))
            .output()
            .unwrap()
    };
    let output = init(config("").replace("dm-control", "nowhere"));
    assert!(
        text(&output).contains("walker.xml") && text(&output).contains("scripts/setup rl"),
        "{}",
        text(&output)
    );
    let output = init(config("n_step = 0"));
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output).contains("rl.n_step: must be between"), "{}", text(&output));
    let output =
        init(config("environment = \"walker-walk\"").replacen("environment = \"walker-run\"\n", "", 1));
    assert!(text(&output).contains("did you mean `walker-run`?"), "{}", text(&output));
    assert!(!dir.path().join("run").exists());
}

#[cfg(not(feature = "rl"))]
#[test]
fn without_the_feature_the_error_names_what_to_install() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    std::fs::write(&file, config("")).unwrap();
    let mut command = std::process::Command::new(PBTNAS);
    let output =
        command.args(["init", "--config"]).arg(&file).arg("--state").arg(dir.path().join("run")).output();
    let output = output.unwrap();
    assert!(!output.status.success());
    assert!(
        text(&output).contains("libegl1") && text(&output).contains("scripts/setup libtorch rl"),
        "{}",
        text(&output)
    );
    assert!(!dir.path().join("run").exists());
}
