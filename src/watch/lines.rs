//! Events as text or JSON lines.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use chrono::{DateTime, Local, SecondsFormat, Utc};

use super::events::{Event, events};
use super::reader::{RunReader, pause};
use super::run_info::RunInfo;
use crate::report::history::History;
use pbtnas_engine::run::Run;

/// Prints past and new events, one per line, until the search is finished or the output is closed.
pub fn follow(run: &Run, interval: Duration, json: bool, out: &mut dyn Write) -> Result<()> {
    let info = RunInfo::new(run);
    let (mut reader, mut history) = (RunReader::new(run, &info), History::default());
    let mut last_error: Option<String> = None;
    loop {
        let began = Instant::now();
        match reader.read() {
            Err(reason) => {
                if last_error.as_ref() != Some(&reason) {
                    eprintln!("pbtnas: {reason}; retrying");
                    last_error = Some(reason);
                }
            }
            Ok(update) => {
                last_error = None;
                let (from, best) = (update.from.min(history.generations.len()), update.estimates.best);
                let last = update.generations.last().or(history.generations.last());
                let finished = last.is_some_and(|last| last.is_finished() && last.to_epoch >= info.epochs);
                let seen =
                    events(&history.generations[from..], &update.generations, finished.then_some(best));
                if !print(&seen, json, out)? || finished {
                    return Ok(());
                }
                update.apply(&mut history);
            }
        }
        std::thread::sleep(pause(began.elapsed(), interval));
    }
}

/// Prints events; returns false if the output is closed.
fn print(events: &[Event], json: bool, out: &mut dyn Write) -> Result<bool> {
    for event in events {
        let line = match json {
            true => serde_json::to_string(&Event { at: Some(time_of(event)), ..event.clone() })?,
            false => {
                let local = time_of(event).with_timezone(&Local);
                format!("{} {event}", local.to_rfc3339_opts(SecondsFormat::Secs, false))
            }
        };
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(false),
            written => written.context("failed to print")?,
        }
    }
    Ok(true)
}

/// The time of an event; now, if no record has one.
fn time_of(event: &Event) -> DateTime<Utc> {
    event.at.unwrap_or_else(Utc::now)
}
