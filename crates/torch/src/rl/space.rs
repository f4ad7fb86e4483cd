//! The search space of the paper's section 4.3: 36 variables of encoder, actor and critic (facts: RL task).
//!
//! As in the GAN's spaces, a variable that owns a layer has the layer's name, and its tensors depend on its value only.
//! Layer 0 of each network is fixed except for its activation; in actor and critic its input is as wide as the
//! representation, which therefore owns it.

use anyhow::Result;

use crate::nn::{names, value};
use pbtnas_core::search::{Genotype, Space, Variable};

/// Searched layers of each network, numbered from 1.
pub const LAYERS: usize = 3;

/// A searched layer of the encoder; the numbers are kernel sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Convolution {
    /// No layer, and no activation.
    Identity,
    Plain(i64),
    /// Two convolutions with a skip connection.
    Residual(i64),
    /// A depthwise convolution, then one of 1x1.
    Separable(i64),
}

/// A searched layer of actor or critic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Dense {
    /// No layer, and no activation.
    Identity,
    Linear,
    /// Two linear layers with a skip connection; the width between them is multiplied by this.
    Residual(f64),
}

/// The activation after a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    Identity,
    Tanh,
    Relu,
    /// x * sigmoid(x).
    Swish,
}

pub(super) const CONVOLUTIONS: [(&str, Convolution); 10] = [
    ("identity", Convolution::Identity),
    ("conv_3x3", Convolution::Plain(3)),
    ("conv_5x5", Convolution::Plain(5)),
    ("conv_7x7", Convolution::Plain(7)),
    ("residual_3x3", Convolution::Residual(3)),
    ("residual_5x5", Convolution::Residual(5)),
    ("residual_7x7", Convolution::Residual(7)),
    ("separable_3x3", Convolution::Separable(3)),
    ("separable_5x5", Convolution::Separable(5)),
    ("separable_7x7", Convolution::Separable(7)),
];

pub(super) const DENSE: [(&str, Dense); 4] = [
    ("identity", Dense::Identity),
    ("linear", Dense::Linear),
    ("residual_0.5", Dense::Residual(0.5)),
    ("residual_2", Dense::Residual(2.0)),
];

pub(super) const ACTIVATIONS: [(&str, Activation); 4] = [
    ("identity", Activation::Identity),
    ("tanh", Activation::Tanh),
    ("relu", Activation::Relu),
    ("swish", Activation::Swish),
];

pub(super) const FLAGS: [(&str, bool); 2] = [("no", false), ("yes", true)];
const REPRESENTATIONS: [(&str, i64); 4] = [("25", 25), ("50", 50), ("100", 100), ("150", 150)];

/// The variables of the space.
pub fn space() -> Space {
    let mut variables = Vec::new();
    stack(&mut variables, "encoder", &CONVOLUTIONS);
    variables.push(owner("actor/representation", &REPRESENTATIONS, &["actor/trunk/", "actor/layer0/"]));
    variables.push(owner("actor/trunk_activation", &ACTIVATIONS, &[]));
    stack(&mut variables, "actor", &DENSE);
    let owned = ["critic/trunk/", "critic/q1/layer0/", "critic/q2/layer0/"];
    variables.push(owner("critic/representation", &REPRESENTATIONS, &owned));
    variables.push(owner("critic/trunk_activation", &ACTIVATIONS, &[]));
    stack(&mut variables, "critic/q1", &DENSE);
    stack(&mut variables, "critic/q2", &DENSE);
    Space::new(variables)
}

/// The layers of a network, their activations, and whether they are spectrally normalised.
fn stack<T>(variables: &mut Vec<Variable>, network: &str, layers: &[(&str, T)]) {
    for layer in 1..=LAYERS {
        let name = format!("{network}/layer{layer}");
        variables.push(owner(&name, layers, &[&format!("{name}/")]));
    }
    for layer in 0..=LAYERS {
        variables.push(owner(&format!("{network}/activation{layer}"), &ACTIVATIONS, &[]));
    }
    variables.push(owner(&format!("{network}/spectral_norm"), &FLAGS, &[]));
}

fn owner<T>(name: &str, options: &[(&str, T)], owns: &[&str]) -> Variable {
    Variable::choice(name, names(options), owns.iter().map(|prefix| (*prefix).to_owned()).collect())
}

/// The layer of a variable such as `encoder/layer1`.
pub fn convolution(genotype: &Genotype, variable: &str) -> Result<Convolution> {
    value(genotype, variable, &CONVOLUTIONS)
}

/// The layer of a variable such as `critic/q1/layer1`.
pub fn dense(genotype: &Genotype, variable: &str) -> Result<Dense> {
    value(genotype, variable, &DENSE)
}

/// The activation of a variable such as `actor/activation0`.
pub fn activation(genotype: &Genotype, variable: &str) -> Result<Activation> {
    value(genotype, variable, &ACTIVATIONS)
}

/// Whether the layers of a network (`encoder`, `actor`, `critic/q1`, `critic/q2`) are spectrally normalised.
pub fn spectral_norm(genotype: &Genotype, network: &str) -> Result<bool> {
    value(genotype, &format!("{network}/spectral_norm"), &FLAGS)
}

/// The width of the representation of `actor` or `critic`.
pub fn representation(genotype: &Genotype, network: &str) -> Result<i64> {
    value(genotype, &format!("{network}/representation"), &REPRESENTATIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_has_the_published_size() {
        let space = space();
        assert_eq!(space.check(), Ok(()));
        assert_eq!(space.variables.len(), 36);
        assert_eq!(space.size().to_string(), "4611686018427387904000");
    }

    #[test]
    fn heads_and_the_first_convolution_have_no_owner() {
        let space = space();
        for name in ["encoder/layer0/weight", "actor/head/weight", "critic/q1/head/bias"] {
            assert!(space.owner(name).is_none(), "{name}");
        }
        let owner = |name: &str| space.owner(name).map(|variable| variable.name.clone());
        assert_eq!(owner("critic/q2/layer0/u").as_deref(), Some("critic/representation"));
        assert_eq!(owner("actor/trunk/norm/weight").as_deref(), Some("actor/representation"));
        assert_eq!(owner("encoder/layer2/conv1/weight").as_deref(), Some("encoder/layer2"));
    }
}
