//! Search spaces: variables, the tensors that they own, and rules.

use std::collections::BTreeSet;

use num_bigint::BigUint;
use serde::{Deserialize, Serialize};

use super::genotype::EVERY;
use super::{Domain, Genotype, RngKey, Rule, Variable, rng};

/// Attempts to draw an architecture that the rules allow.
const CHECK_TRIES: usize = 1000;

/// A search space: its variables and rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Space {
    /// The variables in the order in which they are mixed; the order affects the random numbers.
    pub variables: Vec<Variable>,
    /// Forbidden combinations of options; usually none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

/// An invalid space or genotype.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpaceError {
    #[error("the space has no variables")]
    Empty,
    #[error("variable name {0:?} is empty or used twice")]
    Name(String),
    #[error("variable {0:?} has no options or a duplicate option")]
    Options(String),
    #[error("variable {0:?} has the option \"*\", which is reserved for all options at once: rename it")]
    Every(String),
    #[error("variables {0:?} and {1:?} both own tensors under {2:?}")]
    Overlap(String, String, String),
    #[error("rule {0} ({1}) has no entries or an entry without options")]
    EmptyRule(usize, String),
    #[error("rule {0} names the unknown variable {1:?}")]
    RuleVariable(usize, String),
    #[error("rule {0} names {1:?}, which is a range: rules apply to options only")]
    RuleRange(usize, String),
    #[error("rule {rule}: variable {variable:?} has no option {value:?} (options: {options})")]
    RuleOption {
        /// Counted from 1.
        rule: usize,
        variable: String,
        value: String,
        options: String,
    },
    /// The rules forbid all, or almost all, architectures.
    #[error("the rules forbid all of {CHECK_TRIES} randomly drawn architectures")]
    Forbidding,
    #[error("the genotype has no value for variable {0:?}")]
    Missing(String),
    #[error("the genotype has a value for the unknown variable {0:?}")]
    Unknown(String),
    #[error("variable {variable:?} has no option {value:?} (options: {options})")]
    Value { variable: String, value: String, options: String },
    #[error(
        "invalid value {value:?} of variable {variable:?}: expected a number in {range}, in its shortest form"
    )]
    Number { variable: String, value: String, range: String },
    #[error("the genotype is forbidden by the rule {0}")]
    Forbidden(String),
}

impl Space {
    /// Creates a space without rules.
    pub fn new(variables: Vec<Variable>) -> Self {
        Self { variables, rules: Vec::new() }
    }

    /// Checks that names and options are unique, that no tensor has two owners, that the rules name existing options,
    /// and that random drawing finds an architecture that they allow.
    pub fn check(&self) -> Result<(), SpaceError> {
        if self.variables.is_empty() {
            return Err(SpaceError::Empty);
        }
        let mut names = BTreeSet::new();
        let mut prefixes: Vec<(&str, &str)> = Vec::new();
        for variable in &self.variables {
            if variable.name.is_empty() || !names.insert(&variable.name) {
                return Err(SpaceError::Name(variable.name.clone()));
            }
            if let Domain::Choice { options, owns } = &variable.domain {
                let unique: BTreeSet<_> = options.iter().collect();
                if unique.is_empty() || unique.len() != options.len() {
                    return Err(SpaceError::Options(variable.name.clone()));
                }
                if options.iter().any(|option| option == EVERY) {
                    return Err(SpaceError::Every(variable.name.clone()));
                }
                prefixes.extend(owns.iter().map(|prefix| (prefix.as_str(), variable.name.as_str())));
            }
        }
        prefixes.sort_unstable();
        for pair in prefixes.windows(2) {
            let [(prefix, owner), (next, other)] = pair else { continue };
            if next.starts_with(prefix) {
                return Err(SpaceError::Overlap((*owner).into(), (*other).into(), (*next).into()));
            }
        }
        for (rule, number) in self.rules.iter().zip(1..) {
            self.check_rule(rule, number)?;
        }
        self.some_allowed().map(|_| ()).ok_or(SpaceError::Forbidding)
    }

    fn check_rule(&self, rule: &Rule, number: usize) -> Result<(), SpaceError> {
        if rule.iter().next().is_none() || rule.iter().any(|(_, options)| options.is_empty()) {
            return Err(SpaceError::EmptyRule(number, rule.to_string()));
        }
        for (name, values) in rule.iter() {
            let Some(variable) = self.variables.iter().find(|variable| variable.name == name) else {
                return Err(SpaceError::RuleVariable(number, name.into()));
            };
            let Domain::Choice { options, .. } = &variable.domain else {
                return Err(SpaceError::RuleRange(number, name.into()));
            };
            if let Some(value) = values.iter().find(|value| !options.contains(value)) {
                return Err(SpaceError::RuleOption {
                    rule: number,
                    variable: name.into(),
                    value: value.clone(),
                    options: options.join(", "),
                });
            }
        }
        Ok(())
    }

    /// An architecture that the rules allow, always the same one; none if none was drawn. The variables must be
    /// valid.
    pub(super) fn some_allowed(&self) -> Option<Genotype> {
        let mut rng = rng(&RngKey { run: 0, generation: 0, member: None, purpose: "allowed" });
        (0..CHECK_TRIES).map(|_| self.draw(&mut rng)).find(|genotype| self.allows(genotype))
    }

    /// Draws a value for each variable uniformly, ignoring the rules.
    pub(super) fn draw(&self, rng: &mut impl rand::Rng) -> Genotype {
        Genotype::new(self.variables.iter().map(|variable| (variable.name.clone(), variable.draw(rng))))
    }

    /// Whether no rule forbids the genotype.
    pub fn allows(&self, genotype: &Genotype) -> bool {
        self.forbidding(genotype).is_none()
    }

    fn forbidding(&self, genotype: &Genotype) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.forbids(genotype))
    }

    /// The exact number of architectures: the product of the numbers of options. Includes architectures that rules
    /// forbid; ranges do not count.
    pub fn size(&self) -> BigUint {
        let choices = self.variables.iter().filter(|variable| variable.as_range().is_none());
        choices.map(|variable| BigUint::from(variable.options().len())).product()
    }

    /// Names and ranges of the hyperparameters.
    pub fn ranges(&self) -> impl Iterator<Item = (&str, &super::Range)> {
        self.variables.iter().filter_map(|variable| Some((variable.name.as_str(), variable.as_range()?)))
    }

    /// The variable that owns the tensor `name` (without the leading `model/`).
    pub fn owner(&self, name: &str) -> Option<&Variable> {
        self.variables.iter().find(|v| v.owns().iter().any(|prefix| name.starts_with(prefix.as_str())))
    }

    /// Whether two genotypes differ at most in their hyperparameters.
    pub fn same_architecture(&self, a: &Genotype, b: &Genotype) -> bool {
        let mut choices = self.variables.iter().filter(|variable| variable.as_range().is_none());
        choices.all(|variable| a.get(&variable.name) == b.get(&variable.name))
    }

    /// Checks that a genotype has a valid value for each variable and nothing else, and that the rules allow it.
    pub fn check_genotype(&self, genotype: &Genotype) -> Result<(), SpaceError> {
        for variable in &self.variables {
            let name = || variable.name.clone();
            let value = genotype.get(&variable.name).ok_or_else(|| SpaceError::Missing(name()))?;
            match &variable.domain {
                Domain::Choice { options, .. } if !options.iter().any(|option| option == value) => {
                    let options = options.join(", ");
                    return Err(SpaceError::Value { variable: name(), value: value.into(), options });
                }
                Domain::Range(range) if range.parse(value).is_none() => {
                    let range = range.to_string();
                    return Err(SpaceError::Number { variable: name(), value: value.into(), range });
                }
                Domain::Choice { .. } | Domain::Range(_) => {}
            }
        }
        let known = |name: &str| self.variables.iter().any(|v| v.name == name);
        if let Some((name, _)) = genotype.iter().find(|(name, _)| !known(name)) {
            return Err(SpaceError::Unknown(name.into()));
        }
        match self.forbidding(genotype) {
            Some(rule) => Err(SpaceError::Forbidden(rule.to_string())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Range, Scale};
    use super::*;

    fn variable(name: &str, owns: &[&str]) -> Variable {
        let owns = owns.iter().map(|&s| s.into()).collect();
        Variable::choice(name, vec!["a".into(), "b".into()], owns)
    }

    fn genotype(pairs: &[(&str, &str)]) -> Genotype {
        Genotype::new(pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())))
    }

    fn rules(json: &str) -> Vec<Rule> {
        serde_json::from_str(json).unwrap()
    }

    /// Choices `x` and `y`, and a range `r`.
    fn mixed_space(rules: Vec<Rule>) -> Space {
        let range = Range::new(0.0, 1.0, Scale::Linear, false).unwrap();
        Space { variables: vec![variable("x", &[]), Variable::range("r", range), variable("y", &[])], rules }
    }

    #[test]
    fn tensors_have_at_most_one_owner() {
        let good = Space::new(vec![variable("x", &["net/x/"]), variable("y", &["net/y/"])]);
        assert_eq!(good.check(), Ok(()));
        assert_eq!(good.owner("net/y/weight").map(|v| v.name.as_str()), Some("y"));
        assert_eq!(good.owner("net/z/weight"), None);
        let bad = Space::new(vec![variable("x", &["net/x/"]), variable("y", &["net/x/deep/"])]);
        assert!(matches!(bad.check(), Err(SpaceError::Overlap(..))));
    }

    #[test]
    fn names_and_options_must_be_unique() {
        assert_eq!(Space::new(vec![]).check(), Err(SpaceError::Empty));
        let twice = Space::new(vec![variable("x", &[]), variable("x", &[])]);
        assert_eq!(twice.check(), Err(SpaceError::Name("x".into())));
        let none = Variable::choice("x", vec![], vec![]);
        assert_eq!(Space::new(vec![none]).check(), Err(SpaceError::Options("x".into())));
        let every = Variable::choice("x", vec!["+".into(), "*".into()], vec![]);
        assert_eq!(Space::new(vec![every]).check(), Err(SpaceError::Every("x".into())));
    }

    #[test]
    fn genotype_is_checked_against_the_space() {
        let space = Space::new(vec![variable("x", &[])]);
        assert_eq!(space.check_genotype(&genotype(&[("x", "a")])), Ok(()));
        assert!(matches!(space.check_genotype(&genotype(&[])), Err(SpaceError::Missing(_))));
        assert!(matches!(space.check_genotype(&genotype(&[("x", "c")])), Err(SpaceError::Value { .. })));
        assert!(matches!(
            space.check_genotype(&genotype(&[("x", "a"), ("y", "a")])),
            Err(SpaceError::Unknown(_))
        ));
        let space = mixed_space(rules(r#"[{"x": "a", "y": "b"}]"#));
        assert_eq!(space.check_genotype(&genotype(&[("x", "a"), ("y", "a"), ("r", "0.5")])), Ok(()));
        for number in ["2.0", "0.50", "a"] {
            let error =
                space.check_genotype(&genotype(&[("x", "a"), ("y", "a"), ("r", number)])).unwrap_err();
            assert!(matches!(error, SpaceError::Number { .. }));
            assert!(error.to_string().contains("0.0 … 1.0"), "{error}");
        }
        let forbidden = genotype(&[("x", "a"), ("y", "b"), ("r", "0.5")]);
        assert!(!space.allows(&forbidden));
        assert_eq!(space.check_genotype(&forbidden), Err(SpaceError::Forbidden("x = a, y = b".into())));
    }

    #[test]
    fn rules_must_be_valid_and_satisfiable() {
        let check = |json: &str| mixed_space(rules(json)).check();
        assert_eq!(check(r#"[{"x": "a", "y": "b"}, {"x": ["b"]}]"#), Ok(()));
        assert!(matches!(check("[{}]"), Err(SpaceError::EmptyRule(1, _))));
        assert!(matches!(check(r#"[{"x": "a", "y": []}]"#), Err(SpaceError::EmptyRule(1, _))));
        assert_eq!(check(r#"[{"z": "a"}]"#), Err(SpaceError::RuleVariable(1, "z".into())));
        assert_eq!(check(r#"[{"x": "a"}, {"r": "0.5"}]"#), Err(SpaceError::RuleRange(2, "r".into())));
        let error = check(r#"[{"x": "c"}]"#).unwrap_err().to_string();
        assert_eq!(error, "rule 1: variable \"x\" has no option \"c\" (options: a, b)");
        assert_eq!(check(r#"[{"x": "a"}, {"x": "b"}]"#), Err(SpaceError::Forbidding));
    }

    #[test]
    fn ranges_are_not_part_of_the_architecture() {
        let space = mixed_space(vec![]);
        assert_eq!(space.size(), 4u32.into());
        let of = |x, r| genotype(&[("x", x), ("y", "a"), ("r", r)]);
        assert!(space.same_architecture(&of("a", "0.5"), &of("a", "0.25")));
        assert!(!space.same_architecture(&of("a", "0.5"), &of("b", "0.5")));
        assert_eq!(of("a", "0.5").number("r"), Some(0.5));
        assert_eq!(of("a", "inf").number("r"), None);
        assert_eq!(of("a", "0.5").number("x"), None);
        assert_eq!(space.ranges().map(|(name, _)| name).collect::<Vec<_>>(), ["r"]);
    }

    #[test]
    fn empty_rules_are_not_serialized() {
        let space = Space::new(vec![variable("x", &["net/x/"])]);
        let json = r#"{"variables":[{"name":"x","options":["a","b"],"owns":["net/x/"]}]}"#;
        assert_eq!(serde_json::to_string(&space).unwrap(), json);
        let space = mixed_space(rules(r#"[{"x": "a", "y": "b"}]"#));
        let json = serde_json::to_string(&space).unwrap();
        assert!(json.ends_with(r#""rules":[{"x":["a"],"y":["b"]}]}"#), "{json}");
        assert_eq!(serde_json::from_str::<Space>(&json).unwrap(), space);
    }
}
