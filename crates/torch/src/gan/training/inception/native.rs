//! The network in Rust, with weights from a file with pytorch-fid's names.

use anyhow::{Context, Result, bail};
use safetensors::{Dtype, SafeTensors};
use tch::{Device, Kind, Tensor};

use super::table::{self, InceptionPart, InceptionPool};
use super::{CLASSES, FEATURES, resize};
use crate::nn::channels_last;

/// Added to variances (TensorFlow's value for this network).
const EPSILON: f64 = 1e-3;

pub struct NativeNetwork {
    parts: Vec<NativeLayer>,
    /// `(1008, 2048)`.
    classes: Tensor,
}

/// A [`InceptionPart`] with its weights.
enum NativeLayer {
    Conv { weight: Tensor, bias: Tensor, stride: i64, padding: [i64; 2] },
    Pool(InceptionPool),
    Fork(Vec<Vec<NativeLayer>>),
}

impl NativeNetwork {
    /// Reads the bytes of a safetensors file. Fails at the first tensor that is missing or has a wrong shape;
    /// superfluous tensors are ignored.
    pub fn load(bytes: &[u8], device: Device) -> Result<Self> {
        let weights = NativeWeights { file: SafeTensors::deserialize(bytes)?, device };
        let (parts, channels) = weights.build(&table::network(), 3)?;
        if channels != FEATURES {
            bail!("the table of layers ends with {channels} channels instead of {FEATURES}");
        }
        Ok(Self { parts, classes: weights.tensor("fc.weight", &[CLASSES, FEATURES])?.to_kind(Kind::Float) })
    }

    /// Features `(n, 2048)` and probabilities `(n, 1008)` of 8-bit images `(n, 3, height, width)` on the
    /// network's device.
    pub fn forward(&self, images: &Tensor) -> (Tensor, Tensor) {
        let maps = run(&self.parts, channels_last(&resize::prepare(images)));
        let features = maps.mean_dim([2i64, 3].as_slice(), false, Kind::Float);
        // The Inception Score was defined without the last layer's bias.
        let probabilities = features.linear(&self.classes, None::<&Tensor>).softmax(1, Kind::Float);
        (features, probabilities)
    }
}

struct NativeWeights<'a> {
    file: SafeTensors<'a>,
    device: Device,
}

impl NativeWeights<'_> {
    /// A tensor in double precision.
    fn tensor(&self, name: &str, shape: &[i64]) -> Result<Tensor> {
        let view = self.file.tensor(name).ok().with_context(|| format!("it lacks the tensor {name:?}"))?;
        let found: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
        if view.dtype() != Dtype::F32 || found != shape {
            bail!("its tensor {name:?} is {:?} {found:?} instead of F32 {shape:?}", view.dtype());
        }
        let value = Tensor::from_data_size(view.data(), shape, Kind::Float);
        Ok(value.to_device(self.device).to_kind(Kind::Double))
    }

    /// Layers for an input of `channels`, and the channels of their output.
    fn build(&self, parts: &[InceptionPart], mut channels: i64) -> Result<(Vec<NativeLayer>, i64)> {
        let mut layers = Vec::new();
        for part in parts {
            layers.push(match part {
                InceptionPart::Conv(conv) => {
                    let input = std::mem::replace(&mut channels, conv.output);
                    self.convolution(conv, input)?
                }
                InceptionPart::Fork(branches) => {
                    let built = branches.iter().map(|branch| self.build(branch, channels));
                    let (branches, widths): (Vec<_>, Vec<_>) =
                        built.collect::<Result<Vec<_>>>()?.into_iter().unzip();
                    channels = widths.iter().sum();
                    NativeLayer::Fork(branches)
                }
                InceptionPart::Pool(pool) => NativeLayer::Pool(*pool),
            });
        }
        Ok((layers, channels))
    }

    /// A convolution with its batch normalisation folded in: both are linear, and the statistics are fixed.
    fn convolution(&self, conv: &table::InceptionConv, input: i64) -> Result<NativeLayer> {
        let name = &conv.name;
        let [height, width] = conv.kernel;
        let weight = self.tensor(&format!("{name}.conv.weight"), &[conv.output, input, height, width])?;
        let channel = |what: &str| self.tensor(&format!("{name}.bn.{what}"), &[conv.output]);
        let scale = channel("weight")? / (channel("running_var")? + EPSILON).sqrt();
        let bias = channel("bias")? - channel("running_mean")? * &scale;
        let padding = if conv.padded { [(height - 1) / 2, (width - 1) / 2] } else { [0, 0] };
        Ok(NativeLayer::Conv {
            weight: channels_last(&(weight * scale.reshape([-1, 1, 1, 1])).to_kind(Kind::Float)),
            bias: bias.to_kind(Kind::Float),
            stride: conv.stride,
            padding,
        })
    }
}

fn run(layers: &[NativeLayer], input: Tensor) -> Tensor {
    layers.iter().fold(input, |x, layer| match layer {
        NativeLayer::Conv { weight, bias, stride, padding } => {
            x.conv2d(weight, Some(bias), [*stride; 2], *padding, [1, 1], 1).relu_()
        }
        NativeLayer::Pool(InceptionPool::Halve) => x.max_pool2d([3, 3], [2, 2], [0, 0], [1, 1], false),
        NativeLayer::Pool(InceptionPool::Maximum) => x.max_pool2d([3, 3], [1, 1], [1, 1], [1, 1], false),
        NativeLayer::Pool(InceptionPool::Average) => x.avg_pool2d([3, 3], [1, 1], [1, 1], false, false, None),
        NativeLayer::Fork(branches) => {
            let outputs: Vec<Tensor> = branches.iter().map(|branch| run(branch, x.shallow_clone())).collect();
            Tensor::cat(&outputs, 1)
        }
    })
}
