//! Every path of a run's directory, here and nowhere else.

use std::path::{Path, PathBuf};

use crate::search::MemberId;

/// The paths under a run's directory.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout under a directory.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Format version, run id, seed; its publication makes the run exist.
    pub fn run(&self) -> PathBuf {
        self.root.join("run.json")
    }

    /// The configuration as resolved at init.
    pub fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    /// The search space.
    pub fn space(&self) -> PathBuf {
        self.root.join("space.json")
    }

    /// Files that all members share, made by the task at init.
    pub fn shared(&self) -> PathBuf {
        self.root.join("shared")
    }

    /// The best member so far.
    pub fn best(&self) -> PathBuf {
        self.root.join("best.json")
    }

    /// What jobs print.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Advisory lock of `step` and `run`.
    pub fn step_lock(&self) -> PathBuf {
        self.root.join(".step.lock")
    }

    /// All generations.
    pub fn generations(&self) -> PathBuf {
        self.root.join("generations")
    }

    /// One generation.
    pub fn generation(&self, generation: u32) -> PathBuf {
        self.generations().join(format!("{generation:04}"))
    }

    /// Its plan; its publication makes the generation exist.
    pub fn plan(&self, generation: u32) -> PathBuf {
        self.generation(generation).join("plan.json")
    }

    /// The jobs of a round of submission; rounds count from 1, and all but the first are retries.
    pub fn submission(&self, generation: u32, round: u32) -> PathBuf {
        self.generation(generation).join(match round {
            1 => "submission.json".to_owned(),
            _ => format!("submission-{round}.json"),
        })
    }

    /// Who set out to submit a round.
    pub fn intent(&self, generation: u32, round: u32) -> PathBuf {
        self.submission(generation, round).with_extension("intent.json")
    }

    /// A member's directory.
    pub fn member(&self, generation: u32, member: MemberId) -> PathBuf {
        self.generation(generation).join("members").join(member.to_string())
    }

    /// An offspring's first checkpoint.
    pub fn start(&self, generation: u32, member: MemberId) -> PathBuf {
        self.member(generation, member).join("start.safetensors")
    }

    /// Resumable snapshots.
    pub fn progress(&self, generation: u32, member: MemberId) -> PathBuf {
        self.member(generation, member).join("progress")
    }

    /// How far the running attempt is.
    pub fn heartbeat(&self, generation: u32, member: MemberId) -> PathBuf {
        self.progress(generation, member).join("heartbeat.json")
    }

    /// The checkpoint after the step.
    pub fn final_checkpoint(&self, generation: u32, member: MemberId) -> PathBuf {
        self.member(generation, member).join("final.safetensors")
    }

    /// Fitness; its publication makes the member done.
    pub fn result(&self, generation: u32, member: MemberId) -> PathBuf {
        self.member(generation, member).join("result.json")
    }

    /// Records of attempts.
    pub fn attempts(&self, generation: u32, member: MemberId) -> PathBuf {
        self.member(generation, member).join("attempts")
    }

    /// Advisory lock of the process that trains the member.
    pub fn member_lock(&self, generation: u32, member: MemberId) -> PathBuf {
        self.member(generation, member).join(".lock")
    }

    /// A path under the directory, relative to it, for records; other paths stay as they are.
    pub fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().into_owned()
    }

    /// The path of a record, if it stays under the directory.
    pub fn resolve(&self, relative: &str) -> Option<PathBuf> {
        let path = Path::new(relative);
        let plain = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        (plain && !relative.is_empty()).then(|| self.root.join(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_cannot_name_files_outside() {
        let layout = Layout::new("/run");
        let path = layout.final_checkpoint(7, MemberId(3));
        assert_eq!(layout.relative(&path), "generations/0007/members/03/final.safetensors");
        assert_eq!(layout.resolve(&layout.relative(&path)), Some(path));
        for bad in ["../x", "/etc/passwd", "a/../../b", ""] {
            assert_eq!(layout.resolve(bad), None, "{bad}");
        }
    }
}
