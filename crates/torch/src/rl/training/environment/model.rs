//! The suite's models, as dm-control builds them for the task `run`.

// MuJoCo's settings are global, and elements of a model are deleted by pointer.
#![allow(unsafe_code)]

use std::path::Path;
use std::sync::Once;

use anyhow::{Context, Result, ensure};
use mujoco_rs::prelude::SpecObject;
use mujoco_rs::wrappers::mj_logging::{log_config, set_log_config};
use mujoco_rs::wrappers::{MjModel, MjSpec, MjtObjBase, SpecElement};

use super::{EnvironmentKind, SIDE};

/// Half the width of the quadruped's floor in m: the distance of an episode of 20 s at 5 m/s.
const QUADRUPED_FLOOR: f64 = 100.0;

/// Loads a model from the folder that `scripts/setup rl` creates.
pub fn load(kind: EnvironmentKind, models: &Path) -> Result<Box<MjModel>> {
    quiet();
    let path = models.join(file(kind));
    ensure!(
        path.is_file(),
        "the model {} is missing: run `scripts/setup rl`, or set [rl] models to the folder that holds it",
        path.display()
    );
    let mut model = match kind {
        EnvironmentKind::QuadrupedRun => quadruped(&path),
        EnvironmentKind::WalkerRun | EnvironmentKind::HumanoidRun => {
            MjModel::from_xml(&path).map_err(Into::into)
        }
    }
    .with_context(|| format!("{} is not a valid MuJoCo model", path.display()))?;
    ensure!(
        model.nu() as usize == kind.action_size() && model.ncam() as usize > kind.camera(),
        "{} has {} actuators and {} cameras: it is not the model of the DeepMind Control suite",
        path.display(),
        model.nu(),
        model.ncam()
    );
    // All of the render buffer is cleared and resolved for each image, so it is no larger than the agent's.
    let buffer = &mut model.vis_mut().global;
    (buffer.offwidth, buffer.offheight) = (SIDE as i32, SIDE as i32);
    Ok(Box::new(model))
}

/// Index of a named element.
pub fn id(model: &MjModel, kind: MjtObjBase, name: &str) -> Result<usize> {
    model
        .name_to_id(kind, name)
        .with_context(|| format!("the model has no '{name}': it is not that of the DeepMind Control suite"))
}

fn file(kind: EnvironmentKind) -> &'static str {
    match kind {
        EnvironmentKind::WalkerRun => "walker.xml",
        EnvironmentKind::QuadrupedRun => "quadruped.xml",
        EnvironmentKind::HumanoidRun => "humanoid.xml",
    }
}

/// The file has the elements of all quadruped tasks. `run` has a larger floor, and no walls, ball, target, hills or
/// range finders.
fn quadruped(path: &Path) -> Result<MjModel> {
    let mut spec = MjSpec::from_xml(path)?;
    let missing = |name: &str| format!("it has no '{name}'");
    let floor = spec.geom_mut("floor").with_context(|| missing("floor"))?;
    *floor.size_mut() = [QUADRUPED_FLOOR, QUADRUPED_FLOOR, 0.5];
    // Safety (all three): the element was just found, and no reference to it or a part of it remains.
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

/// Stops MuJoCo from also writing its warnings to a file in the current folder.
fn quiet() {
    static ONCE: Once = Once::new();
    // Safety: this is the first use of MuJoCo in this process, and other threads wait for it.
    ONCE.call_once(|| unsafe { set_log_config(log_config().with_logto_file(false)) });
}
