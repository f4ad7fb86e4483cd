//! Selects the device. libtorch's CUDA half is loaded only if there is a GPU, so that one program runs on login and GPU
//! nodes.
//!
//! The program is linked with libtorch's CPU libraries only. Loading `libtorch_cuda.so` of the same libtorch registers
//! the CUDA back end. That must happen before the first query of CUDA, whose result libtorch caches.

#![allow(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};
use pbtnas_engine::device::{DeviceChoice, NO_DRIVER, gpus_hidden, has_nvidia_driver};
use pbtnas_engine::task::SelfTest;
use tch::{Cuda, Device, Kind, Tensor};

/// Environment variable: the folder that holds `libtorch_cuda.so` (a PyTorch's `torch/lib`).
pub const CUDA_LIBRARIES: &str = "PBTNAS_TORCH_LIB";

/// The device for a choice; loads the CUDA libraries if they are needed. For the precision, the process must have been
/// started with [`pbtnas_engine::device::environment`].
pub fn device(choice: DeviceChoice) -> Result<Device> {
    static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
    if choice == DeviceChoice::Cpu {
        return Ok(Device::Cpu);
    }
    let loaded = LOADED.get_or_init(|| {
        if !has_nvidia_driver() {
            return Err(NO_DRIVER.into());
        }
        load().map_err(|error| format!("{error:#}"))
    });
    match loaded {
        Ok(()) if Cuda::is_available() => {
            // The choice of convolution algorithms must not depend on timings, so that runs are reproducible.
            Cuda::cudnn_set_benchmark(false);
            Ok(Device::Cuda(0))
        }
        Ok(()) if choice == DeviceChoice::Cuda && gpus_hidden() => {
            bail!("device = \"cuda\", but CUDA_VISIBLE_DEVICES is empty")
        }
        Ok(()) if choice == DeviceChoice::Cuda => {
            bail!("device = \"cuda\", but {NOT_USABLE}")
        }
        Ok(()) if !gpus_hidden() => {
            // A process selects the device several times.
            static TOLD: std::sync::Once = std::sync::Once::new();
            TOLD.call_once(|| {
                tracing::warn!("training on the CPU although there is an NVIDIA driver: {NOT_USABLE}");
            });
            Ok(Device::Cpu)
        }
        Err(reason) if choice == DeviceChoice::Cuda => bail!("device = \"cuda\", but {reason}"),
        Err(reason) if has_nvidia_driver() => {
            tracing::warn!("training on the CPU although there is a GPU: {reason}");
            Ok(Device::Cpu)
        }
        _ => Ok(Device::Cpu),
    }
}

const NOT_USABLE: &str = "libtorch finds no usable GPU (the driver is too old for its CUDA, or the job has no GPU: \
                          [slurm] gres)";

/// Loads `libtorch_cuda.so` and never unloads it.
fn load() -> Result<()> {
    let path = cuda_library()?;
    // Safety: the library belongs to the libtorch of this program, and its initialisers only register back ends.
    // `RTLD_GLOBAL`, because it finds its parts (cuDNN's) by name.
    let flags = libloading::os::unix::RTLD_NOW | libloading::os::unix::RTLD_GLOBAL;
    let library = unsafe { libloading::os::unix::Library::open(Some(&path), flags) }
        .with_context(|| format!("failed to load {}", path.display()))?;
    std::mem::forget(library);
    Ok(())
}

/// The path of the loaded libtorch with links resolved, from the kernel's list of mapped files.
pub fn libtorch() -> Result<Option<PathBuf>> {
    let maps = std::fs::read_to_string("/proc/self/maps").context("failed to read /proc/self/maps")?;
    let mut files = maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    let running = files.find(|path| path.file_name().is_some_and(|name| name == "libtorch_cpu.so"));
    Ok(running.map(Path::to_owned))
}

/// Tests libtorch with a computation of known result: a convolution, a matrix product and a gradient of small integers,
/// which all precisions represent exactly.
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

/// The path of `libtorch_cuda.so` in the folder that the environment names, or next to the loaded libtorch.
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
            "pbtnas was built with a libtorch for CPUs; set {CUDA_LIBRARIES} to the folder \
             torch/lib of an installed PyTorch 2.11 (e.g. in [slurm.environment])"
        )
    })
}

/// Tests that libtorch computes correctly on the CPU.
pub fn test_libtorch() -> SelfTest {
    let place = libtorch().ok().flatten();
    let place = place.map_or_else(|| "libtorch".into(), |path| path.display().to_string());
    SelfTest {
        title: "libtorch",
        outcome: match calculate(Device::Cpu) {
            Ok(()) => Ok(format!("{place} computes correctly")),
            Err(error) => Err(error.context(format!("{place} computes wrong results"))),
        },
        consequence: "Every member would fail, or train to nonsense.",
        advice: "Run `scripts/setup libtorch` and build pbtnas again; if the problem remains, try another machine: memory \
                 or processor of this one may be broken."
            .into(),
        required: true,
        depends_on_machine: false,
    }
}

/// Tests that libtorch computes correctly on the GPU; none without a driver, or if members train on the CPU.
pub fn test_gpu(choice: DeviceChoice) -> Option<SelfTest> {
    if choice == DeviceChoice::Cpu || !has_nvidia_driver() {
        return None;
    }
    let tried =
        device(DeviceChoice::Cuda).and_then(|device| calculate(device).map(|()| Cuda::device_count()));
    let required = choice == DeviceChoice::Cuda;
    Some(SelfTest {
        title: "GPU",
        outcome: tried.map(|count| match count {
            1 => "1, which computes correctly".into(),
            count => format!("{count}, the first of which computes correctly"),
        }),
        consequence: match required {
            true => "Every member would fail at once.",
            false => "Members on this machine would train on the CPU, slowly.",
        },
        advice: format!(
            "Set {CUDA_LIBRARIES} to the folder torch/lib of an installed PyTorch 2.11 (for jobs: in [slurm.environment]), \
             and look at the output of `nvidia-smi`."
        ),
        required,
        depends_on_machine: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_without_a_gpu_depends_on_the_choice() {
        if has_nvidia_driver() {
            return;
        }
        assert_eq!(device(DeviceChoice::Auto).unwrap(), Device::Cpu);
        assert_eq!(device(DeviceChoice::Cpu).unwrap(), Device::Cpu);
        let error = device(DeviceChoice::Cuda).unwrap_err().to_string();
        assert!(error.contains("no NVIDIA driver"), "{error}");
    }
}
