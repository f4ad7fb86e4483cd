//! Findings: the results of checks.

use serde::Serialize;

use pbtnas_engine::fault::exit;

/// The outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// No objection.
    Ok,
    /// A search works, but worse than it could, or the check cannot be made from here.
    Warning,
    /// A search would fail.
    Problem,
    /// Not checked; `found` has the reason.
    Skipped,
}

/// The subject of a check. It determines the exit code of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// The program, its libraries, the GPU of this machine.
    Program,
    /// The configuration, and the files that it names.
    Configuration,
    /// The filesystem of the run directory.
    Filesystem,
    /// The SLURM commands and the SLURM controller.
    Slurm,
    /// The configuration's requests compared with the limits of the cluster.
    Limits,
    /// The result of submitting such jobs to SLURM.
    Submission,
    /// A job on a node, and files between it and this machine.
    Nodes,
}

impl Area {
    pub fn heading(self) -> &'static str {
        match self {
            Self::Program => "This program",
            Self::Configuration => "Configuration",
            Self::Filesystem => "Filesystem",
            Self::Slurm => "SLURM",
            Self::Limits => "Requests of the jobs",
            Self::Submission => "Submission",
            Self::Nodes => "A job on a node",
        }
    }

    /// Returns the exit code of a problem in this area.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Program => exit::FAILED,
            Self::Configuration | Self::Limits => exit::CONFIG,
            Self::Filesystem | Self::Nodes => exit::IO,
            Self::Slurm | Self::Submission => exit::SCHEDULER,
        }
    }
}

/// A check and its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Finding {
    /// The subject.
    pub area: Area,
    /// The name of the check.
    pub title: String,
    /// The outcome.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What would go wrong in a search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consequence: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    fn new(area: Area, title: &str, verdict: Verdict, found: impl Into<String>) -> Self {
        Self { area, title: title.into(), verdict, found: found.into(), consequence: None, advice: None }
    }

    pub fn ok(area: Area, title: &str, found: impl Into<String>) -> Self {
        Self::new(area, title, Verdict::Ok, found)
    }

    pub fn skipped(area: Area, title: &str, why: impl Into<String>) -> Self {
        Self::new(area, title, Verdict::Skipped, why)
    }

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

    /// Turns a problem into a warning if `mild`.
    pub fn downgrade_if(self, mild: bool) -> Self {
        match self.verdict {
            Verdict::Problem if mild => Self { verdict: Verdict::Warning, ..self },
            _ => self,
        }
    }
}

/// The output of `pbtnas doctor --json`.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct DoctorReport {
    /// Version of pbtnas.
    pub program: &'static str,
    /// Path of the configuration, if there is one.
    pub config: Option<String>,
    /// The folder that was checked: the run directory, or its nearest existing parent.
    pub folder: String,
    /// All checks, in order.
    pub findings: Vec<Finding>,
    /// The exit code of the first problem; 0 without problems; 75 if a signal ended the checks early.
    pub exit_code: u8,
}

/// Returns the exit code of the first problem, or 0.
pub fn exit_code(findings: &[Finding]) -> u8 {
    let problem = findings.iter().find(|finding| finding.verdict == Verdict::Problem);
    problem.map_or(0, |finding| finding.area.exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_code_is_that_of_the_first_problem() {
        let fine = Finding::ok(Area::Program, "a", "b");
        let warning = Finding::warning(Area::Program, "a", "b", "c", "d");
        let problem = |area| Finding::problem(area, "a", "b", "c", "d");
        assert_eq!(exit_code(&[fine.clone(), warning.clone()]), 0);
        assert_eq!(exit_code(&[fine, warning, problem(Area::Filesystem), problem(Area::Program)]), 74);
        let codes =
            [Area::Program, Area::Configuration, Area::Slurm, Area::Limits, Area::Submission, Area::Nodes];
        assert_eq!(codes.map(|area| exit_code(&[problem(area)])), [1, 3, 5, 3, 5, 74]);
        assert_eq!(exit_code(&[problem(Area::Slurm).downgrade_if(true)]), 0);
        assert_eq!(exit_code(&[problem(Area::Slurm).downgrade_if(false)]), 5);
    }
}
