//! Converts 8-bit images to the network's input.

use tch::{Kind, Tensor};

/// Width and height of the network's input.
pub const SIDE: i64 = 299;

/// 8-bit images `(n, 3, height, width)` as `(n, 3, 299, 299)` in [-1, 1): resized, minus 128, divided by 128.
///
/// The resize is the bilinear one of TensorFlow's graph of 2015: position i of the output is at i * size / 299 in the
/// input, not at the centres of pixels as in later versions, and the last pixel is repeated beyond the end.
pub fn prepare(images: &Tensor) -> Tensor {
    let x = images.to_kind(Kind::Float);
    (stretch(&stretch(&x, 3), 2) - 128.0) / 128.0
}

/// Resizes one dimension to 299.
fn stretch(x: &Tensor, dimension: i64) -> Tensor {
    let size = x.size()[dimension as usize];
    if size == SIDE {
        return x.shallow_clone();
    }
    let (mut low, mut high, mut weight) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..SIDE {
        let at = (i * size) / SIDE;
        low.push(at);
        high.push((at + 1).min(size - 1));
        weight.push(((i * size) % SIDE) as f32 / SIDE as f32);
    }
    let device = x.device();
    let pick =
        |positions: &[i64]| x.index_select(dimension, &Tensor::from_slice(positions).to_device(device));
    let mut shape = [1; 4];
    shape[dimension as usize] = SIDE;
    let weight = Tensor::from_slice(&weight).reshape(shape).to_device(device);
    let (low, high) = (pick(&low), pick(&high));
    &low + (high - &low) * weight
}
