//! Signals that request a graceful exit: SIGTERM (preemption, scancel), SIGUSR1 (near the time limit), SIGINT (Ctrl-C)
//! and optionally SIGHUP (closed terminal).

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

/// Records the first signal that the process receives.
#[derive(Debug, Clone, Default)]
pub struct StopSignal(Arc<AtomicI32>);

/// A received signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGUSR1: the scheduler's warning before the time limit.
    Warning,
    /// SIGINT.
    Interrupt,
    /// SIGHUP: the terminal was closed.
    Hangup,
}

impl Signal {
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Warning => "SIGUSR1",
            Self::Interrupt => "SIGINT",
            Self::Hangup => "SIGHUP",
        }
    }
}

impl StopSignal {
    /// Starts listening. `on_signal` runs in a separate thread at the first signal.
    pub fn listen(on_signal: impl FnOnce(Signal) + Send + 'static) -> std::io::Result<Self> {
        Self::listen_to(&[SIGTERM, SIGUSR1, SIGINT], on_signal)
    }

    /// Like [`Self::listen`], and also handles SIGHUP unless the process ignores it (nohup).
    pub fn listen_at_terminal(on_signal: impl FnOnce(Signal) + Send + 'static) -> std::io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        match is_ignored(&status, SIGHUP) {
            true => Self::listen(on_signal),
            false => Self::listen_to(&[SIGTERM, SIGUSR1, SIGINT, SIGHUP], on_signal),
        }
    }

    fn listen_to(numbers: &[i32], on_signal: impl FnOnce(Signal) + Send + 'static) -> std::io::Result<Self> {
        let stop = Self::default();
        let mut signals = signal_hook::iterator::Signals::new(numbers)?;
        let shared = stop.clone();
        std::thread::spawn(move || {
            let mut on_signal = Some(on_signal);
            for number in signals.forever() {
                let _ = shared.0.compare_exchange(0, number, Ordering::SeqCst, Ordering::SeqCst);
                if let (Some(on_signal), Some(signal)) = (on_signal.take(), shared.get()) {
                    on_signal(signal);
                }
            }
        });
        Ok(stop)
    }

    /// Records a signal as if it had been received, unless one has been received already.
    pub fn raise(&self, signal: Signal) {
        let number = match signal {
            Signal::Terminate => SIGTERM,
            Signal::Warning => SIGUSR1,
            Signal::Interrupt => SIGINT,
            Signal::Hangup => SIGHUP,
        };
        let _ = self.0.compare_exchange(0, number, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// The first received signal.
    pub fn get(&self) -> Option<Signal> {
        match self.0.load(Ordering::SeqCst) {
            SIGTERM => Some(Signal::Terminate),
            SIGUSR1 => Some(Signal::Warning),
            SIGINT => Some(Signal::Interrupt),
            SIGHUP => Some(Signal::Hangup),
            _ => None,
        }
    }
}

/// Whether a process ignores a signal according to /proc/PID/status.
fn is_ignored(status: &str, number: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (number - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_recognised() {
        let status = "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert!(is_ignored(status, SIGHUP));
        assert!(!is_ignored(status, SIGINT) && !is_ignored("", SIGHUP) && !is_ignored("SigIgn:\tx", SIGHUP));
    }

    #[test]
    fn signal_names() {
        let names = [SIGTERM, SIGUSR1, SIGINT, SIGHUP].map(|number| {
            let stop = StopSignal::default();
            stop.0.store(number, Ordering::SeqCst);
            stop.get().map(Signal::name)
        });
        assert_eq!(names, [Some("SIGTERM"), Some("SIGUSR1"), Some("SIGINT"), Some("SIGHUP")]);
    }
}
