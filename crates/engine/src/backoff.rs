//! Delays between the retries of an operation.

use std::time::Duration;

use crate::signal::StopSignal;

/// The longest delay between retries.
const LONGEST: Duration = Duration::from_secs(60);
/// The interval at which a delay checks for signals.
const SLICE: Duration = Duration::from_millis(100);

/// Exponential backoff without an end: 1 s, 2 s, 4 s, … up to a minute.
#[derive(Debug, Clone, Copy)]
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(Duration::from_secs(1))
    }
}

impl Backoff {
    /// The next delay, which the following one doubles.
    pub fn next_delay(&mut self) -> Duration {
        let next = (self.0 * 2).min(LONGEST);
        std::mem::replace(&mut self.0, next)
    }
}

/// Calls `act` until it succeeds or `wait` returns false. `wait` is called with the error and the delay, and sleeps.
pub fn retry<T, E>(
    mut act: impl FnMut() -> Result<T, E>,
    mut wait: impl FnMut(&E, Duration) -> bool,
) -> Result<T, E> {
    let mut backoff = Backoff::default();
    loop {
        match act() {
            Err(error) if wait(&error, backoff.next_delay()) => {}
            other => return other,
        }
    }
}

/// Sleeps; false as soon as a signal has arrived.
pub fn sleep(delay: Duration, stop: &StopSignal) -> bool {
    let began = std::time::Instant::now();
    while let Some(rest) = delay.checked_sub(began.elapsed()) {
        if stop.get().is_some() {
            return false;
        }
        std::thread::sleep(rest.min(SLICE));
    }
    stop.get().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Signal;

    #[test]
    fn delays_double_up_to_a_minute() {
        let mut backoff = Backoff::default();
        let delays: Vec<u64> = (0..8).map(|_| backoff.next_delay().as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn an_operation_is_retried_until_it_succeeds_or_waiting_ends() {
        let mut delays = Vec::new();
        let mut results = [Err(1), Err(2), Ok("done")].into_iter();
        let done = retry(
            || results.next().unwrap(),
            |_, delay| {
                delays.push(delay.as_secs());
                true
            },
        );
        assert_eq!((done, delays), (Ok("done"), vec![1, 2]));
        let failed: Result<(), u8> = retry(|| Err(7), |_, delay| delay.as_secs() < 4);
        assert_eq!(failed, Err(7));
    }

    #[test]
    fn a_signal_ends_a_delay() {
        let stop = StopSignal::default();
        assert!(sleep(Duration::ZERO, &stop));
        stop.raise(Signal::Terminate);
        assert!(!sleep(Duration::from_secs(3600), &stop));
    }
}
