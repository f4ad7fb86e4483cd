//! The variables in which two networks of a run differ.

use anyhow::Result;
use serde::Serialize;

use super::lineage::{Plans, fitness};
use super::reference::NamedNetwork;
use super::table::table;
use super::words::origin;
use crate::fmt::short;
use pbtnas_core::search::{Ancestor, Genotype, MemberId, Origin};
use pbtnas_engine::run::Run;

/// What `pbtnas diff --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Difference {
    pub a: DiffSide,
    pub b: DiffSide,
    /// Number of variables of the search space.
    pub variables: usize,
    /// The variables that differ, in the order of the search space.
    pub differing: Vec<Differing>,
}

/// One of the two networks.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct DiffSide {
    /// `7/03`, or the path of the genotype file.
    pub name: String,
    /// Generation of the member; null for a file.
    pub generation: Option<u32>,
    /// Id of the member; null for a file.
    pub member: Option<MemberId>,
    pub fitness: Option<f64>,
    /// Origin of the member; null for a file.
    pub origin: Option<Origin>,
    /// Whether the member is a supernet; the architecture derived from it is compared.
    pub derived: bool,
}

/// A variable that differs.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Differing {
    pub variable: String,
    /// Value in the first network.
    pub a: String,
    /// Value in the second network.
    pub b: String,
    /// The member for which the first network's value was sampled; null for a file.
    pub a_founder: Option<Ancestor>,
    /// The member for which the second network's value was sampled; null for a file.
    pub b_founder: Option<Ancestor>,
}

/// Compares two networks.
pub fn difference(run: &Run, a: &NamedNetwork, b: &NamedNetwork) -> Result<Difference> {
    let names = run.space.variables.iter().map(|variable| variable.name.as_str());
    let last = [a, b].into_iter().filter_map(|named| Some(named.member?.generation)).max();
    let plans = last.map(|last| Plans::read(run, last)).transpose()?;
    let founder = |variable: &str, named: &NamedNetwork| {
        let carriers = plans.as_ref()?.carriers(variable, named.member?);
        carriers.first().map(|first| Ancestor { generation: first.generation, member: first.member })
    };
    let differing = differing(names, &a.genotype, &b.genotype).into_iter().map(|(variable, of_a, of_b)| {
        let (a_founder, b_founder) = (founder(variable, a), founder(variable, b));
        Differing { variable: variable.into(), a: of_a.into(), b: of_b.into(), a_founder, b_founder }
    });
    let differing = differing.collect();
    Ok(Difference { a: side(run, a)?, b: side(run, b)?, variables: run.space.variables.len(), differing })
}

/// The variables whose values differ, with both values.
pub fn differing<'a>(
    names: impl Iterator<Item = &'a str>,
    a: &'a Genotype,
    b: &'a Genotype,
) -> Vec<(&'a str, &'a str, &'a str)> {
    let value = |genotype: &'a Genotype, name: &str| genotype.get(name).unwrap_or_default();
    let values = names.map(|name| (name, value(a, name), value(b, name)));
    values.filter(|(_, a, b)| a != b).collect()
}

fn side(run: &Run, named: &NamedNetwork) -> Result<DiffSide> {
    let member = named.member;
    let plan = member.map(|member| run.plan(member.generation)).transpose()?;
    let origin = plan.zip(member).and_then(|(mut plan, member)| {
        let at = member.member.0 as usize;
        (at < plan.members.len()).then(|| plan.members.swap_remove(at).origin)
    });
    Ok(DiffSide {
        name: named.name.clone(),
        generation: member.map(|member| member.generation),
        member: member.map(|member| member.member),
        fitness: member.map(|member| fitness(run, member)).transpose()?.flatten(),
        origin,
        derived: named.derived,
    })
}

/// The title of a network: `member 03 of generation 7, fitness 1.2345`.
pub fn title(run: &Run, named: &NamedNetwork) -> Result<String> {
    Ok(side(run, named)?.to_string())
}

impl std::fmt::Display for DiffSide {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.generation.zip(self.member) {
            Some((generation, member)) => write!(f, "member {member} of generation {generation}")?,
            None => f.write_str(&self.name)?,
        }
        if self.derived {
            f.write_str(" (derived from its supernet)")?;
        }
        match self.fitness {
            Some(fitness) => write!(f, ", fitness {fitness:.4}"),
            None => Ok(()),
        }
    }
}

/// The text of `pbtnas diff`; numbers of hyperparameters (`ranges`) have few digits.
pub fn difference_text(difference: &Difference, ranges: &[&str]) -> String {
    let Difference { a, b, variables, differing } = difference;
    let line = |side: &DiffSide| {
        let origin = side.origin.as_ref().map(|one| format!(" ({})", origin(one))).unwrap_or_default();
        format!("{side}{origin}\n")
    };
    let mut text = format!("{}{}{} of {variables} variables differ\n", line(a), line(b), differing.len());
    let value = |variable: &str, value: &str| match value.parse() {
        Ok(number) if ranges.contains(&variable) => short(number),
        _ => value.to_owned(),
    };
    let founder = |founder: Option<Ancestor>| founder.map_or_else(|| "-".into(), |one| one.to_string());
    let row = |one: &Differing| {
        let (of_a, of_b) = (value(&one.variable, &one.a), value(&one.variable, &one.b));
        vec![one.variable.clone(), of_a, founder(one.a_founder), of_b, founder(one.b_founder)]
    };
    let rows: Vec<Vec<String>> = differing.iter().map(row).collect();
    if !rows.is_empty() {
        text += &format!("\n{}", table(&["variable", &a.name, "founder", &b.name, "founder"], &rows));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_a_table() {
        let founder = Ancestor { generation: 0, member: MemberId(3) };
        let entry = |variable: &str, a: &str, b: &str| Differing {
            variable: variable.into(),
            a: a.into(),
            b: b.into(),
            a_founder: Some(founder),
            b_founder: None,
        };
        let b = DiffSide {
            name: "best/genotype.json".into(),
            generation: None,
            member: None,
            fitness: None,
            origin: None,
            derived: false,
        };
        let a = DiffSide {
            name: "2/07".into(),
            generation: Some(2),
            member: Some(MemberId(7)),
            fitness: Some(1.5),
            origin: Some(Origin::Survivor),
            ..b.clone()
        };
        let differing = vec![entry("g/cell1/up0", "nearest", "bilinear"), entry("rate", "0.100001", "0.12")];
        let difference = Difference { a, b, variables: 9, differing };
        assert_eq!(
            difference_text(&difference, &["rate"]),
            "member 07 of generation 2, fitness 1.5000 (survivor)\n\
             best/genotype.json\n\
             2 of 9 variables differ\n\n\
             variable     2/07     founder  best/genotype.json  founder\n\
             g/cell1/up0  nearest  0/03     bilinear            -\n\
             rate         0.1      0/03     0.12                -\n"
        );
    }
}
