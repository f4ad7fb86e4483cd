//! Layers, with the initial distributions of the published code (facts: GAN task).

use std::cell::OnceCell;

use crate::nn::{Kind, Tensor};
#[cfg(feature = "libtorch")]
use tch::no_grad;

#[cfg(feature = "libtorch")]
use crate::nn::channels_last;
use crate::nn::{Role, Scope};
use pbtnas_core::checkpoint::Init;

/// All parameters of the generator have a moving average.
pub const GENERATOR_ROLE: Role = Role::AveragedParameter;

/// Resizes `(n, c, h, w)`.
#[cfg(feature = "libtorch")]
pub fn resize(x: &Tensor, side: i64, bilinear: bool) -> Tensor {
    if bilinear {
        x.upsample_bilinear2d([side, side], false, None, None)
    } else {
        x.upsample_nearest2d([side, side], None, None)
    }
}

/// PyTorch's default distribution of weights and biases of a layer.
fn default_bound(fan_in: i64) -> Init {
    Init::Uniform((fan_in as f32).sqrt().recip())
}

/// Spectral normalisation with one power iteration per forward pass in training (`torch.nn.utils.spectral_norm`).
pub struct Spectral {
    u: Tensor,
    v: Tensor,
}

impl Spectral {
    fn new(scope: &mut Scope, path: &str, rows: i64, columns: i64) -> Self {
        Self {
            u: scope.tensor(format!("{path}/u"), &[rows], Init::Direction, Role::Buffer),
            v: scope.tensor(format!("{path}/v"), &[columns], Init::Direction, Role::Buffer),
        }
    }
}

#[cfg(feature = "libtorch")]
impl Spectral {
    /// The weight divided by its estimated largest singular value.
    fn normalise(&self, weight: &Tensor, train: bool) -> Tensor {
        let matrix = weight.flatten(1, -1);
        if train {
            no_grad(|| {
                let v = unit(&matrix.tr().mv(&self.u));
                let u = unit(&matrix.mv(&v));
                self.v.shallow_clone().copy_(&v);
                self.u.shallow_clone().copy_(&u);
            });
        }
        // Copies, since the vectors change in place before the gradient is computed.
        let sigma = self.u.copy().dot(&matrix.mv(&self.v.copy()));
        weight / sigma
    }
}

/// A vector of length 1 in the same direction.
#[cfg(feature = "libtorch")]
fn unit(vector: &Tensor) -> Tensor {
    vector / vector.norm().clamp_min(1e-12)
}

/// A node from which edges begin; its activation is computed once for all of them.
pub struct CellNode {
    pub value: Tensor,
    activated: OnceCell<Tensor>,
}

impl CellNode {
    pub fn new(value: Tensor) -> Self {
        Self { value, activated: OnceCell::new() }
    }
}

#[cfg(feature = "libtorch")]
impl CellNode {
    /// ReLU of the value.
    pub fn activated(&self) -> &Tensor {
        self.activated.get_or_init(|| self.value.relu())
    }
}

/// A convolution of `(n, c, h, w)` that keeps height and width, or halves them (rounding up) with stride 2.
pub struct Conv {
    weight: Tensor,
    bias: Option<Tensor>,
    shape: Shape,
    spectral: Option<Spectral>,
    /// The type to compute in, if it differs from that of the input.
    compute: Option<Kind>,
}

/// The shape of a convolution.
#[derive(Clone, Copy)]
pub struct Shape {
    pub input: i64,
    pub output: i64,
    pub kernel: i64,
    pub dilation: i64,
    pub stride: i64,
}

impl Shape {
    /// A shape without dilation and stride.
    pub fn plain(input: i64, output: i64, kernel: i64) -> Self {
        Self { input, output, kernel, dilation: 1, stride: 1 }
    }
}

impl Conv {
    /// Weights are Xavier-uniform with gain 1.
    pub fn new(scope: &mut Scope, path: &str, shape: Shape, role: Role, bias: bool) -> Self {
        let Shape { input, output, kernel, .. } = shape;
        let area = kernel * kernel;
        let xavier = Init::Uniform((6.0 / ((input + output) * area) as f32).sqrt());
        let size = [output, input, kernel, kernel];
        let weight = scope.tensor(format!("{path}/weight"), &size, xavier, role);
        let bias =
            bias.then(|| scope.tensor(format!("{path}/bias"), &[output], default_bound(input * area), role));
        Self { weight, bias, shape, spectral: None, compute: scope.compute() }
    }

    /// With bias and spectral normalisation.
    pub fn spectral(scope: &mut Scope, path: &str, shape: Shape) -> Self {
        let mut conv = Self::new(scope, path, shape, Role::Parameter, true);
        let columns = shape.input * shape.kernel * shape.kernel;
        conv.spectral = Some(Spectral::new(scope, path, shape.output, columns));
        conv
    }
}

#[cfg(feature = "libtorch")]
impl Conv {
    pub fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let weight = match &self.spectral {
            Some(spectral) => spectral.normalise(&self.weight, train),
            None => self.weight.shallow_clone(),
        };
        let Shape { kernel, dilation, stride, .. } = self.shape;
        let padding = dilation * (kernel - 1) / 2;
        let kind = self.compute.unwrap_or(x.kind());
        let bias = self.bias.as_ref().map(|bias| bias.to_kind(kind));
        let (stride, padding, dilation) = ([stride, stride], [padding, padding], [dilation, dilation]);
        // Parameters and optimizer states keep the default layout; only this copy is converted.
        let weight = channels_last(&weight.to_kind(kind));
        x.to_kind(kind).conv2d(&weight, bias, stride, padding, dilation, 1).to_kind(x.kind())
    }
}

/// A linear layer on `(n, input)`.
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    spectral: Option<Spectral>,
    /// The type to compute in, if it differs from that of the input.
    compute: Option<Kind>,
}

impl Linear {
    /// PyTorch's default initialisation.
    pub fn new(scope: &mut Scope, path: &str, input: i64, output: i64, role: Role) -> Self {
        let bound = default_bound(input);
        let weight = scope.tensor(format!("{path}/weight"), &[output, input], bound, role);
        let bias = scope.tensor(format!("{path}/bias"), &[output], bound, role);
        Self { weight, bias: Some(bias), spectral: None, compute: scope.compute() }
    }

    /// Without bias, with spectral normalisation.
    pub fn spectral(scope: &mut Scope, path: &str, input: i64, output: i64) -> Self {
        let weight =
            scope.tensor(format!("{path}/weight"), &[output, input], default_bound(input), Role::Parameter);
        let spectral = Spectral::new(scope, path, output, input);
        Self { weight, bias: None, spectral: Some(spectral), compute: scope.compute() }
    }
}

#[cfg(feature = "libtorch")]
impl Linear {
    pub fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let weight = match &self.spectral {
            Some(spectral) => spectral.normalise(&self.weight, train),
            None => self.weight.shallow_clone(),
        };
        let kind = self.compute.unwrap_or(x.kind());
        let bias = self.bias.as_ref().map(|bias| bias.to_kind(kind));
        x.to_kind(kind).linear(&weight.to_kind(kind), bias).to_kind(x.kind())
    }
}

/// A depthwise transposed convolution 3x3 with stride 2 and no bias: doubles width and height.
pub struct DepthwiseUp {
    weight: Tensor,
    channels: i64,
}

impl DepthwiseUp {
    pub fn new(scope: &mut Scope, path: &str, channels: i64, role: Role) -> Self {
        // As in PyTorch, the fan-in is that of one output channel, 3 * 3.
        let weight = scope.tensor(format!("{path}/weight"), &[channels, 1, 3, 3], default_bound(9), role);
        Self { weight, channels }
    }
}

#[cfg(feature = "libtorch")]
impl DepthwiseUp {
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.conv_transpose2d(&self.weight, None::<Tensor>, [2, 2], [1, 1], [1, 1], self.channels, [1, 1])
    }
}

/// Batch normalisation with running statistics, momentum 0.1.
pub struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
}

impl BatchNorm {
    pub fn new(scope: &mut Scope, path: &str, channels: i64, role: Role) -> Self {
        let mut tensor =
            |name: &str, init, role| scope.tensor(format!("{path}/{name}"), &[channels], init, role);
        Self {
            weight: tensor("weight", Init::Normal { mean: 1.0, std: 0.02 }, role),
            bias: tensor("bias", Init::Constant(0.0), role),
            mean: tensor("running_mean", Init::Constant(0.0), Role::Buffer),
            var: tensor("running_var", Init::Constant(1.0), Role::Buffer),
        }
    }
}

#[cfg(feature = "libtorch")]
impl BatchNorm {
    pub fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let (weight, bias) = (Some(&self.weight), Some(&self.bias));
        x.batch_norm(weight, bias, Some(&self.mean), Some(&self.var), train, 0.1, 1e-5, true)
    }
}

#[cfg(test)]
#[cfg(feature = "libtorch")]
mod tests {
    use super::*;
    use crate::nn::Values;
    use tch::Device;

    #[test]
    fn power_iteration_finds_the_largest_singular_value() {
        tch::manual_seed(1);
        let options = (Kind::Float, Device::Cpu);
        let weight = Tensor::randn([6, 10], options);
        let values = Values::from([
            ("l/weight".to_owned(), weight.shallow_clone()),
            ("l/u".to_owned(), unit(&Tensor::randn([6], options))),
            ("l/v".to_owned(), unit(&Tensor::randn([10], options))),
        ]);
        let layer = Linear::spectral(&mut Scope::load(&values), "l", 10, 6);
        let x = Tensor::eye(10, options);
        for _ in 0..200 {
            let _ = layer.forward(&x, true);
        }
        let (_, singular, _) = weight.svd(true, true);
        let expected = weight.tr() / singular.max();
        let difference = (layer.forward(&x, false) - expected).abs().max().double_value(&[]);
        assert!(difference < 1e-5, "{difference}");
        // Evaluation does not change the vectors.
        let before = values["l/u"].copy();
        let _ = layer.forward(&x, false);
        assert_eq!((before - &values["l/u"]).abs().max().double_value(&[]), 0.0);
    }

    #[test]
    fn layers_in_bfloat16_have_outputs_of_32_bits_with_small_errors() {
        tch::manual_seed(2);
        let options = (Kind::Float, Device::Cpu);
        let values = Values::from([
            ("c/weight".to_owned(), Tensor::randn([8, 8, 3, 3], options).set_requires_grad(true)),
            ("c/bias".to_owned(), Tensor::randn([8], options)),
            ("l/weight".to_owned(), Tensor::randn([8, 8], options).set_requires_grad(true)),
            ("l/bias".to_owned(), Tensor::randn([8], options)),
        ]);
        let x = Tensor::randn([2, 8, 5, 5], options);
        let outputs = |compute| {
            let mut scope = Scope::load(&values).computing_in(compute);
            let conv = Conv::new(&mut scope, "c", Shape::plain(8, 8, 3), Role::Parameter, true);
            let linear = Linear::new(&mut scope, "l", 8, 8, Role::Parameter);
            let (y, z) =
                (conv.forward(&x, true), linear.forward(&x.mean_dim([2, 3].as_slice(), false, None), true));
            let leaves = [&values["c/weight"], &values["l/weight"]];
            let loss = y.square().sum(Kind::Float) + z.square().sum(Kind::Float);
            let mut all = Tensor::run_backward(&[loss], &leaves, false, false);
            all.extend([y, z]);
            all
        };
        for (exact, rounded) in outputs(None).iter().zip(outputs(Some(Kind::BFloat16))) {
            assert_eq!(rounded.kind(), Kind::Float);
            let error = ((exact - rounded).norm() / exact.norm()).double_value(&[]);
            assert!((1e-4..2e-2).contains(&error), "{error}");
        }
    }
}
