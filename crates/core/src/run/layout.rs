//! All paths in a run directory.

use std::path::{Path, PathBuf};

use super::{FileRef, StateError};
use crate::durable_fs::FileDigest;
use crate::search::MemberId;

/// The paths in a run directory.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The layout of a directory, made absolute. Its name must be valid UTF-8, because job scripts contain it.
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

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Format version, run id and seed; a run exists once this file is published.
    pub fn run(&self) -> PathBuf {
        self.root.join("run.json")
    }

    /// The configuration, as resolved by `pbtnas init`.
    pub fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    pub fn space(&self) -> PathBuf {
        self.root.join("space.json")
    }

    /// Files that the task prepares for all members during `pbtnas init`.
    pub fn shared(&self) -> PathBuf {
        self.root.join("shared")
    }

    /// Files that members collect during training, such as the episodes of a replay buffer.
    pub fn collected(&self) -> PathBuf {
        self.root.join("collected")
    }

    pub fn best(&self) -> PathBuf {
        self.root.join("best.json")
    }

    /// Output of the jobs.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Advisory lock of `pbtnas step` and `pbtnas run`.
    pub fn step_lock(&self) -> PathBuf {
        self.root.join(".step.lock")
    }

    pub fn generations(&self) -> PathBuf {
        self.root.join("generations")
    }

    pub fn generation(&self, generation: u32) -> PathBuf {
        self.generations().join(format!("{generation:04}"))
    }

    /// A generation exists once its plan is published.
    pub fn plan(&self, generation: u32) -> PathBuf {
        self.generation(generation).join("plan.json")
    }

    /// The members' results and attempts, written before their files are removed.
    pub fn archive(&self, generation: u32) -> PathBuf {
        self.generation(generation).join("archive.json")
    }

    pub fn members(&self, generation: u32) -> PathBuf {
        self.generation(generation).join("members")
    }

    /// The final evaluation of a member with `samples` samples.
    pub fn evaluation(&self, generation: u32, member: MemberId, samples: usize) -> PathBuf {
        self.member(generation, member).join(format!("evaluation-{samples}.json"))
    }

    /// The soup of the best architecture, or of a part of its networks.
    pub fn soup(&self, part: Option<&str>) -> SoupLayout {
        SoupLayout { dir: self.root.join(part.map_or("soup".to_owned(), |part| format!("{PART}{part}"))) }
    }

    /// The part whose soup has this directory name.
    pub fn part_of(name: &str) -> Option<&str> {
        name.strip_prefix(PART).filter(|part| !part.is_empty())
    }

    pub fn member(&self, generation: u32, member: MemberId) -> PathBuf {
        self.members(generation).join(member.to_string())
    }

    /// The first checkpoint of an offspring.
    pub fn start(&self, generation: u32, member: MemberId) -> PathBuf {
        self.member(generation, member).join("start.safetensors")
    }

    /// Snapshots and heartbeat.
    pub fn progress(&self, generation: u32, member: MemberId) -> PathBuf {
        self.member(generation, member).join("progress")
    }

    pub fn heartbeat(&self, generation: u32, member: MemberId) -> PathBuf {
        self.progress(generation, member).join("heartbeat.json")
    }

    /// The checkpoint at the end of the generation.
    pub fn final_checkpoint(&self, generation: u32, member: MemberId) -> PathBuf {
        self.member(generation, member).join("final.safetensors")
    }

    /// A member is done once its result is published.
    pub fn result(&self, generation: u32, member: MemberId) -> PathBuf {
        self.member(generation, member).join("result.json")
    }

    /// A picture of the trained member's output.
    pub fn preview(&self, generation: u32, member: MemberId) -> PathBuf {
        self.member(generation, member).join("preview.png")
    }

    /// The preview of a generation's best member, which is kept when the members' files are removed.
    pub fn best_preview(&self, generation: u32) -> PathBuf {
        self.generation(generation).join("preview.png")
    }

    pub fn attempts(&self, generation: u32, member: MemberId) -> PathBuf {
        self.member(generation, member).join("attempts")
    }

    /// Advisory lock of the process that trains the member.
    pub fn member_lock(&self, generation: u32, member: MemberId) -> PathBuf {
        self.member(generation, member).join(".lock")
    }

    /// A path relative to the run directory, for records; paths outside are returned unchanged.
    pub fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().into_owned()
    }

    /// The reference to a file with these contents.
    pub fn file_ref(&self, path: &Path, content: FileDigest) -> FileRef {
        FileRef { path: self.relative(path), size: content.size, digest: content.digest }
    }

    /// Resolves a path from a record; none if it would leave the run directory.
    pub fn resolve(&self, relative: &str) -> Option<PathBuf> {
        let path = Path::new(relative);
        let plain = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        (plain && !relative.is_empty() && !relative.contains('\0')).then(|| self.root.join(path))
    }
}

/// Prefix of the directory of a part's soup, followed by the part's name.
const PART: &str = "soup-";

/// The paths in the directory of a soup.
#[derive(Debug, Clone)]
pub struct SoupLayout {
    dir: PathBuf,
}

impl SoupLayout {
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A soup is done once this record is published.
    pub fn record(&self) -> PathBuf {
        self.dir.join("soup.json")
    }

    /// The averaged network; absent if the soup has a single ingredient.
    pub fn checkpoint(&self) -> PathBuf {
        self.dir.join("soup.safetensors")
    }

    pub fn evaluation(&self, samples: usize) -> PathBuf {
        self.dir.join(format!("evaluation-{samples}.json"))
    }

    /// A round of the greedy search, counted from 1.
    pub fn round(&self, round: u32) -> PathBuf {
        self.dir.join(format!("round-{round:02}"))
    }

    /// A round exists once its plan is published.
    pub fn plan(&self, round: u32) -> PathBuf {
        self.round(round).join("plan.json")
    }

    pub fn candidate(&self, round: u32, candidate: MemberId) -> PathBuf {
        self.round(round).join("candidates").join(candidate.to_string())
    }

    /// The current soup with the candidate added, during its evaluation.
    pub fn candidate_checkpoint(&self, round: u32, candidate: MemberId) -> PathBuf {
        self.candidate(round, candidate).join("soup.safetensors")
    }

    pub fn result(&self, round: u32, candidate: MemberId) -> PathBuf {
        self.candidate(round, candidate).join("result.json")
    }

    pub fn attempts(&self, round: u32, candidate: MemberId) -> PathBuf {
        self.candidate(round, candidate).join("attempts")
    }

    /// Advisory lock of the process that evaluates the candidate.
    pub fn candidate_lock(&self, round: u32, candidate: MemberId) -> PathBuf {
        self.candidate(round, candidate).join(".lock")
    }
}

/// The record of a submission round in `dir`, the directory of a generation or a soup's round. Rounds count from 1; all
/// but the first are retries.
pub fn submission(dir: &Path, round: u32) -> PathBuf {
    dir.join(match round {
        1 => "submission.json".to_owned(),
        _ => format!("submission-{round}.json"),
    })
}

/// The record of a process that is about to submit a round.
pub fn intent(dir: &Path, round: u32) -> PathBuf {
    submission(dir, round).with_extension("intent.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_name_must_be_utf8() {
        use std::os::unix::ffi::OsStrExt;
        assert_eq!(Layout::of(Path::new("/a/b\n%j'c")).unwrap().root(), Path::new("/a/b\n%j'c"));
        let error = Layout::of(Path::new(std::ffi::OsStr::from_bytes(b"/a/\xff"))).unwrap_err();
        assert!(matches!(error, StateError::Name(_)), "{error}");
    }

    #[test]
    fn each_part_has_its_own_soup_directory() {
        let layout = Layout::new("/run");
        assert_eq!(layout.soup(None).plan(2), Path::new("/run/soup/round-02/plan.json"));
        assert_eq!(layout.soup(Some("encoder")).record(), Path::new("/run/soup-encoder/soup.json"));
        for (name, part) in [("soup-encoder", Some("encoder")), ("soup", None), ("soup-", None), ("x", None)]
        {
            assert_eq!(Layout::part_of(name), part);
        }
    }

    #[test]
    fn records_cannot_name_files_outside_the_run() {
        let layout = Layout::new("/run");
        let path = layout.final_checkpoint(7, MemberId(3));
        assert_eq!(layout.relative(&path), "generations/0007/members/03/final.safetensors");
        assert_eq!(layout.resolve(&layout.relative(&path)), Some(path));
        for bad in ["../x", "/etc/passwd", "a/../../b", "", ".", "a\0b"] {
            assert_eq!(layout.resolve(bad), None, "{bad}");
        }
    }
}
