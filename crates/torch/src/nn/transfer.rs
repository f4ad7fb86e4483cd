//! Converts numbers to tensors on a device, and tensors to bytes.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use tch::{Device, Kind, Tensor};

use pbtnas_engine::device::Precision;

/// The little-endian bytes of a tensor.
pub fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}

/// Copies a tensor from the CPU to a device, asynchronously on CUDA.
pub fn to_device(tensor: Tensor, device: Device) -> Tensor {
    match device {
        Device::Cuda(_) => tensor.pin_memory(device).to_device_(device, tensor.kind(), true, false),
        _ => tensor,
    }
}

/// Converts a tensor `(n, c, h, w)` on the CPU to the channels-last memory layout. Results of operations keep that
/// layout, so that oneDNN's convolutions need not reorder their inputs and outputs. Other tensors are returned as they
/// are.
pub fn channels_last(tensor: &Tensor) -> Tensor {
    let &[n, c, h, w] = tensor.size().as_slice() else { return tensor.shallow_clone() };
    if tensor.device() != Device::Cpu {
        return tensor.shallow_clone();
    }
    let moved = match c == 1 || h * w == 1 {
        // The bytes are the same in both layouts; libtorch recognises the layout by the strides.
        true => tensor.contiguous().view([n, h, w, c]),
        false => tensor.permute([0, 2, 3, 1]).contiguous(),
    };
    moved.permute([0, 3, 1, 2])
}

/// Uniform numbers in [0, 1). They come from `rng`, since libtorch's own generator is one for the whole process.
pub fn uniform(rng: &mut ChaCha8Rng, shape: &[i64], device: Device) -> Tensor {
    tensor(rng.random_iter(), shape, device)
}

/// Standard normal numbers from `rng`.
pub fn normal(rng: &mut ChaCha8Rng, shape: &[i64], device: Device) -> Tensor {
    tensor(StandardNormal.sample_iter(rng), shape, device)
}

/// A tensor of the first numbers.
fn tensor(numbers: impl Iterator<Item = f32>, shape: &[i64], device: Device) -> Tensor {
    let count = shape.iter().product::<i64>().unsigned_abs() as usize;
    let numbers: Vec<f32> = numbers.take(count).collect();
    to_device(Tensor::from_slice(&numbers).reshape(shape), device)
}

/// The type in which layers compute, if it differs from that of the weights.
pub fn compute_kind(precision: Precision) -> Option<Kind> {
    (precision == Precision::Bf16).then_some(Kind::BFloat16)
}
