//! `pbtnas step` is killed at every failpoint, alone and beside a second one.

use std::path::Path;
use std::process::Stdio;

use pbtnas_core::run::{RunRecord, read_json, replace_json};
use pbtnas_core::search::MemberId;
use pbtnas_engine::run::Run;

use super::Cluster;
use crate::crash::{assert_same, assert_tidy, count, points, was_killed};
use crate::support::{essence, text, wait_for_the_end, wait_until};
use crate::tiny::{CONFIG, assert_sound, copy, finished_copy, folder, init, ok, pbtnas, train_all};

#[test]
fn step_killed_at_any_point_alone_and_beside_another() {
    let cluster = Cluster::get();
    let dir = folder();
    let before = init(dir.path(), CONFIG);
    train_all(&before, 2);
    let calm = finished_copy(&before);
    let expected = essence(&calm);
    let step = |state: &Path| {
        let mut command = pbtnas(state, &["step"]);
        command.env("SLURM_CONF", cluster.conf());
        command
    };
    let place = |name: String| {
        let state = dir.path().join(name);
        copy(&before, &state);
        // Another run id, which is part of the jobs' names.
        let path = state.join("run.json");
        let mut record: RunRecord = read_json(&path).unwrap();
        record.run_id = format!("{:08x}", rand::random::<u32>());
        replace_json(&path, &record).unwrap();
        state
    };
    let points = points(&mut step(&place("count".into())), dir.path());
    let mut runs = vec![];
    for beside in [false, true] {
        // Where two steps meet is a matter of chance: a third of the points is enough.
        for number in (1..=points.len()).step_by(if beside { 3 } else { 1 }) {
            let state = place(format!("{number}-{beside}"));
            let other =
                beside.then(|| step(&state).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
            let output = step(&state).env("PBTNAS_FAILPOINT", format!("{number}:kill")).output().unwrap();
            // The other step may have done it before.
            assert!(was_killed(&output) || beside && output.status.success(), "{number}: {}", text(&output));
            if let Some(other) = other {
                let output = other.wait_with_output().unwrap();
                assert!(output.status.success(), "beside {number}: {}", text(&output));
            }
            assert_sound(&state, &format!("step killed at {number}, before {}", points[number - 1]));
            ok(step(&state));
            runs.push((state, was_killed(&output)));
        }
    }
    let killed = runs.iter().filter(|(_, killed)| *killed).count();
    for (state, _) in &runs {
        let run = Run::open(state).unwrap();
        wait_for_the_end(state);
        for member in 0..4 {
            let attempts = std::fs::read_dir(run.layout.attempts(2, MemberId(member))).unwrap().count();
            assert!(attempts <= 2, "{}: member {member} was trained more than once", state.display());
        }
    }
    wait_until("an empty queue", 120, || cluster.command("squeue", &["--noheader"]).trim().is_empty());
    for (state, _) in &runs {
        assert_sound(state, "at the end");
        assert_tidy(state, "at the end");
        assert_same(state, &expected);
    }
    println!(
        "step: {} points swept ({}), alone and beside a second step: {killed} of {} died",
        points.len(),
        count(&points),
        runs.len()
    );
}
