//! Variables and numbers as people read them.

use std::fmt;

/// A variable as people call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// The part of the network that it belongs to, e.g. `generator, cell 1`; empty if there is none.
    pub group: String,
    /// What it is there, e.g. `upsampling to node 0`.
    pub name: String,
}

impl Words {
    /// Of a name that means nothing to us: what is before its last `/`, and what is behind.
    pub fn of_name(variable: &str) -> Self {
        let (group, name) = variable.rsplit_once('/').unwrap_or(("", variable));
        Self { group: group.into(), name: name.into() }
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group.as_str() {
            "" => f.write_str(&self.name),
            group => write!(f, "{group}, {}", self.name),
        }
    }
}

/// Four digits that count; whole numbers as such.
pub fn short(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e6 {
        return format!("{number}");
    }
    let rounded: f64 = format!("{number:.3e}").parse().unwrap_or(number);
    let text = format!("{rounded:?}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

#[cfg(test)]
pub(super) mod testing {
    use std::collections::BTreeSet;

    use super::Words;
    use crate::search::Space;

    /// Every variable, and every option of a variable, is called something else, in words.
    pub fn assert_words_of_their_own(
        space: &Space,
        variable: impl Fn(&str) -> Words,
        value: impl Fn(&str, &str) -> String,
    ) {
        let names: BTreeSet<String> =
            space.variables.iter().map(|known| variable(&known.name).to_string()).collect();
        assert_eq!(names.len(), space.variables.len());
        assert!(names.iter().all(|name| !name.contains(['/', '_'])), "{names:?}");
        for known in &space.variables {
            let words: BTreeSet<String> =
                known.options().iter().map(|option| value(&known.name, option)).collect();
            assert_eq!(words.len(), known.options().len(), "{words:?}");
            assert!(words.iter().all(|words| !words.contains('_')), "{}: {words:?}", known.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_split_at_its_last_slash() {
        assert_eq!(Words::of_name("net/block 1/width").to_string(), "net/block 1, width");
        assert_eq!(Words::of_name("width"), Words { group: String::new(), name: "width".into() });
    }

    #[test]
    fn numbers_are_short() {
        let numbers = [0.0, 64.0, -3.0, 0.1, 0.00012345678, 1.0 / 3.0, 12345.678, 1e-7, 1e20, 0.99999];
        let texts = numbers.map(short);
        assert_eq!(texts, ["0", "64", "-3", "0.1", "0.0001235", "0.3333", "12350", "1e-7", "1e20", "1"]);
    }
}
