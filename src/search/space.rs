//! A search space: variables, the tensors that each of them owns, and which combinations are forbidden.

use std::collections::BTreeSet;

use num_bigint::BigUint;
use serde::{Deserialize, Serialize};

use super::genotype::EVERY;
use super::{Address, Domain, Genotype, Rule, Variable, rng};

/// Architectures that are drawn to find one that the rules allow.
const CHECK_TRIES: usize = 1000;

/// All variables, in the order in which they are mixed, and the rules of a valid architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Space {
    /// The variables; order matters for reproducibility.
    pub variables: Vec<Variable>,
    /// What is forbidden; usually nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

/// Why a space or a genotype cannot be used; fragments that fit after "the search space is wrong: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpaceError {
    /// A space without variables.
    #[error("it has no variables")]
    Empty,
    /// Two variables of one name, or one without a name.
    #[error("the variable name {0:?} is empty or used twice")]
    Name(String),
    /// A variable without options, or with one option twice.
    #[error("variable {0:?} has no options, or one of them twice")]
    Options(String),
    /// An option of the name that stands for all options.
    #[error("variable {0:?} has the option \"*\", which stands for all options at once: call it otherwise")]
    Every(String),
    /// Two variables own the same tensors.
    #[error("variables {0:?} and {1:?} both own tensors under {2:?}")]
    Overlap(String, String, String),
    /// A rule that forbids everything, or nothing.
    #[error("rule {0} ({1}) has no entries, or one without options")]
    EmptyRule(usize, String),
    /// A rule about something that is no variable.
    #[error("rule {0} names {1:?}, which is no variable of the space")]
    RuleVariable(usize, String),
    /// A rule about a hyperparameter.
    #[error("rule {0} names {1:?}, which is a range: rules are about options")]
    RuleRange(usize, String),
    /// A rule about an option that there is not.
    #[error("rule {rule} names option {value:?} of variable {variable:?}, which has {options}")]
    RuleOption {
        /// Its number, counted from 1.
        rule: usize,
        /// The variable.
        variable: String,
        /// What was given.
        value: String,
        /// What could have been.
        options: String,
    },
    /// Rules that leave nothing, or next to nothing.
    #[error("its rules forbid each of {CHECK_TRIES} architectures that were drawn at random")]
    Forbidding,
    /// A genotype without a value for a variable.
    #[error("the genotype has no value for variable {0:?}")]
    Missing(String),
    /// A genotype with a value for something that is no variable.
    #[error("the genotype has a value for {0:?}, which is no variable of the space")]
    Unknown(String),
    /// A value that is none of the variable's options.
    #[error("variable {variable:?} has no option {value:?} (it has {options})")]
    Value {
        /// The variable.
        variable: String,
        /// What was given.
        value: String,
        /// What could have been.
        options: String,
    },
    /// A value that is no number of the variable's range, or not written as such.
    #[error("variable {variable:?} cannot be {value:?}: its numbers are {range}, in their shortest form")]
    Number {
        /// The variable.
        variable: String,
        /// What was given.
        value: String,
        /// What could have been.
        range: String,
    },
    /// A genotype that a rule forbids.
    #[error("a rule forbids the genotype ({0})")]
    Forbidden(String),
}

impl Space {
    /// A space without rules.
    pub fn new(variables: Vec<Variable>) -> Self {
        Self { variables, rules: Vec::new() }
    }

    /// Checks that names and options are unique, that no tensor has two owners, that the rules are about options
    /// that there are, and that they leave architectures enough for some to be drawn.
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

    /// An architecture that the rules allow, always the same; none if none was among those that were drawn. The
    /// variables must have been checked.
    pub(super) fn some_allowed(&self) -> Option<Genotype> {
        let mut rng = rng(&Address { run: 0, generation: 0, member: None, purpose: "allowed" });
        (0..CHECK_TRIES).map(|_| self.draw(&mut rng)).find(|genotype| self.allows(genotype))
    }

    /// A value for each variable, drawn uniformly, whatever the rules.
    pub(super) fn draw(&self, rng: &mut impl rand::Rng) -> Genotype {
        Genotype::new(self.variables.iter().map(|variable| (variable.name.clone(), variable.draw(rng))))
    }

    /// Whether no rule forbids an architecture.
    pub fn allows(&self, genotype: &Genotype) -> bool {
        self.forbidding(genotype).is_none()
    }

    fn forbidding(&self, genotype: &Genotype) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.forbids(genotype))
    }

    /// The number of architectures: the product of the numbers of options, those that rules forbid among them.
    /// Exact, however large. Ranges do not count: they hold numbers without end.
    pub fn size(&self) -> BigUint {
        let choices = self.variables.iter().filter(|variable| variable.as_range().is_none());
        choices.map(|variable| BigUint::from(variable.options().len())).product()
    }

    /// The hyperparameters, with their names.
    pub fn ranges(&self) -> impl Iterator<Item = (&str, &super::Range)> {
        self.variables.iter().filter_map(|variable| Some((variable.name.as_str(), variable.as_range()?)))
    }

    /// The variable that owns a tensor (`name` without the leading `model/`), if any does.
    pub fn owner(&self, name: &str) -> Option<&Variable> {
        self.variables.iter().find(|v| v.owns().iter().any(|prefix| name.starts_with(prefix.as_str())))
    }

    /// Whether two genotypes have the same options; their hyperparameters may differ.
    pub fn same_architecture(&self, a: &Genotype, b: &Genotype) -> bool {
        let mut choices = self.variables.iter().filter(|variable| variable.as_range().is_none());
        choices.all(|variable| a.get(&variable.name) == b.get(&variable.name))
    }

    /// Checks that a genotype has one valid value for each variable, and nothing else, and that it is allowed.
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
    fn a_tensor_has_at_most_one_owner() {
        let good = Space::new(vec![variable("x", &["net/x/"]), variable("y", &["net/y/"])]);
        assert_eq!(good.check(), Ok(()));
        assert_eq!(good.owner("net/y/weight").map(|v| v.name.as_str()), Some("y"));
        assert_eq!(good.owner("net/z/weight"), None);
        let bad = Space::new(vec![variable("x", &["net/x/"]), variable("y", &["net/x/deep/"])]);
        assert!(matches!(bad.check(), Err(SpaceError::Overlap(..))));
    }

    #[test]
    fn names_and_options_are_unique() {
        assert_eq!(Space::new(vec![]).check(), Err(SpaceError::Empty));
        let twice = Space::new(vec![variable("x", &[]), variable("x", &[])]);
        assert_eq!(twice.check(), Err(SpaceError::Name("x".into())));
        let none = Variable::choice("x", vec![], vec![]);
        assert_eq!(Space::new(vec![none]).check(), Err(SpaceError::Options("x".into())));
        let every = Variable::choice("x", vec!["+".into(), "*".into()], vec![]);
        assert_eq!(Space::new(vec![every]).check(), Err(SpaceError::Every("x".into())));
    }

    #[test]
    fn a_genotype_is_checked_against_its_space() {
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
    fn rules_must_make_sense_and_leave_something() {
        let check = |json: &str| mixed_space(rules(json)).check();
        assert_eq!(check(r#"[{"x": "a", "y": "b"}, {"x": ["b"]}]"#), Ok(()));
        assert!(matches!(check("[{}]"), Err(SpaceError::EmptyRule(1, _))));
        assert!(matches!(check(r#"[{"x": "a", "y": []}]"#), Err(SpaceError::EmptyRule(1, _))));
        assert_eq!(check(r#"[{"z": "a"}]"#), Err(SpaceError::RuleVariable(1, "z".into())));
        assert_eq!(check(r#"[{"x": "a"}, {"r": "0.5"}]"#), Err(SpaceError::RuleRange(2, "r".into())));
        let error = check(r#"[{"x": "c"}]"#).unwrap_err().to_string();
        assert_eq!(error, "rule 1 names option \"c\" of variable \"x\", which has a, b");
        assert_eq!(check(r#"[{"x": "a"}, {"x": "b"}]"#), Err(SpaceError::Forbidding));
    }

    #[test]
    fn ranges_neither_count_nor_make_another_architecture() {
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
    fn a_space_without_rules_is_written_as_before_there_were_any() {
        let space = Space::new(vec![variable("x", &["net/x/"])]);
        let json = r#"{"variables":[{"name":"x","options":["a","b"],"owns":["net/x/"]}]}"#;
        assert_eq!(serde_json::to_string(&space).unwrap(), json);
        let space = mixed_space(rules(r#"[{"x": "a", "y": "b"}]"#));
        let json = serde_json::to_string(&space).unwrap();
        assert!(json.ends_with(r#""rules":[{"x":["a"],"y":["b"]}]}"#), "{json}");
        assert_eq!(serde_json::from_str::<Space>(&json).unwrap(), space);
    }
}
