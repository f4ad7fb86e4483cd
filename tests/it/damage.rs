//! Files and folders of a run are damaged one at a time. The program either repairs the damage and ends as the undisturbed
//! search, or names the file with a hint and changes nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pbtnas_core::durable_fs::Digest;
use pbtnas_core::fault::message;
use pbtnas_core::run::{FORMAT, PlanRecord, StartRecord, read_json, replace_json, verify};
use pbtnas_core::search::MemberId;
use pbtnas_engine::fault::{exit, exit_code, hint_of};
use pbtnas_engine::run::Run;

use crate::support::{essence, text};
use crate::tiny::{
    CONFIG, assert_sound, copy, finished_copy, folder, init, pbtnas, train_all, try_train_all,
};

/// A run in its third of five generations: the first is archived, the second is kept, and in the third one member is done,
/// one has snapshots, two have not begun.
fn halfway(dir: &Path) -> PathBuf {
    let state = init(dir, &CONFIG.replace("epochs = 6", "epochs = 10"));
    train_all(&state, 3);
    let run = Run::open(&state).unwrap();
    let members = [MemberId(1), MemberId(2), MemberId(3)];
    for member in members {
        fs::remove_file(run.layout.result(2, member)).unwrap();
        fs::remove_file(run.layout.final_checkpoint(2, member)).unwrap();
        if member != members[0] {
            fs::remove_dir_all(run.layout.progress(2, member)).unwrap();
            fs::remove_dir_all(run.layout.attempts(2, member)).unwrap();
        }
    }
    assert_sound(&state, "halfway");
    state
}

/// A way to damage a file; false if it does not apply to this one.
type Damage = fn(&Path) -> bool;
const DAMAGES: [(&str, Damage); 5] = [
    ("removed", |path| fs::remove_file(path).is_ok()),
    ("emptied", |path| fs::write(path, "").is_ok()),
    ("cut off", |path| {
        let bytes = fs::read(path).unwrap();
        bytes.len() > 1 && fs::write(path, &bytes[..bytes.len() / 2]).is_ok()
    }),
    ("a bit flipped", |path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes.get_mut(middle).map(|byte| *byte ^= 4).is_some() && fs::write(path, bytes).is_ok()
    }),
    ("of a later format", |path| {
        let bytes = fs::read(path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let later =
            text.replacen(&format!("\"format\": {FORMAT}"), &format!("\"format\": {}", FORMAT + 1), 1);
        later != text && fs::write(path, later).is_ok()
    }),
];

#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Outcome {
    /// The program repaired it, and the search ended as the undisturbed one.
    Repaired,
    /// The program named the file, and the search resumed once it was put back.
    Reported,
}

/// Resumes a damaged run. `path` was damaged; `good` is an undamaged copy of the run.
fn resume(state: &Path, path: &Path, good: &Path, calm: &BTreeMap<String, Vec<u8>>, when: &str) -> Outcome {
    let outcome = match try_train_all(state, u32::MAX) {
        Ok(()) => Outcome::Repaired,
        Err(error) => {
            let said = format!("{} {}", message(&error), hint_of(&error).unwrap_or_default());
            let name = path.strip_prefix(state).unwrap().to_str().unwrap();
            assert!(said.contains(name), "{when}: {said}");
            assert!(
                ["restore it", "delete it", "use a newer pbtnas", "is not a pbtnas run directory"]
                    .iter()
                    .any(|way| said.contains(way)),
                "{when}: no way out in: {said}"
            );
            assert_eq!(exit_code(&error), exit::STATE, "{when}: {said}");
            let original = good.join(name);
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            }
            let _ = fs::remove_file(path);
            copy(&original, path);
            train_all(state, u32::MAX);
            Outcome::Reported
        }
    };
    // The search does not read older records: verify may name the damaged generation, and no other.
    let place = |path: &Path| path.strip_prefix(state).unwrap().iter().take(2).collect::<PathBuf>();
    for fault in verify(&Run::open(state).unwrap()).unwrap() {
        assert_eq!(place(&fault.path), place(path), "{when}: {fault:?}");
    }
    let mut found = essence(state);
    let mut calm = calm.clone();
    for files in [&mut found, &mut calm] {
        files.retain(|name, _| !state.join(name).starts_with(path) || *path == state.join("generations"));
    }
    assert!(found == calm, "{when}: another population");
    outcome
}

fn relative_paths(state: &Path, files: bool) -> Vec<PathBuf> {
    let entries =
        walkdir::WalkDir::new(state).min_depth(1).sort_by_file_name().into_iter().map(Result::unwrap);
    entries
        .filter(|entry| entry.file_type().is_file() == files)
        .map(|entry| entry.path().strip_prefix(state).unwrap().to_owned())
        .collect()
}

#[test]
fn each_damage_to_each_file_is_repaired_or_reported() {
    let dir = folder();
    let good = halfway(dir.path());
    let calm = essence(&finished_copy(&good));
    let mut reported: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut repaired = 0;
    for relative in relative_paths(&good, true) {
        for (damage, act) in DAMAGES {
            let state = dir.path().join("damaged");
            let _ = fs::remove_dir_all(&state);
            copy(&good, &state);
            let path = state.join(&relative);
            let when = format!("{}, {damage}", relative.display());
            if !act(&path) {
                continue;
            }
            match resume(&state, &path, &good, &calm, &when) {
                Outcome::Repaired => repaired += 1,
                Outcome::Reported => reported.entry(relative.display().to_string()).or_default().push(damage),
            }
        }
    }
    println!("{repaired} damages to files were repaired; reported: {reported:#?}");
    // The request cannot be recomputed; everything else that the search needs can.
    let must_be_reported = ["config.toml", "run.json", "space.json"];
    for name in must_be_reported {
        assert!(reported.remove(name).is_some_and(|ways| ways.len() >= 4), "{name}");
    }
    // Files of a later format are not changed.
    for (name, ways) in reported {
        assert_eq!(ways, ["of a later format"], "{name}");
    }
    assert!(repaired > 100, "{repaired}");
}

#[test]
fn each_removed_folder_is_repaired_or_reported() {
    let dir = folder();
    let good = halfway(dir.path());
    let calm = essence(&finished_copy(&good));
    let mut outcomes: BTreeMap<Outcome, Vec<String>> = BTreeMap::new();
    for relative in relative_paths(&good, false) {
        let state = dir.path().join("damaged");
        let _ = fs::remove_dir_all(&state);
        copy(&good, &state);
        let path = state.join(&relative);
        fs::remove_dir_all(&path).unwrap();
        let outcome = resume(&state, &path, &good, &calm, &format!("{} removed", relative.display()));
        outcomes.entry(outcome).or_default().push(relative.display().to_string());
    }
    println!("folders removed: {outcomes:#?}");
    assert!(
        outcomes[&Outcome::Reported].contains(&"generations".to_owned()),
        "weeks of work do not vanish in silence"
    );
    assert!(outcomes[&Outcome::Repaired].len() > 10);
}

#[test]
fn a_damaged_plan_is_recomputed_and_a_lost_generation_is_reported() {
    let dir = folder();
    let state = init(dir.path(), &CONFIG.replace("keep = 1", "keep = 2"));
    train_all(&state, u32::MAX);
    let (before, run) = (essence(&state), Run::open(&state).unwrap());
    let plan = run.layout.plan(2);
    fs::write(&plan, "{").unwrap();
    train_all(&state, u32::MAX);
    assert_eq!(essence(&state), before);
    assert_sound(&state, "plan recomputed");

    fs::remove_dir_all(run.layout.generation(2)).unwrap();
    let reported = try_train_all(&state, u32::MAX).unwrap_err().to_string();
    assert!(reported.contains("the generation is missing, but best.json refers to it"), "{reported}");
    let faults = verify(&run).unwrap();
    assert!(faults.iter().any(|fault| fault.what.contains("but best.json refers to it")), "{faults:?}");
}

#[test]
fn a_damaged_parent_is_retrained_and_the_child_is_the_same() {
    let dir = folder();
    let state = init(dir.path(), CONFIG);
    train_all(&state, 1);
    let calm = finished_copy(&state);
    let run = Run::open(&state).unwrap();
    for member in 0..4 {
        let path = run.layout.final_checkpoint(0, MemberId(member));
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        // A hard link to a snapshot: for two members both are damaged, for two only the checkpoint.
        if member < 2 {
            fs::remove_file(&path).unwrap();
        }
        fs::write(&path, bytes).unwrap();
        if member % 2 == 0 {
            fs::remove_dir_all(run.layout.progress(0, MemberId(member))).unwrap();
        }
    }
    let output = pbtnas(&state, &["run"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("final.safetensors is damaged"), "{}", text(&output));
    assert_sound(&state, "retrained");
    assert!(essence(&state) == essence(&calm));
}

#[test]
fn a_checkpoint_that_cannot_be_rebuilt_costs_its_member_only() {
    let dir = folder();
    let state = init(dir.path(), &CONFIG.replace("keep = 1", "keep = \"all\""));
    train_all(&state, 2);
    // The plan of a survivor names a lost checkpoint that training does not reproduce (as on a GPU).
    let run = Run::open(&state).unwrap();
    let plan = run.plan(1).unwrap();
    let made = plan.members.iter().find(|member| !member.origin.is_made()).unwrap();
    let start = run.layout.final_checkpoint(0, made.id);
    fs::remove_file(&start).unwrap();
    fs::remove_dir_all(run.layout.progress(0, made.id)).unwrap();
    let mut record: PlanRecord = read_json(&run.layout.plan(1)).unwrap();
    let planned = record.members.iter_mut().find(|member| member.id == made.id).unwrap();
    let StartRecord::Checkpoint(file) = &mut planned.start else { panic!("{planned:?}") };
    file.digest = Digest::of(b"what a GPU made");
    replace_json(&run.layout.plan(1), &record).unwrap();
    fs::remove_file(run.layout.result(1, made.id)).unwrap();
    fs::remove_file(run.layout.final_checkpoint(1, made.id)).unwrap();
    fs::remove_dir_all(run.layout.progress(1, made.id)).unwrap();
    let output = pbtnas(&state, &["run"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let result = run.result(1, made.id).unwrap().unwrap();
    let pbtnas_core::run::Outcome::Failed { reason, .. } = result.outcome else { panic!("{result:?}") };
    assert!(reason.contains("retraining gave"), "{reason}");
    let next = run.plan(2).unwrap();
    assert!(next.members[made.id.0 as usize].origin.is_made(), "it was replaced");
}

#[cfg(feature = "torch")]
#[test]
fn a_damaged_shared_file_is_reported_and_fails_no_member() {
    let gan = "subset = 200\nbatch = 20\ngenerator_batch = 20\nevaluation_images = 100\nfeature_epochs = 1";
    let search = crate::support::Search::init(&crate::gan::config(1, gan));
    let shared = fs::read_dir(search.path("shared")).unwrap().next().unwrap().unwrap().path();
    let good = fs::read(&shared).unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(&shared, bad).unwrap();
    let output = search.call(&["run"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains(shared.to_str().unwrap()) && said.contains("restore it"), "{said}");
    fs::write(&shared, good).unwrap();
    search.ok(&["run"]);
    assert!(search.status()["members"].as_array().unwrap().iter().all(|member| member["state"] == "done"));
}
