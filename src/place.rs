//! Where a run's members live, for the tasks, which know no run.

use std::path::Path;

use crate::search::MemberId;
use crate::signal::StopSignal;
use crate::state::{Run, temporary_name};
use crate::tasks::{Place, Seeds};

/// The place of a member of a generation; what it has to put aside lies in a folder of its own under `dir`.
pub fn place(run: &Run, generation: u32, member: MemberId, dir: &Path, stop: &StopSignal) -> Place {
    Place {
        seeds: Seeds { run: run.record.seed, generation, member },
        run: run.record.run_id.clone(),
        shared: run.layout.shared(),
        scratch: dir.join(temporary_name("work")),
        collected: run.layout.collected(),
        stop: stop.clone(),
    }
}
