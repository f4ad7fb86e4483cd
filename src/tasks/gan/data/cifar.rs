//! CIFAR-10's binary version: records of a class and 3 x 32 x 32 pixels.

use std::path::Path;

use anyhow::{Result, bail};

use super::Layout;
use super::mapped::Records;

/// The training split.
pub const FILES: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];

/// Where it can be got.
pub const SOURCE: &str = "unpack cifar-10-binary.tar.gz, the \"CIFAR-10 binary version\" of \
                          https://www.cs.toronto.edu/~kriz/cifar.html, and set [gan] data to its folder";

const IMAGES_PER_FILE: usize = 10_000;
const PIXELS: usize = 3 * 32 * 32;

/// The images, and the labels of all of them.
pub fn open(folder: &Path) -> Result<(Vec<Records>, Layout, Vec<i64>)> {
    let mut files = Vec::new();
    let mut labels = Vec::new();
    for name in FILES {
        let records = Records::open(&folder.join(name), IMAGES_PER_FILE, 1 + PIXELS, 1, SOURCE)?;
        for index in 0..records.len() {
            let class = records.record(index)[0];
            if class > 9 {
                bail!(
                    "{} is damaged: image {index} has class {class}, of 0 to 9 (get it anew: {SOURCE})",
                    records.path().display()
                );
            }
            labels.push(i64::from(class));
        }
        files.push(records);
    }
    Ok((files, Layout { channels: 3, height: 32, width: 32, by_column: false }, labels))
}
