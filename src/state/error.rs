//! What can be wrong with the directory of a run.

use std::io;
use std::path::{Path, PathBuf};

use super::Layout;
use super::collected::digest_in;
use crate::checkpoint::CheckpointError;
use crate::search::SpaceError;

/// Why the directory of a run cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The operating system said no.
    #[error("failed to {doing} {path}: {source}")]
    Io {
        /// What was tried, e.g. `read`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No run here.
    #[error("{0} is no run: it has no run.json (make one with `pbtnas init --config FILE --state {0}`)")]
    NoRun(PathBuf),
    /// A directory whose name cannot be written into a job script.
    #[error("the name of the directory {0:?} is no text in UTF-8: choose another")]
    Name(PathBuf),
    /// A file where the directory of a run should be.
    #[error("{0} is a file: --state takes the directory of a run")]
    NoDirectory(PathBuf),
    /// A file is not what its name promises.
    #[error("{path} is damaged: {reason}; {}", way_out(path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Written by a later program.
    #[error("{path} has format {found}, this program reads format {known}: use a newer pbtnas")]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// A run exists already, with another configuration.
    #[error(
        "{path} holds a run with another configuration: a run keeps the configuration that it began with; \
         choose another --state, or leave --config as it was"
    )]
    OtherConfig {
        /// The directory.
        path: PathBuf,
    },
    /// Somebody began to make a run there, with another configuration, and there is no run yet.
    #[error(
        "{path} holds the beginning of a run with another configuration, whose `pbtnas init` was not finished: \
         remove the directory, or choose another --state"
    )]
    OtherBeginning {
        /// The directory.
        path: PathBuf,
    },
    /// A checkpoint cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A genotype does not fit the space.
    #[error("{path}: {source}")]
    Space {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SpaceError,
    },
}

/// The folder of the soup that a file belongs to, if it does. Folders above the run may be called anything.
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

/// What a person can do about a damaged file.
fn way_out(path: &Path) -> &'static str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name {
        _ if name.starts_with("evaluation-") => "delete it: `pbtnas evaluate` measures again",
        _ if soup_of(path) == Some("soup") => "delete the folder soup: `pbtnas soup` makes it anew",
        _ if soup_of(path).is_some() => {
            "delete the folder soup-PART that it lies in: `pbtnas soup --part PART` makes it anew"
        }
        "config.toml" => {
            "put it back as it was (a run keeps its configuration), or start a new run with the changed one"
        }
        "run.json" | "space.json" => {
            "put it back as it was, or start a new run: the run cannot go on without it"
        }
        "plan.json" => {
            "put it back as it was (`pbtnas step` and `pbtnas run` decide the latest one again; older ones are for \
             reports, and for making lost checkpoints again)"
        }
        "result.json" => {
            "put it back as it was (in the latest generation `pbtnas step` and `pbtnas run` have it made again; older \
             ones are for reports, and for making lost checkpoints again)"
        }
        "best.json" => "delete it: the next `pbtnas step` or `pbtnas run` finds the best member again",
        "archive.json" => "put it back as it was, or go on: the search does not need it, only reports do",
        "preview.png" => "delete it: only reports and pages show it",
        "final.safetensors" => "`pbtnas step` and `pbtnas run` have it trained again when they need it",
        "start.safetensors" => "`pbtnas train` makes it again from its parents when it needs it",
        _ if digest_in(path).is_some() && path.components().any(|part| part.as_os_str() == "collected") => {
            "put it back as it was, or go on: a member that cannot do without it fails, and is replaced"
        }
        _ if name.starts_with("submission") => "delete it and call `pbtnas step`: it submits what is missing",
        _ if name.ends_with(".start.json") || name.ends_with(".end.json") => {
            "delete it: the attempt is forgotten"
        }
        _ => "put it back as it was, or start a new run",
    }
}

impl StateError {
    /// For `map_err`: an operation on a file failed.
    pub fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }

    /// What is wrong, without what a person can do about it: for what the program mends by itself.
    pub fn what(&self) -> String {
        match self {
            Self::Damaged { path, reason } => format!("{} is damaged: {reason}", path.display()),
            other => other.to_string(),
        }
    }

    /// Whether a file has other contents than it should, or is gone.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::Checkpoint(CheckpointError::Damaged { .. }) => true,
            Self::Io { source, .. } | Self::Checkpoint(CheckpointError::Io { source, .. }) => {
                source.kind() == io::ErrorKind::NotFound
            }
            _ => false,
        }
    }

    /// A damaged file.
    pub fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_mends_is_told_without_advice() {
        let damaged = StateError::damaged(Path::new("/run/best.json"), "it was cut off");
        assert_eq!(damaged.what(), "/run/best.json is damaged: it was cut off");
        assert!(damaged.to_string().starts_with(&format!("{}; delete it", damaged.what())));
        for folder in ["generations/0001/members/03", "soup", "soup-actor"] {
            let path = format!("/run/{folder}/evaluation-5000.json");
            let way = StateError::damaged(Path::new(&path), "it was cut off").to_string();
            assert!(way.ends_with("delete it: `pbtnas evaluate` measures again"), "{way}");
        }
    }

    #[test]
    fn only_what_is_of_a_soup_is_to_be_deleted_as_one() {
        let way = |path: &str| StateError::damaged(Path::new(path), "it is gone").to_string();
        for of_soup in ["soup.json", "round-01/plan.json", "round-01/candidates/02/result.json"] {
            assert!(
                way(&format!("/soup/run/soup/{of_soup}")).contains("delete the folder soup"),
                "{of_soup}"
            );
            let of_part = way(&format!("/soup/run/soup-actor/{of_soup}"));
            assert!(of_part.contains("`pbtnas soup --part PART` makes it anew"), "{of_part}");
        }
        for other in ["run.json", "shared/features.safetensors", "generations/0001/plan.json", "best.json"] {
            for run in ["/home/me/soup/run", "/soup", "/soup/round-1", "/soup-actor", "/soup-1/run"] {
                assert!(!way(&format!("{run}/{other}")).contains("delete the folder"), "{run}/{other}");
            }
        }
    }
}
