//! A parallel map over a slice.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Applies `act` to each item, on all cores, and returns the results in order. After an error no further item is
/// started, and the first error in order is returned.
pub fn each<T: Sync, R: Send, E: Send>(
    things: &[T],
    act: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(things.len());
    let turn = AtomicUsize::new(0);
    let mut done: Vec<(usize, Result<R, E>)> = std::thread::scope(|scope| {
        let work = || {
            let mut done = Vec::new();
            loop {
                let at = turn.fetch_add(1, Ordering::Relaxed);
                let Some(thing) = things.get(at) else { return done };
                let made = act(thing);
                if made.is_err() {
                    turn.store(things.len(), Ordering::Relaxed);
                }
                done.push((at, made));
            }
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().flat_map(join).collect()
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, made)| made).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order() {
        let things: Vec<u64> = (0..100).collect();
        let slow_first = |thing: &u64| {
            std::thread::sleep(std::time::Duration::from_micros(100 - thing));
            Ok::<_, ()>(thing * thing)
        };
        assert_eq!(
            each(&things, slow_first).unwrap(),
            things.iter().map(|thing| thing * thing).collect::<Vec<_>>()
        );
        assert_eq!(each(&[], slow_first).unwrap(), Vec::<u64>::new());
    }

    #[test]
    fn error_stops_early() {
        let begun = AtomicUsize::new(0);
        let things: Vec<usize> = (0..1000).collect();
        let made = each(&things, |thing| {
            begun.fetch_add(1, Ordering::Relaxed);
            if *thing == 3 {
                return Err(*thing);
            }
            // Long enough for the error to be noticed before all items are processed.
            std::thread::sleep(std::time::Duration::from_millis(1));
            Ok(())
        });
        assert_eq!(made, Err(3));
        assert!(begun.into_inner() < 1000);
    }
}
