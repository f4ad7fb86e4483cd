//! Parsers of SLURM's output. Pure; unknown states are [`JobState::Unknown`], not an error.

/// The state of a job in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// Waiting for resources, a dependency or its begin time.
    Pending,
    /// Waiting for `scontrol release`.
    Held,
    /// Waiting for a dependency that can never be satisfied.
    DependencyFailed,
    /// Running, or being started on its nodes.
    Running,
    /// Ended; its nodes may still be completing it.
    Ended,
    /// An unknown state. It counts as alive, so that no work is submitted twice.
    Unknown,
}

impl JobState {
    /// Whether the job may still run.
    pub fn alive(self) -> bool {
        self != Self::Ended
    }
}

/// A line of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// `123`, or `123_4` for a task of an array.
    pub id: String,
    pub name: String,
    pub state: JobState,
    /// SLURM's reason for a pending job.
    pub reason: String,
    /// The nodes of a running job; empty before it starts.
    pub node: String,
    /// The dependency as SLURM writes it (`afterany:12_*(unfulfilled)`); empty without one.
    pub dependency: String,
}

/// The format that [`queue`] reads: `squeue --noheader --array --format`.
pub const QUEUE_FORMAT: &str = "%i|%T|%r|%N|%E|%j";

/// Parses the lines of `squeue` in [`QUEUE_FORMAT`]; other lines are skipped.
pub fn queue(output: &str) -> Vec<Job> {
    output
        .lines()
        .filter_map(|line| {
            let mut fields = line.trim().splitn(6, '|');
            let mut next = || fields.next();
            let (id, state, reason, node, dependency, name) =
                (next()?, next()?, next()?, next()?, next()?, next()?);
            Some(Job {
                id: id.into(),
                name: name.into(),
                state: job_state(state, reason),
                reason: reason.into(),
                node: node.into(),
                dependency: if dependency == "(null)" { String::new() } else { dependency.into() },
            })
        })
        .collect()
}

pub(super) fn job_state(state: &str, reason: &str) -> JobState {
    match state {
        // JobHeldUser, JobHeldAdmin, and "launch failed requeued held".
        "PENDING" | "REQUEUE_HOLD" | "SPECIAL_EXIT" if reason.to_ascii_lowercase().contains("held") => {
            JobState::Held
        }
        "PENDING" if reason == "DependencyNeverSatisfied" => JobState::DependencyFailed,
        "PENDING" | "REQUEUED" | "REQUEUE_FED" | "REQUEUE_HOLD" | "SPECIAL_EXIT" | "RESV_DEL_HOLD" => {
            JobState::Pending
        }
        "RUNNING" | "CONFIGURING" | "SUSPENDED" | "STOPPED" | "SIGNALING" | "RESIZING" | "STAGE_OUT" => {
            JobState::Running
        }
        "COMPLETED" | "COMPLETING" | "CANCELLED" | "FAILED" | "TIMEOUT" | "NODE_FAIL" | "PREEMPTED"
        | "BOOT_FAIL" | "DEADLINE" | "OUT_OF_MEMORY" | "REVOKED" => JobState::Ended,
        _ => JobState::Unknown,
    }
}

/// Whether an error message of a SLURM command is transient: the controller is unavailable or busy, or a limit on jobs
/// in the queue is reached. Other errors (e.g. a wrong partition) fail at once.
pub fn is_transient(message: &str) -> bool {
    // As in SLURM 20 to 25 (slurm_errno.c). Job limits also appear as the reason of a refusal.
    const TRANSIENT_ERRORS: [&str; 16] = [
        "unable to contact slurm controller",
        "slurm backup controller in standby",
        "socket timed out",
        "connection refused",
        "connection timed out",
        "connection reset",
        "zero bytes were transmitted",
        "unexpected message received",
        "communication connection failure",
        "communication shutdown failure",
        "temporarily un",
        "authentication credential",
        "violates accounting/qos policy",
        "submitjob",
        "submit job limit",
        "transport endpoint",
    ];
    let message = message.to_ascii_lowercase();
    TRANSIENT_ERRORS.iter().any(|known| message.contains(known))
}

/// Parses the job id that `sbatch --parsable` prints: `123` or `123;cluster`.
pub fn submitted(output: &str) -> Option<String> {
    let id = output.lines().next_back()?.split(';').next()?.trim();
    (!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())).then(|| id.to_owned())
}

/// `MaxArraySize` in the output of `scontrol show config`.
pub fn max_array_size(output: &str) -> Option<u32> {
    let line = output.lines().find(|line| line.trim_start().starts_with("MaxArraySize"))?;
    line.split('=').nth(1)?.trim().parse().ok()
}

/// Formats sorted array indices as SLURM does: `0,3-5,9`.
pub fn array_spec(indices: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &index in indices {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(index) => *last = index,
            _ => ranges.push((index, index)),
        }
    }
    let range = |(first, last): (u32, u32)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.into_iter().map(range).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn squeue_output_is_parsed() {
        let output = "12_0|RUNNING|None|n1|(null)|pbtnas-a\n12_1|PENDING|JobHeldUser|||pbtnas-a\n\
                      13|PENDING|Dependency||afterany:12_*(unfulfilled)|pbtnas-a-step\n\
                      14|SIDEWAYS|None|||x|y\nnonsense\n12_2|PENDING|launch failed requeued held|||a\n\
                      17|PENDING|DependencyNeverSatisfied|||b\n15|PENDING|BeginTime|||z\n\
                      16|COMPLETING|None|n2||z\n";
        let jobs = queue(output);
        let states: Vec<JobState> = jobs.iter().map(|job| job.state).collect();
        use JobState::{DependencyFailed, Ended, Held, Pending, Running, Unknown};
        assert_eq!(states, [Running, Held, Pending, Unknown, Held, DependencyFailed, Pending, Ended]);
        assert_eq!((&*jobs[0].id, &*jobs[0].node, &*jobs[0].dependency), ("12_0", "n1", ""));
        assert_eq!(jobs[2].dependency, "afterany:12_*(unfulfilled)");
        assert_eq!(jobs[3].name, "x|y");
        assert!(Unknown.alive() && !Ended.alive());
    }

    #[test]
    fn transient_errors_are_recognised() {
        for message in [
            "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
            "sbatch: error: Batch job submission failed: Resource temporarily unavailable",
            "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates \
             accounting/QOS policy (job submit limit, user's size and/or time limits)",
            "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        ] {
            assert!(is_transient(message), "{message}");
        }
        for message in
            ["invalid partition specified: x", "Invalid account or account/partition combination", ""]
        {
            assert!(!is_transient(message), "{message}");
        }
    }

    #[test]
    fn job_ids_and_array_sizes() {
        assert_eq!(submitted("123\n"), Some("123".into()));
        assert_eq!(submitted("sbatch: a notice\n123;cluster\n"), Some("123".into()));
        assert_eq!(submitted("Submitted batch job 5"), None);
        assert_eq!(submitted(""), None);
        let config = "MailProg                = /bin/mail\nMaxArraySize            = 1001\n";
        assert_eq!(max_array_size(config), Some(1001));
        assert_eq!(array_spec(&[0, 3, 4, 5, 9]), "0,3-5,9");
        assert_eq!(array_spec(&[]), "");
        assert_eq!(array_spec(&[u32::MAX, u32::MAX]), "4294967295,4294967295");
    }

    proptest! {
        #[test]
        fn array_specs_round_trip(indices in prop::collection::btree_set(0u32..50, 0..30)) {
            let indices: Vec<u32> = indices.into_iter().collect();
            let mut read = Vec::new();
            for part in array_spec(&indices).split(',').filter(|part| !part.is_empty()) {
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                read.extend(first.parse::<u32>().unwrap()..=last.parse().unwrap());
            }
            prop_assert_eq!(read, indices);
        }

        #[test]
        fn no_output_panics(output: String) {
            queue(&output);
            submitted(&output);
            max_array_size(&output);
        }
    }
}
