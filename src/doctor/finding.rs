//! What a check came to.

use serde::Serialize;

use crate::error;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing stands in the way.
    Ok,
    /// A search works, but not as well as it could, or it cannot be known from here.
    Warning,
    /// A search would fail.
    Problem,
    /// Not looked at; what was found says why.
    Skipped,
}

/// What a check is about. A problem's exit code follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// The program, its libraries, this machine's GPU.
    Program,
    /// The configuration, and what it names.
    Configuration,
    /// The folder that the run will live in.
    Filesystem,
    /// SLURM's commands and its controller.
    Slurm,
    /// What the configuration asks of the cluster.
    Limits,
    /// What SLURM itself says to such jobs.
    Submission,
    /// This machine and a node, by a job.
    Nodes,
}

impl Area {
    /// As a heading.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Program => "This program",
            Self::Configuration => "Configuration",
            Self::Filesystem => "Filesystem",
            Self::Slurm => "SLURM",
            Self::Limits => "What the jobs ask for",
            Self::Submission => "What SLURM says to them",
            Self::Nodes => "Between this machine and a node",
        }
    }

    /// The exit code of a problem.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Program => error::FAILED,
            Self::Configuration | Self::Limits => error::CONFIG,
            Self::Filesystem | Self::Nodes => error::IO,
            Self::Slurm | Self::Submission => error::SCHEDULER,
        }
    }
}

/// A check and what it came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Finding {
    /// What it is about.
    pub area: Area,
    /// What was looked at.
    pub title: String,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What would go wrong, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consequence: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    fn new(area: Area, title: &str, verdict: Verdict, found: impl Into<String>) -> Self {
        Self { area, title: title.into(), verdict, found: found.into(), consequence: None, advice: None }
    }

    /// All is well.
    pub fn ok(area: Area, title: &str, found: impl Into<String>) -> Self {
        Self::new(area, title, Verdict::Ok, found)
    }

    /// Not looked at, and why.
    pub fn skipped(area: Area, title: &str, why: impl Into<String>) -> Self {
        Self::new(area, title, Verdict::Skipped, why)
    }

    /// What was found is no hindrance, but has a consequence.
    pub fn warning(
        area: Area,
        title: &str,
        found: impl Into<String>,
        consequence: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let (consequence, advice) = (Some(consequence.into()), Some(advice.into()));
        Self { consequence, advice, ..Self::new(area, title, Verdict::Warning, found) }
    }

    /// A search would fail.
    pub fn problem(
        area: Area,
        title: &str,
        found: impl Into<String>,
        consequence: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let verdict = Verdict::Problem;
        Self { verdict, ..Self::warning(area, title, found, consequence, advice) }
    }

    /// A warning in place of a problem where one is no hindrance yet.
    pub fn only_warning_if(self, mild: bool) -> Self {
        match self.verdict {
            Verdict::Problem if mild => Self { verdict: Verdict::Warning, ..self },
            _ => self,
        }
    }
}

/// What `pbtnas doctor --json` prints.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Report {
    /// Version of this program.
    pub program: &'static str,
    /// The configuration, if there was one.
    pub config: Option<String>,
    /// The folder that was tried: the run's, or the nearest above it that is there.
    pub folder: String,
    /// Every check, in order.
    pub findings: Vec<Finding>,
    /// That of the first problem; 0 if there is none; 75 if a signal came before everything was looked at.
    pub exit_code: u8,
}

/// The exit code for some findings: that of the first problem.
pub fn exit_code(findings: &[Finding]) -> u8 {
    let problem = findings.iter().find(|finding| finding.verdict == Verdict::Problem);
    problem.map_or(0, |finding| finding.area.exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_problem_decides_and_warnings_do_not() {
        let fine = Finding::ok(Area::Program, "a", "b");
        let warning = Finding::warning(Area::Program, "a", "b", "c", "d");
        let problem = |area| Finding::problem(area, "a", "b", "c", "d");
        assert_eq!(exit_code(&[fine.clone(), warning.clone()]), 0);
        assert_eq!(exit_code(&[fine, warning, problem(Area::Filesystem), problem(Area::Program)]), 74);
        let codes =
            [Area::Program, Area::Configuration, Area::Slurm, Area::Limits, Area::Submission, Area::Nodes];
        assert_eq!(codes.map(|area| exit_code(&[problem(area)])), [1, 3, 5, 3, 5, 74]);
        assert_eq!(exit_code(&[problem(Area::Slurm).only_warning_if(true)]), 0);
        assert_eq!(exit_code(&[problem(Area::Slurm).only_warning_if(false)]), 5);
    }
}
