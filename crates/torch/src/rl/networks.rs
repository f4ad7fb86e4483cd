//! Encoder, actor and critic of an architecture (facts: RL task; DrQ-v2: Yarats et al., 2021).

use crate::nn::Tensor;
use anyhow::Result;

use super::layers::{Build, ConvLayer, DenseLayer, Norm, Plain, RlConv, RlLinear, Roles};
use super::space::{Activation, LAYERS, activation, convolution, dense, representation, spectral_norm};
use super::{OBSERVATION, RlConfig};
use crate::nn::Scope;
use pbtnas_core::search::Genotype;

/// Channels of the encoder's layers.
pub const CHANNELS: i64 = 32;
/// Width and height of their outputs for an observation of 84x84.
pub const SIDE: i64 = 41;
/// Number of features of an observation of 84x84.
pub const FEATURES: i64 = CHANNELS * SIDE * SIDE;

/// Computes features of observations.
pub struct Encoder {
    first: RlConv,
    activation: Activation,
    layers: Vec<ConvLayer>,
}

impl Encoder {
    /// Declares or builds the encoder of an architecture, under `encoder/`.
    pub fn new(config: &RlConfig, genotype: &Genotype, scope: &mut Scope) -> Result<Self> {
        let spectral_norm = spectral_norm(genotype, "encoder")?;
        let build = Build { roles: Roles::ALONE, spectral_norm, spectral_init: config.spectral_init };
        let first = RlConv::first(scope, "encoder/layer0", build, OBSERVATION[0], CHANNELS);
        let mut layers = Vec::new();
        for layer in 1..=LAYERS {
            let path = format!("encoder/layer{layer}");
            let kind = convolution(genotype, &path)?;
            let activation = activation(genotype, &format!("encoder/activation{layer}"))?;
            layers.push(ConvLayer::new(scope, &path, build, CHANNELS, kind, activation));
        }
        Ok(Self { first, activation: activation(genotype, "encoder/activation0")?, layers })
    }
}

#[cfg(feature = "libtorch")]
impl Encoder {
    /// Features `(n, FEATURES)` of observations `(n, 9, 84, 84)` with pixels of 0 to 255.
    pub fn forward(&self, observations: &Tensor, train: bool) -> Tensor {
        let x: Tensor = observations / 255.0 - 0.5;
        let x = self.activation.forward(self.first.forward(&x, train));
        self.layers.iter().fold(x, |x, layer| layer.forward(x, train)).flatten(1, -1)
    }
}

/// Computes a small representation of features.
struct Trunk {
    linear: Plain,
    norm: Norm,
    activation: Activation,
}

impl Trunk {
    fn new(genotype: &Genotype, scope: &mut Scope, network: &str, roles: Roles) -> Result<Self> {
        let width = representation(genotype, network)?;
        Ok(Self {
            linear: Plain::new(scope, &format!("{network}/trunk"), roles, FEATURES, width),
            norm: Norm::new(scope, &format!("{network}/trunk/norm"), roles, width),
            activation: activation(genotype, &format!("{network}/trunk_activation"))?,
        })
    }
}

#[cfg(feature = "libtorch")]
impl Trunk {
    fn forward(&self, features: &Tensor) -> Tensor {
        self.activation.forward(self.norm.forward(&self.linear.forward(features)))
    }
}

/// A fixed linear layer, searched ones, and a linear head.
struct Tower {
    first: RlLinear,
    activation: Activation,
    layers: Vec<DenseLayer>,
    head: Plain,
}

impl Tower {
    /// With `input` and `output` as the widths of the first and the last layer.
    fn new(
        config: &RlConfig,
        genotype: &Genotype,
        scope: &mut Scope,
        path: &str,
        roles: Roles,
        (input, output): (i64, i64),
    ) -> Result<Self> {
        let hidden = config.hidden as i64;
        let spectral_norm = spectral_norm(genotype, path)?;
        let build = Build { roles, spectral_norm, spectral_init: config.spectral_init };
        let first = RlLinear::new(scope, &format!("{path}/layer0"), build, input, hidden);
        let mut layers = Vec::new();
        for layer in 1..=LAYERS {
            let name = format!("{path}/layer{layer}");
            let kind = dense(genotype, &name)?;
            let activation = activation(genotype, &format!("{path}/activation{layer}"))?;
            layers.push(DenseLayer::new(scope, &name, build, hidden, kind, activation));
        }
        Ok(Self {
            first,
            activation: activation(genotype, &format!("{path}/activation0"))?,
            layers,
            head: Plain::new(scope, &format!("{path}/head"), roles, hidden, output),
        })
    }
}

#[cfg(feature = "libtorch")]
impl Tower {
    fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let x = self.activation.forward(self.first.forward(x, train));
        self.head.forward(&self.layers.iter().fold(x, |x, layer| layer.forward(x, train)))
    }
}

/// Computes the mean of the policy from features.
pub struct Actor {
    trunk: Trunk,
    tower: Tower,
}

impl Actor {
    /// Declares or builds the actor of an architecture, under `actor/`.
    pub fn new(config: &RlConfig, genotype: &Genotype, scope: &mut Scope) -> Result<Self> {
        let roles = Roles::ALONE;
        let sizes = (representation(genotype, "actor")?, config.environment.action_size() as i64);
        Ok(Self {
            trunk: Trunk::new(genotype, scope, "actor", roles)?,
            tower: Tower::new(config, genotype, scope, "actor", roles, sizes)?,
        })
    }
}

#[cfg(feature = "libtorch")]
impl Actor {
    /// Mean actions `(n, actions)` in (-1, 1).
    pub fn forward(&self, features: &Tensor, train: bool) -> Tensor {
        self.tower.forward(&self.trunk.forward(features), train).tanh()
    }
}

/// Computes two estimates of the return from features and actions.
pub struct Critic {
    trunk: Trunk,
    q1: Tower,
    q2: Tower,
}

impl Critic {
    /// Declares or builds the critic of an architecture, under `critic/`.
    pub fn new(config: &RlConfig, genotype: &Genotype, scope: &mut Scope) -> Result<Self> {
        let roles = Roles::WITH_TARGET;
        let actions = config.environment.action_size() as i64;
        let sizes = (representation(genotype, "critic")? + actions, 1);
        Ok(Self {
            trunk: Trunk::new(genotype, scope, "critic", roles)?,
            q1: Tower::new(config, genotype, scope, "critic/q1", roles, sizes)?,
            q2: Tower::new(config, genotype, scope, "critic/q2", roles, sizes)?,
        })
    }
}

#[cfg(feature = "libtorch")]
impl Critic {
    /// Both estimates, each `(n, 1)`, of features `(n, FEATURES)` and actions `(n, actions)`.
    pub fn forward(&self, features: &Tensor, actions: &Tensor, train: bool) -> (Tensor, Tensor) {
        let x = Tensor::cat(&[&self.trunk.forward(features), actions], 1);
        (self.q1.forward(&x, train), self.q2.forward(&x, train))
    }
}
