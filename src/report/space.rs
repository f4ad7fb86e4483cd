//! A search space as people read it.

use super::table::table;
use crate::search::Space;

/// Variables, options, owned layers, and the number of architectures.
pub fn space_table(space: &Space) -> String {
    let rows: Vec<Vec<String>> = space
        .variables
        .iter()
        .map(|variable| {
            let owns = if variable.owns.is_empty() { "-".to_owned() } else { variable.owns.join(" ") };
            vec![variable.name.clone(), owns, variable.options.join(" ")]
        })
        .collect();
    let weightless = space.variables.iter().filter(|variable| variable.owns.is_empty()).count();
    format!(
        "{}\n{} variables, {weightless} of them without weights; {} architectures\n",
        table(&["variable", "owns", "options"], &rows),
        space.variables.len(),
        space.size()
    )
}
