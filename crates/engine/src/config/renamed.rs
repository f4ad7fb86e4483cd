//! Keys that had another name before: refused with the new one.

/// Old and new keys. A key below an old one is refused with it.
const RENAMED: [(&str, &str); 8] = [
    ("search.epochs_per_step", "search.epochs_per_generation"),
    ("search.shrink", "search.shrink_perturb.lambda"),
    ("search.perturb", "search.shrink_perturb.gamma"),
    ("search.perturb_survivors", "search.shrink_perturb_survivors"),
    ("search.perturb_factors", "search.explore_factors"),
    ("slurm.step", "slurm.controller"),
    ("slurm.patience_seconds", "slurm.retry_seconds"),
    ("storage.patience_seconds", "storage.retry_seconds"),
];

/// The new name of a key, if it was renamed.
pub fn renamed(key: &str) -> Option<&'static str> {
    RENAMED.iter().find(|(old, _)| *old == key).map(|(_, new)| *new)
}
