//! One call of a user's program: started, listened to, told to leave, ended.

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
use super::contract::{Action, CONTRACT, Progress, Request};
use super::output::Output;
use crate::signal::StopSignal;
use crate::tasks::Interrupted;

/// Time between two looks at a program that runs.
const LOOK: Duration = Duration::from_millis(50);

/// A longer time between two looks was a break.
const BREAK: Duration = Duration::from_secs(10);

/// A program that runs. Dropping it ends the program, and those that it has started.
pub struct Process<'a> {
    config: &'a CommandConfig,
    action: Action,
    child: Child,
    output: Output,
    progress: Follower,
    ended: Option<ExitStatus>,
    /// When it was looked at last, and since when without a long break.
    looked: Instant,
    awake: Instant,
}

impl<'a> Process<'a> {
    /// Starts the program with a request. The files of the request lie in `folder`.
    pub fn start(config: &'a CommandConfig, request: &Request, folder: &Path, shared: &Path) -> Result<Self> {
        let document = folder.join(format!("{}.json", request.action.name()));
        fs::write(&document, serde_json::to_vec_pretty(request)?)
            .with_context(|| format!("failed to write {}", document.display()))?;
        let (reader, writer) = std::io::pipe().context("failed to make a pipe")?;
        let program = config.command.first().context("no program is configured")?;
        let mut command = match program.contains('/') {
            true => Command::new(config.directory.join(program)),
            false => Command::new(program),
        };
        // What this process was told is not for the program.
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
            .stdout(writer.try_clone().context("failed to copy a pipe")?)
            .stderr(writer)
            .process_group(0);
        let parent = getpid();
        // Safety: between fork and exec there are two system calls and nothing else.
        unsafe {
            command.pre_exec(move || {
                // Whoever trains a member ends with the process that answers for it.
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

    /// Waits a little; true once the program has ended well. Fails if it ended otherwise, prints without end or
    /// gives no sign of life.
    pub fn look(&mut self) -> Result<bool> {
        // A job that was suspended and woken up has not been hanging all the while.
        if self.looked.elapsed() > BREAK {
            self.awake = Instant::now();
        }
        let ended = self.wait(LOOK)?;
        let heard = self.progress.read();
        self.looked = Instant::now();
        if let Some(status) = ended {
            if status.success() {
                return Ok(true);
            }
            let how = match status.signal() {
                Some(signal) => {
                    let name = Signal::try_from(signal).map_or("", Signal::as_str);
                    let why = if signal == 9 { "; was it out of memory?" } else { "" };
                    format!("was ended by signal {signal} ({name}){why}")
                }
                // EX_IOERR, as this program's own: none of the member's doing.
                None if status.code() == Some(74) => {
                    let fault = self.fault("could not write (exit code 74)");
                    return Err(std::io::Error::other(format!("{fault:#}")).into());
                }
                None => format!("ended with exit code {}", status.code().unwrap_or(-1)),
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
                "gave no sign of life for {limit} s, neither output nor progress ([command] hang_seconds)"
            )));
        }
        Ok(false)
    }

    /// Waits until the program has ended well; a signal to this process ends it.
    pub fn finish(&mut self, stop: &StopSignal) -> Result<()> {
        loop {
            match self.look() {
                Ok(true) => return Ok(()),
                Ok(false) if stop.get().is_some() => return Err(Interrupted.into()),
                Ok(false) => {}
                Err(_) if is_leaving(stop) => return Err(Interrupted.into()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks the program to save and leave, and waits for it as long as is configured. If it was a wrapper (a shell,
    /// say) that has left a program of its own behind, that is asked, too.
    pub fn leave(&mut self) -> Result<()> {
        let grace = Duration::from_secs(self.config.grace_seconds);
        let began = Instant::now();
        let mut asked = false;
        if self.wait(Duration::ZERO)?.is_none() {
            let _ = kill(self.pid(), Signal::SIGTERM);
        }
        while began.elapsed() < grace {
            match (self.wait(LOOK)?, killpg(self.pid(), None)) {
                (None, _) => {}
                (Some(_), Err(_)) => return Ok(()),
                (Some(_), Ok(())) if asked => std::thread::sleep(LOOK),
                (Some(_), Ok(())) => {
                    let _ = killpg(self.pid(), Signal::SIGTERM);
                    asked = true;
                }
            }
        }
        let seconds = self.config.grace_seconds;
        Err(self.fault(&format!("did not leave within {seconds} s of SIGTERM ([command] grace_seconds)")))
    }

    /// What the program has told so far.
    pub fn progress(&self) -> &Progress {
        &self.progress.told
    }

    /// An error with what happened and the end of what the program printed.
    pub fn fault(&self, what: &str) -> Error {
        if self.ended.is_some() {
            self.output.settle();
        }
        let lines = self.output.last_lines();
        let said = if lines.is_empty() { "; it printed nothing" } else { "; the end of what it printed:" };
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

/// Whether this process has to leave. Who sends a signal to all processes of a job may have reached the program
/// first.
pub fn is_leaving(stop: &StopSignal) -> bool {
    let began = Instant::now();
    while stop.get().is_none() && began.elapsed() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(20));
    }
    stop.get().is_some()
}

impl Drop for Process<'_> {
    fn drop(&mut self) {
        // The group outlives the program if something in it does.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// Ends the programs that a process which is gone has started with requests in a folder: those of a wrapper, for
/// example, which are not ended with it.
pub fn end_left(folder: &Path) {
    let mut mark = b"PBTNAS_REQUEST=".to_vec();
    mark.extend_from_slice(folder.as_os_str().as_encoded_bytes());
    mark.push(b'/');
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(&mark)) {
            eprintln!("pbtnas: ending process {pid}, which an attempt before this one has left");
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// The run's own copy of the helper comes after the folder of the script, and before what is installed.
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
    told: Progress,
    last: Instant,
}

impl Follower {
    fn new(path: PathBuf) -> Self {
        Self { path, file: None, line: String::new(), told: Progress::default(), last: Instant::now() }
    }

    /// Reads what is new; when there was something last.
    fn read(&mut self) -> Instant {
        /// A longer line is none of the contract's.
        const MOST: usize = 1 << 16;
        if self.file.is_none() {
            self.file = fs::File::open(&self.path).ok().map(BufReader::new);
        }
        // As many lines as there are, but never for ever.
        for _ in 0..10_000 {
            let Some(file) = &mut self.file else { break };
            match file.read_line(&mut self.line) {
                Ok(count) if count > 0 => self.last = Instant::now(),
                Ok(_) => break,
                Err(_) => self.line.clear(),
            }
            if self.line.ends_with('\n') {
                self.told.update(Progress::parse(&self.line));
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
    fn lines_are_read_as_they_come_whole() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut follower = Follower::new(file.path().to_owned());
        file.write_all(b"{\"epoch\": 1}\n{\"step\":").unwrap();
        follower.read();
        assert_eq!((follower.told.epoch, follower.told.step), (Some(1), None));
        file.write_all(b" 7}\n").unwrap();
        file.write_all(b"\xff\xfe\n{\"steps\": 9}\n").unwrap();
        follower.read();
        follower.read();
        assert_eq!((follower.told.step, follower.told.steps), (Some(7), Some(9)));
    }
}
