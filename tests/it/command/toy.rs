//! The synthetic task, once built in and once as a script, and all that can happen to the script.

use std::path::{Path, PathBuf};

use super::{python, script, temporaries};
use crate::slurm::Cluster;
use crate::support::{PBTNAS, Search, signal, text, wait_for};

const LAYERS: usize = 4;
const OPTIONS: &str = "[\"o0\", \"o1\", \"o2\", \"o3\"]";
const RATE: &str = "{ low = 0.02, high = 0.5, scale = \"log\" }";

fn head(kind: &str) -> String {
    format!(
        "seed = 7\n[search]\npopulation = 8\nepochs = 6\nepochs_per_step = 2\n[task]\nkind = \"{kind}\"\n\
         [storage]\nkeep = \"all\"\nvisibility_timeout = 2\n"
    )
}

fn built_in() -> String {
    let settings = format!("layers = {LAYERS}\noptions = 4\nsteps_per_epoch = 5\nnoise = 0.0\nrate = {RATE}");
    format!("{}[synthetic]\n{settings}\n", head("synthetic"))
}

/// `more` belongs to the section `[command]`, `after` comes behind it.
fn toy(more: &str, after: &str) -> String {
    let mut config =
        format!("{}[command]\ncommand = [{:?}, {:?}]\n{more}\n", head("command"), python(), script("toy.py"));
    for layer in 0..LAYERS {
        config += &format!(
            "[[command.variables]]\nname = \"layer{layer}\"\noptions = {OPTIONS}\nowns = [\"net/layer{layer}/\"]\n"
        );
    }
    config += &format!("[[command.variables]]\nname = \"activation\"\noptions = {OPTIONS}\n");
    config + &format!("[[command.variables]]\nname = \"rate\"\nrange = {RATE}\n{after}\n")
}

fn slow(seconds: f64) -> String {
    format!("environment = {{ STEP_SECONDS = \"{seconds}\" }}")
}

fn calm() -> Search {
    let search = Search::init(&toy("", ""));
    search.ok(&["run"]);
    search
}

/// Genotypes and origins of all generations, and the fitness of every member.
fn decisions(search: &Search) -> Vec<serde_json::Value> {
    let mut decisions = Vec::new();
    for generation in 0..3 {
        let plan = search.json(&format!("generations/{generation:04}/plan.json"));
        for (member, planned) in plan["members"].as_array().unwrap().iter().enumerate() {
            let result = search.json(&format!("generations/{generation:04}/members/{member:02}/result.json"));
            let fitness = result["outcome"]["fitness"].clone();
            assert!(fitness.is_f64(), "{result}");
            decisions.push(serde_json::json!([planned["genotype"], planned["origin"], fitness]));
        }
    }
    decisions
}

#[test]
fn a_script_and_the_task_that_is_built_in_give_the_same_plans() {
    let (ours, theirs) = (Search::init(&built_in()), calm());
    ours.ok(&["run"]);
    assert_eq!(ours.json("space.json"), theirs.json("space.json"));
    // To the last bit of every fitness: the children's weights are the same.
    assert_eq!(decisions(&ours), decisions(&theirs));
    let made = |search: &Search| {
        (1..3)
            .flat_map(|g| {
                search.json(&format!("generations/{g:04}/plan.json"))["members"].as_array().unwrap().clone()
            })
            .filter(|member| member["origin"]["kind"] == "mix")
            .count()
    };
    assert_eq!(made(&theirs), 4);
    assert!(theirs.ok(&["verify"]).starts_with("sound"));
}

#[test]
fn an_interrupted_script_goes_on_as_if_nothing_had_happened() {
    let search = Search::init(&toy(&slow(0.2), ""));
    let begun = || (0..3).flat_map(|generation| search.endings(generation)).count();
    for name in ["TERM", "TERM", "KILL"] {
        let before = begun();
        let mut run = search.start(&["run", "--workers", "3"]);
        wait_for("three attempts", 60, || (begun() >= before + 3).then_some(()));
        std::thread::sleep(std::time::Duration::from_millis(1500));
        signal(run.id(), name);
        run.wait().unwrap();
    }
    search.ok(&["run"]);
    let stopped = (0..3).flat_map(|g| search.endings(g)).filter(|e| e == "stopped SIGTERM").count();
    assert!(stopped >= 3, "{stopped} attempts were stopped");
    search.assert_same(&calm());
}

/// How many of the processes that left a file of their number in a folder are there.
fn alive(pids: &Path) -> usize {
    let names = std::fs::read_dir(pids).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|pid| Path::new("/proc").join(pid).exists()).count()
}

/// Position of the newest snapshot of a member, if there is one.
fn snapshot(search: &Search, member: &str) -> Option<String> {
    let dir = std::fs::read_dir(search.path(&format!("generations/0000/members/{member}/progress"))).ok()?;
    let names = dir.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".safetensors")).max()
}

#[test]
fn snapshots_are_kept_on_the_way_and_a_script_ends_with_its_trainer() {
    let pids = tempfile::tempdir().unwrap();
    let environment = format!("environment = {{ STEP_SECONDS = \"0.5\", PIDS = {:?} }}", pids.path());
    let search = Search::init(&toy(&environment, "[training]\nsnapshot_seconds = 1"));
    search.call(&["step"]); // makes generation 0; there may be no SLURM to submit to
    let mut train = search.start(&["train", "--member", "0"]);
    let first = wait_for("a snapshot", 60, || snapshot(&search, "00"));
    let alive = || alive(pids.path());
    assert_eq!(alive(), 1, "one script trains");
    signal(train.id(), "KILL");
    train.wait().unwrap();
    wait_for("the end of the script", 5, || (alive() == 0).then_some(()));
    let mut train = search.start(&["train", "--member", "0"]);
    wait_for("another snapshot", 60, || (snapshot(&search, "00") > Some(first.clone())).then_some(()));
    signal(train.id(), "TERM");
    assert_eq!(train.wait().unwrap().code(), Some(75));
    assert_eq!(alive(), 0);
    // A half-written heartbeat may be, until the generation is over.
    assert!(!temporaries(&search).iter().any(|path| path.is_dir()), "{:?}", temporaries(&search));
    let mut endings = search.endings(0);
    endings.sort();
    assert_eq!(endings, ["lost", "stopped SIGTERM"]);
}

/// With a shell in between that stays: `exit` is one more command.
#[test]
fn a_script_behind_a_wrapper_saves_and_is_ended_all_the_same() {
    let pids = tempfile::tempdir().unwrap();
    let environment = format!(
        "environment = {{ STEP_SECONDS = \"0.8\", PIDS = {:?}, PYTHONPATH = \"/nowhere\" }}",
        pids.path()
    );
    let direct = format!("command = [{:?}, {:?}]", python(), script("toy.py"));
    let wrapped = format!(
        "command = [\"bash\", \"-c\", \"{} {}; exit $?\"]",
        python().display(),
        script("toy.py").display()
    );
    let search = Search::init(&toy(&environment, "").replace(&direct, &wrapped));
    search.call(&["step"]);
    let alive = || alive(pids.path());
    let training = || {
        let beat = search.path("generations/0000/members/00/progress/heartbeat.json");
        let beat = std::fs::read_to_string(beat).unwrap_or_default();
        let beat: serde_json::Value = serde_json::from_str(&beat).unwrap_or_default();
        (beat["fraction"].as_f64() > Some(0.0)).then_some(())
    };
    let mut train = search.start(&["train", "--member", "0"]);
    wait_for("a step", 60, training);
    signal(train.id(), "TERM");
    assert_eq!(train.wait().unwrap().code(), Some(75));
    assert_eq!(alive(), 0);
    assert!(snapshot(&search, "00").is_some(), "the script has saved");

    let mut train = search.start(&["train", "--member", "0"]);
    wait_for("a script", 60, || (alive() == 1).then_some(()));
    signal(train.id(), "KILL");
    train.wait().unwrap();
    assert_eq!(alive(), 1, "the shell is gone, the script is not");
    let output = search.call(&["train", "--member", "0"]);
    assert!(output.status.success() && text(&output).contains("ending process"), "{}", text(&output));
    wait_for("the end of the script", 5, || (alive() == 0).then_some(()));
}

#[test]
fn the_first_checkpoint_that_a_member_made_is_made_again_when_it_is_damaged() {
    let search = Search::init(&toy(&slow(0.3), ""));
    let mut run = search.start(&["run", "--workers", "8"]);
    let plan = wait_for("the second generation", 120, || {
        std::fs::read_to_string(search.path("generations/0001/plan.json")).ok()
    });
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    let child = plan["members"].as_array().unwrap().iter().find(|m| m["origin"]["kind"] == "mix").unwrap();
    let dir = search.path(&format!("generations/0001/members/{:02}/progress", child["id"].as_u64().unwrap()));
    let first = wait_for("its first checkpoint", 60, || {
        let names = std::fs::read_dir(&dir).ok()?.map(|entry| entry.unwrap().path());
        names.into_iter().find(|path| path.to_string_lossy().contains("000002-000000000-"))
    });
    signal(run.id(), "KILL");
    run.wait().unwrap();
    let mut bytes = std::fs::read(&first).unwrap();
    *bytes.last_mut().unwrap() ^= 0x40;
    std::fs::write(&first, bytes).unwrap();
    search.ok(&["run"]);
    search.assert_same(&calm());
}

#[test]
fn check_interrupts_a_script_and_compares() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("search.toml");
    std::fs::write(&file, toy(&slow(0.3), "")).unwrap();
    let output = std::process::Command::new(PBTNAS).arg("check").arg("--config").arg(&file).output().unwrap();
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    for part in ["with epoch 0 and step ", "interrupted or not, it comes to the same bytes", "ready: "] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn damaged_checkpoints_of_a_script_are_made_again() {
    let search = Search::init(&toy("", ""));
    let whole = calm();
    search.ok(&["run"]);
    // A parent, after its children were planned: as if damaged just then.
    let plan = search.json("generations/0002/plan.json");
    let child = plan["members"].as_array().unwrap().iter().find(|m| m["origin"]["kind"] == "mix").unwrap();
    assert_eq!(child["start"], "parents");
    let base = child["origin"]["base"].as_u64().unwrap();
    let parent = search.path(&format!("generations/0001/members/{base:02}/final.safetensors"));
    let id = child["id"].as_u64().unwrap();
    let member = search.path(&format!("generations/0002/members/{id:02}"));
    std::fs::remove_dir_all(&member).unwrap();
    std::fs::create_dir(&member).unwrap();
    std::fs::write(&parent, b"not what it was").unwrap();
    search.ok(&["train", "--generation", "2", "--member", &id.to_string()]);
    search.assert_same(&whole);
}

#[test]
fn a_soup_and_a_final_evaluation_are_made_through_the_script() {
    let search = calm();
    search.ok(&["soup"]);
    let soup = search.json("soup/soup.json");
    assert!(soup["fitness"].as_f64().unwrap() >= search.json("best.json")["fitness"].as_f64().unwrap());
    search.ok(&["evaluate", "--samples", "5"]);
    assert!(search.ok(&["verify"]).starts_with("sound"));
    assert_eq!(temporaries(&search), Vec::<PathBuf>::new());
}

#[test]
fn preempted_scripts_on_a_cluster_save_leave_and_come_back() {
    let cluster = Cluster::get();
    let slurm = "[slurm]\npartition = \"low\"\n[slurm.step]\npartition = \"main\"";
    let search = Search::init(&toy(&slow(0.6), slurm));
    cluster.step(&search);
    cluster.pid(&search, 0, 0, 1);
    std::thread::sleep(std::time::Duration::from_secs(3));
    cluster.preempt();
    cluster.wait(&search);
    let endings: Vec<String> = (0..3).flat_map(|generation| search.endings(generation)).collect();
    let stopped = endings.iter().filter(|ending| *ending == "stopped SIGTERM").count();
    assert!(stopped >= 4, "{endings:?}");
    search.assert_same(&calm());
}
