//! The jobs of the generation.

use ratatui::text::Line;

use super::header::dependency;
use super::{Tone, View};
use crate::scheduler::parse::{Job, JobState};
use crate::search::MemberId;
use crate::watch::text::fit;

/// The most tasks that are listed: who has more asks squeue.
const MOST: usize = 500;

/// A line for each job: the step that follows first, then those that run, then the others.
pub fn lines(view: &View, width: usize) -> Vec<Line<'static>> {
    let jobs = &view.app.jobs;
    let Some(queue) = &jobs.queue else {
        let text = match &jobs.trouble {
            Some(reason) => format!("the scheduler does not answer: {reason}"),
            None => "this generation was not submitted to SLURM, or SLURM is not on this machine".into(),
        };
        return super::wrap(&text, width)
            .into_iter()
            .map(|line| Line::from(view.span(line, Tone::Plain)))
            .collect();
    };
    let tasks = jobs.tasks(queue.generation);
    let members = tasks.members();
    let mut listed: Vec<&Job> = queue.tasks.iter().collect();
    listed.sort_by_key(|job| rank(job.state));
    let mut lines = Vec::new();
    for job in queue.steps.iter().chain(listed.into_iter().take(MOST)) {
        let (word, tone) = word(job.state);
        let what = match members.get(&*job.id) {
            Some(members) => format!("members {}", ids(members)),
            None => "next step".into(),
        };
        let why = match (job.state, &*job.dependency) {
            (JobState::Running, _) => job.node.clone(),
            (_, "") => job.reason.clone(),
            (_, waits) => format!("{}: after {}", job.reason, dependency(waits)),
        };
        let text = format!("{}  {}  {}  {what}", fit(&job.id, 14), fit(word, 8), fit(&why, 34));
        lines.push(Line::from(view.span(fit(&text, width), tone)));
    }
    if queue.tasks.len() > MOST {
        lines.push(Line::from(view.span(format!("and {} more", queue.tasks.len() - MOST), Tone::Faint)));
    }
    if lines.is_empty() {
        lines.push(Line::from(view.span("none in the queue", Tone::Faint)));
    }
    lines
}

fn rank(state: JobState) -> u8 {
    match state {
        JobState::Hopeless | JobState::Held => 0,
        JobState::Running => 1,
        _ => 2,
    }
}

fn word(state: JobState) -> (&'static str, Tone) {
    match state {
        JobState::Running => ("running", Tone::Busy),
        JobState::Pending => ("queued", Tone::Plain),
        JobState::Held => ("held", Tone::Bad),
        JobState::Hopeless => ("hopeless", Tone::Bad),
        JobState::Ended => ("ended", Tone::Faint),
        JobState::Unknown => ("unknown", Tone::Warning),
    }
}

fn ids(members: &[MemberId]) -> String {
    members.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
