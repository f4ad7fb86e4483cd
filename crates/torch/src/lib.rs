//! The tasks `gan` and `rl`. Their search spaces, tensors and drawings need nothing else; training needs the feature
//! `libtorch`, and the environments of `rl` the feature `mujoco`.
#![cfg_attr(not(feature = "mujoco"), allow(dead_code, unused_imports))]

#[cfg(test)]
mod config_tests;
#[cfg(feature = "libtorch")]
pub mod device;
pub mod gan;
mod nn;
#[cfg(test)]
#[cfg(feature = "libtorch")]
mod oracle;
pub mod rl;

#[cfg(feature = "libtorch")]
use pbtnas_engine::device::DeviceChoice;
use pbtnas_engine::task::{SelfTest, TaskKind};
/// Re-exported for benchmarks and fuzz targets, which create tensors.
#[cfg(feature = "libtorch")]
pub use tch;

/// The tasks, for the engine's registry.
pub static KINDS: [&dyn TaskKind; 2] = [&gan::GanKind, &rl::RlKind];

/// The error of training in a program that was built without a feature: `torch` for the task `gan`, `rl` for `rl`.
#[cfg(not(feature = "mujoco"))]
pub(crate) fn built_without(feature: &str) -> anyhow::Error {
    let (lacks, setup) = match feature {
        "rl" => (
            "libtorch and MuJoCo, which the task \"rl\" trains with (and EGL: Debian's libegl1 libegl-mesa0 \
             libgl1-mesa-dri, or the driver of an NVIDIA GPU)",
            "scripts/setup libtorch rl",
        ),
        _ => ("libtorch, which the task \"gan\" trains with", "scripts/setup"),
    };
    anyhow::anyhow!(
        "this pbtnas was built without {lacks}; build one that has it: {setup} && cargo build --release --locked \
         --features {feature}"
    )
}

/// Tests libtorch; nothing in a program without it.
pub fn self_tests() -> Vec<SelfTest> {
    #[cfg(feature = "libtorch")]
    return vec![device::test_libtorch()];
    #[cfg(not(feature = "libtorch"))]
    Vec::new()
}

/// Tests libtorch, and the GPU if there is one that members are to use.
#[cfg(feature = "libtorch")]
pub(crate) fn device_tests(choice: DeviceChoice) -> Vec<SelfTest> {
    let mut tests = self_tests();
    tests.extend(device::test_gpu(choice));
    tests
}
