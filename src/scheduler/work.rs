//! What schedulers work off: the members of a search, generation by generation, or the candidates of a soup,
//! round by round.

use std::path::PathBuf;

use anyhow::Result;

use crate::advance::{Next, advance};
use crate::search::MemberId;
use crate::soup;
use crate::state::{Heartbeat, Run, read_json};
use crate::tasks::Task;

/// Pieces of work that come in stages; a stage is complete before the next begins.
pub trait Work {
    /// The run.
    fn run(&self) -> &Run;

    /// Moves on as far as results allow; `idle` tells that nothing works on the latest stage.
    fn advance(&self, idle: bool) -> Result<Next>;

    /// The directory that a stage's submissions are recorded in.
    fn dir(&self, stage: u32) -> PathBuf;

    /// The stage in the names of jobs and logs.
    fn label(&self, stage: u32) -> String;

    /// Where the attempts at a piece are recorded.
    fn attempts(&self, stage: u32, piece: MemberId) -> PathBuf;

    /// Whether a piece has a result.
    fn is_done(&self, stage: u32, piece: MemberId) -> Result<bool>;

    /// How far a piece is, if it tells.
    fn heartbeat(&self, stage: u32, piece: MemberId) -> Option<Heartbeat>;

    /// The arguments of pbtnas, but for `--state`, that work on pieces of a stage.
    fn piece_arguments(&self, stage: u32) -> Vec<String>;

    /// The option of pbtnas that names a piece, or a range of them.
    fn piece_option(&self) -> &'static str;

    /// The arguments of pbtnas, but for `--state`, that go on when a stage is complete.
    fn step_arguments(&self) -> Vec<String>;

    /// Pieces that share a task of SLURM.
    fn pieces_per_task(&self) -> u32;
}

/// The search.
pub struct Search<'a> {
    /// The run.
    pub run: &'a Run,
    /// Its task.
    pub task: &'a dyn Task,
}

impl Work for Search<'_> {
    fn run(&self) -> &Run {
        self.run
    }

    fn advance(&self, idle: bool) -> Result<Next> {
        advance(self.run, self.task, idle)
    }

    fn dir(&self, stage: u32) -> PathBuf {
        self.run.layout.generation(stage)
    }

    fn label(&self, stage: u32) -> String {
        format!("g{stage:04}")
    }

    fn attempts(&self, stage: u32, piece: MemberId) -> PathBuf {
        self.run.layout.attempts(stage, piece)
    }

    fn is_done(&self, stage: u32, piece: MemberId) -> Result<bool> {
        Ok(self.run.result(stage, piece)?.is_some())
    }

    fn heartbeat(&self, stage: u32, piece: MemberId) -> Option<Heartbeat> {
        read_json(&self.run.layout.heartbeat(stage, piece)).ok()
    }

    fn piece_arguments(&self, stage: u32) -> Vec<String> {
        ["train", "--generation", &stage.to_string()].map(str::to_owned).to_vec()
    }

    fn piece_option(&self) -> &'static str {
        "--member"
    }

    fn step_arguments(&self) -> Vec<String> {
        vec!["step".into()]
    }

    fn pieces_per_task(&self) -> u32 {
        self.run.config.slurm.members_per_task
    }
}

/// The greedy search for a soup.
pub struct Soup<'a> {
    /// The run.
    pub run: &'a Run,
    /// Its task.
    pub task: &'a dyn Task,
}

impl Work for Soup<'_> {
    fn run(&self) -> &Run {
        self.run
    }

    fn advance(&self, idle: bool) -> Result<Next> {
        soup::advance(self.run, self.task, idle)
    }

    fn dir(&self, stage: u32) -> PathBuf {
        self.run.layout.soup_round(stage)
    }

    fn label(&self, stage: u32) -> String {
        format!("soup{stage:02}")
    }

    fn attempts(&self, stage: u32, piece: MemberId) -> PathBuf {
        self.run.layout.candidate(stage, piece).join("attempts")
    }

    fn is_done(&self, stage: u32, piece: MemberId) -> Result<bool> {
        Ok(soup::result(self.run, stage, piece)?.is_some())
    }

    fn heartbeat(&self, _: u32, _: MemberId) -> Option<Heartbeat> {
        None
    }

    fn piece_arguments(&self, stage: u32) -> Vec<String> {
        ["soup", "--round", &stage.to_string()].map(str::to_owned).to_vec()
    }

    fn piece_option(&self) -> &'static str {
        "--candidate"
    }

    fn step_arguments(&self) -> Vec<String> {
        vec!["soup".into(), "--submit".into()]
    }

    fn pieces_per_task(&self) -> u32 {
        1
    }
}
