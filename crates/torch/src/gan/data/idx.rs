//! The IDX format of MNIST: a type, the dimensions, and big-endian elements.

use std::path::Path;

use anyhow::{Context, Result, bail};
use memmap2::Mmap;

use super::mapped::{Records, map};
use super::{DataSet, ImageFormat, ImageLayout, Opened};
use crate::gan::GanConfig;

/// Type of unsigned bytes.
pub const BYTE: u8 = 8;
/// Type of 32-bit integers.
pub const INT: u8 = 12;

pub struct Idx;

impl ImageFormat for Idx {
    fn open(&self, config: &GanConfig, _: &Path) -> Result<Opened> {
        let paths = DataSet::Idx.paths(&config.data)?;
        let (path, label_path) = (&paths[0], &paths[1]);
        let (shape, images, head) = read(path, BYTE, 3)?;
        let (label_shape, labels, label_head) = read(label_path, BYTE, 1)?;
        let [total, height, width] = shape[..] else { bail!("images have three dimensions") };
        if height == 0 || width == 0 {
            bail!("{} announces images of {height}x{width} pixels", path.display());
        }
        if label_shape != [total] {
            bail!(
                "{} holds {total} images and {} {} labels: replace both files (`scripts/setup data`)",
                path.display(),
                label_path.display(),
                label_shape.first().copied().unwrap_or(0)
            );
        }
        let labels = labels[label_head..].iter().map(|&label| i64::from(label)).collect();
        let layout =
            ImageLayout { channels: 1, height: height as i64, width: width as i64, by_column: false };
        Ok(Opened { records: vec![Records::behind(path, images, head, height * width)], layout, labels })
    }
}

/// The header of a file.
pub fn header(kind: u8, shape: &[usize]) -> Result<Vec<u8>> {
    let mut bytes = vec![0, 0, kind, shape.len() as u8];
    for &size in shape {
        let size = u32::try_from(size)
            .with_context(|| format!("an IDX file cannot have the dimensions {shape:?}"))?;
        bytes.extend(size.to_be_bytes());
    }
    Ok(bytes)
}

/// Shape of an IDX file, its bytes, and the size of its header.
pub fn read(path: &Path, kind: u8, dimensions: usize) -> Result<(Vec<usize>, Mmap, usize)> {
    let bytes = map(path)?;
    let head = 4 + 4 * dimensions;
    if bytes.len() < head {
        bail!("{} ends within its header: it has {} bytes", path.display(), bytes.len());
    }
    let expected = [0, 0, kind, dimensions as u8];
    if bytes[..4] != expected {
        bail!(
            "{} is not an IDX file of type {kind} with {dimensions} dimension(s): it starts with {:02x?} instead of \
             {expected:02x?}",
            path.display(),
            &bytes[..4],
        );
    }
    let shape: Vec<usize> = bytes[4..head]
        .chunks_exact(4)
        .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize)
        .collect();
    let element = if kind == INT { 4 } else { 1 };
    let size = shape.iter().try_fold(element, |product: usize, &size| product.checked_mul(size));
    let size = size.and_then(|size| size.checked_add(head));
    if size != Some(bytes.len()) {
        bail!(
            "{} has {} bytes, but its header announces the shape {shape:?}: replace the file",
            path.display(),
            bytes.len()
        );
    }
    Ok((shape, bytes, head))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::fs;

    /// A small data set: `count` images of 28x28 whose brightness depends on their class.
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
        for (name, bytes) in DataSet::Idx.files().iter().zip([images, labels]) {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
}
