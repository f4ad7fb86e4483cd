//! Errors of the run directory.

use std::io;
use std::path::{Path, PathBuf};

use super::Layout;
use super::collected::digest_in;
use crate::checkpoint::CheckpointError;
use crate::durable_fs::StorageError;
use crate::search::SpaceError;

/// Why runs of format 1 cannot be resumed.
const CHANGED: &str =
    ", because generators, mutations and first populations have changed to those of the paper's code";

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("{0} is not a pbtnas run directory: run.json is missing")]
    NoRun(PathBuf),
    /// Job scripts contain the name, so it must be valid UTF-8.
    #[error("the directory name {0:?} is not valid UTF-8")]
    Name(PathBuf),
    #[error("{0} is a file: --state takes a run directory")]
    NoDirectory(PathBuf),
    /// The contents of a file are invalid, or the file is missing.
    #[error("{path} is damaged: {reason}")]
    Damaged { path: PathBuf, reason: String },
    /// The file was written by a version with another format of runs.
    #[error("{path} has format {found}, this program reads format {known}{}", if found < known { CHANGED } else { "" })]
    Format { path: PathBuf, found: u64, known: u64 },
    #[error(
        "{path} contains a run with a different configuration, and the configuration of a run cannot change"
    )]
    OtherConfig { path: PathBuf },
    /// Files of an interrupted `pbtnas init` exist, but no run.json.
    #[error("{path} contains an unfinished `pbtnas init` with a different configuration")]
    OtherBeginning { path: PathBuf },
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A genotype in a file does not belong to the space.
    #[error("{path}: {source}")]
    Space { path: PathBuf, source: SpaceError },
}

/// The name of the soup directory that a file belongs to. Directories above the run may have any name.
fn soup_of(path: &Path) -> Option<&str> {
    let parts: Vec<_> = path.components().filter_map(|part| part.as_os_str().to_str()).collect();
    let soup = parts.iter().rposition(|part| *part == "soup" || Layout::part_of(part).is_some())?;
    let own = match &parts[soup + 1..] {
        [file] => file.starts_with("soup."),
        [round, below, ..] if round.starts_with("round-") => {
            ["plan.", "submission", "candidates"].iter().any(|own| below.starts_with(own))
        }
        _ => false,
    };
    own.then_some(parts[soup])
}

fn hint_for_damaged(path: &Path) -> &'static str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name {
        _ if name.starts_with("evaluation-") => "delete it and run `pbtnas evaluate` again",
        _ if soup_of(path) == Some("soup") => "delete the folder soup and run `pbtnas soup` again",
        _ if soup_of(path).is_some() => {
            "delete the folder soup-PART that contains it and run `pbtnas soup --part PART` again"
        }
        "config.toml" => {
            "restore it (the configuration of a run cannot change), or start a new run with the changed one"
        }
        "run.json" | "space.json" => "restore it, or start a new run: the run cannot continue without it",
        "plan.json" => {
            "restore it (`pbtnas step` and `pbtnas run` recompute the latest plan; older ones are used for reports \
             and to rebuild lost checkpoints)"
        }
        "result.json" => {
            "restore it (`pbtnas step` and `pbtnas run` recompute the latest results; older ones are used for reports \
             and to rebuild lost checkpoints)"
        }
        "best.json" => "delete it: the next `pbtnas step` or `pbtnas run` rebuilds it",
        "archive.json" => "restore it, or continue without it: only reports use it",
        "preview.png" => "delete it: only reports use it",
        "final.safetensors" => "`pbtnas step` and `pbtnas run` retrain it when it is needed",
        "start.safetensors" => "`pbtnas train` rebuilds it from the parents when it is needed",
        _ if digest_in(path).is_some() && path.components().any(|part| part.as_os_str() == "collected") => {
            "restore it, or continue: a member that cannot train without it fails and is replaced"
        }
        _ if name.starts_with("submission") => "delete it and run `pbtnas step` to submit the missing jobs",
        _ if name.ends_with(".start.json") || name.ends_with(".end.json") => {
            "delete it: the attempt is then ignored"
        }
        _ => "restore it, or start a new run",
    }
}

impl StateError {
    /// For `map_err` on the result of a file operation.
    pub fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Storage(StorageError::at(doing, path)(source))
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoRun(root) => {
                format!("create a run with `pbtnas init --config FILE --state {}`", root.display())
            }
            Self::Name(_) => "choose another directory".into(),
            Self::Damaged { path, .. } => hint_for_damaged(path).into(),
            Self::Format { found, known, .. } if found < known => {
                "finish the run with the pbtnas that began it, or begin a new run".into()
            }
            Self::Format { .. } => "use a newer pbtnas".into(),
            Self::OtherConfig { .. } => "choose another --state, or use the original --config".into(),
            Self::OtherBeginning { .. } => "remove the directory, or choose another --state".into(),
            Self::NoDirectory(_) | Self::Storage(_) | Self::Checkpoint(_) | Self::Space { .. } => {
                return None;
            }
        })
    }

    /// Whether a file is damaged or missing.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::Checkpoint(CheckpointError::Damaged { .. }) => true,
            Self::Storage(StorageError { source, .. })
            | Self::Checkpoint(CheckpointError::Io { source, .. }) => {
                source.kind() == io::ErrorKind::NotFound
            }
            _ => false,
        }
    }

    pub fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_apart_from_messages() {
        let damaged = StateError::damaged(Path::new("/run/best.json"), "truncated");
        assert_eq!(damaged.to_string(), "/run/best.json is damaged: truncated");
        assert!(damaged.hint().unwrap().starts_with("delete it"));
        for folder in ["generations/0001/members/03", "soup", "soup-actor"] {
            let path = format!("/run/{folder}/evaluation-5000.json");
            let hint = StateError::damaged(Path::new(&path), "truncated").hint().unwrap();
            assert_eq!(hint, "delete it and run `pbtnas evaluate` again");
        }
    }

    #[test]
    fn only_soup_files_get_the_soup_hint() {
        let way = |path: &str| StateError::damaged(Path::new(path), "the file is missing").hint().unwrap();
        for of_soup in ["soup.json", "round-01/plan.json", "round-01/candidates/02/result.json"] {
            assert!(
                way(&format!("/soup/run/soup/{of_soup}")).contains("delete the folder soup"),
                "{of_soup}"
            );
            let of_part = way(&format!("/soup/run/soup-actor/{of_soup}"));
            assert!(of_part.contains("run `pbtnas soup --part PART` again"), "{of_part}");
        }
        for other in ["run.json", "shared/features.safetensors", "generations/0001/plan.json", "best.json"] {
            for run in ["/home/me/soup/run", "/soup", "/soup/round-1", "/soup-actor", "/soup-1/run"] {
                assert!(!way(&format!("{run}/{other}")).contains("delete the folder"), "{run}/{other}");
            }
        }
    }
}
