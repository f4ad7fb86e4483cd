//! How a command line refers to a network: `best`, `3` (latest generation), `7/3` (generation 7), or a genotype file as
//! `pbtnas best` writes it.

use std::convert::Infallible;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use pbtnas_core::run::Outcome;
use pbtnas_core::search::{Ancestor, Genotype, MemberId};
use pbtnas_engine::run::Run;

/// A reference to a network on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    Best,
    /// A member of the latest generation.
    Latest(MemberId),
    Of(Ancestor),
    File(PathBuf),
}

/// A network that a reference resolves to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedNetwork {
    /// `7/03`, or the path of the file.
    pub name: String,
    /// The member; none for a file.
    pub member: Option<Ancestor>,
    pub genotype: Genotype,
    /// Whether the member is a supernet; `genotype` is the architecture derived from it.
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
    /// Resolves the reference in a run.
    pub fn find(&self, run: &Run) -> Result<NamedNetwork> {
        match self {
            Self::File(path) => {
                let name = path.display().to_string();
                if !path.exists() {
                    bail!(
                        "{name} does not exist; name a network as `best`, `3` (member 3 of the latest generation), \
                         `7/3` (generation 7), or by a genotype file"
                    );
                }
                let text = fs::read_to_string(path).with_context(|| format!("failed to read {name}"))?;
                let genotype: Genotype =
                    serde_json::from_str(&text).with_context(|| format!("{name} is not a genotype file"))?;
                let checked = run.space.check_genotype(&genotype);
                checked.with_context(|| format!("{name} does not match the search space of this run"))?;
                Ok(NamedNetwork { name, member: None, genotype, derived: false })
            }
            _ => {
                let member = self.member(run)?;
                let plan = run.plan(member.generation)?;
                let planned = plan.members.into_iter().nth(member.member.0 as usize);
                let mut genotype = planned.context("a plan has fewer members than the run")?.genotype;
                let derived = genotype.is_supernet();
                if derived {
                    genotype = derive(run, member)?;
                }
                Ok(NamedNetwork { name: member.to_string(), member: Some(member), genotype, derived })
            }
        }
    }

    /// Resolves the reference to a member. Fails for a file.
    pub fn member(&self, run: &Run) -> Result<Ancestor> {
        let latest = run.latest_generation()?;
        let latest = latest.context("the run has no generation yet; run `pbtnas step` or `pbtnas run`")?;
        let found = match self {
            Self::Best => {
                let best = run.best()?.with_context(|| run.no_best())?;
                Ancestor { generation: best.generation, member: best.member }
            }
            Self::Latest(member) => Ancestor { generation: latest, member: *member },
            Self::Of(member) => *member,
            Self::File(path) => bail!(
                "{} is not a member; name one as `best`, `3` (latest generation) or `7/3` (generation 7)",
                path.display()
            ),
        };
        if found.generation > latest {
            bail!("generation {} does not exist; the run has generations 0 to {latest}", found.generation);
        }
        let last = run.config.search.population - 1;
        if found.member.0 as usize > last {
            bail!(
                "member {1} does not exist; generation {0} has members 00 to {last:02}",
                found.generation,
                found.member
            );
        }
        Ok(found)
    }
}

/// The architecture derived from a supernet.
fn derive(run: &Run, member: Ancestor) -> Result<Genotype> {
    let result = run.result(member.generation, member.member)?;
    match result.as_ref().map(|result| &result.outcome) {
        Some(Outcome::Trained { option_weights, .. }) => {
            let supernet = run.terms.supernet.context("the run's task has no supernet")?;
            (supernet.derive)(option_weights)
        }
        _ => bail!(
            "member {member} is a supernet without a result; an architecture can be derived after its generation"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_references() {
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
