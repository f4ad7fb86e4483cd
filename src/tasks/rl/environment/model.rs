//! The suite's models, as dm-control builds them for the task `run`.

// Why: MuJoCo's settings are global, and elements of a model are deleted by pointer.
#![allow(unsafe_code)]

use std::path::Path;
use std::sync::Once;

use anyhow::{Context, Result, ensure};
use mujoco_rs::prelude::SpecObject;
use mujoco_rs::wrappers::mj_logging::{log_config, set_log_config};
use mujoco_rs::wrappers::{MjModel, MjSpec, MjtObjBase, SpecElement};

use super::{EnvironmentKind, SIDE};

/// The quadruped's floor reaches as far as it could run in an episode of 20 s at 5 m/s, in every direction.
const QUADRUPED_FLOOR: f64 = 100.0;

/// Loads a model from the folder that `scripts/setup rl` makes.
pub fn load(kind: EnvironmentKind, models: &Path) -> Result<Box<MjModel>> {
    quiet();
    let path = models.join(file(kind));
    ensure!(
        path.is_file(),
        "there is no model {}: `scripts/setup rl` gets it, or set [rl] models to the folder that holds it",
        path.display()
    );
    let mut model = match kind {
        EnvironmentKind::QuadrupedRun => quadruped(&path),
        EnvironmentKind::WalkerRun | EnvironmentKind::HumanoidRun => {
            MjModel::from_xml(&path).map_err(Into::into)
        }
    }
    .with_context(|| format!("{} is no model that MuJoCo can use", path.display()))?;
    ensure!(
        model.nu() as usize == kind.action_size() && model.ncam() as usize > kind.camera(),
        "{} has {} actuators and {} cameras: it is not the suite's",
        path.display(),
        model.nu(),
        model.ncam()
    );
    // The buffer that pictures are drawn in: no larger than an agent's, since all of it is cleared and resolved.
    let buffer = &mut model.vis_mut().global;
    (buffer.offwidth, buffer.offheight) = (SIDE as i32, SIDE as i32);
    Ok(Box::new(model))
}

/// Number of a named thing.
pub fn id(model: &MjModel, kind: MjtObjBase, name: &str) -> Result<usize> {
    model.name_to_id(kind, name).with_context(|| format!("the model has no '{name}': it is not the suite's"))
}

fn file(kind: EnvironmentKind) -> &'static str {
    match kind {
        EnvironmentKind::WalkerRun => "walker.xml",
        EnvironmentKind::QuadrupedRun => "quadruped.xml",
        EnvironmentKind::HumanoidRun => "humanoid.xml",
    }
}

/// The file holds what all tasks of the quadruped need. `run` has a larger floor, and no walls, ball, target, hills
/// nor range finders.
fn quadruped(path: &Path) -> Result<MjModel> {
    let mut spec = MjSpec::from_xml(path)?;
    let missing = |name: &str| format!("it has no '{name}'");
    let floor = spec.geom_mut("floor").with_context(|| missing("floor"))?;
    *floor.size_mut() = [QUADRUPED_FLOOR, QUADRUPED_FLOOR, 0.5];
    // Safety (all three): the element is alive, for it was just found, and nobody holds it or a part of it afterwards.
    for name in ["wall_px", "wall_py", "wall_nx", "wall_ny", "terrain"] {
        unsafe { spec.geom_mut(name).with_context(|| missing(name))?.delete() }?;
    }
    unsafe { spec.body_mut("ball").with_context(|| missing("ball"))?.delete() }?;
    unsafe { spec.site_mut("target").with_context(|| missing("target"))?.delete() }?;
    let range_finders: Vec<_> = spec
        .sensor_iter()
        .map(|sensor| sensor.name().to_owned())
        .filter(|name| name.starts_with("rf_"))
        .collect();
    for name in range_finders {
        unsafe { spec.sensor_mut(&name).with_context(|| missing(&name))?.delete() }?;
    }
    Ok(spec.compile()?)
}

/// MuJoCo would write its warnings into a file in the current folder, too.
fn quiet() {
    static ONCE: Once = Once::new();
    // Safety: the first use of MuJoCo in this process is here, and others wait for it.
    ONCE.call_once(|| unsafe { set_log_config(log_config().with_logto_file(false)) });
}
