//! Sources of jobs: the members of a search, generation by generation, or the candidates of a soup, round by round.

use std::path::PathBuf;

use anyhow::Result;

use super::local::log_name;
use super::slurm::script::log_of;
use crate::advance::{NextAction, advance};
use crate::run::Run;
use crate::soup::Soup;
use crate::task::Task;
use pbtnas_core::run::{Heartbeat, read_json};
use pbtnas_core::search::MemberId;

/// Units of work in rounds. A round is complete before the next one begins.
pub trait JobSource {
    fn run(&self) -> &Run;

    /// Advances as far as the results allow. `idle` means that no process works on the latest round.
    fn advance(&self, idle: bool) -> Result<NextAction>;

    /// The directory of a round's submission records.
    fn dir(&self, round: u32) -> PathBuf;

    /// The round's part of job and log names.
    fn label(&self, round: u32) -> String;

    /// A unit's name for messages.
    fn name(&self, round: u32, unit: MemberId) -> String;

    /// The record of a unit's attempts.
    fn attempts(&self, round: u32, unit: MemberId) -> PathBuf;

    /// Whether a unit has a result.
    fn is_done(&self, round: u32, unit: MemberId) -> Result<bool>;

    /// The progress of a unit, if it reports any.
    fn heartbeat(&self, round: u32, unit: MemberId) -> Option<Heartbeat>;

    /// The arguments of pbtnas, except `--state`, that run units of a round.
    fn unit_arguments(&self, round: u32) -> Vec<String>;

    /// The option of pbtnas that selects a unit or a range of units.
    fn unit_option(&self) -> &'static str;

    /// The arguments of pbtnas, except `--state`, that continue after a round.
    fn step_arguments(&self) -> Vec<String>;

    /// Units per SLURM task.
    fn units_per_task(&self) -> u32;

    /// Whether the result of a unit can end its round, so that units after it are started as late as possible.
    fn may_end_early(&self) -> bool;
}

/// The members of a search.
pub struct Search<'a> {
    pub run: &'a Run,
    pub task: &'a dyn Task,
}

impl JobSource for Search<'_> {
    fn run(&self) -> &Run {
        self.run
    }

    fn advance(&self, idle: bool) -> Result<NextAction> {
        advance(self.run, self.task, idle)
    }

    fn dir(&self, round: u32) -> PathBuf {
        self.run.layout.generation(round)
    }

    fn label(&self, round: u32) -> String {
        generation_label(round)
    }

    fn name(&self, round: u32, unit: MemberId) -> String {
        format!("member {unit} of generation {round}")
    }

    fn attempts(&self, round: u32, unit: MemberId) -> PathBuf {
        self.run.layout.attempts(round, unit)
    }

    fn is_done(&self, round: u32, unit: MemberId) -> Result<bool> {
        Ok(self.run.result(round, unit)?.is_some())
    }

    fn heartbeat(&self, round: u32, unit: MemberId) -> Option<Heartbeat> {
        read_json(&self.run.layout.heartbeat(round, unit)).ok()
    }

    fn unit_arguments(&self, round: u32) -> Vec<String> {
        ["train", "--generation", &round.to_string()].map(str::to_owned).to_vec()
    }

    fn unit_option(&self) -> &'static str {
        "--member"
    }

    fn step_arguments(&self) -> Vec<String> {
        vec!["step".into()]
    }

    fn units_per_task(&self) -> u32 {
        self.run.config.slurm.members_per_task
    }

    fn may_end_early(&self) -> bool {
        false
    }
}

/// A generation's part of job and log names.
fn generation_label(generation: u32) -> String {
    format!("g{generation:04}")
}

/// The log of a member's attempt, relative to the run directory. `job` is the SLURM job of the attempt's record.
pub fn member_log(generation: u32, member: MemberId, job: Option<&str>) -> String {
    let label = generation_label(generation);
    match job.and_then(|job| job.split_once('_')) {
        Some((array, task)) => log_of(&label, array, task),
        None => format!("logs/{}", log_name(&label, member)),
    }
}

impl JobSource for Soup<'_> {
    fn run(&self) -> &Run {
        Soup::run(self)
    }

    fn advance(&self, idle: bool) -> Result<NextAction> {
        Soup::advance(self, idle)
    }

    fn dir(&self, round: u32) -> PathBuf {
        self.layout().round(round)
    }

    fn label(&self, round: u32) -> String {
        match self.part() {
            Some(part) => format!("soup-{part}-{round:02}"),
            None => format!("soup{round:02}"),
        }
    }

    fn name(&self, round: u32, unit: MemberId) -> String {
        format!("candidate {unit} of round {round}")
    }

    fn attempts(&self, round: u32, unit: MemberId) -> PathBuf {
        self.layout().attempts(round, unit)
    }

    fn is_done(&self, round: u32, unit: MemberId) -> Result<bool> {
        Ok(self.result(round, unit)?.is_some())
    }

    fn heartbeat(&self, _: u32, _: MemberId) -> Option<Heartbeat> {
        None
    }

    fn unit_arguments(&self, round: u32) -> Vec<String> {
        [self.arguments(), vec!["--round".into(), round.to_string()]].concat()
    }

    fn unit_option(&self) -> &'static str {
        "--candidate"
    }

    fn step_arguments(&self) -> Vec<String> {
        [self.arguments(), vec!["--submit".into()]].concat()
    }

    fn units_per_task(&self) -> u32 {
        1
    }

    fn may_end_early(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::create::create;

    #[test]
    fn member_logs_are_named_after_the_task_or_the_member() {
        assert_eq!(member_log(7, MemberId(3), Some("51_0")), "logs/g0007-0-51.log");
        assert_eq!(member_log(7, MemberId(3), None), "logs/g0007-03.log");
    }

    #[test]
    fn soups_of_different_parts_share_no_files_or_jobs() {
        let dir = tempfile::tempdir().unwrap();
        let text = "seed = 7\n[search]\npopulation = 4\nepochs = 2\nepochs_per_generation = 2\ntau = 0.5\n\
                    [task]\nkind = \"synthetic\"\n";
        let config = Config::parse(std::path::Path::new("run.toml"), text).unwrap();
        let task = config.task();
        let run = create(&dir.path().join("run"), &config, task.as_ref()).unwrap().0;
        let soup = |part| Soup::new(&run, task.as_ref(), part).unwrap();
        let (whole, head) = (soup(None), soup(Some("head")));
        assert_eq!(whole.unit_arguments(3).join(" "), "soup --round 3");
        assert_eq!(whole.step_arguments().join(" "), "soup --submit");
        assert_eq!(whole.label(3), "soup03");
        assert_eq!(head.unit_arguments(3).join(" "), "soup --part head --round 3");
        assert_eq!(head.step_arguments().join(" "), "soup --part head --submit");
        assert_eq!(head.label(3), "soup-head-03");
        assert_eq!(head.dir(1), run.layout.root().join("soup-head/round-01"));
        let error = Soup::new(&run, task.as_ref(), Some("tail")).err().unwrap().to_string();
        assert!(error.contains("unknown part \"tail\"; the parts are head, layers"), "{error}");
    }
}
