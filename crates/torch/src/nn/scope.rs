//! A description of a network that serves to declare its tensors, and to build it from their values.

use std::collections::BTreeMap;

use super::{Kind, Tensor};
use safetensors::Dtype;

use pbtnas_core::checkpoint::{Average, Init, TensorSpec};

/// Tensors by name, without the prefix `model/`.
pub type Values = BTreeMap<String, Tensor>;

/// The role of a tensor in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Trained, without a moving average.
    Parameter,
    /// Trained, with a moving average.
    AveragedParameter,
    /// Trained, with a copy in a target network.
    TargetParameter,
    /// Changed by forward passes only.
    Buffer,
    /// A buffer of which the target network has its own copy.
    TargetBuffer,
}

/// Collects the tensors of a network while it is described.
pub struct Scope<'a> {
    specs: Vec<TensorSpec>,
    values: Option<&'a Values>,
    compute: Option<Kind>,
}

impl<'a> Scope<'a> {
    /// For declaring tensors: layers that are built with it have undefined tensors.
    pub fn declare() -> Self {
        Self { specs: Vec::new(), values: None, compute: None }
    }

    /// For building a network from values, which must have every declared tensor.
    pub fn load(values: &'a Values) -> Self {
        Self { specs: Vec::new(), values: Some(values), compute: None }
    }

    /// Sets the type in which convolutions and linear layers compute, if it differs from that of their weights.
    pub fn computing_in(self, compute: Option<Kind>) -> Self {
        Self { compute, ..self }
    }

    /// The type in which layers compute, if it differs from that of their input.
    pub fn compute(&self) -> Option<Kind> {
        self.compute
    }

    /// Declares a tensor and returns its value.
    pub fn tensor(&mut self, name: String, shape: &[i64], init: Init, role: Role) -> Tensor {
        let value = self.values.and_then(|values| values.get(&name));
        let value = value.map_or_else(Tensor::new, Tensor::shallow_clone);
        self.specs.push(TensorSpec {
            name,
            shape: shape.iter().map(|&size| size.unsigned_abs() as usize).collect(),
            dtype: Dtype::F32,
            init,
            trained: matches!(role, Role::Parameter | Role::AveragedParameter | Role::TargetParameter),
            average: match role {
                Role::Parameter | Role::Buffer => None,
                Role::AveragedParameter => Some(Average::Moving),
                Role::TargetParameter | Role::TargetBuffer => Some(Average::Target),
            },
        });
        value
    }

    /// The declared tensors.
    pub fn into_specs(self) -> Vec<TensorSpec> {
        self.specs
    }
}
