//! Training images: IDX files (Fashion-MNIST and its kin), CIFAR-10 and STL-10 in their binary formats.
//!
//! The files are memory-mapped and a batch is cut out of them when it is needed, so that all members on a
//! machine share the same pages and none holds a copy.

mod cifar;
mod idx;
mod mapped;
mod stl;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::GanConfig;
use crate::tasks::nn::to_device;
use mapped::Records;
pub use mapped::map;

/// The format of the files in the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataSet {
    /// `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`: grey images of any size.
    Idx,
    /// `data_batch_1.bin` to `data_batch_5.bin`: 50 000 colour images of 32x32.
    #[serde(rename = "cifar-10")]
    Cifar10,
    /// `train_X.bin`, `train_y.bin`, `unlabeled_X.bin`: 105 000 colour images of 96x96.
    #[serde(rename = "stl-10")]
    Stl10,
}

impl DataSet {
    /// Colour channels.
    pub fn channels(self) -> i64 {
        match self {
            Self::Idx => 1,
            Self::Cifar10 | Self::Stl10 => 3,
        }
    }

    /// The files, all of which must be there.
    pub fn files(self) -> &'static [&'static str] {
        match self {
            Self::Idx => &idx::FILES,
            Self::Cifar10 => &cifar::FILES,
            Self::Stl10 => &stl::FILES,
        }
    }

    /// Where the files can be got.
    fn source(self) -> &'static str {
        match self {
            Self::Idx => {
                "`scripts/setup data` gets Fashion-MNIST; or set [gan] data to a folder with IDX files"
            }
            Self::Cifar10 => cifar::SOURCE,
            Self::Stl10 => stl::SOURCE,
        }
    }

    /// Fails if a file is missing.
    pub fn check(self, folder: &Path) -> Result<()> {
        for name in self.files() {
            let path = folder.join(name);
            if !path.is_file() {
                bail!("the data set lacks {} ({})", path.display(), self.source());
            }
        }
        Ok(())
    }
}

/// How the bytes of an image are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    channels: i64,
    height: i64,
    width: i64,
    /// Each channel column by column (STL-10) instead of row by row.
    by_column: bool,
}

/// The images of a data set, on disk.
pub struct Images {
    records: Vec<Records>,
    layout: Layout,
    /// Classes of the first images: of all of them, except in STL-10.
    labels: Vec<i64>,
    count: usize,
    side: i64,
}

impl Images {
    /// Maps the files and checks their sizes.
    pub fn open(config: &GanConfig) -> Result<Self> {
        config.dataset.check(&config.data)?;
        let folder = &config.data;
        let (records, layout, mut labels) = match config.dataset {
            DataSet::Idx => idx::open(folder)?,
            DataSet::Cifar10 => cifar::open(folder)?,
            DataSet::Stl10 => stl::open(folder)?,
        };
        let total = records.iter().map(Records::len).sum();
        let count = if config.subset == 0 { total } else { config.subset.min(total) };
        if count < config.batch {
            match count < total {
                true => {
                    bail!("[gan] subset = {count} is fewer images than a batch has: batch = {}", config.batch)
                }
                false => bail!(
                    "{} holds {count} images, fewer than a batch has: [gan] batch = {}",
                    folder.display(),
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

    /// Whether there is none: an opened data set has a batch at least.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Colour channels.
    pub fn channels(&self) -> i64 {
        self.layout.channels
    }

    /// Classes of the first images; there may be fewer classes than images.
    pub fn labels(&self) -> &[i64] {
        &self.labels
    }

    /// The files behind it.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.records.iter().map(|records| records.path().to_owned())
    }

    /// The images at these positions, 8-bit, `(n, channels, side, side)`, on the CPU.
    pub fn pixels(&self, positions: &[i64]) -> Tensor {
        let Layout { channels, height, width, by_column } = self.layout;
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

/// A black border around smaller images; larger ones are scaled down bilinearly with antialiasing, as image
/// libraries do.
fn fit(pixels: &Tensor, side: i64) -> Tensor {
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

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::fs;

    pub use super::idx::tests::write_data_set;

    fn config(folder: &Path, dataset: DataSet, size: usize) -> GanConfig {
        GanConfig {
            data: folder.to_owned(),
            dataset,
            image_size: size,
            bottom_width: size / 8,
            batch: 4,
            ..GanConfig::default()
        }
    }

    fn error(config: &GanConfig) -> String {
        Images::open(config).err().unwrap().to_string()
    }

    #[test]
    fn images_are_padded_or_scaled_down_to_size() {
        let dir = tempfile::tempdir().unwrap();
        write_data_set(dir.path(), 20);
        let large = Images::open(&config(dir.path(), DataSet::Idx, 32)).unwrap();
        let pixels = large.pixels(&[3, 19]);
        assert_eq!((large.len(), pixels.size()), (20, vec![2, 1, 32, 32]));
        assert_eq!(pixels.int64_value(&[0, 0, 0, 0]), 0);
        assert_eq!(pixels.int64_value(&[0, 0, 2, 2]), (3 * 25 + 9) as i64);
        assert_eq!(large.labels()[13], 3);
        let small = Images::open(&config(dir.path(), DataSet::Idx, 16)).unwrap().pixels(&[3]);
        assert_eq!(small.size(), [1, 1, 16, 16]);
        // Scaling keeps the brightness: 75 for class 3, and noise below 20.
        let mean = small.to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
        assert!((75.0..95.0).contains(&mean), "{mean}");
        let batch = large.batch(&[0, 9], Device::Cpu);
        assert!(batch.min().double_value(&[]) >= -1.0 && batch.max().double_value(&[]) <= 1.0);
        let same = quantise(&batch).to_kind(Kind::Int64) - large.pixels(&[0, 9]);
        assert_eq!(same.abs().max().int64_value(&[]), 0);
    }

    #[test]
    fn damaged_idx_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), DataSet::Idx, 32);
        assert!(error(&config).contains("scripts/setup data"));
        write_data_set(dir.path(), 20);
        let path = dir.path().join(idx::FILES[0]);
        let good = fs::read(&path).unwrap();
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(error(&config).contains("announces [20, 28, 28]"));
        fs::write(&path, &good[..7]).unwrap();
        assert!(error(&config).contains("ends within its header"));
        fs::write(&path, [&[1u8][..], &good[1..]].concat()).unwrap();
        assert!(error(&config).contains("no IDX file"));
    }

    /// CIFAR-10's five files: class and pixels of image `i` follow from `i`.
    fn write_cifar(folder: &Path) {
        for (batch, name) in cifar::FILES.iter().enumerate() {
            let mut bytes = vec![0u8; 10_000 * 3073];
            for (i, record) in bytes.chunks_exact_mut(3073).enumerate() {
                let number = batch * 10_000 + i;
                record[0] = (number % 10) as u8;
                for (channel, plane) in record[1..].chunks_exact_mut(1024).enumerate() {
                    plane.fill((channel * 60 + number % 50) as u8);
                    plane[33] = 255; // row 1, column 1
                    plane[2] = 7; // row 0, column 2
                }
            }
            fs::write(folder.join(name), bytes).unwrap();
        }
    }

    #[test]
    fn cifar_10_is_read_from_its_five_files() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), DataSet::Cifar10, 32);
        let message = error(&config);
        assert!(
            message.contains("data_batch_1.bin") && message.contains("CIFAR-10 binary version"),
            "{message}"
        );
        write_cifar(dir.path());
        let images = Images::open(&config).unwrap();
        assert_eq!((images.len(), images.channels(), images.labels().len()), (50_000, 3, 50_000));
        let pixels = images.pixels(&[0, 20_017, 49_999]);
        assert_eq!(pixels.size(), [3, 3, 32, 32]);
        assert_eq!(pixels.int64_value(&[1, 2, 5, 5]), 120 + 17);
        assert_eq!(pixels.int64_value(&[2, 0, 1, 1]), 255);
        assert_eq!(pixels.int64_value(&[2, 0, 0, 2]), 7);
        assert_eq!(pixels.int64_value(&[2, 1, 31, 31]), 60 + 49);
        assert_eq!(images.labels()[20_017], 7);

        let path = dir.path().join(cifar::FILES[2]);
        let good = fs::read(&path).unwrap();
        fs::write(&path, &good[..good.len() - 3073]).unwrap();
        let message = error(&config);
        assert!(message.contains("data_batch_3.bin") && message.contains("instead of 30730000"), "{message}");
        let mut bad = good.clone();
        bad[3073 * 4] = 200;
        fs::write(&path, &bad).unwrap();
        let message = error(&config);
        assert!(message.contains("image 4") && message.contains("class 200"), "{message}");
    }

    #[test]
    fn stl_10_is_labelled_and_unlabelled_images_read_column_by_column_and_scaled_down() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), DataSet::Stl10, 48);
        let message = error(&config);
        assert!(message.contains("train_X.bin") && message.contains("STL-10"), "{message}");
        let image = 3 * 96 * 96;
        let mut train = vec![0u8; 5000 * image];
        // The right half of image 3, i.e. columns 48 to 95 of each channel.
        for channel in train[3 * image..4 * image].chunks_exact_mut(96 * 96) {
            channel[48 * 96..].fill(200);
        }
        fs::write(dir.path().join("train_X.bin"), train).unwrap();
        fs::write(dir.path().join("train_y.bin"), (0..5000).map(|i| (i % 10 + 1) as u8).collect::<Vec<_>>())
            .unwrap();
        // Sparse: 2.7 GB of zeros take no space.
        let unlabelled = fs::File::create(dir.path().join("unlabeled_X.bin")).unwrap();
        unlabelled.set_len(100_000 * image as u64).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&unlabelled, &vec![90; image], 94_999 * image as u64)
            .unwrap();

        let images = Images::open(&config).unwrap();
        assert_eq!((images.len(), images.labels().len(), images.labels()[12]), (105_000, 5000, 2));
        let pixels = images.pixels(&[3, 99_999, 104_999]);
        assert_eq!(pixels.size(), [3, 3, 48, 48]);
        let at = |n, row, column| pixels.int64_value(&[n, 1, row, column]);
        assert_eq!((at(0, 5, 5), at(0, 5, 40), at(0, 40, 5)), (0, 200, 0));
        assert_eq!((at(1, 20, 20), at(2, 20, 20)), (90, 0));

        fs::write(dir.path().join("train_y.bin"), [11u8; 5000]).unwrap();
        assert!(error(&config).contains("class 11"));
        unlabelled.set_len(1000).unwrap();
        assert!(error(&config).contains("unlabeled_X.bin has 1000 bytes instead of 2764800000"));
    }
}
