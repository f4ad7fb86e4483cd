//! A mixed edge: the weighted sum of all its options.

use std::cell::RefCell;

use crate::nn::Tensor;

use crate::nn::{Role, Scope};
use pbtnas_core::checkpoint::Init;

/// Suffix of a network's name for its architecture parameters.
const ARCHITECTURE: &str = "_architecture";

/// The name of the architecture parameters of a variable: `generator_architecture/cell1/c0` for `generator/cell1/c0`.
/// They form their own network, since a separate optimizer trains them.
pub fn architecture(variable: &str) -> String {
    let (network, rest) = variable.split_once('/').unwrap_or((variable, ""));
    format!("{network}{ARCHITECTURE}/{rest}")
}

/// The variable of a tensor of architecture parameters; `None` for other tensors.
#[cfg(feature = "libtorch")]
pub fn variable_of(tensor: &str) -> Option<String> {
    let (network, rest) = tensor.split_once('/')?;
    Some(format!("{}/{rest}", network.strip_suffix(ARCHITECTURE)?))
}

/// Samples the standard Gumbel distribution, for a shape.
pub type Gumbel<'a> = dyn FnMut(&[i64]) -> Tensor + 'a;

/// Samples the weights of options in a forward pass: from the Gumbel-softmax (Jang et al., 2017) of the softmax of an
/// edge's parameters, as in the published code of AdversarialNAS.
pub struct Relax<'a> {
    temperature: f64,
    gumbel: RefCell<&'a mut Gumbel<'a>>,
}

impl<'a> Relax<'a> {
    pub fn new(temperature: f64, gumbel: &'a mut Gumbel<'a>) -> Self {
        Self { temperature, gumbel: RefCell::new(gumbel) }
    }
}

#[cfg(feature = "libtorch")]
impl<'a> Relax<'a> {
    /// The weights of an edge's options, which add up to one.
    fn weights(&self, parameters: &Tensor) -> Tensor {
        let noise = (self.gumbel.borrow_mut())(&parameters.size());
        ((parameters.softmax(-1, None) + noise) / self.temperature).softmax(-1, None)
    }
}

/// The options of an edge and their architecture parameters.
pub struct MixedEdge<T> {
    parameters: Tensor,
    options: Vec<T>,
}

impl<T> MixedEdge<T> {
    /// Declares or builds the edge of a variable; the layers of each option are under its name.
    pub fn new<O: Copy>(
        scope: &mut Scope,
        variable: &str,
        options: &[(&str, O)],
        mut make: impl FnMut(&mut Scope, &str, O) -> T,
    ) -> Self {
        let shape = [options.len() as i64];
        let parameters = scope.tensor(
            architecture(variable),
            &shape,
            Init::Normal { mean: 0.0, std: 1e-3 },
            Role::Parameter,
        );
        let options = options
            .iter()
            .map(|(name, option)| make(scope, &format!("{variable}/{name}"), *option))
            .collect();
        Self { parameters, options }
    }
}

#[cfg(feature = "libtorch")]
impl<T> MixedEdge<T> {
    /// The weighted sum of the outputs of the options, where `None` counts as zero. `apply` must return an output for
    /// at least one option.
    pub fn forward(&self, relax: &Relax, apply: impl Fn(&T) -> Option<Tensor>) -> Tensor {
        let weights = relax.weights(&self.parameters);
        let terms =
            self.options.iter().zip(0..).filter_map(|(option, at)| Some(apply(option)? * weights.get(at)));
        terms.reduce(|a, b| a + b).unwrap_or_else(Tensor::new)
    }
}
