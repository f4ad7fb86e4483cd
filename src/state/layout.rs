//! Every path of a run's directory, here and nowhere else.

use std::path::{Path, PathBuf};

use super::StateError;
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

    /// The layout under a directory, wherever this process goes. Its name must be text: job scripts are.
    pub fn of(root: &Path) -> Result<Self, StateError> {
        let root = std::path::absolute(root).map_err(StateError::io("find", root))?;
        if root.to_str().is_none() {
            return Err(StateError::Name(root));
        }
        if root.is_file() {
            return Err(StateError::NoDirectory(root));
        }
        Ok(Self::new(root))
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

    /// Files that members collect while they train (what an agent has lived through, say).
    pub fn collected(&self) -> PathBuf {
        self.root.join("collected")
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

    /// What became of its members, once their files are dropped.
    pub fn archive(&self, generation: u32) -> PathBuf {
        self.generation(generation).join("archive.json")
    }

    /// All members of a generation.
    pub fn members(&self, generation: u32) -> PathBuf {
        self.generation(generation).join("members")
    }

    /// The final evaluation of a member, with so many samples.
    pub fn evaluation(&self, generation: u32, member: MemberId, samples: usize) -> PathBuf {
        self.member(generation, member).join(format!("evaluation-{samples}.json"))
    }

    /// The soup of the best architecture, or of a part of its networks: its search, and what came out.
    pub fn soup(&self, part: Option<&str>) -> SoupLayout {
        SoupLayout { dir: self.root.join(part.map_or("soup".to_owned(), |part| format!("{PART}{part}"))) }
    }

    /// The part whose soup lies under a name in the directory.
    pub fn part_of(name: &str) -> Option<&str> {
        name.strip_prefix(PART).filter(|part| !part.is_empty())
    }

    /// A member's directory.
    pub fn member(&self, generation: u32, member: MemberId) -> PathBuf {
        self.members(generation).join(member.to_string())
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

    /// What can be looked at of the trained member.
    pub fn preview(&self, generation: u32, member: MemberId) -> PathBuf {
        self.member(generation, member).join("preview.png")
    }

    /// The preview of a generation's best member, which stays when the members' files are dropped.
    pub fn best_preview(&self, generation: u32) -> PathBuf {
        self.generation(generation).join("preview.png")
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
        (plain && !relative.is_empty() && !relative.contains('\0')).then(|| self.root.join(path))
    }
}

/// What the folder of a part's soup is called, in front of the part's name.
const PART: &str = "soup-";

/// The paths of a soup.
#[derive(Debug, Clone)]
pub struct SoupLayout {
    dir: PathBuf,
}

impl SoupLayout {
    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What came out; its publication makes the soup done.
    pub fn record(&self) -> PathBuf {
        self.dir.join("soup.json")
    }

    /// The averaged network, if more than one member is in it.
    pub fn checkpoint(&self) -> PathBuf {
        self.dir.join("soup.safetensors")
    }

    /// The final evaluation of the soup.
    pub fn evaluation(&self, samples: usize) -> PathBuf {
        self.dir.join(format!("evaluation-{samples}.json"))
    }

    /// A round of the greedy search, counted from 1.
    pub fn round(&self, round: u32) -> PathBuf {
        self.dir.join(format!("round-{round:02}"))
    }

    /// Its plan; its publication makes the round exist.
    pub fn plan(&self, round: u32) -> PathBuf {
        self.round(round).join("plan.json")
    }

    /// A candidate of a round.
    pub fn candidate(&self, round: u32, candidate: MemberId) -> PathBuf {
        self.round(round).join("candidates").join(candidate.to_string())
    }

    /// The soup so far with it, while that is evaluated.
    pub fn candidate_checkpoint(&self, round: u32, candidate: MemberId) -> PathBuf {
        self.candidate(round, candidate).join("soup.safetensors")
    }

    /// What came out of it.
    pub fn result(&self, round: u32, candidate: MemberId) -> PathBuf {
        self.candidate(round, candidate).join("result.json")
    }

    /// The attempts at it.
    pub fn attempts(&self, round: u32, candidate: MemberId) -> PathBuf {
        self.candidate(round, candidate).join("attempts")
    }

    /// Advisory lock of the process that evaluates it.
    pub fn candidate_lock(&self, round: u32, candidate: MemberId) -> PathBuf {
        self.candidate(round, candidate).join(".lock")
    }
}

/// The jobs of a round of submission, in the directory of what is worked on; rounds count from 1, and all but
/// the first are retries.
pub fn submission(dir: &Path, round: u32) -> PathBuf {
    dir.join(match round {
        1 => "submission.json".to_owned(),
        _ => format!("submission-{round}.json"),
    })
}

/// Who set out to submit a round.
pub fn intent(dir: &Path, round: u32) -> PathBuf {
    submission(dir, round).with_extension("intent.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_s_name_is_text() {
        use std::os::unix::ffi::OsStrExt;
        assert_eq!(Layout::of(Path::new("/a/b\n%j'c")).unwrap().root(), Path::new("/a/b\n%j'c"));
        let error = Layout::of(Path::new(std::ffi::OsStr::from_bytes(b"/a/\xff"))).unwrap_err();
        assert!(matches!(error, StateError::Name(_)), "{error}");
    }

    #[test]
    fn soups_of_parts_lie_side_by_side() {
        let layout = Layout::new("/run");
        assert_eq!(layout.soup(None).plan(2), Path::new("/run/soup/round-02/plan.json"));
        assert_eq!(layout.soup(Some("encoder")).record(), Path::new("/run/soup-encoder/soup.json"));
        for (name, part) in [("soup-encoder", Some("encoder")), ("soup", None), ("soup-", None), ("x", None)]
        {
            assert_eq!(Layout::part_of(name), part);
        }
    }

    #[test]
    fn records_cannot_name_files_outside() {
        let layout = Layout::new("/run");
        let path = layout.final_checkpoint(7, MemberId(3));
        assert_eq!(layout.relative(&path), "generations/0007/members/03/final.safetensors");
        assert_eq!(layout.resolve(&layout.relative(&path)), Some(path));
        for bad in ["../x", "/etc/passwd", "a/../../b", "", ".", "a\0b"] {
            assert_eq!(layout.resolve(bad), None, "{bad}");
        }
    }
}
