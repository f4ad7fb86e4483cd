//! Search variables: a choice among options, or a number from a range.

use rand::Rng;
use serde::{Deserialize, Deserializer, Serialize};

use super::Range;

/// A variable x_i of the paper (section 3.1), or a hyperparameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "RawVariable")]
pub struct Variable {
    /// Unique name, e.g. `generator/cell1/up0`.
    pub name: String,
    pub domain: Domain,
}

/// The possible values of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Domain {
    /// One of several options: part of the architecture.
    Choice {
        /// At least one, all different.
        options: Vec<String>,
        /// Name prefixes (without `model/`) of the tensors that mixing copies together with the value, such as
        /// `generator/cell1/up0/`; empty for a variable without weights (a flag, an activation).
        owns: Vec<String>,
    },
    /// A hyperparameter: a number. Ranges own no tensors.
    Range(Range),
}

impl Variable {
    pub fn choice(name: impl Into<String>, options: Vec<String>, owns: Vec<String>) -> Self {
        Self { name: name.into(), domain: Domain::Choice { options, owns } }
    }

    pub fn range(name: impl Into<String>, range: Range) -> Self {
        Self { name: name.into(), domain: Domain::Range(range) }
    }

    /// The options of a choice; empty for a range.
    pub fn options(&self) -> &[String] {
        match &self.domain {
            Domain::Choice { options, .. } => options,
            Domain::Range(_) => &[],
        }
    }

    /// Name prefixes of the owned tensors; empty for a range.
    pub fn owns(&self) -> &[String] {
        match &self.domain {
            Domain::Choice { owns, .. } => owns,
            Domain::Range(_) => &[],
        }
    }

    pub fn as_range(&self) -> Option<&Range> {
        match &self.domain {
            Domain::Range(range) => Some(range),
            Domain::Choice { .. } => None,
        }
    }

    /// Draws an option, or a number in the range's scale, uniformly. Panics for a choice without options.
    pub(super) fn draw(&self, rng: &mut impl Rng) -> String {
        match &self.domain {
            Domain::Choice { options, .. } => options[rng.random_range(0..options.len())].clone(),
            Domain::Range(range) => range.text(range.draw(rng)),
        }
    }

    pub(super) fn can_change(&self) -> bool {
        self.as_range().is_some() || self.options().len() > 1
    }
}

/// A variable, which has either `options` and `owns` or a `range`.
#[derive(Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename = "Variable")]
struct RawVariable {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<Range>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owns: Option<Vec<String>>,
}

impl schemars::JsonSchema for Variable {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Variable".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        RawVariable::json_schema(generator)
    }
}

impl From<Variable> for RawVariable {
    fn from(Variable { name, domain }: Variable) -> Self {
        match domain {
            Domain::Choice { options, owns } => {
                Self { name, options: Some(options), range: None, owns: Some(owns) }
            }
            Domain::Range(range) => Self { name, options: None, range: Some(range), owns: None },
        }
    }
}

impl TryFrom<RawVariable> for Variable {
    type Error = String;

    fn try_from(RawVariable { name, options, range, owns }: RawVariable) -> Result<Self, String> {
        let domain = match (options, range) {
            (Some(options), None) => Domain::Choice { options, owns: owns.unwrap_or_default() },
            (None, Some(_)) if owns.is_some() => {
                return Err(format!(
                    "variable {name:?} has a range and cannot own tensors: exploring changes its number after mixing, \
                     and tensor shapes may depend on it"
                ));
            }
            (None, Some(range)) => Domain::Range(range),
            (None, None) => return Err(format!("variable {name:?} needs options or a range")),
            (Some(_), Some(_)) => return Err(format!("variable {name:?} has options and a range: give one")),
        };
        Ok(Self { name, domain })
    }
}

/// Written by hand because errors of `serde(try_from)` lose the line of the variable.
impl<'de> Deserialize<'de> for Variable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Variable;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a variable, such as { name = \"kernel\", options = [\"3\", \"5\"] }")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Variable, A::Error> {
                let raw = RawVariable::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Variable::try_from(raw).map_err(serde::de::Error::custom)
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Scale;
    use super::*;

    #[test]
    fn json_round_trips() {
        let choice = Variable::choice("x", vec!["a".into()], vec![]);
        let json = r#"{"name":"x","options":["a"],"owns":[]}"#;
        assert_eq!(serde_json::to_string(&choice).unwrap(), json);
        assert_eq!(serde_json::from_str::<Variable>(json).unwrap(), choice);
        let range = Variable::range("r", Range::new(1e-4, 0.1, Scale::Log, false).unwrap());
        let json = r#"{"name":"r","range":{"low":0.0001,"high":0.1,"scale":"log"}}"#;
        assert_eq!(serde_json::to_string(&range).unwrap(), json);
        assert_eq!(serde_json::from_str::<Variable>(json).unwrap(), range);
    }

    #[derive(Debug, Deserialize)]
    struct VariablesSection {
        variables: Vec<Variable>,
    }

    #[test]
    fn toml_errors_keep_their_line() {
        let good = "[[variables]]\nname = \"kernel\"\noptions = [\"3\", \"5\"]\n[[variables]]\nname = \"rate\"\n\
                    range = { low = 1, high = 10, integer = true }\n";
        let section: VariablesSection = toml::from_str(good).unwrap();
        assert_eq!(section.variables[0], Variable::choice("kernel", vec!["3".into(), "5".into()], vec![]));
        let range = Range::new(1.0, 10.0, Scale::Linear, true).unwrap();
        assert_eq!(section.variables[1], Variable::range("rate", range));
        for (wrong, line, message) in [
            ("[[variables]]\nname = \"a\"\n", 7, "variable \"a\" needs options or a range"),
            ("[[variables]]\nname = \"a\"\noptions = []\nrange = { low = 0, high = 1 }\n", 7, "give one"),
            (
                "[[variables]]\nname = \"a\"\nrange = { low = 0, high = 1 }\nowns = []\n",
                7,
                "cannot own tensors",
            ),
            ("[[variables]]\nname = \"a\"\nrange = { low = 0, high = 0 }\n", 9, "less than its high"),
            ("[[variables]]\nname = \"a\"\nchoices = []\n", 9, "unknown field `choices`"),
            ("[[variables]]\noptions = []\n", 7, "missing field `name`"),
        ] {
            let text = format!("{good}{wrong}");
            let error = toml::from_str::<VariablesSection>(&text).unwrap_err();
            assert!(error.message().contains(message), "{error}");
            let at = error.span().unwrap().start;
            assert_eq!(1 + text[..at].matches('\n').count(), line, "{error}");
        }
    }
}
