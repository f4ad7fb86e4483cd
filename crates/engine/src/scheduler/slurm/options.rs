//! The options of sbatch that are keys of the configuration. The configuration, the job scripts, the requests and
//! `pbtnas doctor` read this table, so a new option needs one line here.

/// What an option's value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionValue {
    Text,
    /// A whole number of at least 1.
    Count,
}

/// The jobs that an option applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionScope {
    /// A key of `[slurm]`, for all jobs.
    All,
    /// A key of `[slurm]`, for the jobs that train.
    Members,
    /// A key of `[slurm]` for the jobs that train, and one of `[slurm.controller]` for controller jobs.
    Both,
}

/// An option of sbatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SbatchOption {
    pub key: &'static str,
    /// With the dashes.
    pub flag: &'static str,
    /// The short form with its dash; empty if there is none.
    pub short: &'static str,
    pub value: OptionValue,
    pub scope: OptionScope,
}

const fn text(
    key: &'static str,
    flag: &'static str,
    short: &'static str,
    scope: OptionScope,
) -> SbatchOption {
    SbatchOption { key, flag, short, value: OptionValue::Text, scope }
}

pub static OPTIONS: [SbatchOption; 8] = [
    text("account", "--account", "-A", OptionScope::All),
    text("partition", "--partition", "-p", OptionScope::Both),
    text("qos", "--qos", "-q", OptionScope::Both),
    text("gres", "--gres", "", OptionScope::Members),
    text("memory", "--mem", "", OptionScope::Both),
    text("time", "--time", "-t", OptionScope::Both),
    text("constraint", "--constraint", "-C", OptionScope::Members),
    SbatchOption {
        key: "cpus",
        flag: "--cpus-per-task",
        short: "-c",
        value: OptionValue::Count,
        scope: OptionScope::Members,
    },
];

/// The value of an option among sbatch's arguments: `--long=value` or `-svalue`, each a single word (see the
/// configuration). The last of repeated options counts.
pub fn value_of<'a>(arguments: &'a [String], long: &str, short: &str) -> Option<&'a str> {
    arguments.iter().rev().find_map(|word| match word.strip_prefix(long) {
        Some(rest) => rest.strip_prefix('='),
        None if short.is_empty() || word.starts_with("--") => None,
        None => word.strip_prefix(short),
    })
}
