//! A search space as people read it.

use super::table::table;
use crate::search::{Domain, Space};

/// What `pbtnas space --json` prints.
#[derive(Debug, Clone, serde::Serialize, schemars::JsonSchema)]
pub struct SpaceDocument {
    /// As in a run's space.json.
    #[serde(flatten)]
    pub space: Space,
    /// How many architectures there are, in digits: it may be more than a number of JSON can hold. Rules are not counted.
    pub architectures: String,
}

/// Variables, options or ranges, owned layers, what rules forbid, and the number of architectures.
pub fn space_table(space: &Space) -> String {
    let rows: Vec<Vec<String>> = space
        .variables
        .iter()
        .map(|variable| {
            let owns = if variable.owns().is_empty() { "-".to_owned() } else { variable.owns().join(" ") };
            let values = match &variable.domain {
                Domain::Choice { options, .. } => options.join(" "),
                Domain::Range(range) => range.to_string(),
            };
            vec![variable.name.clone(), owns, values]
        })
        .collect();
    let weightless = space.variables.iter().filter(|variable| variable.owns().is_empty()).count();
    let mut text = table(&["variable", "owns", "options"], &rows) + "\n";
    for rule in &space.rules {
        text += &format!("forbidden: {rule}\n");
    }
    text += &format!(
        "{} variables, {weightless} of them without weights; {} architectures",
        space.variables.len(),
        space.size()
    );
    text += if space.rules.is_empty() { "" } else { ", some of which are forbidden" };
    text += match space.ranges().count() {
        0 => "",
        1 => "; the range multiplies them without end",
        _ => "; the ranges multiply them without end",
    };
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::{Range, Rule, Scale, Variable};

    #[test]
    fn ranges_and_rules_are_told() {
        let options = || vec!["a".to_owned(), "b".to_owned()];
        let range = Range::new(1e-4, 0.1, Scale::Log, false).unwrap();
        let mut space = Space::new(vec![
            Variable::choice("x", options(), vec!["net/x/".into()]),
            Variable::choice("y", options(), vec![]),
        ]);
        let last = |space: &Space| space_table(space).lines().last().unwrap_or_default().to_owned();
        assert_eq!(last(&space), "2 variables, 1 of them without weights; 4 architectures");
        space.variables.push(Variable::range("rate", range));
        space.rules.push(Rule::new([("x".to_owned(), options()), ("y".to_owned(), vec!["b".to_owned()])]));
        assert_eq!(
            space_table(&space),
            "variable  owns    options\n\
             x         net/x/  a b\n\
             y         -       a b\n\
             rate      -       0.0001 … 0.1 (log)\n\n\
             forbidden: x = a or b, y = b\n\
             3 variables, 2 of them without weights; 4 architectures, some of which are forbidden; the range \
             multiplies them without end\n"
        );
    }
}
