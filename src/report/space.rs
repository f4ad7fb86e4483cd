//! `pbtnas space`.

use super::table::table;
use pbtnas_core::search::{Domain, Space};

/// What `pbtnas space --json` prints.
#[derive(Debug, Clone, serde::Serialize, schemars::JsonSchema)]
pub struct SpaceDocument {
    /// The contents of space.json.
    #[serde(flatten)]
    pub space: Space,
    /// Number of architectures, without rules; a string, since it can exceed the numbers of JSON.
    pub architectures: String,
}

/// The text of `pbtnas space`.
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
        1 => "; the range is continuous",
        _ => "; the ranges are continuous",
    };
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use pbtnas_core::search::{Range, Rule, Scale, Variable};

    #[test]
    fn ranges_and_rules_are_listed() {
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
             3 variables, 2 of them without weights; 4 architectures, some of which are forbidden; the range is \
             continuous\n"
        );
    }
}
