//! The table of members. Only the visible rows are built.

use std::ops::Range;

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Row, Table, TableState};

use super::header::tone_of;
use super::{Tone, View};
use crate::report::history::{Member, MemberState};
use crate::report::words::short_origin;
use crate::term::cut;
use crate::watch::app::Sort;
use crate::watch::jobs::last_job;
use crate::watch::snapshot::MemberEntry;
use crate::watch::text::{bar, level, number};
use pbtnas_core::search::{Ancestor, base_lineage};
use pbtnas_engine::scheduler::slurm::parse::Job;

/// Lines above the first member: the visible range and the column names.
pub const HEADER_LINES: u16 = 2;

/// Columns from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    Id,
    State,
    Progress,
    Epoch,
    Fitness,
    Trend,
    Origin,
    Attempts,
    Seen,
    Job,
    Node,
    Metrics,
}

impl Column {
    /// The columns that a narrow screen keeps come first.
    const BY_IMPORTANCE: [Self; 12] = [
        Self::Id,
        Self::State,
        Self::Progress,
        Self::Fitness,
        Self::Origin,
        Self::Epoch,
        Self::Trend,
        Self::Seen,
        Self::Attempts,
        Self::Job,
        Self::Node,
        Self::Metrics,
    ];

    /// Name, minimum and maximum width, sort key.
    fn spec(self, view: &View) -> (&'static str, usize, usize, Option<Sort>) {
        let digits = view.app.snapshot.rows.len().saturating_sub(1).to_string().len().max(2);
        let generations = view.app.history.generations.len();
        match self {
            Self::Id => ("id", digits, digits, Some(Sort::Member)),
            Self::State => ("state", 10, 10, Some(Sort::State)),
            Self::Progress => ("progress", 8, 12, Some(Sort::Progress)),
            Self::Epoch => ("epoch", 6, 6, None),
            Self::Fitness => ("fitness", 9, 9, Some(Sort::Fitness)),
            Self::Trend => ("trend", 8, generations.clamp(8, 30), None),
            Self::Origin => ("origin", 15, 22, None),
            Self::Attempts => ("attempts", 8, 8, Some(Sort::Attempts)),
            Self::Seen => ("seen", 6, 6, Some(Sort::Seen)),
            Self::Job => ("job", 12, 16, None),
            Self::Node => ("node", 10, 16, None),
            Self::Metrics => ("metrics", 14, 200, None),
        }
    }
}

/// The columns that fit, with their widths.
fn columns(view: &View, width: usize, with_jobs: bool) -> Vec<(Column, usize)> {
    let mut room = width;
    let mut columns: Vec<(Column, usize)> = Vec::new();
    for column in Column::BY_IMPORTANCE.into_iter().filter(|column| *column != Column::Job || with_jobs) {
        let (_, min, _, _) = column.spec(view);
        let needed = min + usize::from(!columns.is_empty());
        if needed > room {
            break;
        }
        room -= needed;
        columns.push((column, min));
    }
    for (column, width) in &mut columns {
        let (_, min, max, _) = column.spec(view);
        let more = (max - min).min(room);
        (*width, room) = (*width + more, room - more);
    }
    columns.sort();
    columns
}

/// Draws the rows at these positions of the order.
pub fn draw(frame: &mut Frame, view: &View, shown: Range<usize>, area: Rect) {
    let app = view.app;
    let Some(latest) = app.history.latest() else { return };
    let tasks = app.jobs.tasks(latest.number);
    let with_jobs = tasks.queue.is_some() || latest.members.iter().any(|member| last_job(member).is_some());
    let columns = columns(view, area.width.into(), with_jobs);
    let range = match shown.len() < app.order.len() {
        true => format!("{} to {} of {}", shown.start + 1, shown.end, app.order.len()),
        false => String::new(),
    };
    let selected = app.position().saturating_sub(shown.start);
    let rows = app.order[shown].iter().map(|&index| {
        let (row, member) = (&app.snapshot.rows[index], &latest.members[index]);
        let job = tasks.of(member.plan.id);
        columns.iter().map(|&(column, width)| cell(view, column, width, row, member, job)).collect::<Row>()
    });
    let highlight = Style::new().remove_modifier(Modifier::DIM).add_modifier(Modifier::REVERSED);
    let table = Table::new(rows, columns.iter().map(|(_, width)| Constraint::Length(*width as u16)))
        .header(columns.iter().map(|&(column, width)| head(view, column, width)).collect())
        .block(Block::new().title(Line::from(view.span(range, Tone::Faint)).right_aligned()))
        .row_highlight_style(highlight);
    let mut state = TableState::new().with_selected(selected);
    frame.render_stateful_widget(table, area, &mut state);
}

fn head(view: &View, column: Column, width: usize) -> Cell<'static> {
    let (name, _, _, sort) = column.spec(view);
    let is_key = sort == Some(view.app.sort);
    let mark = match is_key && width > name.len() {
        true if view.app.reversed => "↑",
        true => "↓",
        false => "",
    };
    let tone = if is_key { Tone::Strong } else { Tone::Faint };
    let line = Line::from(view.span(format!("{name}{mark}"), tone));
    Cell::from(if column == Column::Fitness { line.right_aligned() } else { line })
}

fn cell(
    view: &View,
    column: Column,
    width: usize,
    row: &MemberEntry,
    member: &Member,
    job: Option<&Job>,
) -> Cell<'static> {
    let id = member.plan.id;
    let (text, tone) = match column {
        Column::Trend => return Cell::from(trend(view, width, row.index)),
        Column::Fitness => {
            let best = view.app.estimates.best;
            let is_best = |fitness| best.is_some_and(|(of, value)| of.member == id && value == fitness);
            let span = match row.fitness {
                Some(fitness) if is_best(fitness) => view.span(number(fitness), Tone::Good),
                Some(fitness) => view.span(number(fitness), Tone::Plain),
                None => view.span("-", Tone::Faint),
            };
            return Cell::from(Line::from(span).right_aligned());
        }
        Column::Id => (id.to_string(), Tone::Plain),
        Column::State => (row.state.name().into(), tone_of(row.state)),
        Column::Progress if row.state == MemberState::Failed => (String::new(), Tone::Plain),
        Column::Progress => (bar(row.progress, width), tone_of(row.state)),
        Column::Epoch => (format!("{:.1}", row.epoch), Tone::Plain),
        Column::Origin if row.replaced => (format!("← {}", short_origin(&member.plan.origin)), Tone::New),
        Column::Origin => (short_origin(&member.plan.origin), Tone::Faint),
        Column::Attempts if row.attempts > 1 => (row.attempts.to_string(), Tone::Warning),
        Column::Attempts => (row.attempts.to_string(), Tone::Plain),
        Column::Seen => match row.last_seen {
            None => (String::new(), Tone::Plain),
            Some(at) if row.state.is_active() && (view.now - at).num_seconds() > 60 => {
                (view.ago(at), Tone::Warning)
            }
            Some(at) => (view.ago(at), Tone::Plain),
        },
        Column::Job => (job.map_or(last_job(member).unwrap_or("-"), |job| &job.id).into(), Tone::Plain),
        Column::Node => (node(row, member, job), Tone::Plain),
        Column::Metrics => (metrics(member), Tone::Plain),
    };
    Cell::from(view.span(cut(&text, width), tone))
}

/// The node of a member, or why it has none.
fn node(row: &MemberEntry, member: &Member, job: Option<&Job>) -> String {
    match job {
        Some(job) if !job.node.is_empty() => job.node.clone(),
        Some(job) if !row.state.is_active() && member.result.is_none() => format!("({})", job.reason),
        _ => member.attempts.last().map_or("-", |last| &*last.start.host).to_owned(),
    }
}

/// The latest metrics of a member.
pub fn metrics(member: &Member) -> String {
    let metrics = member.metrics().into_iter().flatten();
    metrics.map(|(name, value)| format!("{name} {}", number(*value))).collect::<Vec<_>>().join("  ")
}

/// Fitness of a member and its base parents by generation; faint before its network was copied to this member.
fn trend(view: &View, width: usize, index: usize) -> Line<'static> {
    let (points, own) = fitness_of(view, index);
    let from = points.len().saturating_sub(width);
    let own = own.clamp(from, points.len());
    let range = view.app.estimates.fitness_range;
    let text = |points: &[Option<f64>]| points.iter().map(|value| level(*value, range)).collect::<String>();
    let (before, since) = (text(&points[from..own]), text(&points[own..]));
    Line::from(vec![view.span(before, Tone::Faint), view.span(since, Tone::Plain)])
}

/// Fitness along the base lineage of a member, and the position from which its network has this member's id.
fn fitness_of(view: &View, index: usize) -> (Vec<Option<f64>>, usize) {
    let history = &view.app.history;
    let Some((latest, member)) =
        history.latest().and_then(|latest| Some((latest, latest.members.get(index)?)))
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
    use crate::watch::app::testing::app;
    use pbtnas_core::search::{MemberId, Origin};

    #[test]
    fn trend_follows_base_parent() {
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
        let spans = trend(&view, 1, 1).spans;
        assert_eq!((&*spans[0].content, &*spans[1].content), ("", "▇"));
    }

    #[test]
    fn columns_of_narrow_screens() {
        let app = app(vec![generation(0, vec![member(0, None)])], second(0));
        let view = View { app: &app, paint: Paint { colours: false }, now: second(0) };
        let names = |width| -> Vec<&str> {
            columns(&view, width, true).into_iter().map(|(column, _)| column.spec(&view).0).collect()
        };
        assert_eq!(names(40), ["id", "state", "progress", "fitness"]);
        assert_eq!(names(0), [""; 0]);
        assert_eq!(
            names(80),
            ["id", "state", "progress", "epoch", "fitness", "trend", "origin", "attempts", "seen"]
        );
        assert_eq!(names(160).last(), Some(&"metrics"));
        for width in 0..200 {
            let columns = columns(&view, width, true);
            let cells: usize = columns.iter().map(|(_, cells)| cells + 1).sum();
            assert!(cells <= width + 1, "{width}: {columns:?}");
        }
    }
}
