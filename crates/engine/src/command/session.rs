//! A member that the user's program trains.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use super::CommandTask;
use super::accept::accept;
use super::contract::{Action, CONTRACT, MemberOfRequest, ScriptRequest, read_result, values};
use super::process::{Process, stop_requested};
use crate::device;
use crate::task::{Evaluation, Measure, MemberContext, Session};
use pbtnas_core::checkpoint::{Entry, Meta, Reader};
use pbtnas_core::search::{Genotype, seed_i64};

/// The folder of the requests and of the program's files; removed on drop.
pub struct ScriptFolder(PathBuf);

impl ScriptFolder {
    pub fn new(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("failed to create {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for ScriptFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Issues requests for one member.
pub struct Caller<'a, 'b> {
    pub task: &'a CommandTask,
    pub genotype: &'b Genotype,
    pub place: &'b MemberContext,
    pub folder: &'b ScriptFolder,
}

impl<'a> Caller<'a, '_> {
    /// Starts the program. `purpose` identifies the random numbers that it gets.
    fn start(
        &self,
        action: Action,
        purpose: &str,
        from: Option<(&Path, &Meta)>,
        until: Option<u32>,
        samples: Option<usize>,
    ) -> Result<Process<'a>> {
        let config = &self.task.config;
        let (seeds, name) = (self.place.seeds, action.name());
        let writes = matches!(action, Action::Init | Action::Train).then(|| self.folder.file(OUTPUT));
        let snapshot = (action == Action::Train).then(|| self.folder.file(SNAPSHOT));
        let result = (action == Action::Evaluate).then(|| self.folder.file(RESULT));
        let request = ScriptRequest {
            contract: CONTRACT,
            action,
            genotype: values(&self.task.space, self.genotype),
            // The lower 32 bits, which every library accepts.
            seed: seed_i64(&seeds.at(purpose)) as u32,
            device: device::device_name(config.device)?,
            threads: config.threads,
            checkpoint: from.map(|(path, _)| path),
            output: writes.as_deref(),
            snapshot: snapshot.as_deref(),
            result: result.as_deref(),
            progress: &self.folder.file(&format!("{name}-progress.jsonl")),
            epoch: from.map_or(0, |(_, meta)| meta.epoch),
            step: from.map_or(0, |(_, meta)| meta.step),
            until,
            snapshot_seconds: self.task.snapshot_seconds,
            samples,
            metadata: Meta { genotype: self.genotype.clone(), epoch: 0, step: 0, files: Vec::new() }
                .identity()?,
            member: MemberOfRequest {
                run: &self.place.run,
                generation: seeds.generation,
                id: seeds.member.0,
            },
        };
        Process::start(config, &request, &self.folder.0, &self.place.shared)
    }

    /// Runs `init` and returns the checkpoint of a freshly initialised network.
    pub fn init(&self, purpose: &str) -> Result<Reader> {
        let mut process = self.start(Action::Init, purpose, None, None, None)?;
        process.finish(&self.place.stop)?;
        let reader = self.take(OUTPUT, 0).map_err(|error| breach(&process, error))?;
        match (reader.meta().epoch, reader.meta().step) {
            (0, 0) => Ok(reader),
            _ => Err(process.fault("wrote an initial checkpoint whose epoch and step are not 0")),
        }
    }

    /// Renames a checkpoint that the program wrote, so that the program no longer changes it, and opens it.
    fn take(&self, name: &str, number: u32) -> Result<Reader> {
        let (there, taken) =
            (self.folder.file(name), self.folder.file(&format!("taken-{number}.safetensors")));
        match fs::symlink_metadata(&there) {
            Ok(found) if found.is_file() => {}
            Ok(_) => bail!("{name} is a link or a directory, not a regular file"),
            Err(_) => bail!("it wrote no checkpoint to {name}"),
        }
        fs::rename(&there, &taken).map_err(|error| match error.kind() {
            // The program removed it in the meantime.
            ErrorKind::NotFound => anyhow!("it wrote no checkpoint to {name}"),
            _ => anyhow!(StorageFailed { path: there.clone(), error }),
        })?;
        accept(&taken, self.genotype)
    }
}

const OUTPUT: &str = "output.safetensors";
const SNAPSHOT: &str = "snapshot.safetensors";
const RESULT: &str = "result.json";

/// A filesystem operation of pbtnas, not of the user's program, failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to rename {}", path.display())]
struct StorageFailed {
    path: PathBuf,
    #[source]
    error: std::io::Error,
}

/// Attributes an error to the program unless the filesystem caused it.
fn breach(process: &Process, error: anyhow::Error) -> anyhow::Error {
    match error.is::<StorageFailed>() {
        true => error,
        false => process.fault(&format!("violated the contract: {}", pbtnas_core::fault::message(&error))),
    }
}

/// A member in training. Its state is always a file: the checkpoint that it started from, or the last one that the
/// program wrote.
pub struct CommandSession<'a> {
    task: &'a CommandTask,
    genotype: Genotype,
    place: MemberContext,
    process: Option<Process<'a>>,
    state: Reader,
    /// Number of checkpoints accepted from the program.
    taken: u32,
    /// Declared last, so that it is dropped after the process that writes into it.
    folder: ScriptFolder,
}

impl<'a> CommandSession<'a> {
    /// Starts from a checkpoint, or from one that the program initialises.
    pub fn new(
        task: &'a CommandTask,
        genotype: &Genotype,
        from: Option<&Reader>,
        place: MemberContext,
    ) -> Result<Self> {
        let folder = ScriptFolder::new(&place.scratch)?;
        let state = match from {
            Some(reader) => Reader::open(reader.path())?,
            None => Caller { task, genotype, place: &place, folder: &folder }.init("command init")?,
        };
        Ok(Self { task, genotype: genotype.clone(), place, process: None, state, taken: 0, folder })
    }

    fn start(
        &self,
        action: Action,
        purpose: &str,
        until: Option<u32>,
        samples: Option<usize>,
    ) -> Result<Process<'a>> {
        let caller =
            Caller { task: self.task, genotype: &self.genotype, place: &self.place, folder: &self.folder };
        caller.start(action, purpose, Some((self.state.path(), self.state.meta())), until, samples)
    }

    /// Replaces the state with a checkpoint that the program wrote, if there is one. Fails if its position is before
    /// the state's or beyond `target`.
    fn take(&mut self, name: &str, target: u32) -> Result<bool> {
        if fs::symlink_metadata(self.folder.file(name)).is_err() {
            return Ok(false);
        }
        let caller =
            Caller { task: self.task, genotype: &self.genotype, place: &self.place, folder: &self.folder };
        self.taken += 1;
        let reader = caller.take(name, self.taken)?;
        let at = |meta: &Meta| (meta.epoch, meta.step);
        let (before, after) = (at(self.state.meta()), at(reader.meta()));
        if after < before || after > (target, 0) {
            bail!(
                "{name} is at epoch {} and step {}, which is before epoch {} and step {} or beyond the target",
                after.0,
                after.1,
                before.0,
                before.1
            );
        }
        let old = std::mem::replace(&mut self.state, reader);
        // If it was kept, it has a hard link elsewhere.
        if old.path().starts_with(&self.folder.0) {
            let _ = fs::remove_file(old.path());
        }
        Ok(true)
    }
}

impl Session for CommandSession<'_> {
    fn position(&self) -> (u32, u64) {
        (self.state.meta().epoch, self.state.meta().step)
    }

    fn steps_per_epoch(&self) -> u64 {
        self.process.as_ref().and_then(|process| process.progress().steps).unwrap_or(1)
    }

    fn progress(&self) -> f64 {
        let saved = f64::from(self.state.meta().epoch);
        let Some(progress) = self.process.as_ref().map(Process::progress) else { return saved };
        let Some(epoch) = progress.epoch else { return saved };
        let part = progress.step.unwrap_or(0) as f64 / progress.steps.unwrap_or(0).max(1) as f64;
        f64::max(saved, f64::from(epoch) + if progress.steps.is_some() { part.min(1.0) } else { 0.0 })
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        let progress = self.process.iter().flat_map(|process| &process.progress().metrics);
        progress.filter_map(|(name, value)| Some((name.clone(), (*value)?))).collect()
    }

    /// Starts the program if it is not running, and polls it.
    fn advance(&mut self, target: u32) -> Result<()> {
        let mut process = match self.process.take() {
            Some(process) => process,
            None => self.start(Action::Train, "command train", Some(target), None)?,
        };
        match process.poll() {
            Ok(false) => {
                self.take(SNAPSHOT, target).map_err(|error| breach(&process, error))?;
                self.process = Some(process);
                return Ok(());
            }
            Ok(true) => {}
            Err(_) if stop_requested(&self.place.stop) => {
                // `leave` collects what it has saved.
                self.process = Some(process);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let taken = self.take(OUTPUT, target).map_err(|error| breach(&process, error))?;
        let (epoch, step) = self.position();
        if epoch == target || stop_requested(&self.place.stop) {
            return Ok(());
        }
        let what = match taken {
            true => {
                format!(
                    "exited at epoch {epoch} and step {step}, before epoch {target}, without being asked to"
                )
            }
            false => format!("exited with code 0 but wrote no checkpoint to {OUTPUT}"),
        };
        Err(process.fault(&what))
    }

    fn leave(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let left = process.leave();
        // A program that did not exit in time may still be writing.
        let names: &[&str] = if left.is_ok() { &[SNAPSHOT, OUTPUT] } else { &[SNAPSHOT] };
        for name in names {
            let taken = self.take(name, u32::MAX).map_err(|error| breach(&process, error));
            if let Err(error) = taken {
                tracing::warn!("{}", pbtnas_core::fault::message(&error));
            }
        }
        left
    }

    fn file(&self) -> Option<&Path> {
        Some(self.state.path())
    }

    fn describe(&self) -> Result<(Meta, Vec<Entry>)> {
        Ok((self.state.meta().clone(), self.state.entries().collect()))
    }

    fn tensor(&self, entry: &Entry) -> Result<Vec<u8>> {
        Ok(self.state.bytes(entry)?)
    }

    fn evaluate(&mut self, measure: Measure) -> Result<Evaluation> {
        let (purpose, samples) = match measure {
            Measure::Search | Measure::Soup { .. } => ("command evaluate", None),
            Measure::Final { samples } => ("command final evaluation", Some(samples)),
        };
        let _ = fs::remove_file(self.folder.file(RESULT));
        let mut process = self.start(Action::Evaluate, purpose, None, samples)?;
        process.finish(&self.place.stop)?;
        read_result(&self.folder.file(RESULT)).map_err(|error| breach(&process, error))
    }

    fn export(&mut self, _dir: &Path) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}
