//! The terminal: keys, signals and news come in, the screen goes out.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use chrono::{Local, Utc};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{Event as Input, KeyEvent, KeyEventKind, read};

use super::app::App;
use super::facts::Facts;
use super::jobs::Jobs;
use super::reader::{Read, Reader, ask_for_jobs};
use super::screen::{Paint, draw};
use crate::signal::StopSignal;
use crate::state::Run;

/// The clock and the ages are drawn anew so often.
const TICK: Duration = Duration::from_secs(1);

/// What can happen.
enum Message {
    Key(KeyEvent),
    Resized,
    Read(Box<Read>),
    Jobs(Box<Jobs>),
    /// A signal asks to leave.
    Leave,
    /// A thread ended that should not.
    Lost(&'static str),
}

/// Shows a run until a key or a signal ends it, and leaves the terminal as it was.
pub fn show(run: Run, interval: Duration) -> Result<()> {
    let paint = Paint { colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) };
    let run = Arc::new(run);
    let app = App::new(Facts::of(&run), *Local::now().offset());
    let (sender, messages) = channel();
    let leave = sender.clone();
    StopSignal::listen(move |_| drop(leave.send(Message::Leave))).context("failed to listen for signals")?;
    // It restores the terminal when something panics, too.
    let terminal =
        ratatui::try_init().inspect_err(|_| ratatui::restore()).context("failed to set up the terminal")?;
    listen(&run, interval, &sender);
    let ended = go_on(terminal, app, paint, &messages);
    ratatui::restore();
    ended
}

/// Starts the threads that read, ask and listen.
fn listen(run: &Arc<Run>, interval: Duration, sender: &Sender<Message>) {
    let (own, news) = (Arc::clone(run), sender.clone());
    start("reads the run", true, sender, move || {
        let facts = Facts::of(&own);
        Reader::new(&own, &facts).go_on(interval, |read| news.send(Message::Read(Box::new(read))).is_ok());
    });
    let (own, news) = (Arc::clone(run), sender.clone());
    start("asks for jobs", false, sender, move || {
        ask_for_jobs(&own, |jobs| news.send(Message::Jobs(Box::new(jobs))).is_ok());
    });
    let keys = sender.clone();
    start("reads keys", true, sender, move || {
        while let Ok(input) = read() {
            let message = match input {
                Input::Key(key) if key.kind != KeyEventKind::Release => Message::Key(key),
                Input::Resize(..) => Message::Resized,
                _ => continue,
            };
            if keys.send(message).is_err() {
                return;
            }
        }
    });
}

/// Starts a thread, and tells when it panics, or ends although it should `last`.
fn start(what: &'static str, last: bool, sender: &Sender<Message>, act: impl FnOnce() + Send + 'static) {
    let gone = sender.clone();
    let thread = std::thread::spawn(act);
    std::thread::spawn(move || {
        if thread.join().is_err() || last {
            let _ = gone.send(Message::Lost(what));
        }
    });
}

fn go_on(
    mut terminal: DefaultTerminal,
    mut app: App,
    paint: Paint,
    messages: &std::sync::mpsc::Receiver<Message>,
) -> Result<()> {
    loop {
        let drawn: io::Result<_> = terminal.draw(|frame| draw(frame, &mut app, paint, Utc::now()));
        drawn.context("failed to draw on the terminal")?;
        // All that has come is taken in before anything is drawn again.
        let until = Instant::now() + TICK;
        let mut next = messages.recv_timeout(until.saturating_duration_since(Instant::now()));
        loop {
            match next {
                Ok(Message::Key(key)) if app.press(key) => return Ok(()),
                Ok(Message::Key(_) | Message::Resized) => {}
                Ok(Message::Read(read)) => app.hear(*read, Utc::now()),
                Ok(Message::Jobs(jobs)) => app.hear_of_jobs(*jobs),
                Ok(Message::Leave) => return Ok(()),
                Ok(Message::Lost(what)) => bail!("the thread that {what} ended"),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            next = messages.try_recv().map_err(|_| RecvTimeoutError::Timeout);
        }
    }
}
