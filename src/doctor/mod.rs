//! Checks of what a search needs, before any of its jobs is submitted.
//!
//! Each file checks one thing; functions that decide are pure.

mod filesystem;
mod finding;
mod folder;
mod limits;
#[cfg(test)]
mod limits_tests;
mod mount;
mod node_findings;
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

pub use finding::{Area, DoctorReport, Finding, Verdict, exit_code};
pub use nodes::answer;
pub use text::{Printer, summary};

use folder::TrialFolder;
use pbtnas_core::durable_fs::exists;
use pbtnas_core::fault::message;
use pbtnas_core::run::Layout;
use pbtnas_engine::config::{Config, ConfigError};
use pbtnas_engine::fault::exit::STOPPED;
use pbtnas_engine::signal::StopSignal;
use pbtnas_engine::task::{OffspringBuilder, Task};

/// What to check.
#[derive(Debug, Clone)]
pub struct Request {
    /// The configuration of a planned run.
    pub config: Option<PathBuf>,
    /// The run directory, existing or planned.
    pub state: PathBuf,
    /// Whether a job may be submitted.
    pub jobs: bool,
    /// How long the job may wait in the queue.
    pub wait: Duration,
}

impl Request {
    /// Runs all checks and passes each finding to `emit`. A signal ends them early; the report has the findings so far.
    pub fn run(&self, stop: &StopSignal, emit: &mut dyn FnMut(&Finding)) -> Result<DoctorReport> {
        let mut findings = Findings { all: Vec::new(), emit };
        let layout = Layout::of(&self.state)?;
        let near = folder::nearest(&self.state)?;
        let program = std::env::current_exe().context("failed to find this program")?;
        let (path, config) = self.config(&layout);
        let loaded = config.as_ref().and_then(|config| config.as_ref().ok());
        let wanted = loaded.is_some_and(|config| config.slurm != Default::default());
        // Without a section [slurm], problems of the cluster are warnings.
        let softened = |findings: Vec<Finding>| -> Vec<Finding> {
            findings.into_iter().map(|finding| finding.downgrade_if(!wanted)).collect()
        };
        let (of_slurm, cluster) = slurm::check(wanted);

        findings.extend(program::check(loaded, wanted));
        let task = match &config {
            None => {
                let why = "none was given (--config FILE): jobs and sizes are unknown";
                findings.add(Finding::skipped(Area::Configuration, "file", why));
                None
            }
            Some(config) => findings.check_configuration(path.as_deref(), config),
        };
        let here = TrialFolder::new(&near);
        match &here {
            Err(error) => findings.add(Finding::problem(
                Area::Filesystem,
                "folder",
                error.to_string(),
                "A run cannot be created there.",
                "Choose a --state that you can write to.",
            )),
            Ok(folder) => {
                findings.add(Finding::ok(Area::Filesystem, "folder", checked_folder(layout.root(), &near)));
                let need = match (loaded, &task) {
                    (Some(config), Some(task)) => match space::need(config, task.as_ref()) {
                        Ok(need) => need.ok_or("the size of a checkpoint depends on your program".to_owned()),
                        Err(error) => Err(message(&error)),
                    },
                    _ => Err("there is no configuration".to_owned()),
                };
                let held = match exists(&layout.run()) {
                    Ok(true) => space::held(layout.root()),
                    _ => space::Held::default(),
                };
                let expected = filesystem::Expected {
                    jobs: wanted,
                    checked_by_job: self.jobs && cluster.is_some(),
                    need: need.as_ref().copied().map_err(String::as_str),
                    held,
                };
                findings.extend(filesystem::check(folder.path(), expected));
            }
        }
        findings.extend(of_slurm);
        if let (Some(cluster), Some(config)) = (&cluster, loaded)
            && stop.get().is_none()
        {
            findings.extend(softened(limits::check(config, cluster)));
            findings.extend(softened(slurm::test(config, cluster, &program, layout.root())));
        }
        let defaults = defaults()?;
        findings.extend(softened(match (&here, &cluster) {
            _ if stop.get().is_some() => Vec::new(),
            _ if !self.jobs => vec![Finding::skipped(Area::Nodes, "a job", "--no-jobs")],
            (_, None) => vec![Finding::skipped(Area::Nodes, "a job", "SLURM does not answer")],
            (Err(_), _) => vec![Finding::skipped(Area::Nodes, "a job", "the folder cannot be written")],
            (Ok(folder), Some(cluster)) => nodes::check(&nodes::Trial {
                config: loaded.unwrap_or(&defaults),
                cluster,
                program: &program,
                folder: folder.path(),
                wait: self.wait,
                stop,
            }),
        }));
        Ok(DoctorReport {
            program: env!("CARGO_PKG_VERSION"),
            config: path.map(|path| path.display().to_string()),
            folder: near.display().to_string(),
            exit_code: if stop.get().is_some() { STOPPED } else { exit_code(&findings.all) },
            findings: findings.all,
        })
    }

    /// Returns the given configuration, or that of the existing run, and its path.
    fn config(&self, layout: &Layout) -> (Option<PathBuf>, Option<Result<Config, ConfigError>>) {
        let of_run = || exists(&layout.run()).unwrap_or(false).then(|| layout.config());
        let path = self.config.clone().or_else(of_run);
        let config = path.as_deref().map(Config::load);
        (path, config)
    }
}

/// A configuration without a section [slurm].
fn defaults() -> Result<Config, ConfigError> {
    let text = "seed = 0\n[search]\npopulation = 8\nepochs = 1\nepochs_per_generation = 1\n[task]\nkind = \"synthetic\"\n";
    Config::parse(Path::new("defaults"), text)
}

fn checked_folder(root: &Path, near: &Path) -> String {
    match root == near {
        true => format!("{} is writable", root.display()),
        false => format!("{} does not exist yet; checked {}", root.display(), near.display()),
    }
}

/// Findings, each emitted when it is added.
struct Findings<'a> {
    all: Vec<Finding>,
    emit: &'a mut dyn FnMut(&Finding),
}

impl Findings<'_> {
    fn add(&mut self, finding: Finding) {
        (self.emit)(&finding);
        self.all.push(finding);
    }

    fn extend(&mut self, findings: Vec<Finding>) {
        findings.into_iter().for_each(|finding| self.add(finding));
    }

    /// Checks that a configuration is valid and that the files it names exist; returns its task.
    fn check_configuration(
        &mut self,
        path: Option<&Path>,
        config: &Result<Config, ConfigError>,
    ) -> Option<Box<dyn Task>> {
        const AREA: Area = Area::Configuration;
        let config = match config {
            Err(error) => {
                self.add(Finding::problem(
                    AREA,
                    "file",
                    error.to_string(),
                    "A run cannot be created from it.",
                    "Fix it and run this again: checks that depend on the configuration were skipped. \
                     configs/all-keys.toml describes every key.",
                ));
                return None;
            }
            Ok(config) => config,
        };
        let path = path.map_or_else(String::new, |path| format!("{}: ", path.display()));
        let search = &config.search;
        let found = format!("{path}population {}, {} epochs", search.population, search.epochs);
        self.add(Finding::ok(AREA, "file", found));
        let task = config.task();
        let checked = task.space().check().context("the search space is invalid").and_then(|()| task.check());
        match checked {
            Ok(()) => {
                let count = task.space().variables.len();
                let mut found = format!("its files exist; {count} variables are searched");
                if task.offspring_builder() == OffspringBuilder::Member {
                    found += "; `pbtnas check` tests your program";
                }
                self.add(Finding::ok(AREA, "task", found));
                Some(task)
            }
            Err(error) => {
                self.add(Finding::problem(
                    AREA,
                    "task",
                    message(&error),
                    "`pbtnas init` would fail.",
                    "Put the file where the configuration expects it, or change the configuration. Paths are relative to its folder.",
                ));
                None
            }
        }
    }
}
