//! What would go wrong with a search, told before any of its jobs is submitted.
//!
//! Each file looks at one thing and judges it; judging is pure wherever there is something to decide.

mod exchange;
mod filesystem;
mod finding;
mod folder;
mod limits;
#[cfg(test)]
mod limits_tests;
mod mount;
mod nodes;
mod preemption;
mod program;
mod resources;
mod slurm;
mod space;
mod text;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

pub use exchange::answer;
pub use finding::{Area, Finding, Report, Verdict, exit_code};
pub use text::{Printer, summary};

use crate::config::{Config, ConfigError, SlurmConfig};
use crate::error::{STOPPED, message};
use crate::signal::StopSignal;
use crate::state::{Layout, is_there};
use crate::tasks::{Maker, Task};
use folder::TrialFolder;

/// What to look at.
#[derive(Debug, Clone)]
pub struct Patient {
    /// The configuration of a run that is not made yet.
    pub config: Option<PathBuf>,
    /// Where the run lives, or will.
    pub state: PathBuf,
    /// Whether a job may be submitted.
    pub jobs: bool,
    /// How long it may wait in the queue.
    pub wait: Duration,
}

impl Patient {
    /// Looks at everything; `tell` hears of each finding as it comes. A signal ends it, with what was found so far.
    pub fn examine(&self, stop: &StopSignal, tell: &mut dyn FnMut(&Finding)) -> Result<Report> {
        let mut told = Told { findings: Vec::new(), tell };
        let layout = Layout::of(&self.state)?;
        let near = folder::nearest(&self.state)?;
        let program = std::env::current_exe().context("failed to find this program")?;
        let (path, config) = self.config(&layout);
        let loaded = config.as_ref().and_then(|config| config.as_ref().ok());
        let wanted = loaded.is_some_and(|config| config.slurm != SlurmConfig::default());
        // Where no jobs are meant, nothing that they lack stands in the way.
        let softened = |findings: Vec<Finding>| -> Vec<Finding> {
            findings.into_iter().map(|finding| finding.only_warning_if(!wanted)).collect()
        };
        let (of_slurm, cluster) = slurm::examine(wanted);

        told.all(program::examine(loaded, wanted));
        let task = match &config {
            None => {
                let why = "none was given (--config FILE), so nothing is known of jobs and sizes";
                told.one(Finding::skipped(Area::Configuration, "file", why));
                None
            }
            Some(config) => told.configuration(path.as_deref(), config),
        };
        let here = TrialFolder::new(&near);
        match &here {
            Err(error) => told.one(Finding::problem(
                Area::Filesystem,
                "folder",
                error.to_string(),
                "A run could not be made there.",
                "Choose a --state that you may write to.",
            )),
            Ok(folder) => {
                told.one(Finding::ok(Area::Filesystem, "folder", where_tried(layout.root(), &near)));
                let need = match (loaded, &task) {
                    (Some(config), Some(task)) => match space::need(config, task.as_ref()) {
                        Ok(need) => need.ok_or("only your program knows the size of a checkpoint".to_owned()),
                        Err(error) => Err(message(&error)),
                    },
                    _ => Err("there is no configuration to go by".to_owned()),
                };
                let held = match is_there(&layout.run()) {
                    Ok(true) => space::held(layout.root()),
                    _ => space::Held::default(),
                };
                let expected = filesystem::Expected {
                    jobs: wanted,
                    tried_by_job: self.jobs && cluster.is_some(),
                    need: need.as_ref().copied().map_err(String::as_str),
                    held,
                };
                told.all(filesystem::examine(folder.path(), expected));
            }
        }
        told.all(of_slurm);
        if let (Some(cluster), Some(config)) = (&cluster, loaded)
            && stop.get().is_none()
        {
            told.all(softened(limits::judge(config, cluster)));
            told.all(softened(slurm::test(config, cluster, &program, layout.root())));
        }
        let defaults = defaults()?;
        told.all(softened(match (&here, &cluster) {
            _ if stop.get().is_some() => Vec::new(),
            _ if !self.jobs => vec![Finding::skipped(Area::Nodes, "a job", "--no-jobs")],
            (_, None) => vec![Finding::skipped(Area::Nodes, "a job", "there is no SLURM that answers")],
            (Err(_), _) => vec![Finding::skipped(Area::Nodes, "a job", "there is no folder to meet in")],
            (Ok(folder), Some(cluster)) => nodes::examine(&nodes::Trial {
                config: loaded.unwrap_or(&defaults),
                cluster,
                program: &program,
                folder: folder.path(),
                wait: self.wait,
                stop,
            }),
        }));
        Ok(Report {
            program: env!("CARGO_PKG_VERSION"),
            config: path.map(|path| path.display().to_string()),
            folder: near.display().to_string(),
            exit_code: if stop.get().is_some() { STOPPED } else { exit_code(&told.findings) },
            findings: told.findings,
        })
    }

    /// The configuration that was given, or that of the run that is there; and where it is.
    fn config(&self, layout: &Layout) -> (Option<PathBuf>, Option<Result<Config, ConfigError>>) {
        let of_run = || is_there(&layout.run()).unwrap_or(false).then(|| layout.config());
        let path = self.config.clone().or_else(of_run);
        let config = path.as_deref().map(Config::load);
        (path, config)
    }
}

/// A configuration that says nothing of a cluster.
fn defaults() -> Result<Config, ConfigError> {
    let text =
        "seed = 0\n[search]\npopulation = 8\nepochs = 1\nepochs_per_step = 1\n[task]\nkind = \"synthetic\"\n";
    Config::parse(Path::new("defaults"), text)
}

fn where_tried(root: &Path, near: &Path) -> String {
    match root == near {
        true => format!("{} can be written", root.display()),
        false => format!("{} is not there yet; tried in {}", root.display(), near.display()),
    }
}

/// Findings, told as they come.
struct Told<'a> {
    findings: Vec<Finding>,
    tell: &'a mut dyn FnMut(&Finding),
}

impl Told<'_> {
    fn one(&mut self, finding: Finding) {
        (self.tell)(&finding);
        self.findings.push(finding);
    }

    fn all(&mut self, findings: Vec<Finding>) {
        findings.into_iter().for_each(|finding| self.one(finding));
    }

    /// Whether a configuration can be read, and what it names is there; its task.
    fn configuration(
        &mut self,
        path: Option<&Path>,
        config: &Result<Config, ConfigError>,
    ) -> Option<Box<dyn Task>> {
        const AREA: Area = Area::Configuration;
        let config = match config {
            Err(error) => {
                self.one(Finding::problem(
                    AREA,
                    "file",
                    error.to_string(),
                    "No run can be made of it.",
                    "Mend it and call this again: what depends on the configuration could not be looked at. \
                     configs/fashion-small.toml has every key.",
                ));
                return None;
            }
            Ok(config) => config,
        };
        let path = path.map_or_else(String::new, |path| format!("{}: ", path.display()));
        let search = &config.search;
        let found = format!("{path}population {}, {} epochs", search.population, search.epochs);
        self.one(Finding::ok(AREA, "file", found));
        let task = config.task().and_then(|task| {
            task.space().check().context("the search space is wrong")?;
            task.check()?;
            Ok(task)
        });
        match task {
            Ok(task) => {
                let count = task.space().variables.len();
                let mut found = format!("what it needs is there; {count} variables are searched");
                if task.maker() == Maker::Member {
                    found += "; `pbtnas check` rehearses your program";
                }
                self.one(Finding::ok(AREA, "task", found));
                Some(task)
            }
            Err(error) => {
                self.one(Finding::problem(
                    AREA,
                    "task",
                    message(&error),
                    "`pbtnas init` would refuse to make a run.",
                    "Put it where the configuration says, or change the configuration. Paths are relative to its folder.",
                ));
                None
            }
        }
    }
}
