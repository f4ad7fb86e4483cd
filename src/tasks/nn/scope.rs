//! One description of a network for two uses: to declare its tensors, and to build it from their values.

use std::collections::BTreeMap;

use safetensors::Dtype;
use tch::{Kind, Tensor};

use crate::checkpoint::{Init, TensorSpec};

/// Values by name (without `model/`).
pub type Values = BTreeMap<String, Tensor>;

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Trained, without an averaged copy.
    Parameter,
    /// Trained, with an averaged copy.
    AveragedParameter,
    /// Changed by forward passes only.
    Buffer,
    /// The same, where the averaged copy has one of its own.
    AveragedBuffer,
}

/// Collects the tensors of a network while it is described.
pub struct Scope<'a> {
    specs: Vec<TensorSpec>,
    values: Option<&'a Values>,
    compute: Option<Kind>,
}

impl<'a> Scope<'a> {
    /// To learn a network's tensors: what is built is of no use.
    pub fn declare() -> Self {
        Self { specs: Vec::new(), values: None, compute: None }
    }

    /// To build a network from values, which must hold every declared tensor.
    pub fn load(values: &'a Values) -> Self {
        Self { specs: Vec::new(), values: Some(values), compute: None }
    }

    /// Lets convolutions and linear layers compute in another type than that of their weights.
    pub fn computing_in(self, compute: Option<Kind>) -> Self {
        Self { compute, ..self }
    }

    /// The type in which layers compute, if it is not that of their input.
    pub fn compute(&self) -> Option<Kind> {
        self.compute
    }

    /// A tensor of the network.
    pub fn tensor(&mut self, name: String, shape: &[i64], init: Init, role: Role) -> Tensor {
        let value = self.values.and_then(|values| values.get(&name));
        let value = value.map_or_else(Tensor::new, Tensor::shallow_clone);
        self.specs.push(TensorSpec {
            name,
            shape: shape.iter().map(|&size| size.unsigned_abs() as usize).collect(),
            dtype: Dtype::F32,
            init,
            trained: matches!(role, Role::Parameter | Role::AveragedParameter),
            averaged: matches!(role, Role::AveragedParameter | Role::AveragedBuffer),
        });
        value
    }

    /// All tensors of the network.
    pub fn into_specs(self) -> Vec<TensorSpec> {
        self.specs
    }
}
