//! Whose experience a child begins with. The paper is silent; its published code copies the worse parent's.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Whose experience a child begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inherit {
    /// The better parent's, from which the child has most of its weights.
    #[default]
    Base,
    /// The other parent's, as in the paper's code.
    Donor,
    /// The newest of each, half and half.
    Both,
    /// It begins with nothing.
    None,
}

/// The names of a child's episodes, the oldest first, out of its parents'. Where there are more than fit, those at the
/// front do not fit.
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
                // What both have of a common ancestor is taken once; its turn goes to the one before it.
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
    fn each_rule_gives_its_parent_s() {
        let (base, donor) = (names("a1 a2 a3 a4"), names("b1 b2"));
        assert_eq!(inherit(Inherit::Base, &base, &donor), base);
        assert_eq!(inherit(Inherit::Donor, &base, &donor), donor);
        assert!(inherit(Inherit::None, &base, &donor).is_empty());
        assert_eq!(inherit(Inherit::Both, &base, &donor), names("a1 a2 b1 a3 b2 a4"));
        // A common past.
        let (base, donor) = (names("x y a1"), names("x y b1 b2"));
        assert_eq!(inherit(Inherit::Both, &base, &donor), names("x b1 y b2 a1"));
        assert_eq!(serde_json::to_string(&Inherit::Base).unwrap(), "\"base\"");
    }

    proptest! {
        #[test]
        fn both_hold_everything_once_and_halve_any_capacity(
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
            // Those that fit: as many of each as there are, up to half, and the newest of each.
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
