//! Signals that ask to leave: SIGTERM (preemption, scancel), SIGUSR1 (time limit near), SIGINT (Ctrl-C).

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};

/// Tells whether a signal has come.
#[derive(Debug, Clone, Default)]
pub struct StopSignal(Arc<AtomicI32>);

/// A signal that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGUSR1: the scheduler's warning before the time limit.
    Warning,
    /// SIGINT.
    Interrupt,
}

impl Signal {
    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Warning => "SIGUSR1",
            Self::Interrupt => "SIGINT",
        }
    }
}

impl StopSignal {
    /// Listens from now on; `on_signal` runs in a thread of its own, at the first signal.
    pub fn listen(on_signal: impl FnOnce(Signal) + Send + 'static) -> std::io::Result<Self> {
        let stop = Self::default();
        let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGUSR1, SIGINT])?;
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

    /// As if SIGTERM had come.
    #[cfg(test)]
    pub fn raise(&self) {
        self.0.store(SIGTERM, Ordering::SeqCst);
    }

    /// The first signal that came, if one has.
    pub fn get(&self) -> Option<Signal> {
        match self.0.load(Ordering::SeqCst) {
            SIGTERM => Some(Signal::Terminate),
            SIGUSR1 => Some(Signal::Warning),
            SIGINT => Some(Signal::Interrupt),
            _ => None,
        }
    }
}
