//! Lineage: the members that passed on the value and the weights of a variable.
//!
//! The lineage of an explored hyperparameter continues through the parent that its value was copied from. That of a
//! mutated variable starts at the mutant, and all start at a network derived from a supernet.
//!
//! Plans record direct parents only and lineages are computed from them, so the size of a plan does not grow with the
//! number of generations.

use super::{Change, MemberId, Origin};

/// A member of a generation.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, schemars::JsonSchema,
)]
pub struct Ancestor {
    /// Generation, counted from 0.
    pub generation: u32,
    pub member: MemberId,
}

/// For example `7/03`: generation 7, member 3.
impl std::fmt::Display for Ancestor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.generation, self.member)
    }
}

/// The members that passed on a variable's value and weights, from the first to `of`.
///
/// `origin` looks up a member's origin; none (a missing plan) ends the lineage early.
pub fn variable_lineage(
    variable: &str,
    of: Ancestor,
    mut origin: impl FnMut(Ancestor) -> Option<Origin>,
) -> Vec<Ancestor> {
    let mut history = vec![of];
    let mut current = of;
    while let Some(before) = current.generation.checked_sub(1) {
        let member = match origin(current) {
            None | Some(Origin::Random | Origin::Derived) => break,
            Some(Origin::Survivor | Origin::Perturbed) => current.member,
            Some(Origin::Mutation { change: Change::Variable { name }, .. }) if name == variable => break,
            Some(Origin::Mutation { parent, .. }) => parent,
            Some(Origin::Mix { base, donor, replaced, .. }) => {
                if replaced.iter().any(|name| name == variable) { donor } else { base }
            }
        };
        current = Ancestor { generation: before, member };
        history.push(current);
    }
    history.reverse();
    history
}

/// The lineage of a network through survivors and base parents, from the first to `of`; `origin` as in
/// [`variable_lineage`].
pub fn base_lineage(of: Ancestor, origin: impl FnMut(Ancestor) -> Option<Origin>) -> Vec<Ancestor> {
    // No variable has an empty name, so the base is always followed.
    variable_lineage("", of, origin)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{population, settings, space};
    use super::super::{Range, Scale, Variable, first_generation, next_generation};
    use super::*;

    #[test]
    fn replaced_variable_follows_the_donor() {
        let at = |generation, member| Ancestor { generation, member: MemberId(member) };
        let origin = |ancestor: Ancestor| {
            Some(match (ancestor.generation, ancestor.member.0) {
                (2, 7) => Origin::Mix {
                    base: MemberId(1),
                    donor: MemberId(2),
                    replaced: vec!["x".into()],
                    explored: vec!["x".into()],
                },
                (0, _) => Origin::Random,
                _ => Origin::Survivor,
            })
        };
        assert_eq!(variable_lineage("x", at(2, 7), origin), [at(0, 2), at(1, 2), at(2, 7)]);
        assert_eq!(variable_lineage("y", at(2, 7), origin), [at(0, 1), at(1, 1), at(2, 7)]);
        assert_eq!(base_lineage(at(2, 7), origin), [at(0, 1), at(1, 1), at(2, 7)]);
    }

    #[test]
    fn values_change_along_the_lineage_only_where_explored() {
        let mut space = space(&[4; 12]);
        let range = Range::new(1e-4, 1.0, Scale::Log, false).unwrap();
        space.variables.extend(["r", "s"].map(|name| Variable::range(name, range)));
        let mut generations = vec![first_generation(&space, &settings(8), 5)];
        for generation in 1..20u32 {
            let last = generations.last().unwrap();
            let mut trained = population(
                &space,
                5,
                &(0..8).map(|i| Some((i * 7 + generation as i32 * 3) % 8)).collect::<Vec<_>>(),
            );
            for (member, planned) in trained.iter_mut().zip(last) {
                member.genotype = planned.genotype.clone();
            }
            generations.push(next_generation(&space, &settings(8), 5, generation, &trained).unwrap());
        }
        let at = |a: Ancestor| &generations[a.generation as usize][a.member.0 as usize];
        let mut changes = 0;
        for id in 0..8 {
            let last = Ancestor { generation: 19, member: MemberId(id) };
            for variable in &space.variables {
                let history = variable_lineage(&variable.name, last, |a| Some(at(a).origin.clone()));
                assert_eq!(history.len(), 20);
                for pair in history.windows(2) {
                    let value = |ancestor| at(ancestor).genotype.get(&variable.name);
                    let explored = matches!(
                        &at(pair[1]).origin,
                        Origin::Mix { explored, .. } if explored.contains(&variable.name)
                    );
                    assert_eq!(value(pair[0]) != value(pair[1]), explored);
                    changes += u32::from(explored);
                }
            }
        }
        assert!(changes > 20, "{changes}");
    }
}
