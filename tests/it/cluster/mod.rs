//! Every test that needs a SLURM cluster, and the cluster itself: four nodes on this machine (scripts/slurm-sandbox), with
//! real preemption and real kills. scripts/test runs them by this module's name, one at a time, beside all others.

mod allocation;
#[cfg(feature = "failpoints")]
mod crash;
#[cfg(feature = "torch")]
mod docs;
mod doctor;
mod faults;
#[cfg(feature = "torch")]
mod light;
mod search;
mod tasks;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::support::{Search, synthetic, text, wait_for_the_end, wait_until};

/// The cluster, for one test at a time: preemption in one test would disturb another.
pub struct Cluster {
    conf: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    pub fn get() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        assert!(test.starts_with("cluster::"), "{test} belongs into tests/it/cluster");
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let cluster = Self { conf: root.join(".slurm/slurm.conf"), _turn: turn };
        // Every time: an earlier test may have broken it.
        cluster.repair();
        cluster
    }

    /// Starts the daemons that are not running, and waits until all nodes are usable.
    pub fn repair(&self) {
        let sandbox = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/slurm-sandbox");
        let output = Command::new(sandbox).arg("up").output().unwrap();
        assert!(output.status.success(), "scripts/slurm-sandbox up: {}", text(&output));
    }

    pub fn conf(&self) -> &Path {
        &self.conf
    }

    /// The process of one of the cluster's daemons, if it runs.
    pub fn find_daemon(&self, name: &str) -> Option<u32> {
        let file = self.conf.with_file_name("run").join(format!("{name}.pid"));
        let pid = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
        Path::new(&format!("/proc/{pid}")).exists().then_some(pid)
    }

    /// The process of a daemon that runs.
    pub fn daemon(&self, name: &str) -> u32 {
        self.find_daemon(name).unwrap_or_else(|| panic!("{name} does not run"))
    }

    pub fn command(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program).args(arguments).env("SLURM_CONF", &self.conf).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn step(&self, search: &Search) -> String {
        let output = search.command(&["step"]).env("SLURM_CONF", &self.conf).output().unwrap();
        assert!(output.status.success(), "pbtnas step: {}", text(&output));
        text(&output)
    }

    /// Runs `pbtnas step` with one of SLURM's programs replaced by a script, in which the real one is `$real`.
    pub fn step_with(&self, search: &Search, program: &str, script: &str) -> Option<i32> {
        let bin = search.folder().join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        let real = String::from_utf8(Command::new("which").arg(program).output().unwrap().stdout).unwrap();
        let file = bin.join(program);
        std::fs::write(&file, format!("#!/bin/bash\nreal={}\n{script}\n", real.trim())).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let output =
            search.command(&["step"]).env("SLURM_CONF", &self.conf).env("PATH", path).output().unwrap();
        output.status.code()
    }

    pub fn wait(&self, search: &Search) {
        wait_for_the_end(&search.state);
        wait_until("an empty queue", 60, || self.jobs(search).is_empty());
    }

    /// Lines `id state name` of a run's jobs, one for each task.
    pub fn jobs(&self, search: &Search) -> Vec<String> {
        let run_id = search.json("run.json")["run_id"].as_str().unwrap().to_owned();
        let queue = self.command("squeue", &["--noheader", "--array", "--format=%i %T %j"]);
        queue.lines().filter(|line| line.contains(&run_id)).map(str::to_owned).collect()
    }

    /// Occupies all nodes for a moment, which preempts the jobs in the partition `low`.
    pub fn preempt(&self) {
        let high = [
            "--partition=high",
            "--exclusive",
            "--nodes=4",
            "--wait",
            "--output=/dev/null",
            "--wrap=sleep 1",
        ];
        self.command("sbatch", &high);
    }

    /// The process of an attempt; waits until it has begun.
    pub fn pid(&self, search: &Search, generation: u32, member: u32, attempt: u32) -> u32 {
        let path =
            format!("generations/{generation:04}/members/{member:02}/attempts/{attempt:04}.start.json");
        wait_until("an attempt", 60, || search.path(&path).exists());
        search.json(&path)["pid"].as_u64().unwrap() as u32
    }
}

/// A finished search with the same configuration, run on this machine without a disturbance.
pub fn local() -> Search {
    let search = Search::init(&synthetic(0, ""));
    search.ok(&["run"]);
    search
}
