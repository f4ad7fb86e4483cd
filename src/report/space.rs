//! A search space as people read it.

use super::table::table;
use crate::search::{Domain, Space};

/// Variables, options, owned layers, and the number of architectures.
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
    format!(
        "{}\n{} variables, {weightless} of them without weights; {} architectures\n",
        table(&["variable", "owns", "options"], &rows),
        space.variables.len(),
        space.size()
    )
}
