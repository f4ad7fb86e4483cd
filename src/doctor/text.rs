//! Findings as text.

use super::finding::{Area, Finding, Verdict};
use crate::term::wrap;

const WIDTH: usize = 100;

/// Formats findings one by one, with a heading per area.
#[derive(Debug, Default)]
pub struct Printer {
    area: Option<Area>,
}

impl Printer {
    /// Returns the lines of a finding, with the heading first if its area is new.
    pub fn lines(&mut self, finding: &Finding) -> String {
        let mut text = String::new();
        if self.area != Some(finding.area) {
            text += &format!("\n{}\n", finding.area.heading());
            self.area = Some(finding.area);
        }
        let mark = match finding.verdict {
            Verdict::Ok => "✓",
            Verdict::Warning => "!",
            Verdict::Problem => "✗",
            Verdict::Skipped => "–",
        };
        text += &wrap(&format!("  {mark} "), "    ", &format!("{}: {}", finding.title, finding.found), WIDTH);
        if let Some(consequence) = &finding.consequence {
            text += &wrap("      ", "      ", consequence, WIDTH);
        }
        if let Some(advice) = &finding.advice {
            text += &wrap("      → ", "        ", advice, WIDTH);
        }
        text
    }
}

/// Returns the numbers of problems, warnings and checks in one line.
pub fn summary(findings: &[Finding]) -> String {
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let number = |count: usize, one: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {one}s"),
    };
    let (problems, warnings, skipped) =
        (count(Verdict::Problem), count(Verdict::Warning), count(Verdict::Skipped));
    let mut text = match (problems, warnings) {
        (0, 0) => "no problems".to_owned(),
        (0, _) => format!("no problems, {}", number(warnings, "warning")),
        (_, 0) => number(problems, "problem"),
        _ => format!("{}, {}", number(problems, "problem"), number(warnings, "warning")),
    };
    text += &format!(" ({}", number(findings.len() - skipped, "check"));
    text += &if skipped > 0 { format!(", {skipped} skipped)") } else { ")".to_owned() };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_listed_below_headings() {
        let mut printer = Printer::default();
        let long = "word ".repeat(30);
        let text: String = [
            Finding::ok(Area::Program, "libtorch", "2.11"),
            Finding::problem(Area::Program, "GPU", "none", "Nothing would be trained.", long),
            Finding::skipped(Area::Slurm, "queue", "line one\nline two"),
        ]
        .iter()
        .map(|finding| printer.lines(finding))
        .collect();
        let (words, rest) = ("word ".repeat(18), "word ".repeat(12));
        assert_eq!(
            text,
            format!(
                "\nThis program\n  ✓ libtorch: 2.11\n  ✗ GPU: none\n      Nothing would be trained.\n      → {}\n        {}\n\
                 \nSLURM\n  – queue: line one\n    line two\n",
                words.trim_end(),
                rest.trim_end()
            )
        );
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
    }

    #[test]
    fn control_characters_are_removed() {
        let said = "\u{1b}[2J\u{1b}[31mno\u{1b}[0m partition\rx \u{1b}]0;title\u{7}";
        let text = Printer::default().lines(&Finding::ok(Area::Slurm, "a", said));
        assert_eq!(text, "\nSLURM\n  ✓ a: no partition x ]0;title\n");
        let path = "x".repeat(300);
        assert!(wrap("", "", &path, WIDTH).contains(&path), "long words are not cut");
    }

    #[test]
    fn a_summary_counts() {
        let (fine, skipped) = (Finding::ok(Area::Slurm, "a", "b"), Finding::skipped(Area::Slurm, "a", "b"));
        let problem = Finding::problem(Area::Slurm, "a", "b", "c", "d");
        let warning = problem.clone().downgrade_if(true);
        assert_eq!(summary(std::slice::from_ref(&fine)), "no problems (1 check)");
        assert_eq!(
            summary(&[fine.clone(), warning.clone(), skipped]),
            "no problems, 1 warning (2 checks, 1 skipped)"
        );
        assert_eq!(summary(&[problem.clone(), problem, warning, fine]), "2 problems, 1 warning (4 checks)");
    }
}
