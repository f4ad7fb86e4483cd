//! Where a member trains and in what precision, as far as that can be said without loading a library.

use std::path::Path;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

/// The device of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceChoice {
    /// A GPU if there is one, otherwise the CPU.
    Auto,
    Cpu,
    /// On a GPU; without one training fails.
    Cuda,
}

/// The precision of convolutions and matrix products. Weights are always 32-bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32-bit floating point, on a GPU too.
    Float32,
    /// On a GPU, products with 10-bit mantissas (TensorFloat-32); on a CPU the same as `float32`.
    Tf32,
    /// bfloat16 inside convolutions and linear layers.
    Bf16,
}

/// What a member of a task computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compute {
    pub device: DeviceChoice,
    /// CPU threads of a member.
    pub threads: u64,
    /// The precision, if pbtnas sets it itself.
    pub precision: Option<Precision>,
}

/// The variable (and its value) from which NVIDIA's libraries and libtorch take the precision; none where there is no GPU
/// to use. They read it when they are loaded.
pub fn environment(compute: &Compute) -> Option<(&'static str, &'static str)> {
    let on_gpu = compute.device != DeviceChoice::Cpu && driver_is_there();
    let precision = compute.precision.filter(|_| on_gpu)?;
    Some(match precision {
        Precision::Float32 => ("NVIDIA_TF32_OVERRIDE", "0"),
        Precision::Tf32 | Precision::Bf16 => ("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "1"),
    })
}

/// The device that a program of the user's is asked to train on: `cuda` or `cpu`. No library is loaded.
pub fn device_name(choice: DeviceChoice) -> Result<&'static str> {
    match choice {
        DeviceChoice::Cpu => Ok("cpu"),
        _ if driver_is_there() && !are_hidden() => Ok("cuda"),
        DeviceChoice::Auto => Ok("cpu"),
        DeviceChoice::Cuda if driver_is_there() => {
            bail!("device = \"cuda\", but CUDA_VISIBLE_DEVICES is empty")
        }
        DeviceChoice::Cuda => bail!("device = \"cuda\", but {NO_DRIVER}"),
    }
}

/// Why there is no GPU.
pub const NO_DRIVER: &str = "this machine has no NVIDIA driver (/proc/driver/nvidia/version)";

/// Whether the environment hides all GPUs; some write `-1` for that.
pub fn are_hidden() -> bool {
    std::env::var("CUDA_VISIBLE_DEVICES").is_ok_and(|devices| matches!(devices.trim(), "" | "-1"))
}

/// Whether this machine has an NVIDIA driver.
pub fn driver_is_there() -> bool {
    Path::new("/proc/driver/nvidia/version").exists()
}
