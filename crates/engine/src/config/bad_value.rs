//! What the sections of a configuration report about their values.

/// A value that has the right type but cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadValue {
    /// The dotted key, e.g. `search.tau`.
    pub key: String,
    /// What it must be.
    pub message: String,
}

impl BadValue {
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }

    /// Converts a key and message relative to `section`, for `map_err`.
    pub fn below(section: &str) -> impl Fn((&str, String)) -> Self {
        move |(key, message)| Self::new(format!("{section}.{key}"), message)
    }
}
