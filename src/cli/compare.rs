use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::report::chart::png;
use crate::report::compare::{
    Compared, ComparedRun, Conventions, compare, markdown_report, markdown_soups, plot, text_report,
    text_soups,
};

/// Compare experiments: mean and standard deviation over seeds, and significance tests.
///
/// Runs whose configurations differ only in the seed form one experiment. Rows are variants ([search] and name),
/// columns are settings (the task and its section). The value of a run is the fitness of its best member, from `pbtnas
/// evaluate` if all runs were evaluated with the same number of samples. The reference is compared with every other
/// variant by a two-sided Wilcoxon signed-rank test of fitness over pairs of equal setting and seed, with Bonferroni
/// correction. If settings differ in the magnitude of fitness, those with large fitness dominate the ranks.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pbtnas compare runs/pbt-1 runs/pbt-2 runs/pbt-3 runs/random-1 runs/random-2 runs/random-3\n  \
    pbtnas compare runs/* --reference \"pbt-nas mixing=false\" --plot curves.svg")]
pub struct CompareArgs {
    /// Run directories.
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Variant to test against all others, by its name in the table. [default: the first pbt-nas with default settings,
    /// else the first pbt-nas]
    #[arg(long, value_name = "NAME")]
    reference: Option<String>,
    /// Compare soups with the best members (Table 4 of the paper).
    #[arg(long, conflicts_with_all = ["reference", "plot"])]
    soups: bool,
    /// Compare soups of this part (`pbtnas soup --part`).
    #[arg(long, value_name = "NAME", requires = "soups")]
    part: Option<String>,
    /// Use the paper's conventions: standard deviation with divisor n, one-sided tests of each task's settings together,
    /// and Bonferroni correction for the paper's four comparisons.
    #[arg(long)]
    paper: bool,
    /// Plot the best fitness over epochs (mean and standard deviation per variant) as .png or, otherwise, SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print Markdown tables.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

impl CompareArgs {
    pub fn run(self) -> Result<u8> {
        let part = self.part.as_deref();
        let compared = if self.soups { Compared::Soup(part) } else { Compared::Best };
        let conventions = if self.paper { Conventions::Paper } else { Conventions::Usual };
        let (inputs, measured) = ComparedRun::open_all(self.runs, compared)?;
        let comparison = compare(&inputs, self.reference.as_deref(), conventions)?;
        // Plot first, so that a failed command prints no table.
        if let Some(path) = &self.plot {
            let chart = plot(&comparison, &inputs)?;
            let bytes = match path.extension().is_some_and(|ending| ending == "png") {
                true => png(&chart)?,
                false => chart.file().into_bytes(),
            };
            fs::write(path, bytes).with_context(|| format!("failed to write {}", path.display()))?;
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&comparison)?);
            return Ok(0);
        }
        let report = match (self.soups, self.markdown) {
            (false, false) => text_report(&comparison, measured),
            (false, true) => markdown_report(&comparison, measured),
            (true, false) => text_soups(&comparison, part, measured),
            (true, true) => markdown_soups(&comparison, part, measured),
        };
        print!("{report}");
        Ok(0)
    }
}
