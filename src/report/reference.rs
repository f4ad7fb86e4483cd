//! How a command line names a network: `best`, `3` (of the latest generation), `7/3` (of generation 7), or a file with
//! a genotype, as `pbtnas best` writes it.

use std::convert::Infallible;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use crate::search::{Ancestor, Genotype, MemberId};
use crate::state::{Outcome, Run};

/// What was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// The best member of all generations.
    Best,
    /// A member of the latest generation.
    Latest(MemberId),
    /// A member of a generation.
    Of(Ancestor),
    /// A file.
    File(PathBuf),
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// What it is called: `7/03`, or the file.
    pub name: String,
    /// Which member of the run it is, if it is one.
    pub member: Option<Ancestor>,
    /// Its architecture and hyperparameters.
    pub genotype: Genotype,
    /// Whether it is a supernet, and the genotype what would be derived from it.
    pub derived: bool,
}

impl FromStr for Reference {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let member = |text: &str| text.parse().ok().map(MemberId);
        let of = |(generation, id): (&str, &str)| {
            Some(Self::Of(Ancestor { generation: generation.parse().ok()?, member: member(id)? }))
        };
        let known = match text {
            "best" => Some(Self::Best),
            _ => member(text).map(Self::Latest).or_else(|| text.split_once('/').and_then(of)),
        };
        Ok(known.unwrap_or_else(|| Self::File(text.into())))
    }
}

impl Reference {
    /// Looks for it in a run. What is not there is told with what there is.
    pub fn find(&self, run: &Run) -> Result<Named> {
        match self {
            Self::File(path) => {
                let name = path.display().to_string();
                if !path.exists() {
                    bail!(
                        "there is no file {name}; a network is named `best`, `3` (member 3 of the latest \
                         generation), `7/3` (of generation 7), or by a genotype.json"
                    );
                }
                let text = fs::read_to_string(path).with_context(|| format!("failed to read {name}"))?;
                let genotype: Genotype =
                    serde_json::from_str(&text).with_context(|| format!("{name} holds no genotype"))?;
                let checked = run.space.check_genotype(&genotype);
                checked.with_context(|| format!("{name} does not fit the space of this run"))?;
                Ok(Named { name, member: None, genotype, derived: false })
            }
            _ => {
                let member = self.member(run)?;
                let plan = run.plan(member.generation)?;
                let planned = plan.members.into_iter().nth(member.member.0 as usize);
                let mut genotype = planned.context("a plan has fewer members than the run")?.genotype;
                let derived = genotype.is_supernet();
                if derived {
                    genotype = come_to(run, member)?;
                }
                Ok(Named { name: member.to_string(), member: Some(member), genotype, derived })
            }
        }
    }

    /// Which member of a run it is. Fails if it is none.
    pub fn member(&self, run: &Run) -> Result<Ancestor> {
        let latest = run.latest_generation()?;
        let latest = latest.context("the run has no generation yet: call `pbtnas step` or `pbtnas run`")?;
        let found = match self {
            Self::Best => {
                let best = run.best()?.with_context(|| run.no_best())?;
                Ancestor { generation: best.generation, member: best.member }
            }
            Self::Latest(member) => Ancestor { generation: latest, member: *member },
            Self::Of(member) => *member,
            Self::File(path) => bail!(
                "{} is no member: name one as `best`, `3` (of the latest generation) or `7/3` (of generation 7)",
                path.display()
            ),
        };
        if found.generation > latest {
            bail!("there is no generation {}: the run has 0 to {latest}", found.generation);
        }
        let last = run.config.search.population - 1;
        if found.member.0 as usize > last {
            bail!("generation {} has no member {}: it has 00 to {last:02}", found.generation, found.member);
        }
        Ok(found)
    }
}

/// What a member, which is a supernet, has come to by the end of its step.
fn come_to(run: &Run, member: Ancestor) -> Result<Genotype> {
    let result = run.result(member.generation, member.member)?;
    match result.as_ref().map(|result| &result.outcome) {
        Some(Outcome::Trained { option_weights, .. }) => run.config.derive(option_weights),
        _ => bail!(
            "member {member} is a supernet that has not been trained to the end of its step: no architecture can be \
             derived from it yet"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_short_names() {
        let of = |generation, member| Reference::Of(Ancestor { generation, member: MemberId(member) });
        for (text, reference) in [
            ("best", Reference::Best),
            ("3", Reference::Latest(MemberId(3))),
            ("03", Reference::Latest(MemberId(3))),
            ("7/3", of(7, 3)),
            ("0007/03", of(7, 3)),
            ("best/genotype.json", Reference::File("best/genotype.json".into())),
            ("-1", Reference::File("-1".into())),
            ("7/3/1", Reference::File("7/3/1".into())),
        ] {
            assert_eq!(text.parse(), Ok(reference), "{text}");
        }
    }
}
