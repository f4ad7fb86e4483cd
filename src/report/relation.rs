//! How two members of a run are related.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::lineage::Plans;
use crate::search::{Ancestor, Origin};

/// How two members are related. A member that survives is the same in every generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Relation {
    /// One member of one generation.
    Same,
    /// One member in two generations.
    Survivor {
        /// In the first of them.
        earlier: Ancestor,
        /// In the second.
        later: Ancestor,
    },
    /// One was made of the other.
    Child {
        /// The one that was made.
        child: Ancestor,
        /// Its parent.
        parent: Ancestor,
        /// What that gave.
        role: Role,
    },
    /// One was made of what was made of the other, or later.
    Descendant {
        /// The later one.
        descendant: Ancestor,
        /// The earlier one.
        ancestor: Ancestor,
        /// How many children there are from the one to the other, at least.
        births: u32,
    },
    /// Both come from another one.
    Cousins {
        /// The last such member, in the generation in which it came to be.
        ancestor: Ancestor,
    },
    /// Neither weights nor values have a common source.
    Unrelated,
}

/// What a parent gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// All but the replaced variables.
    Base,
    /// The replaced variables.
    Donor,
    /// Everything, before it was mutated.
    OnlyParent,
    /// The architecture: it was a supernet, or what had been derived from one before.
    Supernet,
}

/// The member as it came to be, before it survived.
fn born(plans: &Plans, mut of: Ancestor) -> Ancestor {
    let survived = |one: Ancestor| {
        let origin = plans.member(one).map(|plan| &plan.origin);
        one.generation > 0 && matches!(origin, Some(Origin::Survivor | Origin::Perturbed))
    };
    while survived(of) {
        of.generation -= 1;
    }
    of
}

/// All members that a member comes from, as they came to be, and how many births ago; itself is none.
fn sources(plans: &Plans, of: Ancestor) -> BTreeMap<Ancestor, u32> {
    let mut found = BTreeMap::new();
    let mut open = BTreeSet::from([born(plans, of)]);
    let mut births = 0;
    while !open.is_empty() {
        births += 1;
        let parents = open.iter().flat_map(|&one| plans.parents(one)).map(|one| born(plans, one));
        // What is known already was nearer.
        open = parents.filter(|one| !found.contains_key(one)).collect();
        found.extend(open.iter().map(|&one| (one, births)));
    }
    found
}

/// How two members are related.
pub fn relation(plans: &Plans, a: Ancestor, b: Ancestor) -> Relation {
    if a == b {
        return Relation::Same;
    }
    let (born_a, born_b) = (born(plans, a), born(plans, b));
    if born_a == born_b {
        return Relation::Survivor { earlier: a.min(b), later: a.max(b) };
    }
    let (of_a, of_b) = (sources(plans, a), sources(plans, b));
    for (young, young_born, old, old_born, of_young) in
        [(b, born_b, a, born_a, &of_b), (a, born_a, b, born_b, &of_a)]
    {
        match of_young.get(&old_born) {
            None => {}
            Some(1) => {
                let parents = plans.parents(young_born);
                let first = parents.first().is_some_and(|&one| born(plans, one) == old_born);
                let derived = plans.member(young_born).is_some_and(|plan| plan.origin == Origin::Derived);
                let role = match (parents.len(), first) {
                    _ if derived => Role::Supernet,
                    (1, _) => Role::OnlyParent,
                    (_, true) => Role::Base,
                    (_, false) => Role::Donor,
                };
                return Relation::Child { child: young, parent: old, role };
            }
            Some(&births) => return Relation::Descendant { descendant: young, ancestor: old, births },
        }
    }
    match of_a.into_keys().filter(|one| of_b.contains_key(one)).max_by_key(|one| one.generation) {
        Some(ancestor) => Relation::Cousins { ancestor },
        None => Relation::Unrelated,
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str("they are one member"),
            Self::Survivor { earlier, later } => write!(f, "{later} is {earlier}, trained further"),
            Self::Child { child, parent, role } => {
                let role = match role {
                    Role::Supernet => return write!(f, "{child} was derived from the supernet {parent}"),
                    Role::Base => "its base",
                    Role::Donor => "its donor",
                    Role::OnlyParent => "its only parent",
                };
                write!(f, "{child} is a child of {parent}, {role}")
            }
            Self::Descendant { descendant, ancestor, births } => {
                write!(f, "{descendant} descends from {ancestor}, {births} children later")
            }
            Self::Cousins { ancestor } => write!(f, "both descend from {ancestor}"),
            Self::Unrelated => f.write_str("they have no ancestor in common"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::testing::member;
    use super::*;
    use crate::search::{Change, MemberId};
    use crate::state::{FORMAT, PlanRecord};

    fn plans(origins: Vec<Vec<Origin>>) -> Plans {
        let plan = |(generation, origins): (u32, Vec<Origin>)| PlanRecord {
            format: FORMAT,
            generation,
            from_epoch: generation,
            to_epoch: generation + 1,
            members: origins
                .into_iter()
                .zip(0..)
                .map(|(origin, id)| {
                    let mut plan = member(id, None).plan;
                    plan.origin = origin;
                    plan
                })
                .collect(),
        };
        Plans((0..).zip(origins).map(plan).collect())
    }

    #[test]
    fn members_are_related_through_births() {
        let mix = |base, donor| Origin::Mix {
            base: MemberId(base),
            donor: MemberId(donor),
            replaced: vec![],
            explored: vec![],
        };
        let mutant = |parent| Origin::Mutation { parent: MemberId(parent), change: Change::Nothing };
        use Origin::{Perturbed, Random, Survivor};
        let plans = plans(vec![
            vec![Random, Random, Random, Random],
            vec![Survivor, Survivor, Survivor, mix(0, 1)],
            vec![Survivor, Perturbed, mix(1, 3), Survivor],
            vec![Survivor, mutant(2), Survivor, Survivor],
            vec![Survivor, Survivor, Survivor, Origin::Derived],
        ]);
        let at = |generation, member| Ancestor { generation, member: MemberId(member) };
        let of = |a: (u32, u32), b: (u32, u32)| relation(&plans, at(a.0, a.1), at(b.0, b.1));
        assert_eq!(of((1, 2), (1, 2)), Relation::Same);
        assert_eq!(of((3, 0), (0, 0)), Relation::Survivor { earlier: at(0, 0), later: at(3, 0) });
        assert_eq!(of((2, 1), (0, 1)), Relation::Survivor { earlier: at(0, 1), later: at(2, 1) });
        let child = |parent, child, role| Relation::Child { child, parent, role };
        assert_eq!(of((0, 0), (1, 3)), child(at(0, 0), at(1, 3), Role::Base));
        assert_eq!(of((3, 3), (2, 1)), child(at(2, 1), at(3, 3), Role::Donor));
        assert_eq!(of((2, 2), (3, 1)), child(at(2, 2), at(3, 1), Role::OnlyParent));
        assert_eq!(of((3, 3), (4, 3)), child(at(3, 3), at(4, 3), Role::Supernet));
        let descendant = Relation::Descendant { descendant: at(2, 2), ancestor: at(3, 0), births: 2 };
        assert_eq!(of((3, 0), (2, 2)), descendant);
        assert_eq!(of((0, 2), (3, 2)), Relation::Unrelated);
        assert_eq!(of((0, 0), (0, 1)), Relation::Unrelated);
        assert_eq!(descendant.to_string(), "2/02 descends from 3/00, 2 children later");
    }

    #[test]
    fn siblings_share_their_latest_ancestor() {
        let mix = |base, donor| Origin::Mix {
            base: MemberId(base),
            donor: MemberId(donor),
            replaced: vec![],
            explored: vec![],
        };
        use Origin::{Random, Survivor};
        let plans = plans(vec![
            vec![Random, Random, Random, Random],
            vec![Survivor, Survivor, mix(0, 1), mix(1, 0)],
            vec![Survivor, Survivor, Survivor, Survivor],
        ]);
        let at = |generation, member| Ancestor { generation, member: MemberId(member) };
        let found = relation(&plans, at(2, 2), at(1, 3));
        assert!(matches!(found, Relation::Cousins { ancestor } if ancestor.generation == 0), "{found:?}");
    }
}
