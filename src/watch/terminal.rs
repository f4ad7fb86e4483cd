//! The terminal: threads send keys, signals and updates; the main loop draws the screen.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use chrono::{Local, Utc};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{Event as Input, KeyEvent, KeyEventKind, read};

use super::app::App;
use super::jobs::Jobs;
use super::reader::{ReadEvent, RunReader, poll_jobs};
use super::run_info::RunInfo;
use super::screen::{Paint, draw};
use pbtnas_engine::run::Run;
use pbtnas_engine::signal::StopSignal;

/// Interval at which the clock and the ages are redrawn.
const TICK: Duration = Duration::from_secs(1);

enum ScreenMessage {
    Key(KeyEvent),
    Resized,
    Read(Box<ReadEvent>),
    Jobs(Box<Jobs>),
    /// A signal requests to quit.
    Quit,
    /// A thread ended unexpectedly.
    ThreadEnded(&'static str),
}

/// Shows a run until a key or a signal ends it; restores the terminal.
pub fn show(run: Run, interval: Duration) -> Result<()> {
    let paint = Paint { colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) };
    let run = Arc::new(run);
    let app = App::new(RunInfo::new(&run), *Local::now().offset());
    let (sender, messages) = channel();
    let quit = sender.clone();
    StopSignal::listen(move |_| drop(quit.send(ScreenMessage::Quit)))
        .context("failed to listen for signals")?;
    // Also restores the terminal on a panic.
    let terminal =
        ratatui::try_init().inspect_err(|_| ratatui::restore()).context("failed to set up the terminal")?;
    start_threads(&run, interval, &sender);
    let result = event_loop(terminal, app, paint, &messages);
    ratatui::restore();
    result
}

fn start_threads(run: &Arc<Run>, interval: Duration, sender: &Sender<ScreenMessage>) {
    let (shared, updates) = (Arc::clone(run), sender.clone());
    start("reader", true, sender, move || {
        let info = RunInfo::new(&shared);
        let send = |event| updates.send(ScreenMessage::Read(Box::new(event))).is_ok();
        RunReader::new(&shared, &info).poll(interval, send);
    });
    let (shared, updates) = (Arc::clone(run), sender.clone());
    start("queue", false, sender, move || {
        poll_jobs(&shared, |jobs| updates.send(ScreenMessage::Jobs(Box::new(jobs))).is_ok());
    });
    let keys = sender.clone();
    start("keyboard", true, sender, move || {
        while let Ok(input) = read() {
            let message = match input {
                Input::Key(key) if key.kind != KeyEventKind::Release => ScreenMessage::Key(key),
                Input::Resize(..) => ScreenMessage::Resized,
                _ => continue,
            };
            if keys.send(message).is_err() {
                return;
            }
        }
    });
}

/// Starts a thread; sends a message if it panics, or if it returns although it is `endless`.
fn start(
    name: &'static str,
    endless: bool,
    sender: &Sender<ScreenMessage>,
    act: impl FnOnce() + Send + 'static,
) {
    let ended = sender.clone();
    let thread = std::thread::spawn(act);
    std::thread::spawn(move || {
        if thread.join().is_err() || endless {
            let _ = ended.send(ScreenMessage::ThreadEnded(name));
        }
    });
}

fn event_loop(
    mut terminal: DefaultTerminal,
    mut app: App,
    paint: Paint,
    messages: &std::sync::mpsc::Receiver<ScreenMessage>,
) -> Result<()> {
    loop {
        let drawn: io::Result<_> = terminal.draw(|frame| draw(frame, &mut app, paint, Utc::now()));
        drawn.context("failed to draw on the terminal")?;
        // All pending messages are handled before the next redraw.
        let until = Instant::now() + TICK;
        let mut next = messages.recv_timeout(until.saturating_duration_since(Instant::now()));
        loop {
            match next {
                Ok(ScreenMessage::Key(key)) if app.press(key) => return Ok(()),
                Ok(ScreenMessage::Key(_) | ScreenMessage::Resized) => {}
                Ok(ScreenMessage::Read(event)) => app.on_read(*event, Utc::now()),
                Ok(ScreenMessage::Jobs(jobs)) => app.on_jobs(*jobs),
                Ok(ScreenMessage::Quit) => return Ok(()),
                Ok(ScreenMessage::ThreadEnded(name)) => bail!("the {name} thread ended unexpectedly"),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            next = messages.try_recv().map_err(|_| RecvTimeoutError::Timeout);
        }
    }
}
