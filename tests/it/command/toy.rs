//! The synthetic task as a script (toy.py): the same search as with the built-in task, also under kills and damage.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{python, script, temporaries};
use crate::support::{Essence, PBTNAS, Search, signal, text, wait_for, wait_until};

const LAYERS: usize = 4;
const OPTIONS: &str = "[\"o0\", \"o1\", \"o2\", \"o3\"]";
const RATE: &str = "{ low = 0.02, high = 0.5, scale = \"log\" }";

fn head(kind: &str) -> String {
    format!(
        "seed = 7\n[search]\npopulation = 8\nepochs = 6\nepochs_per_generation = 2\n[task]\nkind = \"{kind}\"\n\
         [storage]\nkeep = \"all\"\nvisibility_timeout = 2\n"
    )
}

fn built_in() -> String {
    let settings = format!("layers = {LAYERS}\noptions = 4\nsteps_per_epoch = 5\nnoise = 0.0\nrate = {RATE}");
    format!("{}[synthetic]\n{settings}\n", head("synthetic"))
}

/// `more` goes into the section `[command]`, `after` behind it.
pub fn toy(more: &str, after: &str) -> String {
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

pub fn slow(seconds: f64) -> String {
    format!("environment = {{ STEP_SECONDS = \"{seconds}\" }}")
}

fn calm() -> Search {
    let search = Search::init(&toy("", ""));
    search.ok(&["run"]);
    search
}

/// Asserts that a run equals the undisturbed one, which is trained once for all tests.
pub fn assert_calm(search: &Search) {
    static CALM: OnceLock<Essence> = OnceLock::new();
    search.assert_files(CALM.get_or_init(|| {
        let calm = calm();
        assert!(calm.ok(&["verify"]).starts_with("valid"));
        calm.essence()
    }));
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
fn a_script_and_the_built_in_task_have_the_same_plans() {
    let (ours, theirs) = (Search::init(&built_in()), calm());
    ours.ok(&["run"]);
    assert_eq!(ours.json("space.json"), theirs.json("space.json"));
    // Every fitness is the same to the last bit, so the children's weights are.
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
    assert!(theirs.ok(&["verify"]).starts_with("valid"));
}

#[test]
fn an_interrupted_search_with_a_script_equals_the_undisturbed_one() {
    let search = Search::init(&toy(&slow(0.2), ""));
    let begun = || (0..3).flat_map(|generation| search.endings(generation)).count();
    for name in ["TERM", "TERM", "KILL"] {
        let before = begun();
        let mut run = search.start(&["run", "--workers", "3"]);
        wait_until("three attempts", 60, || begun() >= before + 3);
        std::thread::sleep(std::time::Duration::from_millis(1500));
        signal(run.id(), name);
        run.wait().unwrap();
    }
    search.ok(&["run"]);
    let stopped = (0..3).flat_map(|g| search.endings(g)).filter(|e| e == "stopped SIGTERM").count();
    assert!(stopped >= 3, "{stopped} attempts were stopped");
    assert_calm(&search);
}

/// How many of the processes with a file (named by the process id) in a folder are running.
fn alive(pids: &Path) -> usize {
    let names = std::fs::read_dir(pids).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|pid| Path::new("/proc").join(pid).exists()).count()
}

/// The name of a member's newest snapshot, which begins with its position.
fn snapshot(search: &Search, member: &str) -> Option<String> {
    let dir = std::fs::read_dir(search.path(&format!("generations/0000/members/{member}/progress"))).ok()?;
    let names = dir.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".safetensors")).max()
}

#[test]
fn snapshots_are_published_and_a_script_ends_with_its_trainer() {
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
    wait_until("the end of the script", 5, || alive() == 0);
    let mut train = search.start(&["train", "--member", "0"]);
    wait_until("another snapshot", 60, || snapshot(&search, "00") > Some(first.clone()));
    signal(train.id(), "TERM");
    assert_eq!(train.wait().unwrap().code(), Some(75));
    assert_eq!(alive(), 0);
    // A half-written heartbeat may remain until the generation is over.
    assert!(!temporaries(&search).iter().any(|path| path.is_dir()), "{:?}", temporaries(&search));
    let mut endings = search.endings(0);
    endings.sort();
    assert_eq!(endings, ["lost", "stopped SIGTERM"]);
}

/// The shell stays between pbtnas and the script, because `exit` follows the script.
#[test]
fn a_script_behind_a_shell_saves_and_is_stopped() {
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
        beat["fraction"].as_f64() > Some(0.0)
    };
    let mut train = search.start(&["train", "--member", "0"]);
    wait_until("a step", 60, training);
    signal(train.id(), "TERM");
    assert_eq!(train.wait().unwrap().code(), Some(75));
    assert_eq!(alive(), 0);
    assert!(snapshot(&search, "00").is_some(), "the script has saved");

    let mut train = search.start(&["train", "--member", "0"]);
    wait_until("a script", 60, || alive() == 1);
    signal(train.id(), "KILL");
    train.wait().unwrap();
    assert_eq!(alive(), 1, "the shell is gone, the script is not");
    let output = search.call(&["train", "--member", "0"]);
    assert!(output.status.success() && text(&output).contains("killing process"), "{}", text(&output));
    wait_until("the end of the script", 5, || alive() == 0);
}

#[test]
fn a_damaged_first_checkpoint_is_rebuilt() {
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
    assert_calm(&search);
}

#[test]
fn check_interrupts_a_script_and_compares_the_results() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("search.toml");
    std::fs::write(&file, toy(&slow(0.3), "")).unwrap();
    let output = std::process::Command::new(PBTNAS).arg("check").arg("--config").arg(&file).output().unwrap();
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    for part in ["with epoch 0 and step ", "resuming after the interruption gives the same bytes", "ready: "]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn damaged_checkpoints_of_a_script_are_rebuilt() {
    let search = Search::init(&toy("", ""));
    let whole = calm();
    search.ok(&["run"]);
    // A parent is damaged after its children were planned.
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
fn soup_and_evaluate_call_the_script() {
    let search = calm();
    search.ok(&["soup"]);
    let soup = search.json("soup/soup.json");
    assert!(soup["fitness"].as_f64().unwrap() >= search.json("best.json")["fitness"].as_f64().unwrap());
    search.ok(&["evaluate", "--samples", "5"]);
    assert!(search.ok(&["verify"]).starts_with("valid"));
    assert_eq!(temporaries(&search), Vec::<PathBuf>::new());
}

#[test]
fn a_soup_whose_evaluation_is_stopped_counts_no_failure() {
    let config = toy("environment = { EVALUATION_SECONDS = \"2\" }", "[training]\nmax_attempts = 1");
    let converging = "epochs_per_generation = 2\nmixing = false";
    let search = Search::init(&config.replace("epochs_per_generation = 2", converging));
    search.ok(&["run"]);
    let count = |ending: &str| {
        let files = walkdir::WalkDir::new(search.path("soup")).into_iter().flatten();
        files.filter(|file| file.path().to_string_lossy().ends_with(ending)).count()
    };
    for stopped in 1..=2 {
        let mut soup = search.start(&["soup", "--workers", "1"]);
        wait_until("an evaluation", 60, || count(".start.json") == stopped);
        signal(soup.id(), "TERM");
        assert_eq!(soup.wait().unwrap().code(), Some(75));
        assert_eq!((count(".start.json"), count(".end.json")), (stopped, stopped));
    }
    search.ok(&["soup", "--workers", "1"]);
    let results = walkdir::WalkDir::new(search.path("soup")).into_iter().flatten();
    for result in results.filter(|file| file.file_name() == "result.json") {
        let text = std::fs::read_to_string(result.path()).unwrap();
        let result: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(result["fitness"].is_f64() && result["failed"].is_null(), "{result}");
    }
}
