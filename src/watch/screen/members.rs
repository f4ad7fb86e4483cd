//! The table of members: only the rows that are seen are made, however many there are.

use std::ops::Range;

use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

use super::header::tone_of;
use super::{Tone, View};
use crate::report::history::Member;
use crate::report::words::short_origin;
use crate::scheduler::parse::Job;
use crate::search::{Ancestor, base_lineage};
use crate::watch::app::Sort;
use crate::watch::board::Row;
use crate::watch::jobs::{Standing, Tasks};
use crate::watch::text::{bar, fit, height, number};

/// Lines above the first member.
pub const HEADS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Id,
    State,
    Step,
    Epoch,
    Fitness,
    Trend,
    Origin,
    Tries,
    Seen,
    Job,
    Node,
    Metrics,
}

impl Column {
    /// From left to right.
    const ALL: [Self; 12] = [
        Self::Id,
        Self::State,
        Self::Step,
        Self::Epoch,
        Self::Fitness,
        Self::Trend,
        Self::Origin,
        Self::Tries,
        Self::Seen,
        Self::Job,
        Self::Node,
        Self::Metrics,
    ];
    /// Those that a narrow screen keeps come first.
    const BY_WORTH: [Self; 12] = [
        Self::Id,
        Self::State,
        Self::Step,
        Self::Fitness,
        Self::Origin,
        Self::Epoch,
        Self::Trend,
        Self::Seen,
        Self::Tries,
        Self::Job,
        Self::Node,
        Self::Metrics,
    ];

    fn head(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::State => "state",
            Self::Step => "step",
            Self::Epoch => "epoch",
            Self::Fitness => "fitness",
            Self::Trend => "trend",
            Self::Origin => "origin",
            Self::Tries => "tries",
            Self::Seen => "seen",
            Self::Job => "job",
            Self::Node => "node",
            Self::Metrics => "metrics",
        }
    }

    fn sort(self) -> Option<Sort> {
        match self {
            Self::Id => Some(Sort::Member),
            Self::State => Some(Sort::State),
            Self::Step => Some(Sort::Progress),
            Self::Fitness => Some(Sort::Fitness),
            Self::Tries => Some(Sort::Attempts),
            Self::Seen => Some(Sort::Seen),
            _ => None,
        }
    }

    /// The cells that it needs, and those that it can use.
    fn cells(self, view: &View) -> (usize, usize) {
        let digits = view.app.board.rows.len().saturating_sub(1).to_string().len().max(2);
        match self {
            Self::Id => (digits, digits),
            Self::State => (10, 10),
            Self::Step => (8, 12),
            Self::Epoch => (6, 6),
            Self::Fitness => (9, 9),
            Self::Trend => (8, view.app.history.generations.len().clamp(8, 30)),
            Self::Origin => (16, 22),
            Self::Tries => (5, 5),
            Self::Seen => (6, 6),
            Self::Job => (12, 16),
            Self::Node => (10, 16),
            Self::Metrics => (14, 200),
        }
    }
}

/// The columns of a screen, with their cells.
fn columns(view: &View, width: usize, with_jobs: bool) -> Vec<(Column, usize)> {
    let mut room = width;
    let mut chosen: Vec<(Column, usize)> = Vec::new();
    for column in Column::BY_WORTH.into_iter().filter(|column| *column != Column::Job || with_jobs) {
        let needed = column.cells(view).0 + usize::from(!chosen.is_empty());
        if needed > room {
            break;
        }
        room -= needed;
        chosen.push((column, column.cells(view).0));
    }
    for (column, cells) in &mut chosen {
        let more = (column.cells(view).1 - *cells).min(room);
        (*cells, room) = (*cells + more, room - more);
    }
    chosen.sort_by_key(|(column, _)| Column::ALL.iter().position(|other| other == column));
    chosen
}

/// How many of them are seen if not all are, the heads, and those members.
pub fn lines(view: &View, shown: Range<usize>, width: usize) -> Vec<Line<'static>> {
    let app = view.app;
    let Some(latest) = app.history.latest() else { return Vec::new() };
    let tasks = app.jobs.tasks(latest.number);
    let with_jobs = tasks.queue.is_some() || latest.members.iter().any(|member| job_of(member).is_some());
    let columns = columns(view, width, with_jobs);
    let range = match shown.len() < app.order.len() {
        true => format!("{} to {} of {}", shown.start + 1, shown.end, app.order.len()),
        false => String::new(),
    };
    let mut lines =
        vec![Line::from(view.span(format!("{range:>width$}"), Tone::Faint)), heads(view, &columns)];
    for &place in &app.order[shown] {
        let (row, member) = (&app.board.rows[place], &latest.members[place]);
        let mut spans = Vec::new();
        for (position, &(column, cells)) in columns.iter().enumerate() {
            if position > 0 {
                spans.push(Span::raw(" "));
            }
            spans.extend(cell(view, column, cells, row, member, &tasks));
        }
        let mut line = Line::from(spans);
        if place == app.selected {
            let missing = width.saturating_sub(line.width());
            line.spans.push(Span::raw(" ".repeat(missing)));
            let reversed = |span: Span<'static>| {
                let style = span.style.remove_modifier(Modifier::DIM).add_modifier(Modifier::REVERSED);
                Span::styled(span.content, style)
            };
            line.spans = line.spans.into_iter().map(reversed).collect();
        }
        lines.push(line);
    }
    lines
}

fn heads(view: &View, columns: &[(Column, usize)]) -> Line<'static> {
    let app = view.app;
    let mut spans = Vec::new();
    for (position, &(column, cells)) in columns.iter().enumerate() {
        if position > 0 {
            spans.push(Span::raw(" "));
        }
        let is_key = column.sort() == Some(app.sort);
        let mark = match (is_key, app.reversed) {
            (true, false) if cells > column.head().len() => "↓",
            (true, true) if cells > column.head().len() => "↑",
            _ => "",
        };
        let tone = if is_key { Tone::Strong } else { Tone::Faint };
        let head = format!("{}{mark}", column.head());
        let head = if column == Column::Fitness { format!("{head:>cells$}") } else { head };
        spans.push(view.span(fit(&head, cells), tone));
    }
    Line::from(spans)
}

fn cell(
    view: &View,
    column: Column,
    cells: usize,
    row: &Row,
    member: &Member,
    tasks: &Tasks,
) -> Vec<Span<'static>> {
    let one = |text: &str, tone| vec![view.span(fit(text, cells), tone)];
    let job = tasks.of(member.plan.id);
    match column {
        Column::Id => one(&member.plan.id.to_string(), Tone::Plain),
        Column::State => one(row.standing.word(), tone_of(row.standing)),
        Column::Step => match row.standing {
            Standing::Failed => one("", Tone::Plain),
            _ => one(&bar(row.progress, cells), tone_of(row.standing)),
        },
        Column::Epoch => one(&format!("{:.1}", row.epoch), Tone::Plain),
        Column::Fitness => match row.fitness {
            Some(fitness) => {
                let id = member.plan.id;
                let best =
                    view.app.figures.best.is_some_and(|(of, value)| of.member == id && value == fitness);
                one(&format!("{:>cells$}", number(fitness)), if best { Tone::Good } else { Tone::Plain })
            }
            None => one(&format!("{:>cells$}", "-"), Tone::Faint),
        },
        Column::Trend => trend(view, cells, row.place),
        Column::Origin => {
            let origin = short_origin(&member.plan.origin);
            match row.replaced {
                true => one(&format!("← {origin}"), Tone::New),
                false => one(&origin, Tone::Faint),
            }
        }
        Column::Tries => {
            one(&row.attempts.to_string(), if row.attempts > 1 { Tone::Warning } else { Tone::Plain })
        }
        Column::Seen => match row.seen {
            None => one("", Tone::Plain),
            Some(at) => {
                let long = row.standing.is_at_work() && (view.now - at).num_seconds() > 60;
                one(&view.ago(at), if long { Tone::Warning } else { Tone::Plain })
            }
        },
        Column::Job => one(job.map_or(job_of(member).unwrap_or("-"), |job| &job.id), Tone::Plain),
        Column::Node => one(&place_of(row, member, job), Tone::Plain),
        Column::Metrics => one(&metrics(member), Tone::Plain),
    }
}

/// The job of a member's last attempt.
pub fn job_of(member: &Member) -> Option<&str> {
    member.attempts.last()?.start.job.as_deref()
}

/// Where a member is, or why it is nowhere.
fn place_of(row: &Row, member: &Member, job: Option<&Job>) -> String {
    let host = || member.attempts.last().map_or("-", |last| &*last.start.host);
    match job {
        Some(job) if !job.node.is_empty() => job.node.clone(),
        Some(job) if !row.standing.is_at_work() && member.result.is_none() => format!("({})", job.reason),
        _ => host().to_owned(),
    }
}

/// What was measured, or is told on the way.
pub fn metrics(member: &Member) -> String {
    let metrics = member.metrics().into_iter().flatten();
    metrics.map(|(name, value)| format!("{name} {}", number(*value))).collect::<Vec<_>>().join("  ")
}

/// The fitness of a member and of those that its network is a copy of; what another place's member came to before this
/// place was taken over is faint.
fn trend(view: &View, cells: usize, place: usize) -> Vec<Span<'static>> {
    let (points, own) = fitness_of(view, place);
    let from = points.len().saturating_sub(cells);
    let scale = view.app.figures.scale;
    let text = |points: &[Option<f64>]| points.iter().map(|value| height(*value, scale)).collect::<String>();
    let own = own.clamp(from, points.len());
    let (before, since) = (text(&points[from..own]), text(&points[own..]));
    let missing = cells - (points.len() - from);
    vec![view.span(before, Tone::Faint), view.span(since, Tone::Plain), Span::raw(" ".repeat(missing))]
}

/// The fitness of a member's network, generation by generation, and from which point on it was in this place.
fn fitness_of(view: &View, place: usize) -> (Vec<Option<f64>>, usize) {
    let history = &view.app.history;
    let Some((latest, member)) =
        history.latest().and_then(|latest| Some((latest, latest.members.get(place)?)))
    else {
        return (Vec::new(), 0);
    };
    let of = Ancestor { generation: latest.number, member: member.plan.id };
    let lineage =
        base_lineage(of, |ancestor| history.member(ancestor).map(|member| member.plan.origin.clone()));
    let fitness = |ancestor: &Ancestor| history.member(*ancestor).and_then(Member::fitness);
    let mut points: Vec<Option<f64>> = lineage.iter().map(fitness).collect();
    let own = lineage.iter().rposition(|ancestor| {
        history.member(*ancestor).is_some_and(|member| member.plan.origin.is_replacement())
    });
    if member.result.is_none() {
        points.pop();
    }
    (points, own.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::super::Paint;
    use super::*;
    use crate::report::history::testing::{generation, member, second};
    use crate::search::{MemberId, Origin};
    use crate::watch::app::testing::app;

    #[test]
    fn a_replaced_member_s_line_is_that_of_its_base_parent() {
        let survivor = |id, fitness| {
            let mut member = member(id, fitness);
            member.plan.origin = Origin::Survivor;
            member
        };
        let mut child = member(1, Some(5.0));
        child.plan.origin = Origin::Mix {
            base: MemberId(0),
            donor: MemberId(2),
            replaced: vec!["x".into()],
            explored: Vec::new(),
        };
        let generations = vec![
            generation(0, vec![member(0, Some(3.0)), member(1, Some(1.0)), member(2, Some(2.0))]),
            generation(1, vec![survivor(0, Some(4.0)), child, survivor(2, None)]),
            generation(2, vec![survivor(0, Some(6.0)), survivor(1, None), survivor(2, None)]),
        ];
        let app = app(generations, second(0));
        let view = View { app: &app, paint: Paint { colours: false }, now: second(0) };
        assert_eq!(fitness_of(&view, 0), (vec![Some(3.0), Some(4.0), Some(6.0)], 0));
        assert_eq!(fitness_of(&view, 1), (vec![Some(3.0), Some(5.0)], 1));
        assert_eq!(fitness_of(&view, 2), (vec![Some(2.0), None], 0));
        let spans = trend(&view, 1, 1);
        assert_eq!((&*spans[0].content, &*spans[1].content), ("", "▇"));
    }

    #[test]
    fn a_narrow_screen_keeps_what_matters() {
        let app = app(vec![generation(0, vec![member(0, None)])], second(0));
        let view = View { app: &app, paint: Paint { colours: false }, now: second(0) };
        let names = |width| -> Vec<&str> {
            columns(&view, width, true).into_iter().map(|(column, _)| column.head()).collect()
        };
        assert_eq!(names(40), ["id", "state", "step", "fitness"]);
        assert_eq!(names(0), [""; 0]);
        assert_eq!(
            names(80),
            ["id", "state", "step", "epoch", "fitness", "trend", "origin", "tries", "seen"]
        );
        assert_eq!(names(160).last(), Some(&"metrics"));
        for width in 0..200 {
            let columns = columns(&view, width, true);
            let cells: usize = columns.iter().map(|(_, cells)| cells + 1).sum();
            assert!(cells <= width + 1, "{width}: {columns:?}");
        }
    }
}
