//! Whole searches on this machine: interrupted, killed, with crashing and diverging members.

use crate::support::{Search, signal, synthetic, text, wait_until};

fn undisturbed(extra: &str) -> Search {
    let search = Search::init(&synthetic(0, extra));
    search.ok(&["run", "--workers", "2"]);
    search
}

#[test]
fn the_number_of_workers_does_not_change_the_run() {
    let (one, four) = (Search::init(&synthetic(0, "")), undisturbed(""));
    one.ok(&["run", "--workers", "1"]);
    one.assert_same(&four);
    let other = Search::init(&synthetic(0, "").replace("seed = 7", "seed = 8"));
    other.ok(&["run"]);
    assert_ne!(one.essence(), other.essence());
}

#[test]
fn an_interrupted_search_equals_the_undisturbed_one() {
    let search = Search::init(&synthetic(30, ""));
    let begun = || (0..3).flat_map(|generation| search.endings(generation)).count();
    for _ in 0..3 {
        let before = begun();
        let mut run = search.start(&["run", "--workers", "3"]);
        wait_until("three attempts", 60, || begun() >= before + 3);
        signal(run.id(), "TERM");
        assert_eq!(run.wait().unwrap().code(), Some(75), "stopped, to be continued");
    }
    // Once with SIGKILL; the members' processes end with their parent.
    let mut run = search.start(&["run", "--workers", "3"]);
    std::thread::sleep(std::time::Duration::from_millis(500));
    signal(run.id(), "KILL");
    run.wait().unwrap();
    search.ok(&["run"]);
    let stopped = (0..3).flat_map(|g| search.endings(g)).filter(|e| e == "stopped SIGTERM").count();
    assert!(stopped >= 3, "{stopped} attempts were stopped");
    search.assert_same(&undisturbed(""));
}

#[test]
fn train_exits_within_five_seconds_of_a_signal_and_resumes() {
    for name in ["TERM", "USR1"] {
        let search = Search::init(&synthetic(200, ""));
        search.call(&["step"]); // makes generation 0; there may be no SLURM to submit to
        let mut train = search.start(&["train", "--member", "0"]);
        wait_until("the first heartbeat", 10, || {
            search.path("generations/0000/members/00/progress/heartbeat.json").exists()
        });
        std::thread::sleep(std::time::Duration::from_millis(500));
        let asked = std::time::Instant::now();
        signal(train.id(), name);
        assert_eq!(train.wait().unwrap().code(), Some(75));
        assert!(asked.elapsed().as_secs_f64() < 5.0, "{:?}", asked.elapsed());
        let snapshot = std::fs::read_dir(search.path("generations/0000/members/00/progress"))
            .unwrap()
            .find(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".safetensors"));
        assert!(snapshot.is_some());
        assert_eq!(search.endings(0), [format!("stopped SIG{name}")]);
        search.ok(&["train", "--member", "0"]);
        let result = search.json("generations/0000/members/00/result.json");
        assert_eq!(result["outcome"]["attempt"], 2);
    }
}

#[test]
fn a_damaged_snapshot_is_not_used() {
    let search = Search::init(&synthetic(100, ""));
    search.call(&["step"]);
    let mut train = search.start(&["train", "--member", "0"]);
    let dir = search.path("generations/0000/members/00/progress");
    wait_until("the member to train", 60, || dir.join("heartbeat.json").exists());
    signal(train.id(), "TERM");
    train.wait().unwrap();
    let snapshot = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let snapshot = snapshot.into_iter().find(|p| p.extension().is_some_and(|e| e == "safetensors")).unwrap();
    let mut bytes = std::fs::read(&snapshot).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&snapshot, bytes).unwrap();
    let output = search.call(&["train", "--member", "0"]);
    assert!(
        output.status.success() && text(&output).contains("its digest differs from the one in its name"),
        "{}",
        text(&output)
    );
    search.ok(&["run"]);
    search.assert_same(&undisturbed(""));
}

#[test]
fn members_that_keep_crashing_are_retried_ranked_last_and_replaced() {
    let search = undisturbed("crash_option = 0");
    let failed: Vec<u64> = (0..8)
        .filter(|m| {
            search.json(&format!("generations/0000/members/{m:02}/result.json"))["outcome"]["kind"]
                == "failed"
        })
        .collect();
    // The options are equally frequent: two of eight members have the one that crashes.
    assert_eq!(failed.len(), 2);
    assert_eq!(search.endings(0).iter().filter(|e| *e == "failed").count(), 6, "three attempts each");
    let plan = search.json("generations/0001/plan.json");
    for &member in &failed {
        let planned = &plan["members"][member as usize];
        assert_eq!(planned["origin"]["kind"], "mix");
        assert!(!failed.contains(&planned["origin"]["base"].as_u64().unwrap()));
    }
    assert!(search.ok(&["verify"]).starts_with("valid"));
}

#[test]
fn diverged_members_rank_last() {
    let search = undisturbed("diverge_option = 0");
    let diverged: Vec<u64> = (0..8)
        .filter(|m| {
            search.json(&format!("generations/0000/members/{m:02}/result.json"))["outcome"]["fitness"]
                .is_null()
        })
        .collect();
    assert_eq!(diverged.len(), 2);
    for &member in &diverged {
        assert_eq!(
            search.json("generations/0001/plan.json")["members"][member as usize]["origin"]["kind"],
            "mix"
        );
    }
    assert!(search.ok(&["verify"]).starts_with("valid"));
}

#[test]
fn attempts_that_crash_at_random_change_nothing() {
    // So many attempts that no member is given up.
    let search = undisturbed("crash_rate = 0.5\n[training]\nmax_attempts = 100");
    assert!((0..3).flat_map(|g| search.endings(g)).any(|ending| ending == "failed"));
    search.assert_same(&undisturbed(""));
}

#[test]
fn random_search_and_search_without_mixing() {
    let random =
        Search::init(&synthetic(0, "").replace("[search]", "[search]\nalgorithm = \"random-search\""));
    random.ok(&["run"]);
    let plan = random.json("generations/0002/plan.json");
    assert!(plan["members"].as_array().unwrap().iter().all(|m| m["origin"]["kind"] == "survivor"));
    assert!(random.ok(&["verify"]).starts_with("valid"));

    let alone = Search::init(&synthetic(0, "").replace("[search]", "[search]\nmixing = false"));
    alone.ok(&["run"]);
    let plan = alone.json("generations/0001/plan.json");
    let children: Vec<_> =
        plan["members"].as_array().unwrap().iter().filter(|m| m["origin"]["kind"] == "mix").collect();
    assert_eq!(children.len(), 2);
    assert!(children.iter().all(|child| child["origin"]["base"] == child["origin"]["donor"]));
    assert!(alone.ok(&["verify"]).starts_with("valid"));
}

#[test]
fn retention_drops_old_checkpoints_and_keeps_the_best() {
    let config = synthetic(0, "").replace("keep = \"all\"", "keep = 1").replace("epochs = 6", "epochs = 12");
    let search = Search::init(&config);
    search.ok(&["run"]);
    assert!(search.ok(&["verify"]).starts_with("valid"));
    let generations: std::collections::BTreeSet<String> = search
        .essence()
        .keys()
        .filter(|n| n.ends_with("final.safetensors"))
        .map(|n| n[12..16].to_owned())
        .collect();
    let best = search.json("best.json");
    let kept = ["0004".to_owned(), "0005".to_owned(), format!("{:04}", best["generation"].as_u64().unwrap())];
    assert!(generations.iter().all(|generation| kept.contains(generation)), "{generations:?}");
    assert!(search.path(best["checkpoint"]["path"].as_str().unwrap()).exists());
    search.ok(&["best"]);
}
