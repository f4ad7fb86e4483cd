//! One program for login nodes and GPU nodes: libtorch's CUDA half is loaded when there is a GPU.
//!
//! The program is linked with libtorch's CPU libraries alone, so that it starts everywhere. Loading
//! `libtorch_cuda.so` of the same libtorch registers the CUDA back end with the part that runs already. That must
//! happen before libtorch is first asked about CUDA: it remembers the answer.

#![allow(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tch::{Cuda, Device};

/// Environment variable: the folder that holds `libtorch_cuda.so` (a PyTorch's `torch/lib`).
pub const CUDA_LIBRARIES: &str = "PBTNAS_TORCH_LIB";

/// Where a member trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceChoice {
    /// On a GPU if there is one.
    Auto,
    /// On the CPU.
    Cpu,
    /// On a GPU; without one it is an error.
    Cuda,
}

/// In what precision convolutions and matrix products are computed. Weights are 32-bit always.
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

/// The variable (and its value) by which NVIDIA's libraries and libtorch learn about the precision; none where
/// there is no GPU to use. They read it when they are loaded.
pub fn environment(choice: DeviceChoice, precision: Precision) -> Option<(&'static str, &'static str)> {
    let on_gpu = choice != DeviceChoice::Cpu && driver_is_there();
    on_gpu.then_some(match precision {
        Precision::Float32 => ("NVIDIA_TF32_OVERRIDE", "0"),
        Precision::Tf32 | Precision::Bf16 => ("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "1"),
    })
}

/// The device for a choice; loads the CUDA libraries if they are needed. For the precision the process must
/// have been started with [`environment`].
pub fn device(choice: DeviceChoice) -> Result<Device> {
    static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
    if choice == DeviceChoice::Cpu {
        return Ok(Device::Cpu);
    }
    let loaded = LOADED.get_or_init(|| {
        if !driver_is_there() {
            return Err("this machine has no NVIDIA driver (/proc/driver/nvidia/version)".into());
        }
        load().map_err(|error| format!("{error:#}"))
    });
    match loaded {
        Ok(()) if Cuda::is_available() => {
            // Which convolution algorithm is taken must not depend on timing: runs are repeatable.
            Cuda::cudnn_set_benchmark(false);
            Ok(Device::Cuda(0))
        }
        Ok(()) if choice == DeviceChoice::Cuda => {
            bail!(
                "libtorch finds no usable GPU (is CUDA_VISIBLE_DEVICES empty, or the driver too old for CUDA 13?)"
            )
        }
        Err(reason) if choice == DeviceChoice::Cuda => bail!("a GPU was asked for, but {reason}"),
        Err(reason) if driver_is_there() => {
            eprintln!("pbtnas: training on the CPU although there is a GPU: {reason}");
            Ok(Device::Cpu)
        }
        _ => Ok(Device::Cpu),
    }
}

/// What another program is told to train on: `cuda` or `cpu`. No library is loaded.
pub fn device_name(choice: DeviceChoice) -> Result<&'static str> {
    let hidden = std::env::var_os("CUDA_VISIBLE_DEVICES").is_some_and(|devices| devices.is_empty());
    match choice {
        DeviceChoice::Cpu => Ok("cpu"),
        _ if driver_is_there() && !hidden => Ok("cuda"),
        DeviceChoice::Auto => Ok("cpu"),
        DeviceChoice::Cuda => bail!(
            "a GPU was asked for, but this machine has no NVIDIA driver (/proc/driver/nvidia/version), or \
             CUDA_VISIBLE_DEVICES is empty"
        ),
    }
}

fn driver_is_there() -> bool {
    Path::new("/proc/driver/nvidia/version").exists()
}

/// Loads `libtorch_cuda.so` for as long as the process lives.
fn load() -> Result<()> {
    let path = cuda_library()?;
    // Safety: it is the other half of the libtorch that this program runs with; its initialisers register
    // back ends. `RTLD_GLOBAL`, since it finds its own parts (cuDNN's) by name.
    let flags = libloading::os::unix::RTLD_NOW | libloading::os::unix::RTLD_GLOBAL;
    let library = unsafe { libloading::os::unix::Library::open(Some(&path), flags) }
        .with_context(|| format!("failed to load {}", path.display()))?;
    std::mem::forget(library);
    Ok(())
}

/// `libtorch_cuda.so` in the folder that the environment names, or beside the libtorch that runs.
fn cuda_library() -> Result<PathBuf> {
    const NAME: &str = "libtorch_cuda.so";
    if let Some(folder) = std::env::var_os(CUDA_LIBRARIES) {
        let path = Path::new(&folder).join(NAME);
        if !path.is_file() {
            bail!("{CUDA_LIBRARIES} names {}, which has no {NAME}", Path::new(&folder).display());
        }
        return Ok(path.canonicalize()?);
    }
    // The kernel tells where the running libtorch really lies, behind all links.
    let maps = std::fs::read_to_string("/proc/self/maps").context("failed to read /proc/self/maps")?;
    let running = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])))
        .find(|path| path.file_name().is_some_and(|name| name == "libtorch_cpu.so"));
    let beside = running.map(|path| path.with_file_name(NAME)).filter(|path| path.is_file());
    beside.with_context(|| {
        format!(
            "the libtorch that pbtnas was built with is one for CPUs; set {CUDA_LIBRARIES} to the folder \
             torch/lib of an installed PyTorch 2.11 (e.g. in [slurm.environment])"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_gpu_the_choice_decides() {
        if driver_is_there() {
            return;
        }
        assert_eq!(device(DeviceChoice::Auto).unwrap(), Device::Cpu);
        assert_eq!(device(DeviceChoice::Cpu).unwrap(), Device::Cpu);
        let error = device(DeviceChoice::Cuda).unwrap_err().to_string();
        assert!(error.contains("no NVIDIA driver"), "{error}");
    }
}
