//! Comparisons as plain text and as Markdown tables.

use super::{Better, Comparison, Measured, RunValues, TableCell, Test, Tests};
use crate::report::statistics::{Sides, Wilcoxon};
use crate::report::table::table;

/// Soups minus best members as plain text (Table 4 of the paper).
pub fn text_soups(comparison: &Comparison, part: Option<&str>, measured: Measured) -> String {
    let text = table_of(comparison, |cell| cell, |cell| cell).text();
    format!("{text}\n{}\n{}\n", soup_note(part, measured), comparison.conventions.note())
}

/// Soups minus best members as Markdown.
pub fn markdown_soups(comparison: &Comparison, part: Option<&str>, measured: Measured) -> String {
    let text = table_of(comparison, |cell| cell, |cell| cell).markdown();
    format!("{text}{}", paragraphs(&[soup_note(part, measured), comparison.conventions.note().into()]))
}

fn soup_note(part: Option<&str>, measured: Measured) -> String {
    let of = part.map_or(String::new(), |part| format!(" of {part}"));
    let by = match measured {
        Measured::Search => "as measured by the search and the soup".into(),
        other => other.note(),
    };
    format!("mean ± standard deviation (runs): soup{of} minus best member, {by}")
}

/// A comparison as plain text.
pub fn text_report(comparison: &Comparison, measured: Measured) -> String {
    let text = table_of(comparison, |cell| format!("[{cell}]"), |cell| format!(" {cell}")).text();
    let notes = notes(comparison, measured, "[ ]");
    let tests = comparison.tests.as_ref().map(|tests| {
        let notes = test_notes(tests);
        let (title, table) = (test_title(comparison, tests), test_table(tests).text());
        format!("\n{title}\n\n{table}\n{}", lines(&notes))
    });
    format!("{text}\n{}{}", lines(&notes), tests.unwrap_or_default())
}

/// A comparison as Markdown, best means in bold.
pub fn markdown_report(comparison: &Comparison, measured: Measured) -> String {
    let text = table_of(comparison, |cell| format!("**{cell}**"), |cell| cell).markdown();
    let notes = notes(comparison, measured, "bold");
    let tests = comparison.tests.as_ref().map(|tests| {
        let notes = paragraphs(&test_notes(tests));
        format!("\n{}:\n\n{}{}", escape(&test_title(comparison, tests)), test_table(tests).markdown(), notes)
    });
    format!("{text}{}{}", paragraphs(&notes), tests.unwrap_or_default())
}

fn lines(notes: &[String]) -> String {
    notes.iter().map(|note| format!("{note}\n")).collect()
}

fn paragraphs(notes: &[String]) -> String {
    notes.iter().map(|note| format!("\n{}\n", escape(note))).collect()
}

/// Escapes Markdown.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let tag = c == '<' && chars.peek().is_some_and(|next| !next.is_whitespace());
        if tag || matches!(c, '\\' | '|' | '*' | '_' | '`' | '[' | ']') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

struct Rows {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Rows {
    fn text(&self) -> String {
        let head: Vec<&str> = self.head.iter().map(String::as_str).collect();
        table(&head, &self.rows)
    }

    /// Escapes labels and heads; other cells may contain Markdown.
    fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut text = line(self.head.iter().map(|cell| escape(cell)).collect());
        text += &format!("|---|{}\n", "---:|".repeat(self.head.len() - 1));
        for row in &self.rows {
            let label = row.iter().take(1).map(|label| escape(label));
            text += &line(label.chain(row.iter().skip(1).cloned()).collect());
        }
        text
    }
}

/// One row per variant, one column per setting and metric.
fn table_of(
    comparison: &Comparison,
    best: impl Fn(String) -> String,
    other: impl Fn(String) -> String,
) -> Rows {
    let mut head = vec!["variant".to_owned()];
    let mut rows: Vec<Vec<String>> =
        comparison.variants.iter().map(|variant| vec![variant.label.clone()]).collect();
    let same = |a: &TableCell, b: &TableCell| (&a.setting, &a.metric) == (&b.setting, &b.metric);
    for column in comparison.cells.chunk_by(same) {
        let TableCell { setting, metric, better, .. } = &column[0];
        let direction = match better {
            Some(Better::Higher) => " ↑",
            Some(Better::Lower) => " ↓",
            None => "",
        };
        let setting = if comparison.settings.len() > 1 { format!("{setting}: ") } else { String::new() };
        head.push(other(format!("{setting}{metric}{direction}")));
        let decimals = decimals(column);
        for (row, variant) in rows.iter_mut().zip(&comparison.variants) {
            row.push(match column.iter().find(|cell| cell.variant == variant.label) {
                Some(cell) if cell.best => best(cell_text(cell, decimals)),
                Some(cell) => other(cell_text(cell, decimals)),
                None => other("-".into()),
            });
        }
    }
    Rows { head, rows }
}

/// `mean ± sd (n)`, with a star if some of the n runs are not finished.
fn cell_text(cell: &TableCell, decimals: usize) -> String {
    let TableCell { n, mean, .. } = cell;
    let star = if cell.unfinished > 0 { "*" } else { "" };
    match cell.standard_deviation {
        Some(deviation) => format!("{mean:.decimals$} ± {deviation:.decimals$} ({n}{star})"),
        None => format!("{mean:.decimals$} ({n}{star})"),
    }
}

/// Decimals of a column: two digits of the smallest deviation, 2 to 6 decimals; 4 without deviations.
fn decimals(column: &[TableCell]) -> usize {
    let deviations = column.iter().filter_map(|cell| cell.standard_deviation).filter(|sd| *sd > 0.0);
    match deviations.min_by(f64::total_cmp) {
        Some(smallest) => (1.0 - smallest.log10().floor()).clamp(2.0, 6.0) as usize,
        None => 4,
    }
}

fn notes(comparison: &Comparison, measured: Measured, mark: &str) -> Vec<String> {
    let mut notes = format!("mean ± standard deviation (runs) of the best members, {}", measured.note());
    for (better, text) in [(Better::Higher, "↑ higher is better"), (Better::Lower, "↓ lower is better")] {
        if comparison.cells.iter().any(|cell| cell.better == Some(better)) {
            notes += &format!("; {text}");
        }
    }
    if comparison.cells.iter().any(|cell| cell.best) {
        notes += &format!("; {mark}: best mean of its column");
    }
    let unfinished: Vec<String> = comparison.runs.iter().filter(|run| !run.finished).map(progress).collect();
    let mut notes = vec![notes, comparison.conventions.note().to_owned()];
    if !unfinished.is_empty() {
        notes.push(format!("* not finished: {}", unfinished.join(", ")));
    }
    notes
}

fn progress(run: &RunValues) -> String {
    format!("{} at epoch {} of {}", run.state, run.epoch, run.epochs)
}

fn test_title(comparison: &Comparison, tests: &Tests) -> String {
    let paired = if comparison.settings.len() > 1 { "setting and seed" } else { "seed" };
    let Tests { reference, metric, sides, .. } = tests;
    let sides = match sides {
        Sides::Two => "two-sided",
        Sides::One => "one-sided",
    };
    format!("{reference} against the others: Wilcoxon signed-rank test, {sides}, {metric} paired by {paired}")
}

fn test_table(tests: &Tests) -> Rows {
    let head = ["against", "reference higher", "n", "W", "p", "significant"];
    let rows = tests.tests.iter().map(|test| {
        let mut row = vec![test_name(test), format!("in {} of {}", test.wins, test.pairs)];
        match test.wilcoxon {
            None => row.extend(["-"; 4].map(str::to_owned)),
            Some(wilcoxon) => row.extend([
                wilcoxon.n.to_string(),
                wilcoxon.w.to_string(),
                p_text(wilcoxon.p, wilcoxon.exact),
                if test.significant { "yes" } else { "no" }.into(),
            ]),
        }
        row
    });
    Rows { head: head.map(str::to_owned).into(), rows: rows.collect() }
}

/// The variant, and the task if others are tested separately.
fn test_name(test: &Test) -> String {
    match &test.task {
        Some(task) => format!("{} ({task})", test.variant),
        None => test.variant.clone(),
    }
}

fn p_text(p: f64, exact: bool) -> String {
    let about = if exact { "" } else { "≈" };
    if p < 1e-4 { format!("{about}{p:.1e}") } else { format!("{about}{p:.4}") }
}

fn test_notes(tests: &Tests) -> Vec<String> {
    let mut notes = vec![match tests.corrected_for {
        1 => format!("significant: p < {}", tests.threshold),
        made => format!("significant: p < 0.05 / {made} = {:.4} (Bonferroni correction)", tests.threshold),
    }];
    for test in &tests.tests {
        let name = test_name(test);
        let Some(Wilcoxon { n, zeros, exact, .. }) = test.wilcoxon else {
            notes.push(format!("{name}: no pair of runs with equal setting and seed"));
            continue;
        };
        if zeros > 0 {
            notes.push(format!("{name}: {zeros} zero differences, not counted in n"));
        }
        if !exact {
            notes.push(format!("{name}: ≈ normal approximation of p"));
        }
        if test.smallest_p >= tests.threshold {
            notes.push(format!(
                "{name}: n = {n} is too small for significance (p ≥ {}); n = {} is needed",
                test.smallest_p, tests.pairs_needed
            ));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(mean: f64, standard_deviation: Option<f64>, unfinished: usize) -> TableCell {
        let n = if standard_deviation.is_some() { 3 } else { 1 };
        let (setting, variant, metric) = ("s".into(), "v".into(), "fid".into());
        let better = Some(Better::Lower);
        TableCell { setting, variant, metric, better, n, unfinished, mean, standard_deviation, best: false }
    }

    #[test]
    fn decimals_depend_on_the_deviations_of_the_column() {
        let column = [cell(12.3456, Some(0.31), 0), cell(120.0, Some(14.0), 1), cell(9.0, None, 0)];
        assert_eq!(decimals(&column), 2);
        assert_eq!(cell_text(&column[0], 2), "12.35 ± 0.31 (3)");
        assert_eq!(cell_text(&column[1], 2), "120.00 ± 14.00 (3*)");
        assert_eq!(cell_text(&column[2], 2), "9.00 (1)");
        assert_eq!(decimals(&[cell(1.0, Some(0.00123), 0)]), 4);
        assert_eq!(decimals(&[cell(1.0, Some(0.0), 0)]), 4);
        assert_eq!(decimals(&[cell(1.0, Some(1e-12), 0)]), 6);
    }

    #[test]
    fn labels_are_escaped_in_markdown() {
        let rows = Rows {
            head: vec!["a_b".into(), "fid ↓".into()],
            rows: vec![vec!["*x*|y".into(), "**1**".into()]],
        };
        assert_eq!(rows.markdown(), "| a\\_b | fid ↓ |\n|---|---:|\n| \\*x\\*\\|y | **1** |\n");
    }
}
