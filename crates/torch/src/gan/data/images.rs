//! The images of a data set, and their conversion from each format to the input of the networks.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use tch::{Device, Kind, Tensor};

use super::mapped::Records;
use crate::gan::GanConfig;
use crate::nn::to_device;

/// Reads the files of one format.
pub trait ImageFormat {
    /// See [`super::DataSet::prepare`]. Only formats whose files cannot be memory-mapped need it.
    fn prepare(&self, _: &GanConfig, _dir: &Path) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Maps the files of the data set, or those that `prepare` wrote to `shared`.
    fn open(&self, config: &GanConfig, shared: &Path) -> Result<Opened>;
}

/// Mapped files.
pub struct Opened {
    pub records: Vec<Records>,
    pub layout: ImageLayout,
    /// Classes of the first images.
    pub labels: Vec<i64>,
}

/// The layout of the bytes of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLayout {
    pub channels: i64,
    pub height: i64,
    pub width: i64,
    /// Each channel column by column (STL-10) instead of row by row.
    pub by_column: bool,
}

/// The images of a data set, in mapped files.
pub struct Images {
    records: Vec<Records>,
    layout: ImageLayout,
    /// Classes of the first images: of all of them, except in STL-10 and in a folder without classes.
    labels: Vec<i64>,
    count: usize,
    side: i64,
}

impl Images {
    /// Maps the files and checks their sizes. `shared` is the folder of the files that [`DataSet::prepare`] wrote.
    pub fn open(config: &GanConfig, shared: &Path) -> Result<Self> {
        let Opened { records, layout, mut labels } = config.dataset.format().open(config, shared)?;
        let total = records.iter().map(Records::len).sum();
        let count = if config.subset == 0 { total } else { config.subset.min(total) };
        if count < config.batch {
            match count < total {
                true => {
                    bail!("[gan] subset = {count} is smaller than a batch: batch = {}", config.batch)
                }
                false => bail!(
                    "{} holds {count} images, fewer than a batch: [gan] batch = {}",
                    config.data.display(),
                    config.batch
                ),
            }
        }
        labels.truncate(count);
        Ok(Self { records, layout, labels, count, side: config.image_size as i64 })
    }

    /// Number of images in use.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Always false: an opened data set has at least one batch.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Colour channels.
    pub fn channels(&self) -> i64 {
        self.layout.channels
    }

    /// Classes of the first images; there may be fewer labels than images.
    pub fn labels(&self) -> &[i64] {
        &self.labels
    }

    /// The files of the images.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.records.iter().map(|records| records.path().to_owned())
    }

    /// The images at these positions, 8-bit, `(n, channels, side, side)`, on the CPU.
    pub fn pixels(&self, positions: &[i64]) -> Tensor {
        let ImageLayout { channels, height, width, by_column } = self.layout;
        let mut bytes = Vec::with_capacity(positions.len() * (channels * height * width) as usize);
        for &position in positions {
            let mut position = position as usize;
            for records in &self.records {
                if position < records.len() {
                    bytes.extend_from_slice(records.get(position));
                    break;
                }
                position -= records.len();
            }
        }
        let n = positions.len() as i64;
        let raw = Tensor::from_slice(&bytes);
        let images = match by_column {
            true => raw.view([n, channels, width, height]).transpose(2, 3).contiguous(),
            false => raw.view([n, channels, height, width]),
        };
        fit(&images, self.side)
    }

    /// The images at these positions in [-1, 1], on a device.
    pub fn batch(&self, positions: &[i64], device: Device) -> Tensor {
        scale(&to_device(self.pixels(positions), device))
    }
}

/// From 8-bit pixels to [-1, 1].
pub fn scale(pixels: &Tensor) -> Tensor {
    pixels.to_kind(Kind::Float) / 127.5 - 1.0
}

/// From [-1, 1] to 8-bit pixels.
pub fn quantise(images: &Tensor) -> Tensor {
    ((images + 1.0) * 127.5).round().clamp(0.0, 255.0).to_kind(Kind::Uint8)
}

/// Puts a black border around smaller images, and scales larger ones down bilinearly with antialiasing, as image
/// libraries do.
pub fn fit(pixels: &Tensor, side: i64) -> Tensor {
    let (height, width) = (pixels.size()[2], pixels.size()[3]);
    if (height, width) == (side, side) {
        return pixels.shallow_clone();
    }
    if height <= side && width <= side {
        let (top, left) = ((side - height) / 2, (side - width) / 2);
        let border = [left, side - width - left, top, side - height - top];
        return pixels.constant_pad_nd(border);
    }
    let smaller =
        pixels.to_kind(Kind::Float).internal_upsample_bilinear2d_aa([side, side], false, None, None);
    smaller.round().clamp(0.0, 255.0).to_kind(Kind::Uint8)
}
