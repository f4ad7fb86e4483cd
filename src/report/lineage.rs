//! The lineage of a member: its ancestors, and the members that carried each of its variables.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::table::table;
use super::words::full_origin;
use crate::fmt;
use crate::fmt::short;
use pbtnas_core::run::{MemberPlan, PlanRecord, ResultRecord, StateError};
use pbtnas_core::search::{Ancestor, MemberId, Origin, Space, variable_lineage};
use pbtnas_engine::run::Run;

/// What `pbtnas lineage --json` prints.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Lineage {
    pub run_id: String,
    pub generation: u32,
    pub member: MemberId,
    /// Null before the result, and for failed and diverged members.
    pub fitness: Option<f64>,
    /// The member, its base or only parent, and so on, back to a member that was sampled at random.
    pub ancestors: Vec<LineageMember>,
    /// In the order of the search space.
    pub variables: Vec<VariablePath>,
}

/// A member of a lineage.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct LineageMember {
    pub generation: u32,
    pub member: MemberId,
    /// Null before the result, and for failed and diverged members.
    pub fitness: Option<f64>,
    pub origin: Origin,
}

/// The lineage of a variable's value and weights.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct VariablePath {
    pub variable: String,
    pub value: String,
    /// The member for which the value was sampled.
    pub founder: Ancestor,
    /// The founder, and each later member that inherited the variable from a member with another id.
    pub path: Vec<Carrier>,
}

/// A member that carried a variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Carrier {
    pub generation: u32,
    pub member: MemberId,
    /// The value in this member; it changes along the path only for hyperparameters, which are explored.
    pub value: String,
}

/// The plans of a run up to a generation.
pub struct Plans(pub(super) Vec<PlanRecord>);

impl Plans {
    pub fn read(run: &Run, last: u32) -> Result<Self, StateError> {
        (0..=last).map(|generation| run.plan(generation)).collect::<Result<_, _>>().map(Self)
    }

    pub fn member(&self, of: Ancestor) -> Option<&MemberPlan> {
        self.0.get(of.generation as usize)?.members.get(of.member.0 as usize)
    }

    /// The parents of a member, the base first; the parent of a survivor is the same member, one generation earlier.
    pub fn parents(&self, of: Ancestor) -> Vec<Ancestor> {
        let Some((before, plan)) = of.generation.checked_sub(1).zip(self.member(of)) else {
            return Vec::new();
        };
        let ids = plan.origin.parents(of.member);
        ids.into_iter().map(|member| Ancestor { generation: before, member }).collect()
    }

    /// The members that carried a variable of a member, from its founder on.
    pub fn carriers(&self, variable: &str, of: Ancestor) -> Vec<Carrier> {
        let lineage = variable_lineage(variable, of, |one| self.member(one).map(|plan| plan.origin.clone()));
        let value = |plan: &MemberPlan| plan.genotype.get(variable).unwrap_or_default().to_owned();
        let carrier = |one: Ancestor| Carrier {
            generation: one.generation,
            member: one.member,
            value: self.member(one).map(value).unwrap_or_default(),
        };
        lineage.into_iter().map(carrier).collect()
    }

    /// The carriers of all variables, in the order of the search space.
    pub fn all_carriers(&self, space: &Space, of: Ancestor) -> Vec<(String, Vec<Carrier>)> {
        let names = space.variables.iter().map(|variable| variable.name.clone());
        names.map(|name| (name.clone(), self.carriers(&name, of))).collect()
    }
}

/// The lineage of a member.
pub fn lineage(run: &Run, of: Ancestor) -> Result<Lineage> {
    let plans = Plans::read(run, of.generation)?;
    let mut ancestors = Vec::new();
    let mut next = Some(of);
    while let Some(one) = next {
        if let Some(plan) = plans.member(one) {
            let (fitness, origin) = (fitness(run, one)?, plan.origin.clone());
            ancestors.push(LineageMember { generation: one.generation, member: one.member, fitness, origin });
        }
        next = plans.parents(one).first().copied();
    }
    let path = |name: &String| {
        let mut path = plans.carriers(name, of);
        path.dedup_by(|later, earlier| later.member == earlier.member);
        let first = path.first()?;
        let founder = Ancestor { generation: first.generation, member: first.member };
        let value = path.last()?.value.clone();
        Some(VariablePath { variable: name.clone(), value, founder, path })
    };
    Ok(Lineage {
        run_id: run.record.run_id.clone(),
        generation: of.generation,
        member: of.member,
        fitness: fitness(run, of)?,
        ancestors,
        variables: run.space.variables.iter().filter_map(|variable| path(&variable.name)).collect(),
    })
}

pub fn fitness(run: &Run, of: Ancestor) -> Result<Option<f64>, StateError> {
    Ok(run.result(of.generation, of.member)?.as_ref().and_then(ResultRecord::fitness))
}

/// The text of `pbtnas lineage`.
pub fn lineage_text(lineage: &Lineage, space: &Space) -> String {
    let mut text = format!(
        "member {} of generation {}, fitness {} (run {})\n\n",
        lineage.member,
        lineage.generation,
        fmt::fitness(lineage.fitness),
        lineage.run_id
    );
    let row = |one: &LineageMember| {
        vec![
            one.generation.to_string(),
            one.member.to_string(),
            fmt::fitness(one.fitness),
            full_origin(&one.origin),
        ]
    };
    let rows: Vec<_> = lineage.ancestors.iter().map(row).collect();
    text += &table(&["generation", "member", "fitness", "origin"], &rows);
    text += "\n";
    let ranges: Vec<&str> = space.ranges().map(|(name, _)| name).collect();
    let rows: Vec<Vec<String>> = lineage
        .variables
        .iter()
        .map(|one| {
            let range = ranges.contains(&one.variable.as_str());
            let value = if range { brief(&one.value) } else { one.value.clone() };
            vec![one.variable.clone(), value, path(&one.path, range)]
        })
        .collect();
    text += &table(&["variable", "value", "founder and path"], &rows);
    let mut founders: BTreeMap<Ancestor, usize> = BTreeMap::new();
    for one in &lineage.variables {
        *founders.entry(one.founder).or_default() += 1;
    }
    let mut founders: Vec<_> = founders.into_iter().collect();
    founders.sort_by_key(|(founder, count)| (std::cmp::Reverse(*count), *founder));
    let founders: Vec<String> =
        founders.iter().map(|(founder, count)| format!("{count} of {founder}")).collect();
    text + &format!("\nvariables by founder: {}\n", founders.join(", "))
}

/// `0/03 > 2/05 > 7/02`; with the values in brackets for hyperparameters.
fn path(carriers: &[Carrier], values: bool) -> String {
    let places: Vec<String> = carriers
        .iter()
        .map(|one| {
            let place = Ancestor { generation: one.generation, member: one.member };
            if values { format!("{place} ({})", brief(&one.value)) } else { place.to_string() }
        })
        .collect();
    places.join(" > ")
}

/// The number of a hyperparameter in few digits.
fn brief(value: &str) -> String {
    value.parse().map_or_else(|_| value.to_owned(), short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_and_paths_as_text() {
        let mix = |replaced: &[&str], explored: &[&str]| {
            let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
            let (base, donor) = (MemberId(1), MemberId(2));
            full_origin(&Origin::Mix { base, donor, replaced: names(replaced), explored: names(explored) })
        };
        assert_eq!(mix(&["a", "b"], &[]), "01 + a, b of 02");
        assert_eq!(mix(&[], &["r"]), "01 + nothing of 02; explored r");
        let carrier = |generation, member, value: &str| Carrier {
            generation,
            member: MemberId(member),
            value: value.into(),
        };
        let carriers = [carrier(0, 3, "0.5"), carrier(12, 5, "0.60000000001")];
        assert_eq!(path(&carriers, false), "0/03 > 12/05");
        assert_eq!(path(&carriers, true), "0/03 (0.5) > 12/05 (0.6)");
    }
}
