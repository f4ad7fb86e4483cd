//! Through which members the value and the weights of a variable came.
//!
//! An explored hyperparameter continues through the parent that it was taken from: its value changes on the way. A
//! variable that was mutated begins with the mutant, and all begin with a network that was derived from a supernet.
//!
//! Plans record only who came from whom; the history is read off them, so that a step writes no more in the
//! hundredth generation than in the first.

use super::{Change, MemberId, Origin};

/// A member of a generation.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, schemars::JsonSchema,
)]
pub struct Ancestor {
    /// Generation, counted from 0.
    pub generation: u32,
    /// Its place there.
    pub member: MemberId,
}

/// `7/03`.
impl std::fmt::Display for Ancestor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.generation, self.member)
    }
}

/// The members that carried a variable's value and weights, from the first to the one asked for.
///
/// `origin` looks up where a member came from; none (a plan that is gone) ends the history early.
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

/// The members that a member's network is, step by step, a copy of: through survivors and base parents, from the first to
/// the one asked for. `origin` as in [`variable_lineage`].
pub fn base_lineage(of: Ancestor, origin: impl FnMut(Ancestor) -> Option<Origin>) -> Vec<Ancestor> {
    // No variable has this name, so none is replaced.
    variable_lineage("", of, origin)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{population, settings, space};
    use super::super::{Range, Scale, Variable, first_generation, next_generation};
    use super::*;

    #[test]
    fn a_replaced_variable_came_through_the_donor() {
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
    fn over_a_whole_search_a_value_changes_along_its_lineage_only_where_it_was_explored() {
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
