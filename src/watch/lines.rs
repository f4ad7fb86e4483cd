//! Events as lines, for logs and for other programs.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use chrono::{DateTime, Local, SecondsFormat, Utc};

use super::events::{Event, events};
use super::facts::Facts;
use super::reader::{Reader, rest};
use crate::report::history::History;
use crate::state::Run;

/// Prints what has happened and what happens, one event a line, until the search is finished or nobody reads any more.
/// `json`: as JSON.
pub fn follow(run: &Run, interval: Duration, json: bool, out: &mut dyn Write) -> Result<()> {
    let facts = Facts::of(run);
    let (mut reader, mut history) = (Reader::new(run, &facts), History::default());
    let mut told: Option<String> = None;
    loop {
        let began = Instant::now();
        match reader.read() {
            Err(reason) => {
                if told.as_ref() != Some(&reason) {
                    eprintln!("pbtnas: {reason}; trying again");
                    told = Some(reason);
                }
            }
            Ok(news) => {
                told = None;
                let (from, best) = (news.from.min(history.generations.len()), news.figures.best);
                let last = news.generations.last().or(history.generations.last());
                let finished = last.is_some_and(|last| last.is_finished() && last.to_epoch >= facts.epochs);
                let seen = events(&history.generations[from..], &news.generations, finished.then_some(best));
                if !print(&seen, json, out)? || finished {
                    return Ok(());
                }
                news.update(&mut history);
            }
        }
        std::thread::sleep(rest(began.elapsed(), interval));
    }
}

/// Prints events; false if nobody reads them.
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

/// When it happened; what has no time has just been seen.
fn time_of(event: &Event) -> DateTime<Utc> {
    event.at.unwrap_or_else(Utc::now)
}
