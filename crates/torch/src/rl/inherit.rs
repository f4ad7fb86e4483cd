//! The experience that an offspring inherits. The paper does not specify it; its published code copies that of the
//! worse parent.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The parent whose experience an offspring inherits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inherit {
    /// The better parent, from which the offspring has most of its weights.
    #[default]
    Base,
    /// The other parent, as in the paper's code.
    Donor,
    /// Both: the newest of each, in equal parts.
    Both,
    /// Neither: the replay buffer is empty.
    None,
}

/// The names of an offspring's episodes, the oldest first, from those of its parents. If they exceed the capacity, the
/// first ones are left out.
pub fn inherit(rule: Inherit, base: &[String], donor: &[String]) -> Vec<String> {
    match rule {
        Inherit::Base => base.to_vec(),
        Inherit::Donor => donor.to_vec(),
        Inherit::None => Vec::new(),
        Inherit::Both => {
            let mut taken = BTreeSet::new();
            let mut names = Vec::new();
            let (mut base, mut donor) = (base.iter().rev(), donor.iter().rev());
            loop {
                // Episodes of a common ancestor are taken once; the parent then contributes its next older one.
                let next = [&mut base, &mut donor].map(|parent| parent.find(|name| taken.insert(*name)));
                if next == [None, None] {
                    break;
                }
                names.extend(next.into_iter().flatten().cloned());
            }
            names.reverse();
            names
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(names: &str) -> Vec<String> {
        names.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn each_rule_gives_the_episodes_of_its_parent() {
        let (base, donor) = (names("a1 a2 a3 a4"), names("b1 b2"));
        assert_eq!(inherit(Inherit::Base, &base, &donor), base);
        assert_eq!(inherit(Inherit::Donor, &base, &donor), donor);
        assert!(inherit(Inherit::None, &base, &donor).is_empty());
        assert_eq!(inherit(Inherit::Both, &base, &donor), names("a1 a2 b1 a3 b2 a4"));
        // Parents with common episodes.
        let (base, donor) = (names("x y a1"), names("x y b1 b2"));
        assert_eq!(inherit(Inherit::Both, &base, &donor), names("x b1 y b2 a1"));
        assert_eq!(serde_json::to_string(&Inherit::Base).unwrap(), "\"base\"");
    }

    proptest! {
        #[test]
        fn both_parents_contribute_equally_without_duplicates(
            own in 0usize..20, others in 0usize..20, common in 0usize..10, room in 0usize..50
        ) {
            let list = |what: &str, count| (0..count).map(|i| format!("{what}{i:02}")).collect::<Vec<_>>();
            let past = list("x", common);
            let (base, donor) = ([past.clone(), list("a", own)].concat(), [past, list("b", others)].concat());
            let child = inherit(Inherit::Both, &base, &donor);
            let mut once = [base.clone(), donor.clone()].concat();
            once.sort();
            once.dedup();
            let mut sorted = child.clone();
            sorted.sort();
            prop_assert_eq!(sorted, once);
            // Of those that fit, each parent has the newest ones, and at least half of the capacity if it has as many.
            let kept = &child[child.len().saturating_sub(room)..];
            for (parent, what) in [(&base, "a"), (&donor, "b")] {
                let of_parent = parent.iter().filter(|name| name.starts_with(what)).count();
                let found = kept.iter().filter(|name| name.starts_with(what)).count();
                prop_assert!(found >= of_parent.min(kept.len() / 2), "{} of {}", found, of_parent);
                prop_assert!(kept.iter().filter(|name| name.starts_with(what)).eq(
                    parent.iter().filter(|name| name.starts_with(what)).skip(of_parent - found)));
            }
        }
    }
}
