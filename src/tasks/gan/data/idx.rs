//! IDX files of unsigned bytes: MNIST's format.

use std::path::Path;

use anyhow::{Result, bail};
use memmap2::Mmap;

use super::Layout;
use super::mapped::{Records, map};

/// Images and labels.
pub const FILES: [&str; 2] = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"];

/// The images, and the labels of all of them.
pub fn open(folder: &Path) -> Result<(Vec<Records>, Layout, Vec<i64>)> {
    let path = folder.join(FILES[0]);
    let (shape, images, head) = read(&path, 3)?;
    let (label_shape, labels, label_head) = read(&folder.join(FILES[1]), 1)?;
    let [total, height, width] = shape[..] else { bail!("images have three dimensions") };
    if height == 0 || width == 0 {
        bail!("{} announces images of {height}x{width} pixels", path.display());
    }
    if label_shape != [total] {
        bail!(
            "{} holds {total} images and {} {} labels: get both files anew (`scripts/setup data`)",
            path.display(),
            FILES[1],
            label_shape.first().copied().unwrap_or(0)
        );
    }
    let labels = labels[label_head..].iter().map(|&label| i64::from(label)).collect();
    let layout = Layout { channels: 1, height: height as i64, width: width as i64, by_column: false };
    Ok((vec![Records::behind(&path, images, head, height * width)], layout, labels))
}

/// Shape of an IDX file, its bytes, and the size of its header.
fn read(path: &Path, dimensions: usize) -> Result<(Vec<usize>, Mmap, usize)> {
    let bytes = map(path)?;
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
    Ok((shape, bytes, head))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::fs;

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
        fs::write(folder.join(FILES[0]), images).unwrap();
        fs::write(folder.join(FILES[1]), labels).unwrap();
    }
}
