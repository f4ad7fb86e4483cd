//! The report: one self-contained HTML file.

mod curves;
mod media;
mod parts;
mod sections;

use std::path::Path;

use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::{COLOURS, Svg};
use super::history::{Cost, History, cost};
use super::lineage::{Carrier, Plans};
use media::Media;
use parts::SoupSummary;
use pbtnas_core::run::{BestRecord, StateError};
use pbtnas_core::search::Ancestor;
use pbtnas_engine::run::Run;

/// The data of a report.
pub struct PageData<'a> {
    run: &'a Run,
    history: History,
    best: Option<BestRecord>,
    /// The carriers of the variables of the best member.
    carriers: Vec<(String, Vec<Carrier>)>,
    costs: Vec<Cost>,
    soups: Vec<SoupSummary>,
    media: Media,
    /// The resolved configuration.
    config: String,
}

/// Widths of charts: full page and half page.
const WIDE: f64 = 1040.0;
const HALF: f64 = 506.0;

impl<'a> PageData<'a> {
    /// Reads a run. Missing pictures are left out; damaged records are errors.
    pub fn read(run: &'a Run) -> Result<Self> {
        let history = History::read(run)?;
        let best = run.best()?;
        let of = best.as_ref().map(|best| Ancestor { generation: best.generation, member: best.member });
        let carriers =
            |of: Ancestor| Ok::<_, StateError>(Plans::read(run, of.generation)?.all_carriers(&run.space, of));
        let carriers = of.map(carriers).transpose()?.unwrap_or_default();
        Ok(Self {
            costs: cost(&history),
            soups: parts::soups(run)?,
            media: Media::read(run, &history, &carriers),
            config: parts::config(run)?,
            run,
            history,
            best,
            carriers,
        })
    }

    fn best_member(&self) -> Option<Ancestor> {
        self.best.as_ref().map(|best| Ancestor { generation: best.generation, member: best.member })
    }

    pub fn html(&self) -> String {
        let sections = sections::all(self);
        let title = match &self.run.config.name {
            Some(name) => name.clone(),
            None => format!("Run {}", self.run.record.run_id),
        };
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="generator" content={ "pbtnas " (env!("CARGO_PKG_VERSION")) };
                    title { (title) " – pbtnas" }
                    style { (PreEscaped(include_str!("style.css"))) (PreEscaped(colours())) }
                }
                body {
                    main {
                        header {
                            small { "pbtnas " (self.run.config.search.algorithm) }
                            h1 { (title) }
                            (sections::summary(self))
                            nav {
                                @for section in &sections { a href={ "#" (section.id) } { (section.title) } }
                            }
                        }
                        @for section in &sections {
                            section id=(section.id) {
                                h2 { (section.title) }
                                (section.body)
                            }
                        }
                    }
                    script { (PreEscaped(include_str!("script.js"))) }
                }
            }
        };
        page.into_string()
    }

    /// The charts with their file names without extension.
    pub fn plots(&self) -> Vec<(String, Svg)> {
        sections::plots(self)
    }

    /// Writes the charts as SVG and PNG files, creates the directory, and returns the number of charts.
    pub fn write_plots(&self, folder: &Path) -> Result<usize> {
        use anyhow::Context;
        std::fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
        let plots = self.plots();
        for (name, svg) in &plots {
            for (ending, bytes) in [("svg", svg.file().into_bytes()), ("png", super::chart::png(svg)?)] {
                let path = folder.join(format!("{name}.{ending}"));
                std::fs::write(&path, bytes)
                    .with_context(|| format!("failed to write {}", path.display()))?;
            }
        }
        Ok(plots.len())
    }
}

fn colours() -> String {
    let rule = |(index, colour): (usize, &&str)| {
        format!(
            "svg .s{index}{{stroke:{colour}}}svg .f{index}{{fill:{colour}}}.k{index}{{background:{colour}}}"
        )
    };
    COLOURS.iter().enumerate().map(rule).collect()
}

struct PageSection {
    id: &'static str,
    title: &'static str,
    body: Markup,
}

/// A chart in the page; `label` is for screen readers.
fn drawn(svg: &Svg, label: &str) -> Markup {
    PreEscaped(svg.inline(label))
}
