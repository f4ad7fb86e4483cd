//! What is wrong in a configuration, at which line, and what was probably meant.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read the configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A key or a value is wrong.
    #[error("{}:{line}: {message}", path.display())]
    At {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong, and the way out.
        message: String,
    },
}

impl ConfigError {
    /// From the parser's complaint.
    pub(super) fn from_toml(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        Self::At { path: path.to_owned(), line, message: explain(error.message()) }
    }

    /// A value that has the right type but cannot be used; `key` is dotted, e.g. `search.tau`.
    pub(super) fn bad_value(path: &Path, text: &str, key: &str, message: String) -> Self {
        let line = offset_of(text, key).map_or(1, |offset| line_of(text, offset));
        Self::At { path: path.to_owned(), line, message: format!("{key}: {message}") }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|&&byte| byte == b'\n').count()
}

/// Where the value of a dotted key stands, or that of the longest part of the key that is there.
fn offset_of(text: &str, key: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut offset = None;
    for part in key.split('.') {
        let Some((name, value)) = table.get_key_value(part) else { break };
        offset = Some(name.span().start);
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    offset
}

/// Adds the nearest known name to serde's "unknown field `x`, expected one of `a`, `b`".
fn explain(message: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let (kind, rest) = match (message.strip_prefix("unknown field"), message.strip_prefix("unknown variant"))
    {
        (Some(_), _) => ("key", &quoted),
        (_, Some(_)) => ("value", &quoted),
        _ => return message.trim().to_owned(),
    };
    let Some((unknown, known)) = rest.split_first() else { return message.trim().to_owned() };
    let nearest = known
        .iter()
        .max_by(|a, b| strsim::jaro_winkler(unknown, a).total_cmp(&strsim::jaro_winkler(unknown, b)));
    match nearest {
        Some(nearest) => {
            format!("unknown {kind} `{unknown}`: did you mean `{nearest}`? (known: {})", known.join(", "))
        }
        None => format!("unknown {kind} `{unknown}`"),
    }
}
