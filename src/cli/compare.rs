use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::report::chart::png;
use crate::report::compare::{
    Compared, Entrant, compare, markdown_report, markdown_soups, plot, text_report, text_soups,
};

/// Compare experiments: mean and standard deviation over the seeds of each, and tests of the differences.
///
/// Runs whose configurations differ in seed alone are one experiment. Its row in the table is its variant
/// ([search] and name), its columns are its setting (the task and its section). Each run counts with its best
/// member, as `pbtnas evaluate` measured it if it measured all of them with as many samples. The reference is
/// tested against every other variant: Wilcoxon signed-rank tests of fitness, two-sided, in pairs of the same
/// setting and seed, with Bonferroni's correction. If settings have fitness of different magnitude, those where
/// it is large rank highest.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pbtnas compare runs/pbt-1 runs/pbt-2 runs/pbt-3 runs/random-1 runs/random-2 runs/random-3\n  \
    pbtnas compare runs/* --reference \"pbt-nas mixing=false\" --plot curves.svg")]
pub struct Compare {
    /// Directories of the runs.
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// The variant that is tested against all others, as it is called in the table; by default the first whose
    /// algorithm is pbt-nas with default settings (or else pbt-nas with any).
    #[arg(long, value_name = "NAME")]
    reference: Option<String>,
    /// Show what soups add to the best members instead (the paper's Table 4).
    #[arg(long, conflicts_with_all = ["reference", "plot"])]
    soups: bool,
    /// What soups of this part add, as `pbtnas soup --part` made them.
    #[arg(long, value_name = "NAME", requires = "soups")]
    part: Option<String>,
    /// Draw the best fitness over the epochs, mean and standard deviation of each variant: a PNG file if its name ends
    /// in `.png`, otherwise SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print tables in Markdown.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

impl Compare {
    pub fn run(self) -> Result<u8> {
        let part = self.part.as_deref();
        let compared = if self.soups { Compared::Soup(part) } else { Compared::Best };
        let (entrants, measured) = Entrant::open_all(self.runs, compared)?;
        let comparison = compare(&entrants, self.reference.as_deref())?;
        // Before anything is printed: a table of a command that failed would be taken for its result.
        if let Some(path) = &self.plot {
            let chart = plot(&comparison, &entrants)?;
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
