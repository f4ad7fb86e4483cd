//! The network of FID and Inception Score: Inception-v3 of 2015-12-05, from either of the two files in which it is
//! distributed for PyTorch.

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
use tch::{Device, Kind, Tensor, no_grad};

use crate::gan::inception_report::InceptionFile;
pub use check::check_inception;

/// Number of features of an image, which FID compares.
pub const FEATURES: i64 = 2048;
/// Number of classes, of which the Inception Score takes the probabilities.
pub const CLASSES: i64 = 1008;
/// Images per forward pass: each takes 5.5 MB in the widest layer.
const BATCH: i64 = 50;

/// The end of the message on an invalid file.
const WANTED: &str = "use inception-2015-12-05.pt (TorchScript, distributed by NVIDIA with the metrics of StyleGAN), or \
                      the output of scripts/inception-to-safetensors for the weights \
                      (pt_inception-2015-12-05-*.pth) of the pytorch-fid project";

/// The Inception network. The features of both files agree to rounding.
pub struct Inception {
    network: InceptionNetwork,
    device: Device,
}

enum InceptionNetwork {
    Script(script::Script),
    Native(native::NativeNetwork),
}

/// The kind of a file by its first bytes.
enum WeightsFormat {
    Zip,
    Pickle,
    Safetensors,
    Unknown,
}

impl WeightsFormat {
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
    /// Loads either file, under any name, and runs it once. If it is not this network, the error says what it is
    /// instead.
    ///
    /// On CUDA, convolutions may round to TF32 (features to 1e-3) unless `NVIDIA_TF32_OVERRIDE=0` is set.
    pub fn load(path: &Path, device: Device) -> Result<Self> {
        let content =
            WeightsFormat::of(path).with_context(|| format!("failed to read {}", path.display()))?;
        let wrong =
            |what: String| anyhow!("{} is not the Inception network: {what}; {WANTED}", path.display());
        let network = no_grad(|| match content {
            WeightsFormat::Zip => script::Script::load(path, device, &probe().to_device(device))
                .map(InceptionNetwork::Script)
                .map_err(|error| {
                    wrong(format!("it is a PyTorch archive, but not that TorchScript ({error})"))
                }),
            WeightsFormat::Safetensors => {
                let bytes = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
                let loaded = native::NativeNetwork::load(&bytes, device);
                loaded
                    .map(InceptionNetwork::Native)
                    .map_err(|error| wrong(format!("it is safetensors, but {error}")))
            }
            WeightsFormat::Pickle => Err(wrong("it is a Python pickle, which pbtnas does not read".into())),
            WeightsFormat::Unknown => Err(wrong("it is neither TorchScript nor safetensors".into())),
        })?;
        Ok(Self { network, device })
    }

    /// The kind of the file that it was loaded from.
    pub fn file(&self) -> InceptionFile {
        match self.network {
            InceptionNetwork::Script(_) => InceptionFile::TorchScript,
            InceptionNetwork::Native(_) => InceptionFile::Safetensors,
        }
    }

    /// Features `(n, 2048)`, averaged over positions, and class probabilities `(n, 1008)` of 8-bit images
    /// `(n, 1 or 3, height, width)` on any device. Both are `Float` on the network's device. As the Inception Score was
    /// defined, the probabilities are those without the bias of the last layer. Greyscale becomes three equal channels.
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
                InceptionNetwork::Script(script) => script.forward(&colours),
                InceptionNetwork::Native(network) => Ok(network.forward(&colours)),
            })?;
            features.push(of_batch);
            probabilities.push(classes);
        }
        Ok((Tensor::cat(&features, 0), Tensor::cat(&probabilities, 0)))
    }
}

/// An image `(1, 3, 32, 32)` that is not constant.
fn probe() -> Tensor {
    let values = Tensor::arange(3 * 32 * 32, (Kind::Int64, Device::Cpu)) * 37;
    values.remainder(256).to_kind(Kind::Uint8).reshape([1, 3, 32, 32])
}
