//! The lines above and below the members: the run, how far it is, its best member, time, counts, jobs, and what is wrong.

use chrono::TimeDelta;
use ratatui::text::{Line, Span};

use super::{Tone, View, wrap};
use crate::scheduler::parse::{Job, JobState};
use crate::watch::board::Phase;
use crate::watch::jobs::Standing;
use crate::watch::text::{bar, height, hours, number, seconds, span};

/// Time that a filesystem may take before it is told.
const SLOW: TimeDelta = TimeDelta::seconds(5);

/// The lines above the members.
pub fn lines(view: &View, width: usize) -> Vec<Line<'static>> {
    let mut lines = vec![title(view, width), progress(view, width), best(view, width), time(view, width)];
    lines.push(joined(view, members(view), width));
    if let Some(jobs) = jobs(view) {
        lines.push(joined(view, jobs, width));
    }
    for (text, tone) in notices(view) {
        let wrapped = wrap(&text, width.saturating_sub(1)).into_iter().take(4);
        lines.extend(wrapped.map(|text| Line::from(view.span(text, tone))));
    }
    lines
}

/// The line below all.
pub fn footer(view: &View, width: usize) -> Line<'static> {
    let app = view.app;
    let order = if app.reversed { " reversed" } else { "" };
    let keys = format!("q quit  ↑↓ select  d details  j jobs  s sort: {}{order}  r reverse", app.sort.word());
    let age = match app.read {
        None => String::new(),
        Some((at, _)) => format!("data {} old", view.ago(at)),
    };
    let gap = width.saturating_sub(keys.chars().count() + age.chars().count());
    if gap == 0 {
        return Line::from(view.span(keys, Tone::Faint));
    }
    Line::from(vec![view.span(keys, Tone::Faint), Span::raw(" ".repeat(gap)), view.span(age, Tone::Faint)])
}

fn title(view: &View, width: usize) -> Line<'static> {
    let facts = &view.app.facts;
    let clock = view.now.with_timezone(&view.app.zone).format("%H:%M:%S").to_string();
    let left = format!("pbtnas {}", facts.run_id);
    let mut rest = format!("  {}  {}  ", facts.algorithm, facts.task);
    let room = width.saturating_sub(left.chars().count() + rest.chars().count() + clock.len() + 2);
    let length = facts.folder.chars().count();
    rest += &match length <= room {
        true => facts.folder.clone(),
        // The end tells more.
        false => std::iter::once('…').chain(facts.folder.chars().skip(length + 1 - room.max(1))).collect(),
    };
    let gap = width.saturating_sub(left.chars().count() + rest.chars().count() + clock.len());
    Line::from(vec![
        view.span(left, Tone::Strong),
        Span::raw(rest + &" ".repeat(gap)),
        view.span(clock, Tone::Strong),
    ])
}

fn progress(view: &View, width: usize) -> Line<'static> {
    let app = view.app;
    let (word, tone) = match app.phase(view.now) {
        Phase::Unread => ("reading the run".to_owned(), Tone::Plain),
        Phase::Unborn => ("no generation yet".to_owned(), Tone::Warning),
        Phase::Training => ("training".to_owned(), Tone::Busy),
        Phase::Queued(reason) => (format!("in the queue ({reason})"), Tone::Warning),
        Phase::Between => ("waiting for the step to the next generation".to_owned(), Tone::Busy),
        Phase::Stalled(silent, _) => (format!("stalled: nothing seen for {}", span(silent)), Tone::Bad),
        Phase::Finished => ("finished".to_owned(), Tone::Good),
    };
    let Some(latest) = app.history.latest() else { return Line::from(view.span(word, tone)) };
    let last = app.facts.generations.saturating_sub(1);
    let begin = format!("generation {} (0 to {last})  epochs ", latest.number);
    let end = format!(" {:.1} of {}  ", app.board.epochs, app.facts.epochs);
    let taken = begin.chars().count() + end.chars().count() + word.chars().count();
    let cells = width.saturating_sub(taken + 1).clamp(6, 40);
    let part = app.board.epochs / f64::from(app.facts.epochs.max(1));
    let bar_tone = if tone == Tone::Bad { Tone::Plain } else { tone };
    Line::from(vec![
        Span::raw(begin),
        view.span(bar(part, cells), bar_tone),
        Span::raw(end),
        view.span(word, tone),
    ])
}

fn best(view: &View, width: usize) -> Line<'static> {
    let figures = &view.app.figures;
    let Some((of, fitness)) = figures.best else {
        return Line::from(view.span("best  none yet", Tone::Faint));
    };
    let text = format!(" fitness of member {} in generation {}", of.member, of.generation);
    let value = number(fitness);
    let room = width.saturating_sub(6 + value.len() + text.len() + 24).min(60);
    // Of a generation that has just begun nothing is known.
    let known = figures.trend.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    let trend = &figures.trend[known.saturating_sub(room)..known];
    let values = || trend.iter().flatten().copied();
    let scale = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    let curve: String = trend.iter().map(|value| height(*value, scale)).collect();
    Line::from(vec![
        Span::raw("best  "),
        view.span(value, Tone::Good),
        Span::raw(text + "  "),
        view.span(curve, Tone::Good),
        view.span("  by generation", Tone::Faint),
    ])
}

fn time(view: &View, width: usize) -> Line<'static> {
    let (app, figures) = (view.app, &view.app.figures);
    let phase = app.phase(view.now);
    let moves = matches!(phase, Phase::Training | Phase::Between);
    let left = |what: &str, left: Option<f64>| {
        let end = app.read?.0.checked_add_signed(TimeDelta::try_milliseconds((left? * 1000.0) as i64)?)?;
        let left = (end - view.now).max(TimeDelta::zero());
        Some(match moves {
            true => format!("{what} {} left ({})", span(left), view.clock(end)),
            // Nobody knows when it goes on.
            false => format!("{what} {} of work left", span(end - app.read?.0)),
        })
    };
    let mut parts = Vec::new();
    parts.extend(figures.epoch_seconds.map(|epoch| format!("epoch {}", seconds(epoch))));
    if phase != Phase::Finished {
        parts.extend(left("search", figures.search_left));
        parts.extend(left("generation", figures.generation_left));
    }
    let cost = &figures.cost;
    if cost.attempts > 0 {
        parts.push(format!("{} member-hours{}", hours(cost.seconds), lost(cost.lost_seconds)));
    }
    if figures.gpu_seconds > 0.0 {
        parts.push(format!("{} GPU-hours{}", hours(figures.gpu_seconds), lost(figures.gpu_lost_seconds)));
    }
    if parts.is_empty() {
        parts.push("nothing is known yet".into());
    }
    let parts = parts.into_iter().map(|part| (part, Tone::Plain)).collect();
    joined(view, ("time", parts), width)
}

/// Time that came to nothing, if it is worth telling.
fn lost(seconds: f64) -> String {
    if seconds >= 1.0 { format!(", {} lost", hours(seconds)) } else { String::new() }
}

type Parts = (&'static str, Vec<(String, Tone)>);

fn members(view: &View) -> Parts {
    let board = &view.app.board;
    let mut parts: Vec<(String, Tone)> = board
        .counts
        .iter()
        .map(|(standing, count)| (format!("{count} {}", standing.word()), tone_of(*standing)))
        .collect();
    if board.failures > 0 {
        let attempts = if board.failures == 1 { "attempt" } else { "attempts" };
        parts.push((format!("{} {attempts} failed", board.failures), Tone::Bad));
    }
    ("members", parts)
}

/// The jobs, if the run has any.
fn jobs(view: &View) -> Option<Parts> {
    let jobs = &view.app.jobs;
    let queue = jobs.queue.as_ref()?;
    let mut parts = Vec::new();
    let count = |wanted: fn(JobState) -> bool| queue.tasks.iter().filter(|job| wanted(job.state)).count();
    let running = count(|state| state == JobState::Running);
    if running > 0 {
        parts.push((format!("{running} running"), Tone::Busy));
    }
    let pending: Vec<&Job> = queue.tasks.iter().filter(|job| job.state == JobState::Pending).collect();
    if let Some(first) = pending.first() {
        parts.push((format!("{} queued ({})", pending.len(), first.reason), Tone::Plain));
    }
    let stuck = count(|state| matches!(state, JobState::Held | JobState::Hopeless));
    if stuck > 0 {
        parts.push((format!("{stuck} held"), Tone::Bad));
    }
    for step in &queue.steps {
        parts.push(match step.state {
            JobState::Running => (format!("step {} running on {}", step.id, step.node), Tone::Busy),
            JobState::Held | JobState::Hopeless => (format!("step {} {}", step.id, step.reason), Tone::Bad),
            _ if step.dependency.is_empty() => {
                (format!("step {} queued ({})", step.id, step.reason), Tone::Plain)
            }
            _ => (format!("step {} waits for {}", step.id, dependency(&step.dependency)), Tone::Faint),
        });
    }
    if parts.is_empty() {
        parts.push((format!("none of generation {} in the queue", queue.generation), Tone::Faint));
    }
    let mut nodes: Vec<&str> =
        queue.tasks.iter().map(|job| &*job.node).filter(|node| !node.is_empty()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    if !nodes.is_empty() {
        let more = if nodes.len() > 4 { format!(" and {} more", nodes.len() - 4) } else { String::new() };
        nodes.truncate(4);
        parts.push((format!("on {}{more}", nodes.join(" ")), Tone::Plain));
    }
    parts.extend(jobs.at.map(|at| (format!("asked {} ago", view.ago(at)), Tone::Faint)));
    Some(("jobs", parts))
}

/// `afterany:12_*(unfulfilled)` as `12_*`.
pub fn dependency(text: &str) -> String {
    let one = |part: &str| {
        let part = part.split_once(':').map_or(part, |(_, jobs)| jobs);
        part.split('(').next().unwrap_or(part).to_owned()
    };
    text.split([',', '?']).map(one).collect::<Vec<_>>().join(", ")
}

/// What is wrong, and what to do.
fn notices(view: &View) -> Vec<(String, Tone)> {
    let app = view.app;
    let mut notices = Vec::new();
    let reading = app.reading.map_or(TimeDelta::zero(), |since| view.now - since);
    let usual =
        app.read.map_or(TimeDelta::zero(), |(_, took)| TimeDelta::from_std(took).unwrap_or(TimeDelta::MAX));
    if reading > SLOW && reading > usual * 2 {
        let what = match app.read {
            None => format!("reading the run for {}", span(reading)),
            Some(_) => format!("no answer from the filesystem for {}", span(reading)),
        };
        notices.push((what, Tone::Bad));
    }
    if let Some(reason) = &app.trouble {
        let folder = &app.facts.folder;
        notices
            .push((format!("cannot read the run: {reason} (`pbtnas verify --state {folder}`)"), Tone::Bad));
    }
    match app.phase(view.now) {
        Phase::Stalled(_, way_out) => notices.push((way_out, Tone::Bad)),
        Phase::Unborn => {
            let folder = &app.facts.folder;
            let text = format!("`pbtnas step --state {folder}` begins (`pbtnas run` without SLURM)");
            notices.push((text, Tone::Warning));
        }
        _ => {}
    }
    if let Some(reason) = &app.jobs.trouble {
        notices.push((format!("the scheduler does not answer: {reason}"), Tone::Warning));
    }
    notices
}

/// A heading and as many parts as there is room for.
fn joined(view: &View, (heading, parts): Parts, width: usize) -> Line<'static> {
    let mut spans = vec![Span::raw(format!("{heading}  "))];
    let mut room = width.saturating_sub(heading.len() + 2);
    for (position, (text, tone)) in parts.into_iter().enumerate() {
        let separator = if position == 0 { "" } else { " · " };
        let needed = text.chars().count() + separator.chars().count();
        if needed > room && position > 0 {
            break;
        }
        room = room.saturating_sub(needed);
        spans.push(view.span(separator, Tone::Faint));
        spans.push(view.span(text, tone));
    }
    Line::from(spans)
}

/// The colour of what a member is at.
pub fn tone_of(standing: Standing) -> Tone {
    match standing {
        Standing::Training | Standing::Evaluating | Standing::Starting => Tone::Busy,
        Standing::Retrying | Standing::Preempted | Standing::Stopped | Standing::Diverged => Tone::Warning,
        Standing::Held | Standing::Failed => Tone::Bad,
        Standing::Queued | Standing::Waiting => Tone::Faint,
        Standing::Done => Tone::Good,
    }
}
