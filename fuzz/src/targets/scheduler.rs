//! The output of SLURM's commands.

use pbtnas_engine::scheduler::slurm::parse::{
    QUEUE_FORMAT, array_spec, is_transient, max_array_size, queue, submitted,
};
use pbtnas_engine::scheduler::slurm::{show, units};

pub fn fuzz(input: &[u8]) {
    let output = String::from_utf8_lossy(input);
    assert_eq!(QUEUE_FORMAT, "%i|%T|%r|%N|%E|%j");
    for job in queue(&output) {
        assert!(
            !job.id.contains(['|', '\n']) && !job.reason.contains(['|', '\n']) && !job.name.contains('\n')
        );
        let line = format!("{}|PENDING|{}|{}|{}|{}", job.id, job.reason, job.node, job.dependency, job.name);
        let again = queue(&line);
        assert!(again.len() == 1 && again[0].id == job.id.trim_start(), "{line:?}");
    }
    if let Some(id) = submitted(&output) {
        assert!(!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()));
        assert_eq!(submitted(&id), Some(id));
    }
    max_array_size(&output);
    is_transient(&output);
    show::settings(&output);
    show::associations(&output);
    show::is_controller_up(&output);
    show::job(&output);
    show::cpus_per_core(&output);
    if let Some(job) = show::running_job(&output) {
        job.left();
    }
    show::partitions(&output);
    for node in show::nodes(&output) {
        node.usable();
    }
    units::limit(&output);
    units::mebibytes(&output);
    units::gres(&output);
    units::numbers(&output);
    units::hosts(&output);

    let words = input.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let mut indices: Vec<u32> = words.flat_map(|word| [word, word | 1, word.saturating_add(1)]).collect();
    indices.sort_unstable();
    indices.dedup();
    let spec = array_spec(&indices);
    let ends = spec.split(',').filter(|range| !range.is_empty()).map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        (first.parse::<u32>().expect("a number"), last.parse::<u32>().expect("a number"))
    });
    let read: Vec<u32> = ends.flat_map(|(first, last)| first..=last).collect();
    assert_eq!(read, indices);
}
