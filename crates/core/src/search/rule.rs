//! Rules: forbidden combinations of options.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_untagged::UntaggedEnumVisitor;

use super::Genotype;

/// Forbids every architecture that matches all entries, that is, whose value of each variable is one of those listed.
///
/// Written as a table of lists, such as `{ block1 = ["identity"], block2 = ["identity", "pool"] }`; a single option
/// may replace a list of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Rule(BTreeMap<String, Vec<String>>);

impl Rule {
    /// Creates a rule from variables and the options that it forbids together, without checking them against a space
    /// (see [`super::Space::check`]).
    pub fn new(entries: impl IntoIterator<Item = (String, Vec<String>)>) -> Self {
        Self(entries.into_iter().collect())
    }

    /// Variables and options, sorted by variable name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(variable, options)| (variable.as_str(), options.as_slice()))
    }

    /// Whether the rule forbids a genotype. A rule without entries forbids every genotype.
    pub fn forbids(&self, genotype: &Genotype) -> bool {
        self.iter().all(|(variable, options)| {
            genotype.get(variable).is_some_and(|value| options.iter().any(|option| option == value))
        })
    }
}

/// For example `block1 = identity, block2 = identity or pool`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.iter().map(|(variable, options)| format!("{variable} = {}", options.join(" or ")));
        f.write_str(&entries.collect::<Vec<_>>().join(", "))
    }
}

/// Written by hand because serde's untagged enums lose the line of an error.
impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Rule;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of forbidden options, such as { a = \"x\", b = [\"y\", \"z\"] }")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rule, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((variable, Options(options))) = map.next_entry::<String, Options>()? {
                    if entries.insert(variable.clone(), options).is_some() {
                        return Err(A::Error::custom(format!("a rule names variable {variable:?} twice")));
                    }
                }
                Ok(Rule(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

struct Options(Vec<String>);

impl<'de> Deserialize<'de> for Options {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UntaggedEnumVisitor::new()
            .expecting("an option or a list of options")
            .string(|option| Ok(Self(vec![option.to_owned()])))
            .seq(|options| options.deserialize().map(Self))
            .deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn genotype(pairs: &[(&str, &str)]) -> Genotype {
        Genotype::new(pairs.iter().map(|&(variable, value)| (variable.to_owned(), value.to_owned())))
    }

    #[test]
    fn genotypes_matching_every_entry_are_forbidden() {
        let rule: Rule = serde_json::from_str(r#"{"a": "x", "b": ["y", "z"]}"#).unwrap();
        assert!(rule.forbids(&genotype(&[("a", "x"), ("b", "y"), ("c", "x")])));
        assert!(rule.forbids(&genotype(&[("a", "x"), ("b", "z")])));
        assert!(!rule.forbids(&genotype(&[("a", "x"), ("b", "x")])));
        assert!(!rule.forbids(&genotype(&[("a", "y"), ("b", "y")])));
        assert_eq!(rule.to_string(), "a = x, b = y or z");
    }

    #[test]
    fn single_option_is_a_list_of_one() {
        let rule: Rule = toml::from_str("a = \"x\"\nb = [\"y\", \"z\"]").unwrap();
        assert_eq!(serde_json::to_string(&rule).unwrap(), r#"{"a":["x"],"b":["y","z"]}"#);
        let error = toml::from_str::<Rule>("a = \"x\"\nb = 3").unwrap_err();
        assert!(error.to_string().contains("an option or a list of options"), "{error}");
        assert_eq!(error.span().unwrap().start, 12);
        let twice = serde_json::from_str::<Rule>(r#"{"a": "x", "a": "y"}"#).unwrap_err();
        assert!(twice.to_string().contains("\"a\" twice"), "{twice}");
    }
}
