//! Builds the contexts in which tasks train the members of a run. The interface of tasks does not depend on runs.

use std::path::Path;

use crate::run::Run;
use crate::signal::StopSignal;
use crate::task::{MemberContext, Seeds};
use pbtnas_core::durable_fs::temporary_name;
use pbtnas_core::search::MemberId;

/// The context of a member of a generation, with a new scratch folder in `dir`.
pub fn place(run: &Run, generation: u32, member: MemberId, dir: &Path, stop: &StopSignal) -> MemberContext {
    MemberContext {
        seeds: Seeds { run: run.record.seed, generation, member },
        run: run.record.run_id.clone(),
        shared: run.layout.shared(),
        scratch: dir.join(temporary_name("work")),
        collected: run.layout.collected(),
        stop: stop.clone(),
    }
}
