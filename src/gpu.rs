//! One program for login nodes and GPU nodes: libtorch's CUDA half is loaded when there is a GPU.
//!
//! The program is linked with libtorch's CPU libraries alone, so that it starts everywhere. Loading
//! `libtorch_cuda.so` of the same libtorch registers the CUDA back end with the part that runs already. That must
//! happen before libtorch is first asked about CUDA: it remembers the answer.

#![allow(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tch::{Cuda, Device, Kind, Tensor};

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
            return Err(NO_DRIVER.into());
        }
        load().map_err(|error| format!("{error:#}"))
    });
    match loaded {
        Ok(()) if Cuda::is_available() => {
            // Which convolution algorithm is taken must not depend on timing: runs are repeatable.
            Cuda::cudnn_set_benchmark(false);
            Ok(Device::Cuda(0))
        }
        Ok(()) if choice == DeviceChoice::Cuda && are_hidden() => {
            bail!("a GPU was asked for, but CUDA_VISIBLE_DEVICES is empty")
        }
        Ok(()) if choice == DeviceChoice::Cuda => {
            bail!("a GPU was asked for, but {NOT_USABLE}")
        }
        Ok(()) if !are_hidden() => {
            // Once: whoever trains asks for the device several times.
            static TOLD: std::sync::Once = std::sync::Once::new();
            TOLD.call_once(|| {
                eprintln!("pbtnas: training on the CPU although there is an NVIDIA driver: {NOT_USABLE}");
            });
            Ok(Device::Cpu)
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
    match choice {
        DeviceChoice::Cpu => Ok("cpu"),
        _ if driver_is_there() && !are_hidden() => Ok("cuda"),
        DeviceChoice::Auto => Ok("cpu"),
        DeviceChoice::Cuda if driver_is_there() => {
            bail!("a GPU was asked for, but CUDA_VISIBLE_DEVICES is empty")
        }
        DeviceChoice::Cuda => bail!("a GPU was asked for, but {NO_DRIVER}"),
    }
}

const NO_DRIVER: &str = "this machine has no NVIDIA driver (/proc/driver/nvidia/version)";
const NOT_USABLE: &str = "libtorch finds no usable GPU (a driver too old for its CUDA, or a job that asked for no GPU: \
                          [slurm] gres)";

/// Whether the environment hides all GPUs: `-1` is a usual way to write it.
fn are_hidden() -> bool {
    std::env::var("CUDA_VISIBLE_DEVICES").is_ok_and(|devices| matches!(devices.trim(), "" | "-1"))
}

/// Whether this machine has an NVIDIA driver.
pub fn driver_is_there() -> bool {
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

/// The libtorch that runs: the kernel tells where it really lies, behind all links.
pub fn libtorch() -> Result<Option<PathBuf>> {
    let maps = std::fs::read_to_string("/proc/self/maps").context("failed to read /proc/self/maps")?;
    let mut files = maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    let running = files.find(|path| path.file_name().is_some_and(|name| name == "libtorch_cpu.so"));
    Ok(running.map(Path::to_owned))
}

/// Lets libtorch compute something of which the outcome is known: a convolution, a product of matrices and a
/// gradient, all of small whole numbers, which every precision holds exactly.
pub fn calculate(device: Device) -> Result<()> {
    let options = (Kind::Float, device);
    let image = Tensor::f_arange(16, options)?.f_view([1, 1, 4, 4])?.f_set_requires_grad(true)?;
    let kernel = Tensor::f_ones([1, 1, 2, 2], options)?;
    let sums = image.f_conv2d(&kernel, None::<Tensor>, [2], [0], [1], 1)?.f_view([2, 2])?;
    let product = sums.f_matmul(&sums.f_tr()?)?;
    product.f_sum(Kind::Float)?.f_backward()?;
    let numbers = |tensor: &Tensor| -> Result<Vec<f64>> {
        Ok(Vec::try_from(tensor.f_to(Device::Cpu)?.f_to_kind(Kind::Double)?.f_view([-1])?)?)
    };
    // The sums are 10 18 / 42 50; each of their columns' totals, twice, is the gradient of the column's pixels.
    let expected = (vec![424.0, 1320.0, 1320.0, 4264.0], [104.0, 104.0, 136.0, 136.0].repeat(4));
    let computed = (numbers(&product)?, numbers(&image.f_grad()?)?);
    ensure!(computed == expected, "it computed {computed:?} instead of {expected:?}");
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
    let beside = libtorch()?.map(|path| path.with_file_name(NAME)).filter(|path| path.is_file());
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
