//! The jobs of the generation.

use ratatui::layout::Constraint;
use ratatui::widgets::{Row, Table};

use super::header::dependency;
use super::{PaneContent, Tone, View, wrapped};
use crate::term::cut;
use pbtnas_engine::scheduler::slurm::parse::{Job, JobState};

/// Maximum number of tasks listed.
const MAX_TASKS: usize = 500;

/// A row per job: the controller job, held tasks, running tasks, then the others.
pub fn content(view: &View, width: usize) -> PaneContent {
    let jobs = &view.app.jobs;
    let Some(queue) = &jobs.queue else {
        let text = match &jobs.error {
            Some(reason) => format!("no answer from SLURM: {reason}"),
            None => "this generation was not submitted to SLURM, or SLURM is not available here".into(),
        };
        return PaneContent::Text(wrapped(view.lines(&text, Tone::Plain)));
    };
    let tasks = jobs.tasks(queue.generation);
    let members = tasks.members();
    let mut listed: Vec<&Job> = queue.tasks.iter().collect();
    listed.sort_by_key(|job| match job.state {
        JobState::DependencyFailed | JobState::Held => 0,
        JobState::Running => 1,
        _ => 2,
    });
    let row = |job: &Job| {
        let (state, tone) = state(job.state);
        let details = match (job.state, &*job.dependency) {
            (JobState::Running, _) => job.node.clone(),
            (_, "") => job.reason.clone(),
            (_, dependencies) => format!("{}: after {}", job.reason, dependency(dependencies)),
        };
        let purpose = match members.get(&*job.id) {
            Some(ids) => ids.iter().fold("members".to_owned(), |text, id| format!("{text} {id}")),
            None => "controller".into(),
        };
        let purpose = cut(&purpose, width.saturating_sub(14 + 8 + 34 + 3 * 2));
        Row::new([cut(&job.id, 14), state.into(), cut(&details, 34), purpose]).style(view.paint.style(tone))
    };
    let mut rows: Vec<Row> = queue.steps.iter().chain(listed.into_iter().take(MAX_TASKS)).map(row).collect();
    if queue.tasks.len() > MAX_TASKS {
        rows.push(Row::new([format!("and {} more", queue.tasks.len() - MAX_TASKS)]));
    }
    if rows.is_empty() {
        return PaneContent::Text(wrapped(view.lines("no job in the queue", Tone::Faint)));
    }
    let (count, widths) = (rows.len(), [14, 8, 34].map(Constraint::Length));
    let table = Table::new(rows, widths.into_iter().chain([Constraint::Fill(1)])).column_spacing(2);
    PaneContent::Table(table, count)
}

fn state(state: JobState) -> (&'static str, Tone) {
    match state {
        JobState::Running => ("running", Tone::Busy),
        JobState::Pending => ("queued", Tone::Plain),
        JobState::Held => ("held", Tone::Bad),
        JobState::DependencyFailed => ("blocked", Tone::Bad),
        JobState::Ended => ("ended", Tone::Faint),
        JobState::Unknown => ("unknown", Tone::Warning),
    }
}
