//! The selected member: origin, attempt, genotype, last failure.

use ratatui::widgets::Paragraph;

use super::members::metrics;
use super::{PaneContent, Tone, View, wrapped};
use crate::report::history::{Generation, Member};
use crate::report::words::origin;
use crate::watch::jobs::last_job;
use crate::watch::text::number;
use pbtnas_core::run::{Attempt, AttemptEnd};
use pbtnas_core::search::{Ancestor, Origin, base_lineage};
use pbtnas_engine::scheduler::member_log;

pub fn content(view: &View) -> PaneContent {
    let app = view.app;
    let Some((latest, member, row)) = app.history.latest().and_then(|latest| {
        Some((latest, latest.members.get(app.selected)?, app.snapshot.rows.get(app.selected)?))
    }) else {
        return PaneContent::Text(Paragraph::default());
    };
    let id = member.plan.id;
    let fitness = row.fitness.map_or(String::new(), |fitness| format!(", fitness {}", number(fitness)));
    let (state, epochs) = (row.state.name(), format!("{} to {}", latest.from_epoch, latest.to_epoch));
    let mut lines =
        view.lines(&format!("{id}: {state}, epoch {:.1} ({epochs}){fitness}", row.epoch), Tone::Strong);
    let mut add = |text: &str, tone| lines.extend(view.lines(text, tone));
    let (origin, lineage) = (origin(&member.plan.origin), lineage(view, latest, member));
    add(&format!("origin: {origin}; lineage: {lineage}"), Tone::Plain);
    if let Some(last) = member.attempts.last() {
        let job = last_job(member).map_or(String::new(), |job| format!(" as job {job}"));
        let ended = match &last.end {
            Some(end) => {
                let reason = last.reason();
                let reason = reason.lines().next().unwrap_or_default();
                format!(", ended {} ago ({reason})", view.ago(end.ended))
            }
            None => String::new(),
        };
        let (number, host, started) = (last.number, &last.start.host, view.ago(last.start.started));
        add(&format!("attempt {number} on {host}{job}, started {started} ago{ended}"), Tone::Plain);
        let log = member_log(latest.number, id, last_job(member));
        add(&format!("log {}/{log}", app.info.folder), Tone::Plain);
    }
    add(&metrics(member), Tone::Plain);
    add(&genotype(member), Tone::Plain);
    if let Some((attempt, message)) = last_failure(member) {
        let (number, host) = (attempt.number, &attempt.start.host);
        add(&format!("attempt {number} failed on {host}: {}", message.trim_end()), Tone::Bad);
    } else if let Some(reason) = member.failure() {
        add(&reason, Tone::Bad);
    }
    PaneContent::Text(wrapped(lines))
}

/// The last failed attempt, with its error message.
fn last_failure(member: &Member) -> Option<(&Attempt, &str)> {
    member.attempts.iter().rev().find_map(|attempt| match attempt.ending() {
        Some(AttemptEnd::Failed { message } | AttemptEnd::StorageFailed { message }) => {
            Some((attempt, &**message))
        }
        _ => None,
    })
}

/// The member ids of its network by generation: `01 (0 to 2) → 05 (3 to 7, with 2 of 04)`.
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

/// The values of the variables; a star marks those that were taken from the donor or explored.
fn genotype(member: &Member) -> String {
    if member.plan.genotype.is_supernet() {
        return "supernet (all options)".into();
    }
    let is_new = |name: &str| match &member.plan.origin {
        Origin::Mix { replaced, explored, .. } => replaced.iter().chain(explored).any(|one| one == name),
        _ => false,
    };
    let value = |(name, value): (&str, &str)| {
        let value = match value.parse::<f64>() {
            Ok(number) if value.len() > 9 => crate::fmt::short(number),
            _ => value.to_owned(),
        };
        format!("{}{name}={value}", if is_new(name) { "*" } else { "" })
    };
    member.plan.genotype.iter().map(value).collect::<Vec<_>>().join(" ")
}
