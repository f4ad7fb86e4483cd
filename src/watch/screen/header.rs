//! The lines above and below the members: run, progress, best member, time, counts, jobs, notices, keys.

use chrono::TimeDelta;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::{Tone, View};
use crate::report::history::MemberState;
use crate::term::cut_start;
use crate::watch::snapshot::{Phase, resume_command};
use crate::watch::text::{bar, duration, hours, level, number, seconds};
use pbtnas_engine::scheduler::slurm::parse::{Job, JobState};

/// A reading that takes longer than this is reported.
const SLOW: TimeDelta = TimeDelta::seconds(5);

/// The lines above the members, without the notices.
pub fn summary(view: &View, width: usize) -> Vec<Line<'static>> {
    let mut lines = vec![title(view, width), progress(view, width), best(view, width), time(view, width)];
    lines.push(joined(view, "members", members(view), width));
    lines.extend(jobs(view).map(|parts| joined(view, "jobs", parts, width)));
    lines
}

/// The last line: keys, and the age of the data.
pub fn draw_footer(frame: &mut Frame, view: &View, area: Rect) {
    let app = view.app;
    let order = if app.reversed { " reversed" } else { "" };
    let keys = format!("q quit  ↑↓ select  d details  j jobs  s sort: {}{order}  r reverse", app.sort.name());
    let keys = Line::from(view.span(keys, Tone::Faint));
    let age = app.read.map_or(String::new(), |(at, _)| format!("data {} old", view.ago(at)));
    let age = Line::from(view.span(age, Tone::Faint)).right_aligned();
    if keys.width() + age.width() < area.width.into() {
        frame.render_widget(age, area);
    }
    frame.render_widget(keys, area);
}

fn title(view: &View, width: usize) -> Line<'static> {
    let info = &view.app.info;
    let clock = view.now.with_timezone(&view.app.zone).format("%H:%M:%S").to_string();
    let run = format!("pbtnas {}", info.run_id);
    let about = format!("  {}  {}  ", info.algorithm, info.task);
    let room = width.saturating_sub(run.chars().count() + about.chars().count() + clock.len() + 2);
    let folder = cut_start(&info.folder, room);
    Line::from(vec![
        view.span(run, Tone::Strong),
        Span::raw(format!("{about}{folder:<0$}", room + 2)),
        view.span(clock, Tone::Strong),
    ])
}

fn progress(view: &View, width: usize) -> Line<'static> {
    let app = view.app;
    let (phase, tone) = match app.phase(view.now) {
        Phase::Loading => ("reading the run".to_owned(), Tone::Plain),
        Phase::NoGeneration => ("no generation yet".to_owned(), Tone::Warning),
        Phase::Training => ("training".to_owned(), Tone::Busy),
        Phase::Queued(reason) => (format!("queued ({reason})"), Tone::Warning),
        Phase::Selecting => ("trained, waiting for selection".to_owned(), Tone::Busy),
        Phase::Stalled { silent, .. } => {
            (format!("stalled: no progress for {}", duration(silent)), Tone::Bad)
        }
        Phase::Finished => ("finished".to_owned(), Tone::Good),
    };
    let Some(latest) = app.history.latest() else { return Line::from(view.span(phase, tone)) };
    let last = app.info.generations.saturating_sub(1);
    let before = format!("generation {} (0 to {last})  epochs ", latest.number);
    let epochs = format!(" {:.1} of {}  ", app.snapshot.epochs, app.info.epochs);
    let taken = before.chars().count() + epochs.chars().count() + phase.chars().count();
    let cells = width.saturating_sub(taken + 1).clamp(6, 40);
    let part = app.snapshot.epochs / f64::from(app.info.epochs.max(1));
    let bar_tone = if tone == Tone::Bad { Tone::Plain } else { tone };
    Line::from(vec![
        Span::raw(before),
        view.span(bar(part, cells), bar_tone),
        Span::raw(epochs),
        view.span(phase, tone),
    ])
}

fn best(view: &View, width: usize) -> Line<'static> {
    let estimates = &view.app.estimates;
    let Some((of, fitness)) = estimates.best else {
        return Line::from(view.span("best  none yet", Tone::Faint));
    };
    let text = format!(" fitness of member {} in generation {}  ", of.member, of.generation);
    let value = number(fitness);
    let room = width.saturating_sub(value.len() + text.len() + 28).min(60);
    // The last generations may have no fitness yet.
    let all = &estimates.best_by_generation;
    let known = all.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    let shown = &all[known.saturating_sub(room)..known];
    let values = || shown.iter().flatten().copied();
    let range = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    let curve: String = shown.iter().map(|value| level(*value, range)).collect();
    Line::from(vec![
        Span::raw("best  "),
        view.span(value, Tone::Good),
        Span::raw(text),
        view.span(curve, Tone::Good),
        view.span("  by generation", Tone::Faint),
    ])
}

fn time(view: &View, width: usize) -> Line<'static> {
    let (app, estimates) = (view.app, &view.app.estimates);
    let phase = app.phase(view.now);
    let advancing = matches!(phase, Phase::Training | Phase::Selecting);
    let left = |what: &str, left: Option<f64>| {
        let read_at = app.read?.0;
        let end = read_at.checked_add_signed(TimeDelta::try_milliseconds((left? * 1000.0) as i64)?)?;
        let left = (end - view.now).max(TimeDelta::zero());
        Some(match advancing {
            true => format!("{what} {} left ({})", duration(left), view.clock(end)),
            // No end time: when the work resumes is unknown.
            false => format!("{what} {} of work left", duration(end - read_at)),
        })
    };
    let mut parts = Vec::new();
    parts.extend(estimates.epoch_seconds.map(|epoch| format!("epoch {}", seconds(epoch))));
    if phase != Phase::Finished {
        parts.extend(left("search", estimates.search_left));
        parts.extend(left("generation", estimates.generation_left));
    }
    let cost = &estimates.cost;
    if cost.attempts > 0 {
        parts.push(format!("{} member-hours{}", hours(cost.seconds), lost(cost.lost_seconds)));
    }
    if estimates.gpu_seconds > 0.0 {
        parts.push(format!("{} GPU-hours{}", hours(estimates.gpu_seconds), lost(estimates.gpu_lost_seconds)));
    }
    if parts.is_empty() {
        parts.push("no data yet".into());
    }
    joined(view, "time", parts.into_iter().map(|part| (part, Tone::Plain)).collect(), width)
}

fn lost(seconds: f64) -> String {
    if seconds >= 1.0 { format!(", {} lost", hours(seconds)) } else { String::new() }
}

/// Parts of a line, the most important first.
type LineParts = Vec<(String, Tone)>;

fn members(view: &View) -> LineParts {
    let snapshot = &view.app.snapshot;
    let count =
        |(state, count): (&MemberState, &usize)| (format!("{count} {}", state.name()), tone_of(*state));
    let mut parts: LineParts = snapshot.counts.iter().map(count).collect();
    if snapshot.failures > 0 {
        let attempts = if snapshot.failures == 1 { "attempt" } else { "attempts" };
        parts.push((format!("{} {attempts} failed", snapshot.failures), Tone::Bad));
    }
    parts
}

/// None without SLURM.
fn jobs(view: &View) -> Option<LineParts> {
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
    let held = count(|state| matches!(state, JobState::Held | JobState::DependencyFailed));
    if held > 0 {
        parts.push((format!("{held} held"), Tone::Bad));
    }
    for job in &queue.steps {
        let (text, tone) = match job.state {
            JobState::Running => (format!("running on {}", job.node), Tone::Busy),
            JobState::Held | JobState::DependencyFailed => (job.reason.clone(), Tone::Bad),
            _ if job.dependency.is_empty() => (format!("queued ({})", job.reason), Tone::Plain),
            _ => (format!("waits for {}", dependency(&job.dependency)), Tone::Faint),
        };
        parts.push((format!("controller {} {text}", job.id), tone));
    }
    if parts.is_empty() {
        parts.push((format!("no job of generation {} in the queue", queue.generation), Tone::Faint));
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
    parts.extend(jobs.queried_at.map(|at| (format!("queried {} ago", view.ago(at)), Tone::Faint)));
    Some(parts)
}

/// `afterany:12_*(unfulfilled)` as `12_*`.
pub fn dependency(text: &str) -> String {
    let one = |part: &str| {
        let part = part.split_once(':').map_or(part, |(_, jobs)| jobs);
        part.split('(').next().unwrap_or(part).to_owned()
    };
    text.split([',', '?']).map(one).collect::<Vec<_>>().join(", ")
}

/// Problems, with what to do about them.
pub fn notices(view: &View) -> LineParts {
    let app = view.app;
    let mut notices = Vec::new();
    let reading = app.reading_since.map_or(TimeDelta::zero(), |since| view.now - since);
    let usual =
        app.read.map_or(TimeDelta::zero(), |(_, took)| TimeDelta::from_std(took).unwrap_or(TimeDelta::MAX));
    if reading > SLOW && reading > usual * 2 {
        let what = if app.read.is_none() { "reading the run" } else { "no answer from the filesystem" };
        notices.push((format!("{what} for {}", duration(reading)), Tone::Bad));
    }
    if let Some(reason) = &app.read_error {
        let check = format!("run `pbtnas verify --state {}`", app.info.folder);
        notices.push((format!("failed to read the run: {reason}; {check}"), Tone::Bad));
    }
    match app.phase(view.now) {
        Phase::Stalled { hint, .. } => notices.push((hint, Tone::Bad)),
        Phase::NoGeneration => {
            notices.push((format!("to start, {}", resume_command(&app.info)), Tone::Warning));
        }
        _ => {}
    }
    if let Some(reason) = &app.jobs.error {
        notices.push((format!("no answer from SLURM: {reason}"), Tone::Warning));
    }
    notices
}

/// A heading and as many parts as fit.
fn joined(view: &View, heading: &str, parts: LineParts, width: usize) -> Line<'static> {
    let mut line = Line::from(format!("{heading}  "));
    for (position, (text, tone)) in parts.into_iter().enumerate() {
        let separator = if position == 0 { "" } else { " · " };
        let part = [view.span(separator, Tone::Faint), view.span(text, tone)];
        if position > 0 && line.width() + part.iter().map(Span::width).sum::<usize>() > width {
            break;
        }
        line.extend(part);
    }
    line
}

pub fn tone_of(state: MemberState) -> Tone {
    match state {
        MemberState::Training | MemberState::Evaluating | MemberState::Starting => Tone::Busy,
        MemberState::Retrying | MemberState::Preempted | MemberState::Stopped | MemberState::Diverged => {
            Tone::Warning
        }
        MemberState::Held | MemberState::Failed => Tone::Bad,
        MemberState::Queued | MemberState::Waiting => Tone::Faint,
        MemberState::Done => Tone::Good,
    }
}
