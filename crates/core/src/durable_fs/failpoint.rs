//! Failpoints: places where a test kills this process or makes the next operation fail.
//!
//! Compiled in with the feature `failpoints` only. A process numbers its failpoints from 1 in the order in which it
//! reaches them. Two environment variables control them:
//!
//! - `PBTNAS_FAILPOINT=N:WHAT`, or `N+:WHAT` for all from N on; `WHAT` is `kill` or an errno (28 is "no space left on
//!   device");
//! - `PBTNAS_FAILPOINT_LOG=FILE`: appends a line per failpoint, to count them.

/// The environment variables; child processes and jobs must not inherit them.
pub const VARIABLES: [&str; 2] = ["PBTNAS_FAILPOINT", "PBTNAS_FAILPOINT_LOG"];

/// Marks a failpoint before an operation.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn reach(_operation: &'static str) -> std::io::Result<()> {
    Ok(())
}

#[cfg(feature = "failpoints")]
pub use armed::reach;

#[cfg(feature = "failpoints")]
mod armed {
    use std::io::{self, Write};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::VARIABLES;

    /// The parsed value of `PBTNAS_FAILPOINT`.
    struct Plan {
        number: u64,
        onwards: bool,
        /// Errno to return; none kills the process.
        error: Option<i32>,
    }

    fn plan() -> Option<Plan> {
        let text = std::env::var(VARIABLES[0]).ok()?;
        let (number, what) = text.split_once(':')?;
        Some(Plan {
            number: number.trim_end_matches('+').parse().ok()?,
            onwards: number.ends_with('+'),
            error: what.parse().ok(),
        })
    }

    /// Marks a failpoint before an operation; fails or kills the process if the plan says so.
    pub fn reach(operation: &'static str) -> io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
        let number = 1 + COUNT.fetch_add(1, Ordering::SeqCst);
        if let Some(path) = std::env::var_os(VARIABLES[1]) {
            let mut log = std::fs::File::options().create(true).append(true).open(path)?;
            log.write_all(format!("{operation}\n").as_bytes())?;
        }
        match PLAN.get_or_init(plan) {
            Some(plan) if number == plan.number || (plan.onwards && number > plan.number) => match plan.error
            {
                Some(error) => Err(io::Error::from_raw_os_error(error)),
                None => {
                    let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
                    Ok(())
                }
            },
            _ => Ok(()),
        }
    }
}
