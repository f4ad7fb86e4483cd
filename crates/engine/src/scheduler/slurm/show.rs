//! Parsers of the output of `scontrol show` and `sacctmgr`. Pure; missing and unknown values are `None`.

use super::units::{self, Gres, Limit};

/// SLURM's default `MaxArraySize`.
pub const DEFAULT_MAX_ARRAY_SIZE: u32 = 1001;

/// The relevant part of `scontrol show config`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlurmSettings {
    pub name: String,
    /// Array indices are below it.
    pub max_array_size: Option<u32>,
    /// The controller's limit on jobs of all users; every array task counts.
    pub max_job_count: Option<u64>,
    /// Whether jobs are requeued by default.
    pub job_requeue: Option<bool>,
    /// Seconds between SIGTERM and SIGKILL.
    pub kill_wait: Option<u64>,
    /// Which jobs preempt others.
    pub preemption: Preemption,
    /// What happens to preempted jobs, unless the partition overrides it.
    pub preempted: Preempted,
    /// Whether jobs with a dependency that cannot be satisfied are cancelled (`kill_invalid_depend`).
    pub kills_invalid_dependencies: bool,
    /// Whether a job requires an account in the accounting database.
    pub accounts_enforced: bool,
    /// Whether the limits in the accounting database are enforced.
    pub limits_enforced: bool,
}

/// Which jobs preempt others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Preemption {
    #[default]
    None,
    /// Jobs in a partition with a higher priority tier.
    ByPartition,
    /// Jobs with a higher quality of service.
    ByQos,
}

/// What happens to a preempted job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Preempted {
    /// Jobs are not preempted.
    #[default]
    Never,
    Cancelled,
    /// It ends and is requeued if it allows that.
    Requeued,
    /// It pauses and resumes later.
    Suspended,
}

impl Preempted {
    fn read(text: &str) -> Self {
        let text = text.to_ascii_uppercase();
        match () {
            () if text.contains("SUSPEND") => Self::Suspended,
            () if text.contains("REQUEUE") => Self::Requeued,
            () if text.contains("CANCEL") => Self::Cancelled,
            // OFF, or GANG alone, which timeslices jobs.
            () => Self::Never,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    pub name: String,
    /// Whether it is the partition of jobs that do not request one.
    pub default: bool,
    /// As SLURM writes it: `UP`, `DOWN`, `DRAIN`, `INACTIVE`.
    pub state: String,
    /// The maximum time limit of a job.
    pub max_time: Option<Limit>,
    /// The time limit of a job that does not request one.
    pub default_time: Option<Limit>,
    /// Seconds between the warning of a preempted job and its end.
    pub grace_time: u64,
    /// What happens to its jobs when they are preempted.
    pub preempted: Preempted,
    /// Jobs in partitions with a higher tier may preempt its jobs.
    pub priority_tier: u64,
    /// The accounts that may use it; all if `None`.
    pub accounts: Option<Vec<String>>,
    /// The qualities of service that may use it; all if `None`.
    pub qos: Option<Vec<String>>,
}

impl Partition {
    /// Whether it accepts and starts jobs.
    pub fn is_up(&self) -> bool {
        self.state == "UP"
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// SLURM's name of the node.
    pub name: String,
    /// The host name of the machine.
    pub host: String,
    /// CPUs available to jobs.
    pub cpus: Option<u64>,
    /// MiB available to jobs.
    pub memory: Option<u64>,
    pub gres: Vec<Gres>,
    /// The features for `--constraint`.
    pub features: Vec<String>,
    pub partitions: Vec<String>,
    /// As SLURM writes it: `IDLE`, `MIXED+DRAIN`, `DOWN*`.
    pub state: String,
}

impl NodeInfo {
    /// Whether it accepts jobs now or once other jobs have ended.
    pub fn usable(&self) -> bool {
        const NOT: [&str; 8] = ["DOWN", "DRAIN", "DRAINED", "DRAINING", "FAIL", "FAILING", "ERROR", "FUTURE"];
        // An asterisk means that the node does not respond. The other marks concern power saving.
        !self.state.contains('*')
            && !self.state.contains("NOT_RESPONDING")
            && !self
                .state
                .split('+')
                .any(|part| NOT.contains(&part.trim_end_matches(['~', '#', '!', '%', '$', '@'])))
    }
}

/// The limits of a user in an account of the accounting database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Association {
    pub account: String,
    /// The partition, if the association is limited to one.
    pub partition: Option<String>,
    /// The limit on jobs in the queue; every array task counts.
    pub max_submit: Option<u64>,
    /// The limit on running jobs.
    pub max_jobs: Option<u64>,
}

/// The format that [`associations`] parses: `sacctmgr --noheader --parsable2 show associations format=`.
pub const ASSOCIATION_FORMAT: &str = "account,partition,maxsubmitjobs,maxjobs";

/// Parses `scontrol show config`.
pub fn settings(output: &str) -> SlurmSettings {
    let value = |key: &str| {
        output.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            let value = value.trim();
            (name.trim() == key && value != "(null)").then_some(value)
        })
    };
    let number = |key: &str| value(key)?.split_whitespace().next()?.parse::<u64>().ok();
    let has = |key: &str, some: &[&str]| {
        let mut words = value(key).unwrap_or_default().split(',');
        words.any(|word| some.iter().any(|one| one.eq_ignore_ascii_case(word.trim())))
    };
    let preemption = match value("PreemptType").unwrap_or_default() {
        name if name.ends_with("/partition_prio") => Preemption::ByPartition,
        name if name.ends_with("/qos") => Preemption::ByQos,
        _ => Preemption::None,
    };
    SlurmSettings {
        name: value("ClusterName").unwrap_or_default().into(),
        max_array_size: number("MaxArraySize").and_then(|size| size.try_into().ok()),
        max_job_count: number("MaxJobCount"),
        job_requeue: number("JobRequeue").map(|number| number != 0),
        kill_wait: number("KillWait"),
        preemption,
        preempted: value("PreemptMode").map(Preempted::read).unwrap_or_default(),
        kills_invalid_dependencies: has("DependencyParameters", &["kill_invalid_depend"]),
        // The other values imply "associations", and "safe" implies "limits" (slurm.conf(5)).
        accounts_enforced: has("AccountingStorageEnforce", &["associations", "limits", "qos", "safe", "all"]),
        limits_enforced: has("AccountingStorageEnforce", &["limits", "safe", "all"]),
    }
}

/// Parses `scontrol show partition`.
pub fn partitions(output: &str) -> Vec<Partition> {
    let read = |record: Record| {
        let list = |key: &str| {
            let value = record.get(key).filter(|value| !value.eq_ignore_ascii_case("all"))?;
            Some(value.split(',').map(str::to_owned).collect())
        };
        Some(Partition {
            name: record.get("PartitionName")?.into(),
            default: record.get("Default") == Some("YES"),
            state: record.get("State").unwrap_or("UP").to_ascii_uppercase(),
            max_time: record.get("MaxTime").and_then(units::limit),
            default_time: record.get("DefaultTime").and_then(units::limit),
            grace_time: record.number("GraceTime").unwrap_or(0),
            preempted: record.get("PreemptMode").map(Preempted::read).unwrap_or_default(),
            priority_tier: record.number("PriorityTier").unwrap_or(1),
            accounts: list("AllowAccounts"),
            qos: list("AllowQos"),
        })
    };
    records(output, "PartitionName").into_iter().filter_map(read).collect()
}

/// Parses `scontrol show node`.
pub fn nodes(output: &str) -> Vec<NodeInfo> {
    let read = |record: Record| {
        let name = record.get("NodeName")?;
        let list = |key: &str| {
            let words = record.get(key).unwrap_or_default().split(',');
            words.map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        let reserved = record.number("MemSpecLimit").unwrap_or(0);
        Some(NodeInfo {
            name: name.into(),
            host: record.get("NodeHostName").unwrap_or(name).into(),
            cpus: record.number("CPUEfctv").or(record.number("CPUTot")),
            memory: record.number("RealMemory").map(|memory| memory.saturating_sub(reserved)),
            gres: record.get("Gres").map(units::gres).unwrap_or_default(),
            features: list("AvailableFeatures"),
            partitions: list("Partitions"),
            state: record.get("State").unwrap_or("UNKNOWN").to_ascii_uppercase(),
        })
    };
    records(output, "NodeName").into_iter().filter_map(read).collect()
}

/// Parses `sacctmgr show associations` in [`ASSOCIATION_FORMAT`]; other lines are skipped.
pub fn associations(output: &str) -> Vec<Association> {
    let read = |line: &str| {
        let fields: Vec<&str> = line.trim().split('|').collect();
        let [account, partition, max_submit, max_jobs] = fields.as_slice() else { return None };
        let partition = Some(*partition).filter(|name| !name.is_empty()).map(str::to_owned);
        (!account.is_empty()).then(|| Association {
            account: (*account).into(),
            partition,
            max_submit: max_submit.parse().ok(),
            max_jobs: max_jobs.parse().ok(),
        })
    };
    output.lines().filter_map(read).collect()
}

/// Whether `scontrol ping` reports a controller that is up.
pub fn is_controller_up(output: &str) -> bool {
    output.lines().any(|line| line.trim_end().ends_with("is UP"))
}

/// The state, reason and nodes of a job in `scontrol show job`.
pub fn job(output: &str) -> Option<(String, String, String)> {
    let record = records(output, "JobId").into_iter().next()?;
    let value = |key: &str| record.get(key).unwrap_or_default().to_owned();
    Some((record.get("JobState")?.to_owned(), value("Reason"), value("NodeList")))
}

/// A running job in `scontrol --details show job`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningJob {
    /// Whether it has a batch script and can therefore be requeued.
    pub batch: bool,
    pub limit: Option<Limit>,
    /// Seconds since its start.
    pub ran: u64,
    /// The node list as SLURM writes it.
    pub nodes: String,
    /// Its resources, node by node.
    pub shares: Vec<NodeAllocation>,
}

/// The resources that a job has on each of `nodes` nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAllocation {
    pub nodes: u64,
    pub cpus: u64,
    /// In MiB; 0 where the cluster does not track memory.
    pub memory: u64,
    pub gres: Vec<Gres>,
}

impl RunningJob {
    /// Seconds until its time limit, if there is one.
    pub fn left(&self) -> Option<u64> {
        match self.limit? {
            Limit::Seconds(limit) => Some(limit.saturating_sub(self.ran)),
            Limit::Unlimited => None,
        }
    }
}

/// Parses `scontrol --details show job`.
pub fn running_job(output: &str) -> Option<RunningJob> {
    let job = records(output, "JobId").into_iter().next()?;
    // The first component of a heterogeneous job: this process runs in it.
    let end = output.match_indices("JobId=").nth(1).map_or(output.len(), |(at, _)| at);
    let share = |record: Record| {
        // A job name may contain `Nodes=`; a line of resources continues with CPU_IDs.
        (record.0.get(1)?.0 == "CPU_IDs").then_some(())?;
        Some(NodeAllocation {
            nodes: units::hosts(record.get("Nodes")?)?,
            cpus: units::numbers(record.get("CPU_IDs")?)?,
            memory: record.get("Mem").and_then(units::mebibytes).unwrap_or(0),
            gres: record.get("GRES").map(units::gres).unwrap_or_default(),
        })
    };
    let ran = match record_limit(&job, "RunTime")? {
        Limit::Seconds(seconds) => seconds,
        // `limit` parses a time of zero as unlimited.
        Limit::Unlimited => 0,
    };
    Some(RunningJob {
        batch: job.get("BatchFlag").is_some_and(|flag| flag != "0"),
        limit: record_limit(&job, "TimeLimit"),
        ran,
        nodes: job.get("NodeList")?.into(),
        shares: records(&output[..end], "Nodes").into_iter().filter_map(share).collect(),
    })
}

fn record_limit(record: &Record, key: &str) -> Option<Limit> {
    record.get(key).and_then(units::limit)
}

/// CPUs (hardware threads where SLURM counts them) per core in `scontrol show node`; the maximum of all nodes.
pub fn cpus_per_core(output: &str) -> u64 {
    let of_node = |record: Record| {
        let cores = record.number("Sockets")?.checked_mul(record.number("CoresPerSocket")?)?;
        record.number("CPUTot")?.checked_div(cores)
    };
    records(output, "NodeName").into_iter().filter_map(of_node).max().unwrap_or(1).max(1)
}

/// The `Key=Value` pairs of a record.
struct Record<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Record<'a> {
    /// The value of a key, if it is set.
    fn get(&self, key: &str) -> Option<&'a str> {
        let value = self.0.iter().find(|(name, _)| *name == key)?.1;
        (!["", "(null)", "N/A", "NONE"].contains(&value)).then_some(value)
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.parse().ok()
    }
}

/// Splits output into records, each of which begins with the key `first`. Values end at a space, so of values with
/// several words (an operating system, a reason) only the first word is kept.
fn records<'a>(output: &'a str, first: &str) -> Vec<Record<'a>> {
    let mut records: Vec<Record> = Vec::new();
    for pair in output.split_whitespace().filter_map(|word| word.split_once('=')) {
        if pair.0 == first {
            records.push(Record(Vec::new()));
        }
        if let Some(record) = records.last_mut() {
            record.0.push(pair);
        }
    }
    records
}
