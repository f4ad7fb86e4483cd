//! `pbtnas watch` on a terminal and with --json.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{PBTNAS, Search, signal, synthetic, text, wait_until};

#[test]
fn watch_prints_events_in_order() {
    let search = Search::init(&synthetic(10, "crash_rate = 0.1"));
    let watch = search
        .command(&["watch", "--json", "--interval", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    search.ok(&["run", "--workers", "4"]);
    let output = watch.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let lines = String::from_utf8(output.stdout).unwrap();
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
    // Generation by generation.
    let generations: Vec<u64> = events.iter().map(|event| event["generation"].as_u64().unwrap()).collect();
    assert!(generations.is_sorted(), "{lines}");
    assert_eq!(of("generation").len(), 3, "{lines}");
    for generation in 0..3 {
        let first = events.iter().find(|event| event["generation"] == generation).unwrap();
        assert_eq!(first["event"], "generation", "{lines}");
        let replaced = first["replaced"].as_array().unwrap().len();
        assert!(if generation == 0 { replaced == 0 } else { replaced >= 2 }, "{lines}");
    }
    assert_eq!(of("done").len() + of("given-up").len(), 3 * 8, "{lines}");
    let failed =
        (0..3).flat_map(|generation| search.endings(generation)).filter(|end| end == "failed").count();
    assert_eq!(of("interrupted").len(), failed, "{lines}");
    let last = events.last().unwrap();
    assert_eq!(
        (&last["event"], &last["best"]["member"]),
        (&"finished".into(), &search.json("best.json")["member"])
    );

    // A later `watch` prints the same events at once.
    let late = search.ok(&["watch"]);
    assert_eq!(late.lines().filter(|line| !line.starts_with(' ')).count(), events.len(), "{late}");
    assert!(late.lines().last().unwrap().contains(" finished; best: member "), "{late}");
    assert!(search.ok(&["verify"]).starts_with("valid"));
}

/// A terminal of 80x24 with `pbtnas watch` in it.
struct Terminal {
    script: Child,
    search: Search,
}

impl Terminal {
    fn open(search: Search) -> Self {
        // Saves the terminal settings before and after, and the exit code.
        let line = "stty rows 24 cols 80; stty -g >before; sh -c 'echo $$ >pid; exec \"$0\" watch --state run' \
                    \"$PBTNAS\"; echo $? >code; stty -g >after";
        let script = Command::new("script")
            .args(["-qfc", line, "screen"])
            .current_dir(search.folder())
            .env("PBTNAS", PBTNAS)
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { script, search }
    }

    /// All output so far.
    fn screen(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.search.folder().join("screen")).unwrap_or_default())
            .into_owned()
    }

    fn wait_for(&self, wanted: &str) {
        wait_until(wanted, 20, || self.screen().contains(wanted));
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.search.folder().join(name)).unwrap()
    }

    /// Asserts that the program ended with exit code 0 and restored the terminal.
    fn check_restored(mut self) -> Search {
        assert!(self.script.wait().unwrap().success());
        assert_eq!(self.file("code").trim(), "0", "{}", self.screen());
        assert_eq!(self.file("before"), self.file("after"));
        let screen = self.screen();
        let at = |sequence: &str| {
            screen.rfind(sequence).unwrap_or_else(|| panic!("no {sequence:?} in {screen:?}"))
        };
        // The alternate screen is left, and the cursor is shown.
        assert!(at("\u{1b}[?1049h") < at("\u{1b}[?1049l"));
        assert!(at("\u{1b}[?25l") < at("\u{1b}[?25h"));
        self.search
    }
}

#[test]
fn watch_shows_the_members_and_restores_the_terminal() {
    let search = Search::init(&synthetic(300, ""));
    let mut run = search.start(&["run", "--workers", "2"]);
    let mut terminal = Terminal::open(search);
    terminal.wait_for("training");
    terminal.wait_for("waiting");
    let asked = Instant::now();
    terminal.script.stdin.as_mut().unwrap().write_all(b"dsjq").unwrap();
    let search = terminal.check_restored();
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());

    signal(run.id(), "TERM");
    run.wait().unwrap();
    assert!(search.ok(&["verify"]).starts_with("valid"));

    // A file server that does not respond does not block the display: opening a pipe without a writer blocks. A signal
    // restores the terminal as the key `q` does.
    let generation =
        (0..3).rev().find(|g| search.path(&format!("generations/{g:04}/plan.json")).exists()).unwrap();
    let members = search.path(&format!("generations/{generation:04}/members"));
    let beat =
        (0..8).map(|id| members.join(format!("{id:02}/progress/heartbeat.json"))).find(|path| path.exists());
    let beat = beat.expect("an interrupted member");
    std::fs::remove_file(&beat).unwrap();
    nix::unistd::mkfifo(&beat, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let terminal = Terminal::open(search);
    terminal.wait_for("reading the run for");
    let asked = Instant::now();
    signal(terminal.file("pid").trim().parse().unwrap(), "TERM");
    terminal.check_restored();
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}
