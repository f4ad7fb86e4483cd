//! From numbers to tensors on a device, and back to bytes.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use tch::{Device, Kind, Tensor};

use crate::gpu::Precision;

/// The little-endian bytes of a tensor.
pub fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}

/// Brings a tensor from the CPU to a device without waiting for what the device still works on.
pub fn to_device(tensor: Tensor, device: Device) -> Tensor {
    match device {
        Device::Cuda(_) => tensor.pin_memory(device).to_device_(device, tensor.kind(), true, false),
        _ => tensor,
    }
}

/// On the CPU, the same `(n, c, h, w)` with the channels next to each other in memory: what is computed of it keeps that
/// layout, and oneDNN's convolutions need not rearrange it before and after. Anything else stays as it is.
pub fn channels_last(tensor: &Tensor) -> Tensor {
    let &[n, c, h, w] = tensor.size().as_slice() else { return tensor.shallow_clone() };
    if tensor.device() != Device::Cpu {
        return tensor.shallow_clone();
    }
    let moved = match c == 1 || h * w == 1 {
        // The same bytes: only the strides tell libtorch which layout it is.
        true => tensor.contiguous().view([n, h, w, c]),
        false => tensor.permute([0, 2, 3, 1]).contiguous(),
    };
    moved.permute([0, 3, 1, 2])
}

/// Numbers in [0, 1) from an addressed generator: libtorch's own is one for the whole process.
pub fn uniform(rng: &mut ChaCha8Rng, shape: &[i64], device: Device) -> Tensor {
    tensor(rng.random_iter(), shape, device)
}

/// Standard normal numbers from an addressed generator.
pub fn normal(rng: &mut ChaCha8Rng, shape: &[i64], device: Device) -> Tensor {
    tensor(StandardNormal.sample_iter(rng), shape, device)
}

/// As many numbers as the shape has room for.
fn tensor(numbers: impl Iterator<Item = f32>, shape: &[i64], device: Device) -> Tensor {
    let count = shape.iter().product::<i64>().unsigned_abs() as usize;
    let numbers: Vec<f32> = numbers.take(count).collect();
    to_device(Tensor::from_slice(&numbers).reshape(shape), device)
}

/// The type in which layers compute, if it is not that of the weights.
pub fn compute_kind(precision: Precision) -> Option<Kind> {
    (precision == Precision::Bf16).then_some(Kind::BFloat16)
}
