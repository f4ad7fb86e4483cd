//! The output of a program: it is copied to the member's log and counted, and its end is kept for messages.

use std::collections::VecDeque;
use std::io::{PipeReader, Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::printable::plain;

/// Bytes kept for messages.
const KEPT: usize = 8 << 10;
/// Lines that a message shows.
const LINES: usize = 12;

/// The output of a running program.
#[derive(Debug)]
pub struct Output {
    heard: Arc<Mutex<Heard>>,
    /// Disconnects at the end of the output.
    ended: Receiver<()>,
}

#[derive(Debug)]
struct Heard {
    bytes: u64,
    last: Instant,
    tail: VecDeque<u8>,
}

impl Output {
    /// Starts a thread that reads a pipe to its end and copies up to `limit` bytes to standard error.
    pub fn of(pipe: PipeReader, limit: u64) -> Self {
        let heard = Heard { bytes: 0, last: Instant::now(), tail: VecDeque::new() };
        let heard = Arc::new(Mutex::new(heard));
        let (end, ended) = channel();
        let shared = heard.clone();
        std::thread::spawn(move || listen(pipe, limit, &shared, end));
        Self { heard, ended }
    }

    fn with<T>(&self, look: impl FnOnce(&Heard) -> T) -> T {
        look(&self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Number of bytes printed.
    pub fn bytes(&self) -> u64 {
        self.with(|heard| heard.bytes)
    }

    /// The time of the latest output.
    pub fn last(&self) -> Instant {
        self.with(|heard| heard.last)
    }

    /// Waits until the output is read to its end, for at most a second: an orphaned process may keep the pipe open.
    pub fn settle(&self) {
        let _ = self.ended.recv_timeout(Duration::from_secs(1));
    }

    /// The last lines of the output, indented for a message; empty without output.
    pub fn last_lines(&self) -> String {
        let tail: Vec<u8> = self.with(|heard| heard.tail.iter().copied().collect());
        let text = String::from_utf8_lossy(&tail);
        let lines: Vec<String> = text.lines().map(plain).filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(LINES)..].iter().map(|line| format!("\n    {line}")).collect()
    }
}

fn listen(mut pipe: PipeReader, limit: u64, heard: &Mutex<Heard>, _end: Sender<()>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        let before = {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            let before = heard.bytes;
            heard.bytes += count as u64;
            heard.last = Instant::now();
            heard.tail.extend(&buffer[..count]);
            let excess = heard.tail.len().saturating_sub(KEPT);
            heard.tail.drain(..excess);
            before
        };
        let room = limit.saturating_sub(before).min(count as u64) as usize;
        // The pipe must be drained even if the log cannot be written.
        let _ = std::io::stderr().write_all(&buffer[..room]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_lines_are_kept_and_all_bytes_are_counted() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let output = Output::of(reader, 10);
        for number in 0..10_000 {
            writeln!(writer, "line {number}").unwrap();
        }
        drop(writer);
        output.settle();
        assert_eq!(
            output.bytes(),
            (0..10_000).map(|number| format!("line {number}\n").len() as u64).sum::<u64>()
        );
        let lines = output.last_lines();
        assert!(lines.starts_with("\n    line 9988") && lines.ends_with("\n    line 9999"), "{lines}");
    }
}
