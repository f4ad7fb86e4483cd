//! The options of sbatch that have a key of their own in the configuration. A new one is a line here; the configuration,
//! the job scripts, `pbtnas doctor` and docs/configuration.md follow.

/// What an option's value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionValue {
    Text,
    /// A whole number of at least 1.
    Count,
}

/// Which jobs an option is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
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
    pub scope: Scope,
}

const fn text(key: &'static str, flag: &'static str, short: &'static str, scope: Scope) -> SbatchOption {
    SbatchOption { key, flag, short, value: OptionValue::Text, scope }
}

/// All of them.
pub static OPTIONS: [SbatchOption; 8] = [
    text("account", "--account", "-A", Scope::All),
    text("partition", "--partition", "-p", Scope::Both),
    text("qos", "--qos", "-q", Scope::Both),
    text("gres", "--gres", "", Scope::Members),
    text("memory", "--mem", "", Scope::Both),
    text("time", "--time", "-t", Scope::Both),
    text("constraint", "--constraint", "-C", Scope::Members),
    SbatchOption {
        key: "cpus",
        flag: "--cpus-per-task",
        short: "-c",
        value: OptionValue::Count,
        scope: Scope::Members,
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
