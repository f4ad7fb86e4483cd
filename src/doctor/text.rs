//! Findings as people read them.

use std::borrow::Cow;

use super::finding::{Area, Finding, Verdict};
use crate::plain::plain;

/// Columns of a line.
const WIDTH: usize = 100;

/// Prints findings as they come, each area under its heading.
#[derive(Debug, Default)]
pub struct Printer {
    area: Option<Area>,
}

impl Printer {
    /// The lines of a finding, and before it, where a new area begins, the heading.
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
        text += &wrapped(&format!("  {mark} "), "    ", &format!("{}: {}", finding.title, finding.found));
        if let Some(consequence) = &finding.consequence {
            text += &wrapped("      ", "      ", consequence);
        }
        if let Some(advice) = &finding.advice {
            text += &wrapped("      → ", "        ", advice);
        }
        text
    }
}

/// How many of each kind there are, in one line.
pub fn summary(findings: &[Finding]) -> String {
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let number = |count: usize, one: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {one}s"),
    };
    let (problems, warnings, skipped) =
        (count(Verdict::Problem), count(Verdict::Warning), count(Verdict::Skipped));
    let mut text = match (problems, warnings) {
        (0, 0) => "nothing stands in the way".to_owned(),
        (0, _) => format!("nothing stands in the way; {}", number(warnings, "warning")),
        (_, 0) => number(problems, "problem"),
        _ => format!("{}, {}", number(problems, "problem"), number(warnings, "warning")),
    };
    text += &format!(" ({}", number(findings.len() - skipped, "check"));
    text += &if skipped > 0 { format!(", {skipped} skipped)") } else { ")".to_owned() };
    text
}

/// Words in lines of [`WIDTH`] columns, unless one is longer; line breaks in the text stay. What programs of others
/// said may hold control characters, which a terminal would obey.
fn wrapped(first: &str, rest: &str, text: &str) -> String {
    let (mut lines, mut start) = (String::new(), first);
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            let word = match word.contains(char::is_control) {
                true => Cow::Owned(plain(word)),
                false => Cow::Borrowed(word),
            };
            let columns = [start, &line, &*word].map(|part| part.chars().count()).iter().sum::<usize>();
            if columns >= WIDTH && !line.is_empty() {
                lines += &format!("{start}{line}\n");
                (line, start) = (String::new(), rest);
            }
            line += if line.is_empty() { "" } else { " " };
            line += &word;
        }
        lines += format!("{start}{line}").trim_end();
        lines.push('\n');
        start = rest;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_for_people() {
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
        let path = "x".repeat(120);
        assert_eq!(wrapped("- ", "  ", &format!("a {path} b\n\nc")), format!("- a\n  {path}\n  b\n\n  c\n"));
    }

    #[test]
    fn nothing_moves_the_cursor() {
        let said = "\u{1b}[2J\u{1b}[31mno\u{1b}[0m partition\rx \u{1b}]0;title\u{7}";
        let text = Printer::default().lines(&Finding::ok(Area::Slurm, "a", said));
        assert_eq!(text, "\nSLURM\n  ✓ a: no partition x ]0;title\n");
        let path = "x".repeat(300);
        assert!(wrapped("", "", &path).contains(&path), "what is harmless is not cut");
    }

    #[test]
    fn a_summary_counts() {
        let (fine, skipped) = (Finding::ok(Area::Slurm, "a", "b"), Finding::skipped(Area::Slurm, "a", "b"));
        let problem = Finding::problem(Area::Slurm, "a", "b", "c", "d");
        let warning = problem.clone().only_warning_if(true);
        assert_eq!(summary(std::slice::from_ref(&fine)), "nothing stands in the way (1 check)");
        assert_eq!(
            summary(&[fine.clone(), warning.clone(), skipped]),
            "nothing stands in the way; 1 warning (2 checks, 1 skipped)"
        );
        assert_eq!(summary(&[problem.clone(), problem, warning, fine]), "2 problems, 1 warning (4 checks)");
    }
}
