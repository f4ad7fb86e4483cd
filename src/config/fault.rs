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
        let offset = error.span().map_or(0, |span| span.start);
        Self::at(path, text, offset, &path_at(text, offset).join("."), error.message())
    }

    /// The parser's complaint about what stands at an offset, under a key.
    pub(super) fn at(path: &Path, text: &str, offset: usize, key: &str, message: &str) -> Self {
        Self::At { path: path.to_owned(), line: line_of(text, offset), message: explain(key, message) }
    }

    /// A value that has the right type but cannot be used; `key` is dotted, e.g. `search.tau`.
    pub(super) fn bad_value(path: &Path, text: &str, key: &str, message: String) -> Self {
        let offset = offset_of(text, key).map_or(0, |(offset, _)| offset);
        Self::At { path: path.to_owned(), line: line_of(text, offset), message: format!("{key}: {message}") }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|&&byte| byte == b'\n').count()
}

/// Where the value of a dotted key stands, and true; or where the longest part of the key stands that is
/// there, and false.
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

/// The key, part by part, of what stands at an offset.
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

/// Where the keys and values of a table stand, those of the tables in it among them.
fn spans<'a>(table: &'a DeTable<'a>) -> Box<dyn Iterator<Item = std::ops::Range<usize>> + 'a> {
    Box::new(table.iter().flat_map(|(name, value)| {
        let inner = match value.get_ref() {
            DeValue::Table(inner) => Some(spans(inner)),
            _ => None,
        };
        [name.span(), value.span()].into_iter().chain(inner.into_iter().flatten())
    }))
}

/// What the parser says, in the words of this program: serde's speak of Rust's types.
fn explain(key: &str, message: &str) -> String {
    let message = message.trim();
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
    nearest_name(message)
}

/// What serde expected.
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

/// What serde found.
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
fn nearest_name(message: &str) -> String {
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
