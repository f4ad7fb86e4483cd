//! The device and precision of training, determined without loading a library.

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

/// The device, threads and precision of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compute {
    pub device: DeviceChoice,
    /// CPU threads of a member.
    pub threads: u64,
    /// The precision, if pbtnas sets it itself.
    pub precision: Option<Precision>,
}

/// The environment variable and value that set the precision of NVIDIA's libraries and libtorch; none without a GPU.
/// The libraries read it when they are loaded.
pub fn environment(compute: &Compute) -> Option<(&'static str, &'static str)> {
    let on_gpu = compute.device != DeviceChoice::Cpu && has_nvidia_driver();
    let precision = compute.precision.filter(|_| on_gpu)?;
    Some(match precision {
        Precision::Float32 => ("NVIDIA_TF32_OVERRIDE", "0"),
        Precision::Tf32 | Precision::Bf16 => ("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "1"),
    })
}

/// The device that the user's program is asked to train on: `cuda` or `cpu`. Loads no library.
pub fn device_name(choice: DeviceChoice) -> Result<&'static str> {
    match choice {
        DeviceChoice::Cpu => Ok("cpu"),
        _ if has_nvidia_driver() && !gpus_hidden() => Ok("cuda"),
        DeviceChoice::Auto => Ok("cpu"),
        DeviceChoice::Cuda if has_nvidia_driver() => {
            bail!("device = \"cuda\", but CUDA_VISIBLE_DEVICES is empty")
        }
        DeviceChoice::Cuda => bail!("device = \"cuda\", but {NO_DRIVER}"),
    }
}

/// The reason in errors on a machine without a GPU.
pub const NO_DRIVER: &str = "this machine has no NVIDIA driver (/proc/driver/nvidia/version)";

/// Whether CUDA_VISIBLE_DEVICES hides all GPUs; both an empty value and `-1` do.
pub fn gpus_hidden() -> bool {
    std::env::var("CUDA_VISIBLE_DEVICES").is_ok_and(|devices| matches!(devices.trim(), "" | "-1"))
}

/// Whether this machine has an NVIDIA driver.
pub fn has_nvidia_driver() -> bool {
    Path::new("/proc/driver/nvidia/version").exists()
}
