//! An edge that is all its options at once.

use std::cell::RefCell;

use tch::Tensor;

use crate::checkpoint::Init;
use crate::tasks::nn::{Role, Scope};

/// What is added to the names of networks for that of their architecture's parameters.
const ARCHITECTURE: &str = "_architecture";

/// The network of an edge's architecture parameters, and their name in it: of `generator/cell1/c0` those are
/// `generator_architecture/cell1/c0`. They lie apart, since an optimizer of their own trains them.
pub fn architecture(variable: &str) -> String {
    let (network, rest) = variable.split_once('/').unwrap_or((variable, ""));
    format!("{network}{ARCHITECTURE}/{rest}")
}

/// The variable that a tensor is the architecture of, if it is one.
pub fn variable_of(tensor: &str) -> Option<String> {
    let (network, rest) = tensor.split_once('/')?;
    Some(format!("{}/{rest}", network.strip_suffix(ARCHITECTURE)?))
}

/// Makes numbers of the standard Gumbel distribution, of the shape that it is asked for.
pub type Gumbel<'a> = dyn FnMut(&[i64]) -> Tensor + 'a;

/// How edges weigh their options in a forward pass: each draws anew from the Gumbel-softmax of its parameters' softmax
/// (Jang et al., 2017; the published code of AdversarialNAS takes the softmax before it).
pub struct Relax<'a> {
    temperature: f64,
    gumbel: RefCell<&'a mut Gumbel<'a>>,
}

impl<'a> Relax<'a> {
    /// At a temperature.
    pub fn new(temperature: f64, gumbel: &'a mut Gumbel<'a>) -> Self {
        Self { temperature, gumbel: RefCell::new(gumbel) }
    }

    /// The weights of the options of an edge, which add up to one.
    fn weights(&self, parameters: &Tensor) -> Tensor {
        let noise = (self.gumbel.borrow_mut())(&parameters.size());
        ((parameters.softmax(-1, None) + noise) / self.temperature).softmax(-1, None)
    }
}

/// The options of an edge and their weights.
pub struct Mixed<T> {
    parameters: Tensor,
    options: Vec<T>,
}

impl<T> Mixed<T> {
    /// Declares or builds the edge of a variable; each option has its layers under its own name.
    pub fn new<O: Copy>(
        scope: &mut Scope,
        variable: &str,
        options: &[(&str, O)],
        mut make: impl FnMut(&mut Scope, &str, O) -> T,
    ) -> Self {
        let shape = [options.len() as i64];
        let parameters =
            scope.tensor(architecture(variable), &shape, Init::Normal(0.0, 1e-3), Role::Parameter);
        let options = options
            .iter()
            .map(|(name, option)| make(scope, &format!("{variable}/{name}"), *option))
            .collect();
        Self { parameters, options }
    }

    /// The weighted sum of what the options make of an input; those that make none count as zero. `apply` must make
    /// something of at least one option.
    pub fn forward(&self, relax: &Relax, apply: impl Fn(&T) -> Option<Tensor>) -> Tensor {
        let weights = relax.weights(&self.parameters);
        let terms =
            self.options.iter().zip(0..).filter_map(|(option, at)| Some(apply(option)? * weights.get(at)));
        terms.reduce(|a, b| a + b).unwrap_or_else(Tensor::new)
    }
}
