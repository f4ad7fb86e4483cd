//! The selected member: where it comes from, what it is, what went wrong.

use ratatui::text::Line;

use super::members::{job_of, metrics};
use super::{Tone, View, wrap};
use crate::report::history::{Generation, Member};
use crate::report::words::origin;
use crate::scheduler::member_log;
use crate::search::{Ancestor, Origin, base_lineage};
use crate::state::{Attempt, Ending};
use crate::watch::text::number;

/// What there is to say about the selected member.
pub fn lines(view: &View, width: usize) -> Vec<Line<'static>> {
    let app = view.app;
    let Some(latest) = app.history.latest() else { return Vec::new() };
    let (Some(member), Some(row)) = (latest.members.get(app.selected), app.board.rows.get(app.selected))
    else {
        return Vec::new();
    };
    let id = member.plan.id;
    let mut texts = vec![(
        format!(
            "{id}: {}, epoch {:.1} ({} to {}){}",
            row.standing.word(),
            row.epoch,
            latest.from_epoch,
            latest.to_epoch,
            row.fitness.map_or(String::new(), |fitness| format!(", fitness {}", number(fitness)))
        ),
        Tone::Strong,
    )];
    texts.push((
        format!("origin: {}; lineage: {}", origin(&member.plan.origin), lineage(view, latest, member)),
        Tone::Plain,
    ));
    if let Some(last) = member.attempts.last() {
        let job = job_of(member).map_or(String::new(), |job| format!(" as job {job}"));
        let ended = match &last.end {
            Some(end) => format!(", ended {} ago ({})", view.ago(end.ended), first_line(&last.reason())),
            None => String::new(),
        };
        let began = view.ago(last.start.started);
        let text = format!("attempt {} on {}{job}, begun {began} ago{ended}", last.number, last.start.host);
        texts.push((text, Tone::Plain));
        let log = member_log(latest.number, id, job_of(member));
        texts.push((format!("log {}/{log}", app.facts.folder), Tone::Plain));
    }
    let told = metrics(member);
    if !told.is_empty() {
        texts.push((told, Tone::Plain));
    }
    texts.push((genotype(member), Tone::Plain));
    if let Some((attempt, message)) = last_failure(member) {
        let text =
            format!("attempt {} failed on {}: {}", attempt.number, attempt.start.host, message.trim_end());
        texts.push((text, Tone::Bad));
    } else if let Some(reason) = member.failure() {
        texts.push((reason, Tone::Bad));
    }
    let lines = texts.into_iter().flat_map(|(text, tone)| {
        wrap(&text, width).into_iter().map(move |line| Line::from(view.span(line, tone)))
    });
    lines.collect()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The last attempt that failed, and why: with the end of what a program of the user's printed.
fn last_failure(member: &Member) -> Option<(&Attempt, &str)> {
    member.attempts.iter().rev().find_map(|attempt| match attempt.ending() {
        Some(Ending::Failed { message } | Ending::Hindered { message }) => Some((attempt, &**message)),
        _ => None,
    })
}

/// `01 (0 to 2) → 05 (3 to 7, with 2 of 04)`: the places in which its network was, from generation to generation.
fn lineage(view: &View, latest: &Generation, member: &Member) -> String {
    let history = &view.app.history;
    let planned = |ancestor: Ancestor| history.member(ancestor).map(|member| &member.plan.origin);
    let of = Ancestor { generation: latest.number, member: member.plan.id };
    let lineage = base_lineage(of, |ancestor| planned(ancestor).cloned());
    let begins = |ancestor: &Ancestor| planned(*ancestor).is_none_or(Origin::is_replacement);
    let mut stays: Vec<(Ancestor, u32)> = Vec::new();
    for ancestor in lineage {
        match stays.last_mut() {
            Some((_, last)) if !begins(&ancestor) => *last = ancestor.generation,
            _ => stays.push((ancestor, ancestor.generation)),
        }
    }
    let text = |(first, last): (Ancestor, u32)| {
        let with = match planned(first) {
            Some(Origin::Mix { donor, replaced, .. }) => format!(", with {} of {donor}", replaced.len()),
            Some(Origin::Mutation { .. }) => ", mutated".into(),
            _ => String::new(),
        };
        let until = if last > first.generation { format!(" to {last}") } else { String::new() };
        format!("{} ({}{until}{with})", first.member, first.generation)
    };
    stays.into_iter().map(text).collect::<Vec<_>>().join(" → ")
}

/// The values of its variables; those that came from the donor or were changed carry a star.
fn genotype(member: &Member) -> String {
    if member.plan.genotype.is_supernet() {
        return "a supernet: all options at once".into();
    }
    let is_new = |name: &str| match &member.plan.origin {
        Origin::Mix { replaced, explored, .. } => replaced.iter().chain(explored).any(|one| one == name),
        _ => false,
    };
    let value = |(name, value): (&str, &str)| {
        let value = match value.parse::<f64>() {
            Ok(number) if value.len() > 9 => crate::report::numbers::short(number),
            _ => value.to_owned(),
        };
        format!("{}{name}={value}", if is_new(name) { "*" } else { "" })
    };
    member.plan.genotype.iter().map(value).collect::<Vec<_>>().join(" ")
}
