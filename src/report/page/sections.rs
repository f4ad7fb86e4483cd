//! The sections of the page.

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::curves::{evaluation_metrics, hyperparameters, training_metrics};
use super::{HALF, PageData, PageSection, WIDE, drawn};
use crate::fmt;
use crate::fmt::short;
use crate::report::chart::{
    Bars, Lines, Series, Svg, areas, areas_with_key, bars, key, lineage, lines, variable_lineage,
};
use crate::report::history::{Cost, diversity, frequencies, job_seconds};
use crate::report::words::origin;
use pbtnas_core::run::{EvaluationRecord, FORMAT, Outcome};
use pbtnas_core::search::Algorithm;
use pbtnas_engine::scheduler::slurm::gpus_per_member;

/// All sections that are not empty.
pub fn all(report: &PageData) -> Vec<PageSection> {
    let parts = [
        fitness(report),
        pictures(report),
        network(report),
        options(report),
        training(report),
        population(report),
        soups(report),
        cost(report),
        configuration(report),
    ];
    parts.into_iter().flatten().collect()
}

/// The charts with their file names without extension.
pub fn plots(report: &PageData) -> Vec<(String, Svg)> {
    let mut plots =
        vec![("fitness".to_owned(), fitness_chart(report)), ("diversity".into(), diversity_chart(report))];
    if !report.carriers.is_empty() {
        plots.push(("variable-lineage".into(), variable_lineage_chart(report)));
    }
    plots.push(("cost".into(), cost_chart(report)));
    for (group, charts) in [
        ("measure", evaluation_metrics(&report.history)),
        ("training", training_metrics(&report.history, report.best_member())),
        ("hyperparameter", hyperparameters(&report.run.space, &report.history, report.best_member())),
    ] {
        for (name, series) in charts {
            plots.push((file_name(group, &name), curve_chart(&name, &series)));
        }
    }
    for of in frequencies(&report.run.space, &report.history.generations) {
        plots.push((file_name("option", &of.variable), areas_with_key(&of.variable, &of.options, &of.parts)));
    }
    plots
}

/// A file name that is valid on every filesystem.
fn file_name(group: &str, name: &str) -> String {
    let safe =
        |letter: char| if letter.is_ascii_alphanumeric() || "._-".contains(letter) { letter } else { '-' };
    format!("{group}-{}", name.chars().map(safe).collect::<String>())
}

/// The tiles at the top.
pub fn summary(report: &PageData) -> Markup {
    let (history, config) = (&report.history, &report.run.config);
    let latest = history.latest();
    let to_epoch = latest.map_or(0, |generation| generation.to_epoch);
    let is_finished = latest.is_some_and(|latest| latest.is_finished()) && to_epoch == config.search.epochs;
    let total = report.costs.iter().copied().fold(Cost::default(), |a, b| a + b);
    let complete = match latest {
        Some(latest) if latest.is_finished() => latest.to_epoch,
        Some(latest) => latest.from_epoch,
        None => 0,
    };
    html! {
        div.tiles {
            div.tile {
                span { "search" }
                b class=[is_finished.then_some("good")] { (if is_finished { "finished" } else { "running" }) }
                span { "epoch " (complete) " of " (config.search.epochs) }
            }
            @if let Some(best) = &report.best {
                div.tile {
                    span { "best fitness" }
                    b { (format!("{:.4}", best.fitness)) }
                    span { "member " (best.member) " of generation " (best.generation) }
                }
            }
            div.tile {
                span { "population" }
                b { (config.search.population) }
                span { "members, " (history.generations.len()) " generations" }
            }
            div.tile {
                span { "searched" }
                b { (scientific(&report.run.space.size().to_string())) }
                span { "architectures, " (report.run.space.variables.len()) " variables" }
            }
            div.tile {
                span { "training" }
                b { (fmt::seconds(total.seconds)) }
                span { "member time" @if total.lost_seconds >= 0.5 { ", " (fmt::seconds(total.lost_seconds)) " lost" } }
            }
        }
        p.soft {
            "Run " (report.run.record.run_id) ", seed " (report.run.record.seed) ", created "
            (day(report.run.record.created)) "; report written " (day(Utc::now())) "."
        }
    }
}

/// Numbers of more than nine digits in scientific notation.
fn scientific(digits: &str) -> String {
    match digits.parse::<f64>() {
        Ok(number) if digits.len() > 9 => format!("{number:.1e}"),
        _ => digits.to_owned(),
    }
}

fn day(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M UTC").to_string()
}

fn fitness_chart(report: &PageData) -> Svg {
    lineage(&report.history, report.best_member(), (WIDE, 440.0))
}

fn fitness(report: &PageData) -> Option<PageSection> {
    report.history.latest()?;
    let body = html! {
        div.wide { (drawn(&fitness_chart(report), "Fitness of all members over epochs, with lines from parents to children")) }
        p.soft.screen { "Point at a member to highlight its lineage." }
    };
    Some(PageSection { id: "fitness", title: "Fitness and lineage", body })
}

fn pictures(report: &PageData) -> Option<PageSection> {
    let media = &report.media;
    if media.previews.is_empty() && media.exported.is_empty() {
        return None;
    }
    let caption = |picture: &super::media::Picture| {
        let fitness = picture.fitness.map(|fitness| format!(", fitness {fitness:.4}")).unwrap_or_default();
        format!("generation {}, epoch {}{fitness}", picture.generation, picture.epoch)
    };
    let is_strip = media.previews.first().is_some_and(|picture| picture.is_strip);
    let body = html! {
        @for (name, address) in &media.exported {
            figure.film-figure {
                img.film src=(address) alt={ "The best member: " (name) };
                figcaption { "The best member (" (name) " of pbtnas best)." }
            }
        }
        @if !media.previews.is_empty() {
            h3 { "The best member of each generation" }
            div class=(if is_strip { "strips" } else { "pictures" }) {
                @for picture in &media.previews {
                    figure {
                        img src=(picture.address) alt=(caption(picture)) loading="lazy";
                        figcaption { (caption(picture)) }
                    }
                }
            }
        }
        @if media.exported.is_empty() {
            p.soft {
                "For larger pictures or a video of the best member, run "
                code { "pbtnas best --state " (report.run.layout.root().display()) }
                " and write the report again."
            }
        }
    };
    Some(PageSection { id: "pictures", title: "Pictures", body })
}

fn variable_lineage_chart(report: &PageData) -> Svg {
    variable_lineage(&report.carriers, report.history.generations.len() as u32, WIDE)
}

fn network(report: &PageData) -> Option<PageSection> {
    let best = report.best.as_ref()?;
    let layout = &report.run.layout;
    let evaluations =
        super::parts::evaluations(&layout.member(best.generation, best.member)).unwrap_or_default();
    let body = html! {
        p {
            "Member " (best.member) " of generation " (best.generation) ", fitness "
            strong { (format!("{:.4}", best.fitness)) }
            @for (name, value) in &best.metrics { ", " (name) " " (short(*value)) }
            "."
        }
        (evaluated(&evaluations))
        h3 { "Lineage of its variables" }
        div.wide { (drawn(&variable_lineage_chart(report), "For each variable, the member that carried it in each generation")) }
        details {
            summary { "Genotype" }
            div.wide {
                table {
                    thead { tr { th { "variable" } th { "value" } th { "founder" } th { "lineage" } } }
                    tbody {
                        @for (name, carriers) in &report.carriers {
                            tr {
                                td { (name) }
                                td { (best.genotype.get(name).unwrap_or("-")) }
                                td { @if let Some(first) = carriers.first() { (first.generation) "/" (first.member) } }
                                td { (path(carriers)) }
                            }
                        }
                    }
                }
            }
            p.soft { "7/03 is member 03 of generation 7. The lineage lists the members that inherited the variable from another member." }
        }
    };
    Some(PageSection { id: "network", title: "The best network", body })
}

/// The members that inherited a variable from another member, from the founder on.
fn path(carriers: &[super::Carrier]) -> String {
    let mut places: Vec<String> = Vec::new();
    let mut last = None;
    for carrier in carriers {
        if last != Some(carrier.member) {
            places.push(format!("{}/{}", carrier.generation, carrier.member));
        }
        last = Some(carrier.member);
    }
    places.join(" → ")
}

fn evaluated(evaluations: &[EvaluationRecord]) -> Markup {
    html! {
        @for record in evaluations {
            p {
                "Evaluated with " (record.samples) " samples: "
                (measured(record)) "."
            }
        }
    }
}

/// Fitness and metrics of an evaluation.
fn measured(record: &EvaluationRecord) -> String {
    let fitness = record.fitness.map(|fitness| format!("fitness {}", short(fitness)));
    let numbers = record.metrics.iter().map(|(name, value)| format!("{name} {}", short(*value)));
    fitness.into_iter().chain(numbers).collect::<Vec<_>>().join(", ")
}

fn diversity_chart(report: &PageData) -> Svg {
    let mut series = Series { label: "mean difference".into(), ..Series::default() };
    for generation in &report.history.generations {
        let (mean, _) = diversity(&report.run.space, generation);
        series.points.push((f64::from(generation.number), 100.0 * mean));
    }
    let title = "Difference between two members (% of variables)";
    lines(&Lines {
        title,
        across: "generation",
        up: "%",
        size: (HALF, 240.0),
        range: None,
        series: &[series],
    })
}

fn options(report: &PageData) -> Option<PageSection> {
    report.history.latest()?;
    let all = frequencies(&report.run.space, &report.history.generations);
    if all.is_empty() {
        return None;
    }
    let different = report.history.latest().map(|latest| diversity(&report.run.space, latest).1);
    let what = match report.run.config.search.algorithm {
        Algorithm::AdversarialNas => "Weight of each option in the supernet, then the derived option",
        _ => "Frequency of each option in the population",
    };
    let body = html! {
        p { (what) ", over the generations (left to right)." }
        div.half {
            (drawn(&diversity_chart(report), "Mean difference between two members over generations"))
            @if let Some(different) = different {
                p { "The last generation has " (different) " different architectures." }
            }
        }
        div.many {
            @for of in &all {
                figure {
                    figcaption { strong { (of.variable) } }
                    (drawn(&areas(&of.options, &of.parts, (230.0, 80.0)), &format!("Options of {}", of.variable)))
                    figcaption {
                        @for (index, option) in of.options.iter().enumerate() {
                            @if of.parts.iter().any(|parts| parts.get(index).is_some_and(|part| *part > 0.0)) {
                                span.entry {
                                    span class=(key(index)) {}
                                    (option) " " (fmt::percent(of.parts.last().and_then(|parts| parts.get(index)).copied().unwrap_or_default()))
                                }
                                " "
                            }
                        }
                    }
                }
            }
        }
    };
    Some(PageSection { id: "options", title: "Options and diversity", body })
}

fn curve_chart(name: &str, series: &[Series]) -> Svg {
    lines(&Lines { title: name, across: "epoch", up: "", size: (HALF, 250.0), range: None, series })
}

fn training(report: &PageData) -> Option<PageSection> {
    let (history, best) = (&report.history, report.best_member());
    let groups = [
        ("Evaluation", evaluation_metrics(history)),
        ("Training", training_metrics(history, best)),
        ("Hyperparameters", hyperparameters(&report.run.space, history, best)),
    ];
    if groups.iter().all(|(_, charts)| charts.is_empty()) {
        return None;
    }
    let body = html! {
        @for (title, charts) in groups.iter().filter(|(_, charts)| !charts.is_empty()) {
            h3 { (title) }
            div.half {
                @for (name, series) in charts { (drawn(&curve_chart(name, series), &format!("{name} over epochs"))) }
            }
        }
    };
    Some(PageSection { id: "training", title: "Curves", body })
}

fn population(report: &PageData) -> Option<PageSection> {
    let latest = report.history.latest()?;
    let names: Vec<&str> = report.run.space.ranges().map(|(name, _)| name).collect();
    let best = report.best_member();
    let mut members: Vec<_> = latest.members.iter().collect();
    members.sort_by(|a, b| {
        let key = |member: &crate::report::history::Member| member.fitness().unwrap_or(f64::NEG_INFINITY);
        key(b).total_cmp(&key(a))
    });
    let body = html! {
        p { "Generation " (latest.number) ", epochs " (latest.from_epoch) " to " (latest.to_epoch) ", by fitness." }
        div.wide {
            table {
                thead {
                    tr {
                        th { "member" } th.number { "fitness" } th { "origin" }
                        @for name in &names { th.number { (name) } }
                        th.number { "attempts" } th { "host" }
                    }
                }
                tbody {
                    @for member in &members {
                        @let here = pbtnas_core::search::Ancestor { generation: latest.number, member: member.plan.id };
                        tr class=[(best == Some(here)).then_some("best")] {
                            td { (member.plan.id) }
                            td.number { (outcome(member)) }
                            td { (origin(&member.plan.origin)) }
                            @for name in &names {
                                td.number { (member.plan.genotype.number(name).map_or_else(|| "-".into(), short)) }
                            }
                            td.number { (member.attempts.len()) }
                            td { (member.attempts.last().map_or("-", |attempt| attempt.start.host.as_str())) }
                        }
                    }
                }
            }
        }
    };
    Some(PageSection { id: "population", title: "Population", body })
}

fn outcome(member: &crate::report::history::Member) -> String {
    match member.result.as_ref().map(|result| &result.outcome) {
        Some(Outcome::Trained { fitness: Some(fitness), .. }) => format!("{fitness:.4}"),
        Some(Outcome::Trained { fitness: None, .. }) => "diverged".into(),
        Some(Outcome::Failed { .. }) => "failed".into(),
        None => "-".into(),
    }
}

fn soups(report: &PageData) -> Option<PageSection> {
    if report.soups.is_empty() {
        return None;
    }
    let body = html! {
        @for soup in &report.soups {
            @let alone = soup.record.ingredients.first().and_then(|first| first.fitness);
            h3 { (soup.part.as_deref().map_or("All networks".to_owned(), |part| format!("Only {part}"))) }
            p {
                "Fitness " strong { (format!("{:.4}", soup.record.fitness)) }
                @if let Some(alone) = alone {
                    "; best member " (format!("{alone:.4}"))
                    " (" (format!("{:+.4}", soup.record.fitness - alone)) ")"
                }
                ". " (soup.record.ingredients.len()) " member(s), " (soup.record.rounds) " round(s):"
                @for one in &soup.record.ingredients { " " (one.generation) "/" (one.member) }
                "."
            }
            (evaluated(&soup.evaluations))
        }
    };
    Some(PageSection { id: "soups", title: "Soups", body })
}

fn cost_chart(report: &PageData) -> Svg {
    let hours = |seconds: f64| seconds / 3600.0;
    let bar = |cost: &Cost| vec![hours(cost.seconds - cost.lost_seconds), hours(cost.lost_seconds)];
    let all: Vec<Vec<f64>> = report.costs.iter().map(bar).collect();
    let parts = ["trained", "lost to interruptions and failures"];
    bars(&Bars {
        title: "Member-hours of each generation",
        up: "hours",
        size: (WIDE, 280.0),
        parts: &parts,
        bars: &all,
    })
}

fn cost(report: &PageData) -> Option<PageSection> {
    report.history.latest()?;
    let total = report.costs.iter().copied().fold(Cost::default(), |a, b| a + b);
    // Only generations that have started.
    let begun = report.costs.iter().skip(1).filter(|cost| cost.attempts > 0);
    let between: Vec<f64> = begun.map(|cost| cost.idle_seconds).collect();
    let gpus = gpus_per_member(&report.run.config);
    let of_jobs = (gpus > 0.0).then(|| job_seconds(&report.history));
    let mut sorted = between.clone();
    sorted.sort_by(f64::total_cmp);
    let median = crate::report::statistics::quantile(&sorted, 0.5);
    let body = html! {
        table {
            tbody {
                tr { td { "Training and evaluation of members" } td.number { (fmt::seconds(total.seconds)) } }
                tr { td { "of which lost" } td.number { (fmt::seconds(total.lost_seconds)) } }
                @if let Some((seconds, lost)) = of_jobs {
                    tr { td { "GPU time of jobs" } td.number { (fmt::seconds(gpus * seconds)) } }
                    tr { td { "of which lost" } td.number { (fmt::seconds(gpus * lost)) } }
                }
                tr { td { "Attempts" } td.number { (total.attempts) } }
                tr { td { "interrupted (preempted, killed, node failure)" } td.number { (total.interruptions) } }
                tr { td { "failed" } td.number { (total.failures) } }
                tr { td { "Idle time between generations" } td.number { (fmt::seconds(total.idle_seconds)) } }
                @if let Some(median) = median {
                    tr { td { "median per generation" } td.number { (fmt::seconds(median)) } }
                }
            }
        }
        div.wide { (drawn(&cost_chart(report), "Member-hours of each generation, and those lost")) }
        p.soft {
            "Lost: the work of an attempt after its last snapshot, if it ended suddenly. Idle: from the end of the slowest member "
            "to the first attempt of the next generation (controller job and queue)."
        }
    };
    Some(PageSection { id: "cost", title: "Cost", body })
}

fn configuration(report: &PageData) -> Option<PageSection> {
    let run = report.run;
    let body = html! {
        table {
            tbody {
                tr { td { "run" } td { (run.record.run_id) } }
                tr { td { "seed" } td { (run.record.seed) } }
                tr { td { "directory" } td { (run.layout.root().display()) } }
                tr { td { "created by" } td { "pbtnas " (run.record.program) ", " (day(run.record.created)) } }
                tr { td { "reported by" } td { "pbtnas " (env!("CARGO_PKG_VERSION")) ", format " (FORMAT) } }
                tr { td { "digest of config.toml" } td { code { (run.record.config.digest) } } }
                tr { td { "digest of space.json" } td { code { (run.record.space.digest) } } }
            }
        }
        h3 { "config.toml" }
        pre { code { (report.config) } }
    };
    Some(PageSection { id: "configuration", title: "Configuration and versions", body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_file_names() {
        assert_eq!(scientific("3460972340748447"), "3.5e15");
        assert_eq!(scientific("81"), "81");
        assert_eq!(file_name("option", "generator/cell1/up0"), "option-generator-cell1-up0");
    }
}
