//! Labelled images in IDX files (MNIST's format: Fashion-MNIST and its kin).

use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use tch::{Device, Kind, Tensor};

use super::GanConfig;

const IMAGES: &str = "train-images-idx3-ubyte";
const LABELS: &str = "train-labels-idx1-ubyte";

/// Images and labels in memory.
pub struct Images {
    /// 8-bit, `(n, channels, size, size)`.
    pub pixels: Tensor,
    /// `(n)`, 64-bit.
    pub labels: Tensor,
}

/// Colour channels of the data in a folder; fails if there is none.
pub fn channels(folder: &Path) -> Result<i64> {
    for name in [IMAGES, LABELS] {
        let path = folder.join(name);
        if !path.is_file() {
            bail!(
                "the data set lacks {} (`scripts/setup data` gets Fashion-MNIST; or set [gan] data to a folder \
                 with IDX files)",
                path.display()
            );
        }
    }
    Ok(1)
}

impl Images {
    /// Loads the training images, brought to the configured size.
    pub fn load(config: &GanConfig) -> Result<Self> {
        let (shape, bytes) = read_idx(&config.data.join(IMAGES), 3)?;
        let (label_shape, labels) = read_idx(&config.data.join(LABELS), 1)?;
        let [total, height, width] = shape[..] else { bail!("images have three dimensions") };
        if label_shape != [total] {
            bail!("{} holds {total} images, but there are {label_shape:?} labels", config.data.display());
        }
        let count = if config.subset == 0 { total } else { config.subset.min(total) };
        if count < config.batch {
            bail!("{} holds {count} images, fewer than a batch of {}", config.data.display(), config.batch);
        }
        let bytes = &bytes[..count * height * width];
        let pixels =
            Tensor::from_data_size(bytes, &[count as i64, 1, height as i64, width as i64], Kind::Uint8);
        let labels = Tensor::from_slice(&labels[..count]).to_kind(Kind::Int64);
        Ok(Self { pixels: fit(&pixels, config.image_size as i64), labels })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.pixels.size()[0].unsigned_abs() as usize
    }

    /// The images at these positions, `(n, channels, size, size)` in [-1, 1].
    pub fn batch(&self, positions: &[i64], device: Device) -> Tensor {
        scale(&self.pixels.index_select(0, &Tensor::from_slice(positions)).to_device(device))
    }
}

/// Number of images that will be used, read from the file's header.
pub fn count(config: &GanConfig) -> Result<usize> {
    let path = config.data.join(IMAGES);
    let mut head = [0; 8];
    fs::File::open(&path)
        .and_then(|mut file| file.read_exact(&mut head))
        .with_context(|| format!("failed to read {}", path.display()))?;
    let total = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
    Ok(if config.subset == 0 { total } else { config.subset.min(total) })
}

/// From 8-bit pixels to [-1, 1].
pub fn scale(pixels: &Tensor) -> Tensor {
    pixels.to_kind(Kind::Float) / 127.5 - 1.0
}

/// From [-1, 1] to 8-bit pixels.
pub fn quantise(images: &Tensor) -> Tensor {
    ((images + 1.0) * 127.5).round().clamp(0.0, 255.0).to_kind(Kind::Uint8)
}

/// A black border around smaller images; the average over areas for larger ones.
fn fit(pixels: &Tensor, side: i64) -> Tensor {
    let (height, width) = (pixels.size()[2], pixels.size()[3]);
    if height <= side && width <= side {
        let (top, left) = ((side - height) / 2, (side - width) / 2);
        let border = [left, side - width - left, top, side - height - top];
        return pixels.constant_pad_nd(border);
    }
    let small = |chunk: Tensor| {
        chunk.to_kind(Kind::Float).adaptive_avg_pool2d([side, side]).round().to_kind(Kind::Uint8)
    };
    Tensor::cat(&pixels.split(4096, 0).into_iter().map(small).collect::<Vec<_>>(), 0)
}

/// Shape and data of an IDX file of unsigned bytes.
fn read_idx(path: &Path, dimensions: usize) -> Result<(Vec<usize>, Vec<u8>)> {
    let mut bytes = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    let head = 4 + 4 * dimensions;
    if bytes.len() < head {
        bail!("{} ends within its header: it has {} bytes", path.display(), bytes.len());
    }
    let expected = [0, 0, 8, dimensions as u8];
    if bytes[..4] != expected {
        bail!(
            "{} is no IDX file of bytes with {dimensions} dimension(s): it starts with {:02x?} instead of {expected:02x?}",
            path.display(),
            &bytes[..4],
        );
    }
    let shape: Vec<usize> = bytes[4..head]
        .chunks_exact(4)
        .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize)
        .collect();
    let size = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    let size = size.and_then(|size| size.checked_add(head));
    if size != Some(bytes.len()) {
        bail!(
            "{} has {} bytes, but its header announces {shape:?} (get it anew with `scripts/setup data`)",
            path.display(),
            bytes.len()
        );
    }
    Ok((shape, bytes.split_off(head)))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A small data set: `count` images of 28x28 whose brightness tells their class.
    pub fn write_data_set(folder: &Path, count: usize) {
        let mut images = vec![0, 0, 8, 3];
        for size in [count, 28, 28] {
            images.extend((size as u32).to_be_bytes());
        }
        let mut labels = vec![0, 0, 8, 1];
        labels.extend((count as u32).to_be_bytes());
        for i in 0..count {
            let class = i % 10;
            images.extend((0..784).map(|p| ((class * 25) + (p * 7 + i * 3) % 20) as u8));
            labels.push(class as u8);
        }
        fs::write(folder.join(IMAGES), images).unwrap();
        fs::write(folder.join(LABELS), labels).unwrap();
    }

    fn config(folder: &Path, size: usize) -> GanConfig {
        GanConfig {
            data: folder.to_owned(),
            image_size: size,
            bottom_width: size / 8,
            batch: 4,
            ..GanConfig::default()
        }
    }

    #[test]
    fn images_are_padded_or_averaged_to_size() {
        let dir = tempfile::tempdir().unwrap();
        write_data_set(dir.path(), 20);
        let large = Images::load(&config(dir.path(), 32)).unwrap();
        assert_eq!(large.pixels.size(), [20, 1, 32, 32]);
        assert_eq!(large.pixels.int64_value(&[3, 0, 0, 0]), 0);
        assert_eq!(large.pixels.int64_value(&[3, 0, 2, 2]), (3 * 25 + 9) as i64);
        assert_eq!(large.labels.int64_value(&[13]), 3);
        let small = Images::load(&config(dir.path(), 16)).unwrap();
        assert_eq!(small.pixels.size(), [20, 1, 16, 16]);
        let batch = large.batch(&[0, 9], Device::Cpu);
        assert!(batch.min().double_value(&[]) >= -1.0 && batch.max().double_value(&[]) <= 1.0);
        let same = quantise(&batch).to_kind(Kind::Int64)
            - large.pixels.index_select(0, &Tensor::from_slice(&[0i64, 9]));
        assert_eq!(same.abs().max().int64_value(&[]), 0);
    }

    #[test]
    fn damaged_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = |config: &GanConfig| Images::load(config).err().unwrap().to_string();
        assert!(channels(dir.path()).unwrap_err().to_string().contains("scripts/setup data"));
        write_data_set(dir.path(), 20);
        let path = dir.path().join(IMAGES);
        let good = fs::read(&path).unwrap();
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(error(&config(dir.path(), 32)).contains("announces [20, 28, 28]"));
        fs::write(&path, &good[..7]).unwrap();
        assert!(error(&config(dir.path(), 32)).contains("ends within its header"));
        fs::write(&path, [&[1u8][..], &good[1..]].concat()).unwrap();
        assert!(error(&config(dir.path(), 32)).contains("no IDX file"));
    }
}
