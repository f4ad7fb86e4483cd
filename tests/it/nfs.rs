//! Searches on a real NFS mount with the kernel's default caches, seen from two clients (scripts/nfs-sandbox).
//!
//! Where the clients are emulated, the program takes seconds to start; the searches are small.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::support::{PBTNAS, Search, essence, synthetic, text, wait_for, wait_until};

/// Server and clients, for one test at a time, and the test's folder on them.
struct Sandbox {
    folder: &'static str,
    _turn: MutexGuard<'static, ()>,
}

impl Sandbox {
    fn get(folder: &'static str) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let output = script(&["up", "--program", PBTNAS.path()]).output().unwrap();
        assert!(output.status.success(), "scripts/nfs-sandbox up: {}", text(&output));
        let sandbox = Self { folder, _turn: turn };
        sandbox.ok("server", &format!("rm -rf /export/{folder}"));
        sandbox
    }

    /// Shell commands on a machine, not started yet. They begin in the mounted folder of a client, or in the exported
    /// folder of the server, which no cache stands in front of.
    fn command(&self, machine: &str, commands: &str) -> Command {
        let root = if machine == "server" { "/export" } else { "/nfs" };
        let mut command = script(&["exec", machine, "--", "sh", "-c"]);
        command.arg(format!("cd {root}; {commands}")).stdin(Stdio::null());
        command
    }

    /// Runs commands that must succeed; returns what they printed.
    fn ok(&self, machine: &str, commands: &str) -> String {
        let output = self.command(machine, commands).output().unwrap();
        assert!(output.status.success(), "{machine}: {commands}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The command line of pbtnas for this run.
    fn pbtnas(&self, arguments: &str) -> String {
        format!("pbtnas {arguments} --state {}/run", self.folder)
    }

    fn start(&self, machine: &str, commands: &str) -> Child {
        let mut command = self.command(machine, commands);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Creates the run on client A.
    fn init(&self, config: &str) {
        let mut write = self.start("A", &format!("mkdir {0} && cat >{0}/config.toml", self.folder));
        write.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
        assert!(write.wait().unwrap().success());
        self.ok("A", &self.pbtnas(&format!("init --config {}/config.toml", self.folder)));
    }

    /// Copies the run, as a client reads it, to a folder here.
    fn copy(&self, machine: &str, to: &Path) {
        let tar =
            self.command(machine, &format!("tar -c -C {}/run generations", self.folder)).output().unwrap();
        assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
        let mut unpack = Command::new("tar").arg("-xC").arg(to).stdin(Stdio::piped()).spawn().unwrap();
        unpack.stdin.take().unwrap().write_all(&tar.stdout).unwrap();
        assert!(unpack.wait().unwrap().success());
    }

    /// Names of the attempts that a machine has begun and not ended, as the server has them.
    fn unfinished(&self, machine: &str) -> Vec<String> {
        let list = format!(
            "cd {}/run/generations; for start in $(grep -ls '\"host\": \"{machine}\"' */members/*/attempts/*.start.json)
             do [ -e ${{start%.start.json}}.end.json ] || echo $start; done",
            self.folder
        );
        self.ok("server", &list).lines().map(str::to_owned).collect()
    }
}

fn script(arguments: &[&str]) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/nfs-sandbox"));
    command.args(arguments);
    command
}

fn finish(run: Child) -> Output {
    run.wait_with_output().unwrap()
}

#[test]
#[ignore = "needs three virtual machines: root on Debian, and a network for their packages"]
fn two_clients_train_the_population_that_one_machine_trains() {
    let nfs = Sandbox::get("two");
    let mounts = nfs.ok("A", "grep ' /nfs ' /proc/mounts");
    assert!(
        mounts.contains(" nfs4 rw") && !mounts.contains("noac") && !mounts.contains("actimeo"),
        "{mounts}"
    );

    // B looks first and caches that nothing is there. It must see the run as soon as there is one.
    nfs.ok("B", "ls; [ ! -e two ] && [ ! -e two/run/run.json ]");
    nfs.init(&synthetic(300, ""));
    let status = nfs.ok("B", &nfs.pbtnas("status --json"));
    assert!(status.contains("\"finished\": false"), "{status}");

    let run = nfs.pbtnas("run --workers 1");
    let (on_a, on_b) = (nfs.start("A", &run), nfs.start("B", &run));
    wait_until("B in the middle of a member of the second generation", 240, || {
        nfs.unfinished("b").iter().any(|attempt| attempt.starts_with("0001/"))
    });
    nfs.ok("B", "killall -9 pbtnas");
    assert_eq!(finish(on_b).status.code(), Some(137));
    assert_eq!(nfs.unfinished("b").len(), 1, "an attempt without an end");
    let on_b = nfs.start("B", &run);
    for (machine, run) in [("A", on_a), ("B", on_b)] {
        let output = finish(run);
        assert!(output.status.success(), "run on {machine}: {}", text(&output));
    }

    let here = Search::init(&synthetic(0, ""));
    here.ok(&["run"]);
    for machine in ["A", "B"] {
        assert!(nfs.ok(machine, &nfs.pbtnas("verify")).starts_with("valid"));
        let copied = tempfile::tempdir().unwrap();
        nfs.copy(machine, copied.path());
        let (theirs, ours) = (essence(copied.path()), here.essence());
        assert_eq!(theirs.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>(), "on {machine}");
        for (name, bytes) in &theirs {
            assert!(*bytes == ours[name], "{name} on {machine} differs");
        }
    }
    let results = nfs.ok("server", "cat two/run/generations/*/members/*/result.json");
    for host in ["\"host\": \"a\"", "\"host\": \"b\""] {
        assert!(results.matches(host).count() > 2, "both clients trained: {results}");
    }
    // Each client looked for results before the other published them; none was trained again for that.
    let superseded =
        nfs.ok("server", "grep -l superseded two/run/generations/*/members/*/attempts/* || true");
    assert_eq!(superseded, "", "attempts at members that were already trained");
}

#[test]
#[ignore = "needs three virtual machines: root on Debian, and a network for their packages"]
fn step_waits_for_a_result_that_its_client_has_cached_as_missing() {
    let nfs = Sandbox::get("late");
    // There is no SLURM on that machine: everything submitted has left the queue at once.
    nfs.ok(
        "B",
        "for name in squeue scontrol scancel; do echo '#!/bin/sh' >/bin/$name; done
         printf '#!/bin/sh\\ncat >/dev/null\\ndate +%%s\\n' >/bin/sbatch; chmod +x /bin/s[qcb]*",
    );
    nfs.init(&synthetic(0, ""));
    nfs.ok("B", "ls late/run"); // its cache has the run
    let first = nfs.ok("B", &nfs.pbtnas("step"));
    assert!(first.contains("generation 0: submitted 8 member(s)"), "{first}");

    let mut train = nfs.start("A", &nfs.pbtnas("train --serve --generation 0"));
    let (mut input, mut said) = (train.stdin.take().unwrap(), BufReader::new(train.stdout.take().unwrap()));
    let mut serve = |member: u32| {
        writeln!(input, "{member}").unwrap();
        let mut code = String::new();
        said.read_line(&mut code).unwrap();
        assert_eq!(code.trim(), "0", "member {member}");
    };
    (0..7).for_each(&mut serve);
    let member = "late/run/generations/0000/members/07";
    let look = format!(
        "[ -e {member}/result.json ] || echo no result; [ -e {member}/attempts ] || echo no attempts"
    );
    // Opening the directory makes B ask the server; from now on it uses its cache.
    assert_eq!(nfs.ok("B", &format!("ls {member}; {look}")), "no result\nno attempts\n");
    serve(7);
    assert_eq!(nfs.ok("server", &look), "", "it is there");
    assert_eq!(nfs.ok("A", &look), "", "it is there");
    assert_eq!(nfs.ok("B", &look), "no result\nno attempts\n", "B reads from its cache");
    let second = nfs.ok("B", &nfs.pbtnas("step"));
    assert!(second.contains("generation 1: submitted 8 member(s)"), "{second}");
    let again = nfs.ok("server", "ls late/run/generations/0000");
    assert!(!again.contains("submission-2"), "nothing was submitted again: {again}");
    drop(input);
    assert!(train.wait().unwrap().success());
}

#[test]
#[ignore = "needs three virtual machines: root on Debian, and a network for their packages"]
fn doctor_checks_the_visibility_between_two_clients() {
    let nfs = Sandbox::get("doctor");
    // There is no SLURM on these machines: a script in its place reports a running job, and this test starts it, on A.
    const SLURM: &str = "#!/bin/sh
case \"$*\" in
    *--version*) echo slurm-wlm 22.05.8 ;;
    *ping*) echo 'Slurmctld(primary) at server is UP' ;;
    *'show job'*) echo JobId=1 JobState=$([ -e /nfs/doctor/.tmp-*/node/answer.json ] && echo COMPLETED || echo RUNNING) ;;
    *--parsable*) cat >/dev/null; echo 1 ;;
esac
";
    let mut write = nfs.start("B", "mkdir doctor; cat >/bin/sbatch; chmod +x /bin/sbatch; for name in squeue scontrol scancel; do cp /bin/sbatch /bin/$name; done");
    write.stdin.take().unwrap().write_all(SLURM.as_bytes()).unwrap();
    assert!(write.wait().unwrap().success());

    let doctor = nfs.start("B", &nfs.pbtnas("doctor --json"));
    let folder = wait_for("the folder of the job", 240, || {
        let listed = nfs.ok("server", "ls -d doctor/.tmp-*/node/logs 2>/dev/null || true");
        listed.trim().strip_suffix("/logs").map(str::to_owned)
    });
    let job = nfs.start("A", &format!("pbtnas answer --state {folder}"));
    let (doctor, job) = (finish(doctor), finish(job));
    assert!(doctor.status.success() && job.status.success(), "{} {}", text(&doctor), text(&job));
    let report: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let find = |area: &str, title: &str| {
        let found = findings.iter().find(|finding| finding["area"] == area && finding["title"] == title);
        found.unwrap_or_else(|| panic!("{area} {title}: {report:#}"))
    };
    assert!(find("filesystem", "kind")["found"].as_str().unwrap().starts_with("NFS, mounted at /nfs"));
    let by_job = ["a job", "program", "locks", "visibility", "first writer wins"];
    for finding in by_job.map(|title| find("nodes", title)) {
        assert_eq!(finding["verdict"], "ok", "{finding:#}");
        println!("{}", finding["found"]);
    }
    assert_eq!(nfs.ok("server", "ls -A doctor"), "", "nothing stays");
}
