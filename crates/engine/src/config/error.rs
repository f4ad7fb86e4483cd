//! Errors in a configuration, with the line and the probably intended name.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::BadValue;
use super::renamed::renamed;
use crate::task::kinds;

/// An invalid configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("failed to read the configuration {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    /// An invalid key or value.
    #[error("{}:{line}: {message}", path.display())]
    At {
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        message: String,
    },
}

impl ConfigError {
    /// Converts an error of the parser.
    pub(super) fn from_toml(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let offset = error.span().map_or(0, |span| span.start);
        Self::at(path, text, offset, &path_at(text, offset).join("."), error.message())
    }

    /// An error of the parser about the value of a key at an offset.
    pub(super) fn at(path: &Path, text: &str, offset: usize, key: &str, message: &str) -> Self {
        Self::At { path: path.to_owned(), line: line_of(text, offset), message: explain(key, message) }
    }

    /// A value of the right type that is invalid; `key` is dotted, e.g. `search.tau`.
    pub(super) fn bad_value(path: &Path, text: &str, bad: &BadValue) -> Self {
        let BadValue { key, message } = bad;
        let offset = offset_of(text, key).map_or(0, |(offset, _)| offset);
        Self::At { path: path.to_owned(), line: line_of(text, offset), message: format!("{key}: {message}") }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|&&byte| byte == b'\n').count()
}

/// The offset of a dotted key and true, or the offset of its longest existing prefix and false.
pub(super) fn offset_of(text: &str, key: &str) -> Option<(usize, bool)> {
    let document = DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut offset = None;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        let Some((name, value)) = table.get_key_value(part) else { break };
        offset = Some((name.span().start, parts.peek().is_none()));
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    offset
}

/// The parts of the key at an offset.
pub(super) fn path_at(text: &str, offset: usize) -> Vec<String> {
    let Ok(document) = DeTable::parse(text) else { return Vec::new() };
    let mut path = Vec::new();
    let mut table = document.get_ref();
    'table: loop {
        for (name, value) in table {
            let inside = |span: std::ops::Range<usize>| span.contains(&offset);
            if inside(name.span()) || inside(value.span()) {
                path.push(name.get_ref().to_string());
                return path;
            }
            if let DeValue::Table(inner) = value.get_ref()
                && spans(inner).any(|span| span.contains(&offset))
            {
                path.push(name.get_ref().to_string());
                table = inner;
                continue 'table;
            }
        }
        return path;
    }
}

/// The spans of all keys and values of a table, including nested tables.
fn spans<'a>(table: &'a DeTable<'a>) -> Box<dyn Iterator<Item = std::ops::Range<usize>> + 'a> {
    Box::new(table.iter().flat_map(|(name, value)| {
        let inner = match value.get_ref() {
            DeValue::Table(inner) => Some(spans(inner)),
            _ => None,
        };
        [name.span(), value.span()].into_iter().chain(inner.into_iter().flatten())
    }))
}

/// Rewrites an error of the parser, because serde's messages refer to Rust types.
fn explain(key: &str, message: &str) -> String {
    let message = message.trim();
    if message.starts_with("unknown field")
        && let Some(new) = renamed(key)
    {
        return format!("{key}: this key is now called {new}");
    }
    if let Some(name) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return match key {
            "" => format!("the key `{name}` is missing"),
            key => format!("{key}: the key `{name}` is missing"),
        };
    }
    let wrong = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    if let Some((found, wanted)) = wrong.and_then(|wrong| wrong.rsplit_once(", expected ")) {
        let what = format!("must be {}, not {}", wanted_words(wanted), found_words(found));
        return if key.is_empty() { what } else { format!("{key}: {what}") };
    }
    // The sections of tasks are read before the others.
    let tasks: Vec<&str> =
        if key.contains('.') { Vec::new() } else { kinds().map(|kind| kind.name()).collect() };
    nearest_name(message, &tasks)
}

/// Describes the type that serde expected.
fn wanted_words(wanted: &str) -> &str {
    match wanted {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number that is not negative",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "a list, as in [\"a\", \"b\"]",
        "a boolean" => "true or false",
        "a string" => "text in quotes",
        "a map" => "a section",
        "any valid TOML value" => "a number of at most 9223372036854775807",
        nonzero if nonzero.starts_with("a nonzero ") => "a whole number that is more than 0",
        section if section.starts_with("struct ") => "a section",
        other => other,
    }
}

/// Describes the value that serde found.
fn found_words(found: &str) -> &str {
    let number = ["integer `", "floating point `", "boolean `"]
        .iter()
        .find_map(|kind| found.strip_prefix(kind)?.strip_suffix('`'));
    match found {
        "sequence" => "a list",
        "map" => "a section",
        other => number.or_else(|| other.strip_prefix("string ")).unwrap_or(other),
    }
}

/// Adds the nearest known name to serde's "unknown field `x`, expected one of `a`, `b`".
fn nearest_name(message: &str, more: &[&str]) -> String {
    let mut known = message.split('`').skip(1).step_by(2);
    let kind = match message {
        field if field.starts_with("unknown field") => "key",
        variant if variant.starts_with("unknown variant") => "value",
        other => return other.to_owned(),
    };
    let Some(unknown) = known.next() else { return message.to_owned() };
    nearest(kind, unknown, &known.chain(more.iter().copied()).collect::<Vec<_>>())
}

/// The message for an unknown key or value (`kind`), with the most similar known name.
pub(super) fn nearest(kind: &str, unknown: &str, known: &[&str]) -> String {
    let likeness = |name: &&&str| strsim::jaro_winkler(unknown, name);
    match known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b))) {
        Some(nearest) => {
            format!("unknown {kind} `{unknown}`: did you mean `{nearest}`? (known: {})", known.join(", "))
        }
        None => format!("unknown {kind} `{unknown}`"),
    }
}
