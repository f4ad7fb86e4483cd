//! Layers of encoder, actor and critic. Each has the vectors of a spectral norm even if that is disabled, so that
//! layers can be exchanged between networks with and without it.

use crate::nn::{Kind, Tensor};
#[cfg(feature = "libtorch")]
use tch::no_grad;

use super::space::{Activation, Convolution, Dense};
use crate::nn::{Role, Scope};
use pbtnas_core::checkpoint::Init;
use serde::{Deserialize, Serialize};

/// The roles of the tensors of a network.
#[derive(Debug, Clone, Copy)]
pub struct Roles {
    /// Weights and biases.
    parameter: Role,
    /// The vectors of spectral norms.
    buffer: Role,
}

impl Roles {
    /// Roles in a network without a target network.
    pub const ALONE: Self = Self { parameter: Role::Parameter, buffer: Role::Buffer };
    /// Roles in a network with a target network, which has its own vectors of spectral norms.
    pub const WITH_TARGET: Self = Self { parameter: Role::TargetParameter, buffer: Role::TargetBuffer };
}

/// The initialisation of the weights that a spectral norm divides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpectralInit {
    /// PyTorch's default, uniform with bound 1 / sqrt(fan-in). The paper's published code means to make them orthogonal,
    /// but initialises a temporary (facts: RL task).
    #[default]
    Uniform,
    /// Orthogonal, as all other weights.
    Orthogonal,
}

/// The settings of a network's layers.
#[derive(Debug, Clone, Copy)]
pub struct Build {
    pub roles: Roles,
    pub spectral_norm: bool,
    pub spectral_init: SpectralInit,
}

#[cfg(feature = "libtorch")]
impl Activation {
    pub fn forward(self, x: Tensor) -> Tensor {
        match self {
            Self::Identity => x,
            Self::Tanh => x.tanh(),
            Self::Relu => x.relu(),
            Self::Swish => x.silu(),
        }
    }
}

/// The weights of a convolution or a linear layer.
struct Affine {
    weight: Tensor,
    bias: Tensor,
    u: Tensor,
    v: Tensor,
    spectral_norm: bool,
    /// The type to compute in, if it differs from that of the input.
    compute: Option<Kind>,
}

impl Affine {
    /// Weights are orthogonal with gain `gain`, those under a spectral norm as [`SpectralInit`] says; biases are zero.
    fn new(scope: &mut Scope, path: &str, build: Build, size: &[i64], gain: f32) -> Self {
        let Build { roles, spectral_norm, spectral_init } = build;
        let rows = size.first().copied().unwrap_or(1);
        let columns: i64 = size.iter().skip(1).product();
        let init = match spectral_init {
            SpectralInit::Uniform if spectral_norm => Init::Uniform((columns as f32).sqrt().recip()),
            _ => Init::Orthogonal(gain),
        };
        let mut tensor =
            |name: &str, shape: &[i64], init, role| scope.tensor(format!("{path}/{name}"), shape, init, role);
        Self {
            weight: tensor("weight", size, init, roles.parameter),
            bias: tensor("bias", &[rows], Init::Constant(0.0), roles.parameter),
            u: tensor("u", &[rows], Init::Direction, roles.buffer),
            v: tensor("v", &[columns], Init::Direction, roles.buffer),
            spectral_norm,
            compute: scope.compute(),
        }
    }
}

#[cfg(feature = "libtorch")]
impl Affine {
    /// The weight, with spectral norm divided by its estimated largest singular value. In training a power iteration
    /// improves the estimate (`torch.nn.utils.parametrizations.spectral_norm`).
    fn weight(&self, train: bool) -> Tensor {
        if !self.spectral_norm {
            return self.weight.shallow_clone();
        }
        let matrix = self.weight.flatten(1, -1);
        if train {
            no_grad(|| {
                let u = unit(&matrix.mv(&self.v));
                self.v.shallow_clone().copy_(&unit(&matrix.tr().mv(&u)));
                self.u.shallow_clone().copy_(&u);
            });
        }
        // Copies, since the vectors change in place before the gradient is computed.
        let sigma = self.u.copy().dot(&matrix.mv(&self.v.copy()));
        &self.weight / sigma
    }

    /// Computes in the type that is set for layers, and converts the result back.
    fn apply(
        &self,
        x: &Tensor,
        train: bool,
        with: impl FnOnce(&Tensor, &Tensor, &Tensor) -> Tensor,
    ) -> Tensor {
        let kind = self.compute.unwrap_or(x.kind());
        let (weight, bias) = (self.weight(train).to_kind(kind), self.bias.to_kind(kind));
        with(&x.to_kind(kind), &weight, &bias).to_kind(x.kind())
    }
}

/// A vector of length 1 in the same direction.
#[cfg(feature = "libtorch")]
fn unit(vector: &Tensor) -> Tensor {
    vector / vector.norm().clamp_min(1e-12)
}

/// A convolution of `(n, c, h, w)`.
pub struct RlConv {
    affine: Affine,
    stride: i64,
    padding: i64,
    groups: i64,
}

impl RlConv {
    /// A convolution 3x3 with stride 2, from 84x84 to 41x41.
    pub fn first(scope: &mut Scope, path: &str, build: Build, input: i64, output: i64) -> Self {
        let affine = Affine::new(scope, path, build, &[output, input, 3, 3], std::f32::consts::SQRT_2);
        Self { affine, stride: 2, padding: 0, groups: 1 }
    }

    /// A convolution that keeps height, width and channels; with as many groups as channels it is depthwise.
    fn keeping(scope: &mut Scope, path: &str, build: Build, channels: i64, kernel: i64, groups: i64) -> Self {
        let size = [channels, channels / groups, kernel, kernel];
        let affine = Affine::new(scope, path, build, &size, std::f32::consts::SQRT_2);
        Self { affine, stride: 1, padding: kernel / 2, groups }
    }
}

#[cfg(feature = "libtorch")]
impl RlConv {
    pub fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        self.affine.apply(x, train, |x, weight, bias| {
            x.conv2d(weight, Some(bias), stride, padding, [1, 1], self.groups)
        })
    }
}

/// A linear layer on `(n, input)`.
pub struct RlLinear {
    affine: Affine,
}

impl RlLinear {
    /// Spectrally normalised if `build` requests it.
    pub fn new(scope: &mut Scope, path: &str, build: Build, input: i64, output: i64) -> Self {
        Self { affine: Affine::new(scope, path, build, &[output, input], 1.0) }
    }
}

#[cfg(feature = "libtorch")]
impl RlLinear {
    pub fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        self.affine.apply(x, train, |x, weight, bias| x.linear(weight, Some(bias)))
    }
}

/// A linear layer that is never spectrally normalised: that of a trunk or a head.
pub struct Plain {
    weight: Tensor,
    bias: Tensor,
    compute: Option<Kind>,
}

impl Plain {
    /// Weights are orthogonal, biases zero.
    pub fn new(scope: &mut Scope, path: &str, roles: Roles, input: i64, output: i64) -> Self {
        let mut tensor = |name: &str, shape: &[i64], init| {
            scope.tensor(format!("{path}/{name}"), shape, init, roles.parameter)
        };
        Self {
            weight: tensor("weight", &[output, input], Init::Orthogonal(1.0)),
            bias: tensor("bias", &[output], Init::Constant(0.0)),
            compute: scope.compute(),
        }
    }
}

#[cfg(feature = "libtorch")]
impl Plain {
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let kind = self.compute.unwrap_or(x.kind());
        x.to_kind(kind).linear(&self.weight.to_kind(kind), Some(self.bias.to_kind(kind))).to_kind(x.kind())
    }
}

/// Layer normalisation of `(n, width)`.
pub struct Norm {
    weight: Tensor,
    bias: Tensor,
}

impl Norm {
    /// Initialised with ones and zeros, as in PyTorch.
    pub fn new(scope: &mut Scope, path: &str, roles: Roles, width: i64) -> Self {
        let mut tensor = |name: &str, value| {
            scope.tensor(format!("{path}/{name}"), &[width], Init::Constant(value), roles.parameter)
        };
        Self { weight: tensor("weight", 1.0), bias: tensor("bias", 0.0) }
    }
}

#[cfg(feature = "libtorch")]
impl Norm {
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let width = x.size().last().copied().unwrap_or(1);
        x.layer_norm([width], Some(&self.weight), Some(&self.bias), 1e-5, true)
    }
}

/// A searched layer of the encoder.
pub enum ConvLayer {
    Identity,
    Plain(RlConv, Activation),
    Residual(RlConv, RlConv, Activation),
    Separable(RlConv, RlConv, Activation),
}

impl ConvLayer {
    /// Input and output have `channels`.
    pub fn new(
        scope: &mut Scope,
        path: &str,
        build: Build,
        channels: i64,
        kind: Convolution,
        activation: Activation,
    ) -> Self {
        let mut conv = |name: &str, kernel, groups| {
            RlConv::keeping(scope, &format!("{path}{name}"), build, channels, kernel, groups)
        };
        match kind {
            Convolution::Identity => Self::Identity,
            Convolution::Plain(kernel) => Self::Plain(conv("", kernel, 1), activation),
            Convolution::Residual(kernel) => {
                Self::Residual(conv("/conv1", kernel, 1), conv("/conv2", kernel, 1), activation)
            }
            Convolution::Separable(kernel) => {
                Self::Separable(conv("/depthwise", kernel, channels), conv("/pointwise", 1, 1), activation)
            }
        }
    }
}

#[cfg(feature = "libtorch")]
impl ConvLayer {
    /// The output has the shape of the input.
    pub fn forward(&self, x: Tensor, train: bool) -> Tensor {
        match self {
            Self::Identity => x,
            Self::Plain(conv, activation) => activation.forward(conv.forward(&x, train)),
            Self::Residual(conv1, conv2, activation) => {
                let inner = activation.forward(conv1.forward(&x, train));
                activation.forward(x + conv2.forward(&inner, train))
            }
            Self::Separable(depthwise, pointwise, activation) => {
                activation.forward(pointwise.forward(&depthwise.forward(&x, train), train))
            }
        }
    }
}

/// A searched layer of actor or critic.
pub enum DenseLayer {
    Identity,
    Linear(RlLinear, Activation),
    Residual(Norm, RlLinear, RlLinear, Activation),
}

impl DenseLayer {
    /// Input and output have `width`.
    pub fn new(
        scope: &mut Scope,
        path: &str,
        build: Build,
        width: i64,
        kind: Dense,
        activation: Activation,
    ) -> Self {
        match kind {
            Dense::Identity => Self::Identity,
            Dense::Linear => Self::Linear(RlLinear::new(scope, path, build, width, width), activation),
            Dense::Residual(multiplier) => {
                let inner = (width as f64 * multiplier) as i64;
                Self::Residual(
                    Norm::new(scope, &format!("{path}/norm"), build.roles, width),
                    RlLinear::new(scope, &format!("{path}/linear1"), build, width, inner),
                    RlLinear::new(scope, &format!("{path}/linear2"), build, inner, width),
                    activation,
                )
            }
        }
    }
}

#[cfg(feature = "libtorch")]
impl DenseLayer {
    /// The output has the shape of the input.
    pub fn forward(&self, x: Tensor, train: bool) -> Tensor {
        match self {
            Self::Identity => x,
            Self::Linear(linear, activation) => activation.forward(linear.forward(&x, train)),
            Self::Residual(norm, linear1, linear2, activation) => {
                let inner = activation.forward(linear1.forward(&norm.forward(&x), train));
                x + linear2.forward(&inner, train)
            }
        }
    }
}
