//! What `scontrol show` and `sacctmgr` print, to values. Pure; what is missing or not understood is none.

use super::units::{self, Gres, Limit};

/// SLURM's own `MaxArraySize`, where the cluster does not tell its.
pub const USUAL_ARRAY_SIZE: u32 = 1001;

/// What `scontrol show config` says of the cluster, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Its name.
    pub name: String,
    /// Indices of an array are below it.
    pub max_array_size: Option<u32>,
    /// Jobs of everybody that the controller keeps, tasks of arrays one by one.
    pub max_job_count: Option<u64>,
    /// Whether jobs that say nothing about it are requeued.
    pub job_requeue: Option<bool>,
    /// Seconds between SIGTERM and SIGKILL.
    pub kill_wait: Option<u64>,
    /// Whose jobs preempt others.
    pub preemption: Preemption,
    /// What becomes of preempted jobs, unless the partition says otherwise.
    pub preempted: Preempted,
    /// Whether a job is cancelled whose dependency cannot be satisfied (`kill_invalid_depend`).
    pub kills_invalid_dependencies: bool,
    /// Whether a job needs an account that the accounting database knows.
    pub accounts_enforced: bool,
    /// Whether the limits in the accounting database hold.
    pub limits_enforced: bool,
}

/// Whose jobs preempt others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Preemption {
    /// Nobody's.
    #[default]
    None,
    /// Those in a partition of a higher tier.
    ByPartition,
    /// Those of a higher quality of service.
    ByQos,
}

/// What becomes of a job when another one preempts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Preempted {
    /// None does.
    #[default]
    Never,
    /// It ends.
    Cancelled,
    /// It ends, and comes back if it may.
    Requeued,
    /// It stops where it is, and goes on later.
    Suspended,
}

impl Preempted {
    fn read(text: &str) -> Self {
        let text = text.to_ascii_uppercase();
        match () {
            () if text.contains("SUSPEND") => Self::Suspended,
            () if text.contains("REQUEUE") => Self::Requeued,
            () if text.contains("CANCEL") => Self::Cancelled,
            // OFF, and GANG alone: jobs take turns.
            () => Self::Never,
        }
    }
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its name.
    pub name: String,
    /// Whether jobs that name none go there.
    pub default: bool,
    /// In SLURM's words: `UP`, `DOWN`, `DRAIN`, `INACTIVE`.
    pub state: String,
    /// Longest time limit of a job.
    pub max_time: Option<Limit>,
    /// Time limit of a job that asks for none.
    pub default_time: Option<Limit>,
    /// Seconds that preempted jobs have before they are ended.
    pub grace_time: u64,
    /// What becomes of its jobs when others preempt them.
    pub preempted: Preempted,
    /// Jobs of partitions with a higher one may preempt.
    pub priority_tier: u64,
    /// The accounts that may use it; none: all.
    pub accounts: Option<Vec<String>>,
    /// The qualities of service that may use it; none: all.
    pub qos: Option<Vec<String>>,
}

impl Partition {
    /// Whether it takes jobs, and starts them.
    pub fn is_up(&self) -> bool {
        self.state == "UP"
    }
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// SLURM's name for it.
    pub name: String,
    /// The machine's own name.
    pub host: String,
    /// Processors that jobs may use.
    pub cpus: Option<u64>,
    /// MiB that jobs may use.
    pub memory: Option<u64>,
    /// Generic resources.
    pub gres: Vec<Gres>,
    /// Its features, for `--constraint`.
    pub features: Vec<String>,
    /// Partitions it belongs to.
    pub partitions: Vec<String>,
    /// In SLURM's words: `IDLE`, `MIXED+DRAIN`, `DOWN*`.
    pub state: String,
}

impl Node {
    /// Whether it takes jobs now, or could when others end.
    pub fn usable(&self) -> bool {
        const NOT: [&str; 8] = ["DOWN", "DRAIN", "DRAINED", "DRAINING", "FAIL", "FAILING", "ERROR", "FUTURE"];
        // An asterisk: it does not answer. The other marks are about power saving.
        !self.state.contains('*')
            && !self.state.contains("NOT_RESPONDING")
            && !self
                .state
                .split('+')
                .any(|part| NOT.contains(&part.trim_end_matches(['~', '#', '!', '%', '$', '@'])))
    }
}

/// What the accounting database allows a user in an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Association {
    /// The account.
    pub account: String,
    /// The partition, if it is for one alone.
    pub partition: Option<String>,
    /// Jobs in the queue, tasks of arrays one by one.
    pub max_submit: Option<u64>,
    /// Jobs that run.
    pub max_jobs: Option<u64>,
}

/// The format that [`associations`] reads: `sacctmgr --noheader --parsable2 show associations format=`.
pub const ASSOCIATION_FORMAT: &str = "account,partition,maxsubmitjobs,maxjobs";

/// Reads `scontrol show config`.
pub fn settings(output: &str) -> Settings {
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
    Settings {
        name: value("ClusterName").unwrap_or_default().into(),
        max_array_size: number("MaxArraySize").and_then(|size| size.try_into().ok()),
        max_job_count: number("MaxJobCount"),
        job_requeue: number("JobRequeue").map(|number| number != 0),
        kill_wait: number("KillWait"),
        preemption,
        preempted: value("PreemptMode").map(Preempted::read).unwrap_or_default(),
        kills_invalid_dependencies: has("DependencyParameters", &["kill_invalid_depend"]),
        // Each of the others needs associations, and "safe" needs limits (slurm.conf(5)).
        accounts_enforced: has("AccountingStorageEnforce", &["associations", "limits", "qos", "safe", "all"]),
        limits_enforced: has("AccountingStorageEnforce", &["limits", "safe", "all"]),
    }
}

/// Reads `scontrol show partition`.
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

/// Reads `scontrol show node`.
pub fn nodes(output: &str) -> Vec<Node> {
    let read = |record: Record| {
        let name = record.get("NodeName")?;
        let list = |key: &str| {
            let words = record.get(key).unwrap_or_default().split(',');
            words.map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        let reserved = record.number("MemSpecLimit").unwrap_or(0);
        Some(Node {
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

/// Reads `sacctmgr show associations` in [`ASSOCIATION_FORMAT`]; other lines are skipped.
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

/// Whether `scontrol ping` says that a controller answers.
pub fn a_controller_is_up(output: &str) -> bool {
    output.lines().any(|line| line.trim_end().ends_with("is UP"))
}

/// How a job stands, by `scontrol show job`: its state, why, and on which nodes.
pub fn job(output: &str) -> Option<(String, String, String)> {
    let record = records(output, "JobId").into_iter().next()?;
    let value = |key: &str| record.get(key).unwrap_or_default().to_owned();
    Some((record.get("JobState")?.to_owned(), value("Reason"), value("NodeList")))
}

/// A job that runs, as `scontrol --details show job` tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningJob {
    /// Whether it has a script, so that it can be put back into the queue.
    pub batch: bool,
    /// Its time limit.
    pub limit: Option<Limit>,
    /// Seconds for which it has been running.
    pub ran: u64,
    /// Its nodes, as SLURM writes them.
    pub nodes: String,
    /// What it has on them.
    pub shares: Vec<Share>,
}

/// What a job has on each of some nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// How many nodes.
    pub nodes: u64,
    /// Processors.
    pub cpus: u64,
    /// MiB; 0 where the cluster does not count memory.
    pub memory: u64,
    /// Generic resources.
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

/// Reads `scontrol --details show job`.
pub fn running_job(output: &str) -> Option<RunningJob> {
    let job = records(output, "JobId").into_iter().next()?;
    // Of a heterogeneous job the first one: it is in that one that this process runs.
    let end = output.match_indices("JobId=").nth(1).map_or(output.len(), |(at, _)| at);
    let share = |record: Record| {
        // A job's name may hold anything: the words that follow tell.
        (record.0.get(1)?.0 == "CPU_IDs").then_some(())?;
        Some(Share {
            nodes: units::hosts(record.get("Nodes")?)?,
            cpus: units::numbers(record.get("CPU_IDs")?)?,
            memory: record.get("Mem").and_then(units::mebibytes).unwrap_or(0),
            gres: record.get("GRES").map(units::gres).unwrap_or_default(),
        })
    };
    let ran = match record_limit(&job, "RunTime")? {
        Limit::Seconds(seconds) => seconds,
        // A time of zero.
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

/// The processors (threads, where SLURM counts those) of a core, by `scontrol show node`; the most of all nodes.
pub fn cpus_per_core(output: &str) -> u64 {
    let of_node = |record: Record| {
        let cores = record.number("Sockets")?.checked_mul(record.number("CoresPerSocket")?)?;
        record.number("CPUTot")?.checked_div(cores)
    };
    records(output, "NodeName").into_iter().filter_map(of_node).max().unwrap_or(1).max(1)
}

/// `Key=Value` pairs of one thing.
struct Record<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Record<'a> {
    /// A value that is set.
    fn get(&self, key: &str) -> Option<&'a str> {
        let value = self.0.iter().find(|(name, _)| *name == key)?.1;
        (!["", "(null)", "N/A", "NONE"].contains(&value)).then_some(value)
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.parse().ok()
    }
}

/// The records in an output, each of which begins with `first`. Values end at a space: of texts of several words
/// (an operating system, a reason) the first one is all that is kept.
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
