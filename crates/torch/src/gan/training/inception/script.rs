//! The network in the TorchScript file that NVIDIA distributes with the metrics of StyleGAN.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use tch::{CModule, Device, IValue, Kind, Tensor};

use super::{CLASSES, FEATURES};

/// A loaded file, whose own code resizes and scales images.
pub struct Script {
    module: CModule,
    /// `(1008, 2048)`, the weight of the last layer: with it, one pass through the network gives both outputs.
    classes: Option<Tensor>,
}

impl Script {
    /// Loads a file and checks its outputs for `probe`, an 8-bit image `(1, 3, height, width)`.
    pub fn load(path: &Path, device: Device, probe: &Tensor) -> Result<Self> {
        // The shapes of batches vary, and compiling a fused kernel for each takes longer than it saves.
        tch::jit::f_set_tensor_expr_fuser_enabled(false)?;
        let mut module = CModule::load_on_device(path, device).map_err(brief)?;
        module.f_set_eval()?;
        let mut script = Self { module, classes: None };
        let features = script.call(probe, true)?;
        let probabilities = script.call(probe, false)?;
        for (what, found, width) in
            [("features", &features, FEATURES), ("probabilities", &probabilities, CLASSES)]
        {
            if found.size() != [1, width] || found.kind() != Kind::Float {
                let (kind, size) = (found.kind(), found.size());
                bail!("for an image its {what} are {kind:?} {size:?} instead of Float [1, {width}]");
            }
        }
        let parameters = script.module.named_parameters()?;
        let weight =
            parameters.into_iter().find(|(name, _)| name == "output.weight").map(|(_, weight)| weight);
        script.classes = weight.filter(|weight| {
            weight.size() == [CLASSES, FEATURES]
                && weight.kind() == Kind::Float
                && (classify(&features, weight) - &probabilities).abs().max().double_value(&[]) < 1e-5
        });
        Ok(script)
    }

    /// Features `(n, 2048)` and probabilities `(n, 1008)` of 8-bit images `(n, 3, height, width)` on the
    /// network's device.
    pub fn forward(&self, images: &Tensor) -> Result<(Tensor, Tensor)> {
        let features = self.call(images, true)?;
        let probabilities = match &self.classes {
            Some(weight) => classify(&features, weight),
            None => self.call(images, false)?,
        };
        Ok((features, probabilities))
    }

    /// `forward(img, return_features, use_fp16, no_output_bias)` of the file.
    fn call(&self, images: &Tensor, return_features: bool) -> Result<Tensor> {
        let arguments = [
            IValue::Tensor(images.shallow_clone()),
            IValue::Bool(return_features),
            IValue::Bool(false),
            IValue::Bool(true),
        ];
        match self.module.forward_is(&arguments).map_err(brief)? {
            IValue::Tensor(output) => Ok(output),
            _ => bail!("it does not return a tensor"),
        }
    }
}

fn classify(features: &Tensor, weight: &Tensor) -> Tensor {
    features.linear(weight, None::<&Tensor>).softmax(1, Kind::Float)
}

/// An error of libtorch without its stack trace, on one line.
fn brief(error: tch::TchError) -> anyhow::Error {
    let text = error.to_string();
    let lines = text.lines().take_while(|line| !line.starts_with("Exception raised from"));
    anyhow!("{}", lines.map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; "))
}
