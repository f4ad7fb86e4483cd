//! One process of the user's program: start, supervision, graceful stop, kill.

#![allow(unsafe_code)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpid, getppid};

use super::config::CommandConfig;
use super::contract::{Action, CONTRACT, ScriptProgress, ScriptRequest};
use super::output::Output;
use crate::signal::StopSignal;
use crate::task::Interrupted;

/// The polling interval of a running program.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A longer gap between two polls means that this process was suspended.
const BREAK: Duration = Duration::from_secs(10);

/// A running program. Dropping it kills the program and its process group.
pub struct Process<'a> {
    config: &'a CommandConfig,
    action: Action,
    child: Child,
    output: Output,
    progress: Follower,
    ended: Option<ExitStatus>,
    /// The time of the last poll, and the start of the polling without a long gap.
    looked: Instant,
    awake: Instant,
}

impl<'a> Process<'a> {
    /// Starts the program with a request, whose files are in `folder`.
    pub fn start(
        config: &'a CommandConfig,
        request: &ScriptRequest,
        folder: &Path,
        shared: &Path,
    ) -> Result<Self> {
        let document = folder.join(format!("{}.json", request.action.name()));
        fs::write(&document, serde_json::to_vec_pretty(request)?)
            .with_context(|| format!("failed to write {}", document.display()))?;
        let (reader, writer) = std::io::pipe().context("failed to create a pipe")?;
        let program = config.command.first().context("no program is configured")?;
        let mut command = match program.contains('/') {
            true => Command::new(config.directory.join(program)),
            false => Command::new(program),
        };
        // The program must not inherit the variables of this process.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PBTNAS_"))
        {
            command.env_remove(name);
        }
        for name in ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"] {
            command.env(name, config.threads.to_string());
        }
        command
            .args(&config.command[1..])
            .current_dir(&config.directory)
            .env("PYTHONUNBUFFERED", "1")
            .envs(&config.environment)
            .env("PYTHONPATH", python_path(shared, config.environment.get("PYTHONPATH")))
            .env("PBTNAS_CONTRACT", CONTRACT.to_string())
            .env("PBTNAS_ACTION", request.action.name())
            .env("PBTNAS_REQUEST", &document)
            .stdin(std::process::Stdio::null())
            .stdout(writer.try_clone().context("failed to duplicate a pipe")?)
            .stderr(writer)
            .process_group(0);
        let parent = getpid();
        // Safety: the closure makes two system calls and nothing else between fork and exec.
        unsafe {
            command.pre_exec(move || {
                // The kernel kills the program when the process that supervises it exits.
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
                if getppid() == parent {
                    Ok(())
                } else {
                    Err(std::io::Error::from_raw_os_error(nix::libc::ESRCH))
                }
            });
        }
        let child = command.spawn().map_err(|error| {
            anyhow!("failed to start {program:?} in {}: {error}", config.directory.display())
        })?;
        drop(command);
        Ok(Self {
            config,
            action: request.action,
            child,
            output: Output::of(reader, config.output_megabytes * 1_000_000),
            progress: Follower::new(request.progress.to_owned()),
            ended: None,
            looked: Instant::now(),
            awake: Instant::now(),
        })
    }

    /// Polls the program for up to [`POLL_INTERVAL`]; true once it has exited successfully. Fails if it exited
    /// otherwise, exceeds the output limit or hangs.
    pub fn poll(&mut self) -> Result<bool> {
        // The time in which the job was suspended does not count as hanging.
        if self.looked.elapsed() > BREAK {
            self.awake = Instant::now();
        }
        let ended = self.wait(POLL_INTERVAL)?;
        let heard = self.progress.read();
        self.looked = Instant::now();
        if let Some(status) = ended {
            if status.success() {
                return Ok(true);
            }
            let how = match status.signal() {
                Some(signal) => {
                    let name = Signal::try_from(signal).map_or("", Signal::as_str);
                    let why = if signal == 9 { "; possibly out of memory" } else { "" };
                    format!("was killed by signal {signal} ({name}){why}")
                }
                // EX_IOERR, with the same meaning as pbtnas's own exit code: the storage failed, not the member.
                None if status.code() == Some(74) => {
                    let fault = self.fault("could not write (exit code 74)");
                    return Err(std::io::Error::other(format!("{fault:#}")).into());
                }
                None => format!("exited with code {}", status.code().unwrap_or(-1)),
            };
            return Err(self.fault(&how));
        }
        if self.output.bytes() > self.config.output_megabytes * 1_000_000 {
            let limit = self.config.output_megabytes;
            return Err(self.fault(&format!("printed more than {limit} MB ([command] output_megabytes)")));
        }
        if heard.max(self.output.last()).max(self.awake).elapsed()
            > Duration::from_secs(self.config.hang_seconds)
        {
            let limit = self.config.hang_seconds;
            return Err(self.fault(&format!(
                "produced neither output nor progress for {limit} s ([command] hang_seconds)"
            )));
        }
        Ok(false)
    }

    /// Waits until the program has exited successfully; returns [`Interrupted`] if this process receives a signal.
    pub fn finish(&mut self, stop: &StopSignal) -> Result<()> {
        loop {
            match self.poll() {
                Ok(true) => return Ok(()),
                Ok(false) if stop.get().is_some() => return Err(Interrupted.into()),
                Ok(false) => {}
                Err(_) if stop_requested(stop) => return Err(Interrupted.into()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends SIGTERM, so that the program saves and exits, and waits for at most `grace_seconds`. If the program was a
    /// wrapper (e.g. a shell) that left a child process behind, that process receives SIGTERM too.
    pub fn leave(&mut self) -> Result<()> {
        let grace = Duration::from_secs(self.config.grace_seconds);
        let began = Instant::now();
        let mut asked = false;
        if self.wait(Duration::ZERO)?.is_none() {
            let _ = kill(self.pid(), Signal::SIGTERM);
        }
        while began.elapsed() < grace {
            match (self.wait(POLL_INTERVAL)?, killpg(self.pid(), None)) {
                (None, _) => {}
                (Some(_), Err(_)) => return Ok(()),
                (Some(_), Ok(())) if asked => std::thread::sleep(POLL_INTERVAL),
                (Some(_), Ok(())) => {
                    let _ = killpg(self.pid(), Signal::SIGTERM);
                    asked = true;
                }
            }
        }
        let seconds = self.config.grace_seconds;
        Err(self.fault(&format!("did not exit within {seconds} s of SIGTERM ([command] grace_seconds)")))
    }

    /// The progress that the program has reported so far.
    pub fn progress(&self) -> &ScriptProgress {
        &self.progress.latest
    }

    /// Returns an error with `what` and the last lines of the program's output.
    pub fn fault(&self, what: &str) -> Error {
        if self.ended.is_some() {
            self.output.settle();
        }
        let lines = self.output.last_lines();
        let said = if lines.is_empty() { "; it printed nothing" } else { "; its last output:" };
        anyhow!("`{}` ({}) {what}{said}{lines}", self.config.command.join(" "), self.action.name())
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    fn wait(&mut self, time: Duration) -> Result<Option<ExitStatus>> {
        let began = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            self.ended = match self.ended {
                None => self.child.try_wait().context("failed to wait for the program")?,
                ended => ended,
            };
            if self.ended.is_some() || began.elapsed() >= time {
                return Ok(self.ended);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

/// Returns whether this process has to exit. Waits up to a second, because a signal to all processes of a job may reach
/// the program first.
pub fn stop_requested(stop: &StopSignal) -> bool {
    let began = Instant::now();
    while stop.get().is_none() && began.elapsed() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(20));
    }
    stop.get().is_some()
}

impl Drop for Process<'_> {
    fn drop(&mut self) {
        // Other processes of the group may outlive the program.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// Kills the programs that an earlier process started with requests in this folder. The kernel kills only a direct
/// child with its parent, not, for example, the children of a wrapper.
pub fn kill_leftovers(folder: &Path) {
    let mut mark = b"PBTNAS_REQUEST=".to_vec();
    mark.extend_from_slice(folder.as_os_str().as_encoded_bytes());
    mark.push(b'/');
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(&mark)) {
            tracing::info!("killing process {pid}, left over from an earlier attempt");
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// PYTHONPATH with the run's copy of the helper in front. Python searches it after the folder of the script and before
/// installed packages.
fn python_path(shared: &Path, configured: Option<&String>) -> std::ffi::OsString {
    let mut path = shared.as_os_str().to_owned();
    let before = configured.map(|path| path.clone().into()).or_else(|| std::env::var_os("PYTHONPATH"));
    if let Some(before) = before.filter(|before| !before.is_empty()) {
        path.push(":");
        path.push(before);
    }
    path
}

/// Reads the lines that the program appends to a file.
struct Follower {
    path: PathBuf,
    file: Option<BufReader<fs::File>>,
    line: String,
    latest: ScriptProgress,
    last: Instant,
}

impl Follower {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            line: String::new(),
            latest: ScriptProgress::default(),
            last: Instant::now(),
        }
    }

    /// Reads new lines; returns the time of the latest one.
    fn read(&mut self) -> Instant {
        /// Longer lines are ignored.
        const MOST: usize = 1 << 16;
        if self.file.is_none() {
            self.file = fs::File::open(&self.path).ok().map(BufReader::new);
        }
        // Bounded, so that a program that writes without end does not block this process.
        for _ in 0..10_000 {
            let Some(file) = &mut self.file else { break };
            match file.read_line(&mut self.line) {
                Ok(count) if count > 0 => self.last = Instant::now(),
                Ok(_) => break,
                Err(_) => self.line.clear(),
            }
            if self.line.ends_with('\n') {
                self.latest.update(ScriptProgress::parse(&self.line));
                self.line.clear();
            } else if self.line.len() > MOST {
                self.line.clear();
            } else {
                break;
            }
        }
        self.last
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn only_complete_lines_are_read() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut follower = Follower::new(file.path().to_owned());
        file.write_all(b"{\"epoch\": 1}\n{\"step\":").unwrap();
        follower.read();
        assert_eq!((follower.latest.epoch, follower.latest.step), (Some(1), None));
        file.write_all(b" 7}\n").unwrap();
        file.write_all(b"\xff\xfe\n{\"steps\": 9}\n").unwrap();
        follower.read();
        follower.read();
        assert_eq!((follower.latest.step, follower.latest.steps), (Some(7), Some(9)));
    }
}
