//! Two networks of a run, compared in words.

use anyhow::Result;
use serde::Serialize;

use super::lineage::{Plans, fitness};
use super::numbers::short;
use super::reference::Named;
use super::relation::{Relation, relation};
use crate::search::{Ancestor, Genotype, MemberId};
use crate::state::Run;
use crate::tasks::{Task, Words};

/// What `pbtnas diff --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Difference {
    /// The first network.
    pub a: Side,
    /// The second one.
    pub b: Side,
    /// How many variables there are.
    pub variables: usize,
    /// Those that differ, in the order of the space.
    pub differing: Vec<Differing>,
    /// How the two are related; none if one of them is no member of the run.
    pub relation: Option<Relation>,
    /// How many variables came to both from one member, for which they were drawn; none as above.
    pub same_founder: Option<usize>,
}

/// One of the networks.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Side {
    /// What it is called: `7/03`, or its file.
    pub name: String,
    /// Its generation, if it is a member.
    pub generation: Option<u32>,
    /// Its place there.
    pub member: Option<MemberId>,
    /// Its fitness, if it has one.
    pub fitness: Option<f64>,
    /// Whether it is a supernet: what is compared is the architecture that would be derived from it.
    pub derived: bool,
}

/// A variable that differs.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Differing {
    /// The variable.
    pub variable: String,
    /// The part of the network that it belongs to, in words.
    pub group: String,
    /// What it is there, in words.
    pub name: String,
    /// Its value in the first network.
    pub a: String,
    /// Its value in the second one.
    pub b: String,
    /// The first value in words.
    pub a_words: String,
    /// The second value in words.
    pub b_words: String,
    /// The second number over the first, of a hyperparameter, if there is such a number.
    pub ratio: Option<f64>,
}

/// Compares two networks.
pub fn difference(run: &Run, task: &dyn Task, a: &Named, b: &Named) -> Result<Difference> {
    let names = run.space.variables.iter().map(|variable| variable.name.as_str());
    let ranges: Vec<&str> = run.space.ranges().map(|(name, _)| name).collect();
    let entry = |(variable, first, second): (&str, &str, &str)| {
        let hyperparameter = ranges.contains(&variable);
        let Words { group, name } = task.variable_in_words(variable);
        let numbers = a.genotype.number(variable).zip(b.genotype.number(variable));
        let ratio = numbers.map(|(a, b)| b / a).filter(|ratio| hyperparameter && ratio.is_finite());
        let words = |value: &str| match value.parse() {
            Ok(number) if hyperparameter => short(number),
            _ => task.value_in_words(variable, value),
        };
        Differing {
            variable: variable.into(),
            group: if hyperparameter { "hyperparameters".into() } else { group },
            name,
            a: first.into(),
            b: second.into(),
            a_words: words(first),
            b_words: words(second),
            ratio,
        }
    };
    let (relation, same_founder) = match (a.member, b.member) {
        (Some(first), Some(second)) => {
            let plans = Plans::read(run, first.generation.max(second.generation))?;
            let founder = |name: &str, of: Ancestor| {
                plans.carriers(name, of).first().map(|carrier| (carrier.generation, carrier.member))
            };
            let same = names.clone().filter(|name| founder(name, first) == founder(name, second)).count();
            (Some(relation(&plans, first, second)), Some(same))
        }
        _ => (None, None),
    };
    Ok(Difference {
        a: side(run, a)?,
        b: side(run, b)?,
        variables: run.space.variables.len(),
        differing: differing(names, &a.genotype, &b.genotype).into_iter().map(entry).collect(),
        relation,
        same_founder,
    })
}

/// Variables whose values differ, with both.
pub fn differing<'a>(
    names: impl Iterator<Item = &'a str>,
    a: &'a Genotype,
    b: &'a Genotype,
) -> Vec<(&'a str, &'a str, &'a str)> {
    let value = |genotype: &'a Genotype, name: &str| genotype.get(name).unwrap_or_default();
    let values = names.map(|name| (name, value(a, name), value(b, name)));
    values.filter(|(_, a, b)| a != b).collect()
}

fn side(run: &Run, named: &Named) -> Result<Side> {
    let fitness = named.member.map(|member| fitness(run, member)).transpose()?.flatten();
    Ok(Side {
        name: named.name.clone(),
        generation: named.member.map(|member| member.generation),
        member: named.member.map(|member| member.member),
        fitness,
        derived: named.derived,
    })
}

/// What a network is called, for people.
pub fn title(run: &Run, named: &Named) -> Result<String> {
    Ok(side(run, named)?.to_string())
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.generation.zip(self.member) {
            Some((generation, member)) => write!(f, "member {member} of generation {generation}")?,
            None => f.write_str(&self.name)?,
        }
        if self.derived {
            f.write_str(" as its supernet would be derived")?;
        }
        match self.fitness {
            Some(fitness) => write!(f, ", fitness {fitness:.4}"),
            None => Ok(()),
        }
    }
}

/// A comparison as people read it.
pub fn difference_text(difference: &Difference) -> String {
    let Difference { a, b, variables, differing, relation, same_founder } = difference;
    let (count, same) = (differing.len(), variables - differing.len());
    let mut text = format!("{a} -> {b}\n{count} of {variables} variables differ, {same} are the same\n");
    let mut group: Option<&str> = None;
    for one in differing {
        if group != Some(&one.group) {
            group = Some(&one.group);
            let head = if one.group.is_empty() { "variables" } else { &one.group };
            text += &format!("\n{head}\n");
        }
        let id = one.variable.rsplit('/').next().unwrap_or_default();
        let name = if one.name == id { String::new() } else { format!(" ({})", one.name) };
        let ratio = one.ratio.map(|ratio| format!(", times {}", short(ratio))).unwrap_or_default();
        text += &format!("  {id}{name}: {} -> {}{ratio}\n", one.a_words, one.b_words);
    }
    if let Some(relation) = relation {
        text += &format!("\n{relation}\n");
    }
    if let Some(same) = same_founder {
        text += &format!("{same} of {variables} variables came to both from the same founder\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_told_by_groups() {
        let side = |name: &str, fitness| Side {
            name: name.into(),
            generation: None,
            member: None,
            fitness,
            derived: false,
        };
        let entry = |variable: &str, group: &str, name: &str, a: &str, b: &str, ratio| Differing {
            variable: variable.into(),
            group: group.into(),
            name: name.into(),
            a: a.into(),
            b: b.into(),
            a_words: a.into(),
            b_words: b.into(),
            ratio,
        };
        let difference = Difference {
            a: Side { generation: Some(2), member: Some(MemberId(7)), ..side("2/07", Some(1.5)) },
            b: side("best/genotype.json", None),
            variables: 9,
            differing: vec![
                entry("g/cell1/up0", "g, cell 1", "upsampling to node 0", "nearest", "bilinear", None),
                entry("g/cell1/c0", "g, cell 1", "c0", "none", "skip", None),
                entry("depth", "", "depth", "1", "2", None),
                entry("rate", "hyperparameters", "rate", "0.1", "0.12", Some(1.2)),
            ],
            relation: None,
            same_founder: None,
        };
        assert_eq!(
            difference_text(&difference),
            "member 07 of generation 2, fitness 1.5000 -> best/genotype.json\n\
             4 of 9 variables differ, 5 are the same\n\n\
             g, cell 1\n  up0 (upsampling to node 0): nearest -> bilinear\n  c0: none -> skip\n\n\
             variables\n  depth: 1 -> 2\n\n\
             hyperparameters\n  rate: 0.1 -> 0.12, times 1.2\n"
        );
    }
}
