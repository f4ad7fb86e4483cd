//! Texts for the origin of a member.

use pbtnas_core::search::{Change, Origin};

/// The origin of a member.
pub fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Random => "random".into(),
        Origin::Survivor => "survivor".into(),
        Origin::Perturbed => "survivor, shrink-perturbed".into(),
        Origin::Derived => "derived from the supernet".into(),
        Origin::Mutation { parent, change: Change::Nothing } => format!("copy of {parent}"),
        Origin::Mutation { parent, change: Change::Weights } => format!("{parent}, weights mutated"),
        Origin::Mutation { parent, change: Change::Variable { name } } => {
            format!("{parent} with a new {name}")
        }
        Origin::Mix { base, donor, replaced, explored } => {
            let mixed = format!("{base} + {} variable(s) of {donor}", replaced.len());
            match explored.len() {
                0 => mixed,
                count => format!("{mixed}, {count} explored"),
            }
        }
    }
}

/// The origin with the names of all variables.
pub fn full_origin(origin: &Origin) -> String {
    let Origin::Mix { base, donor, replaced, explored } = origin else { return self::origin(origin) };
    let names = |names: &[String]| names.join(", ");
    let replaced = if replaced.is_empty() { "nothing".to_owned() } else { names(replaced) };
    let mixed = format!("{base} + {replaced} of {donor}");
    if explored.is_empty() { mixed } else { format!("{mixed}; explored {}", names(explored)) }
}

/// The origin in few letters, for narrow columns.
pub fn short_origin(origin: &Origin) -> String {
    match origin {
        Origin::Random => "random".into(),
        Origin::Survivor => "survivor".into(),
        Origin::Perturbed => "perturbed".into(),
        Origin::Derived => "derived".into(),
        Origin::Mutation { parent, change: Change::Nothing } => format!("{parent}"),
        Origin::Mutation { parent, .. } => format!("{parent} mutated"),
        Origin::Mix { base, donor, replaced, .. } => format!("{base} + {} of {donor}", replaced.len()),
    }
}
