//! The network of FID and Inception Score: Inception-v3 of 2015-12-05, in either of the two files in which it
//! is distributed for PyTorch.

mod check;
mod native;
mod resize;
mod script;
mod table;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use schemars::JsonSchema;
use serde::Serialize;
use tch::{Device, Kind, Tensor, no_grad};

pub use check::{InceptionReport, check_inception};

/// Features of an image: FID's.
pub const FEATURES: i64 = 2048;
/// Classes that an image may have: the Inception Score's.
pub const CLASSES: i64 = 1008;
/// Images that go through the network at a time: 5.5 MB each in its widest layer.
const BATCH: i64 = 50;

/// What to do about a file that is not the network.
const WANTED: &str = "needed is inception-2015-12-05.pt (TorchScript, distributed by NVIDIA with the measures \
                      of StyleGAN), or what scripts/inception-to-safetensors makes of the weights \
                      (pt_inception-2015-12-05-*.pth) of the pytorch-fid project";

/// See the module. The features of both files agree to rounding.
pub struct Inception {
    network: Network,
    device: Device,
}

enum Network {
    Script(script::Script),
    Native(native::Network),
}

/// Which of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InceptionFile {
    /// `inception-2015-12-05.pt`.
    TorchScript,
    /// Weights with pytorch-fid's names.
    Safetensors,
}

impl std::fmt::Display for InceptionFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TorchScript => "TorchScript",
            Self::Safetensors => "safetensors with pytorch-fid's names",
        })
    }
}

/// What a file is, by its first bytes.
enum Content {
    Zip,
    Pickle,
    Safetensors,
    Unknown,
}

impl Content {
    fn of(path: &Path) -> std::io::Result<Self> {
        let mut start = Vec::new();
        fs::File::open(path)?.take(9).read_to_end(&mut start)?;
        Ok(match start.as_slice() {
            [b'P', b'K', 3, 4, ..] => Self::Zip,
            [.., b'{'] if start.len() == 9 => Self::Safetensors,
            [0x80, ..] => Self::Pickle,
            _ => Self::Unknown,
        })
    }
}

impl Inception {
    /// Loads either file, whatever its name, and runs it once. Fails if it cannot be read or is not this
    /// network, and says what it is instead.
    ///
    /// On CUDA, convolutions may round to TF32 (features to 1e-3) unless the environment says
    /// `NVIDIA_TF32_OVERRIDE=0`.
    pub fn load(path: &Path, device: Device) -> Result<Self> {
        let content = Content::of(path).with_context(|| format!("failed to read {}", path.display()))?;
        let wrong =
            |what: String| anyhow!("{} is not the Inception network: {what}; {WANTED}", path.display());
        let network = no_grad(|| match content {
            Content::Zip => {
                script::Script::load(path, device, &probe().to_device(device)).map(Network::Script).map_err(
                    |error| wrong(format!("it is an archive of PyTorch, but not that TorchScript ({error})")),
                )
            }
            Content::Safetensors => {
                let bytes = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
                let loaded = native::Network::load(&bytes, device);
                loaded.map(Network::Native).map_err(|error| wrong(format!("it is safetensors, but {error}")))
            }
            Content::Pickle => Err(wrong("it is a pickle of Python, which is not read".into())),
            Content::Unknown => Err(wrong("it is neither TorchScript nor safetensors".into())),
        })?;
        Ok(Self { network, device })
    }

    /// Which file it came from.
    pub fn file(&self) -> InceptionFile {
        match self.network {
            Network::Script(_) => InceptionFile::TorchScript,
            Network::Native(_) => InceptionFile::Safetensors,
        }
    }

    /// Features `(n, 2048)`, the last average over positions, and class probabilities `(n, 1008)`, without the
    /// last layer's bias as the Inception Score was defined, both `Float` on the network's device, of 8-bit
    /// images `(n, 1 or 3, height, width)` on any device. Greyscale counts as three equal channels.
    pub fn features_and_probabilities(&self, images: &Tensor) -> Result<(Tensor, Tensor)> {
        let size = images.size();
        let sound = matches!(size[..], [_, 1 | 3, _, _]) && !size.contains(&0);
        if images.kind() != Kind::Uint8 || !sound {
            bail!(
                "Inception takes 8-bit images (n, 1 or 3, height, width), not {:?} {size:?}",
                images.kind()
            );
        }
        let (mut features, mut probabilities) = (Vec::new(), Vec::new());
        for batch in images.split(BATCH, 0) {
            let colours = batch.to_device(self.device).expand([-1, 3, -1, -1], false);
            let (of_batch, classes) = no_grad(|| match &self.network {
                Network::Script(script) => script.forward(&colours),
                Network::Native(network) => Ok(network.forward(&colours)),
            })?;
            features.push(of_batch);
            probabilities.push(classes);
        }
        Ok((Tensor::cat(&features, 0), Tensor::cat(&probabilities, 0)))
    }
}

/// An image `(1, 3, 32, 32)` that is not the same everywhere.
fn probe() -> Tensor {
    let values = Tensor::arange(3 * 32 * 32, (Kind::Int64, Device::Cpu)) * 37;
    values.remainder(256).to_kind(Kind::Uint8).reshape([1, 3, 32, 32])
}
