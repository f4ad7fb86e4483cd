//! STL-10's binary files: 3 x 96 x 96 pixels, each channel column by column.

use std::path::Path;

use anyhow::{Result, bail};

use super::Layout;
use super::mapped::Records;

/// The training split with its labels, and the unlabelled images.
pub const FILES: [&str; 3] = ["train_X.bin", "train_y.bin", "unlabeled_X.bin"];

/// Where they can be got.
pub const SOURCE: &str = "unpack stl10_binary.tar.gz of https://cs.stanford.edu/~acoates/stl10 (STL-10), and set \
                          [gan] data to its folder";

const LABELLED: usize = 5000;
const UNLABELLED: usize = 100_000;
const PIXELS: usize = 3 * 96 * 96;

/// The labelled images, then the others; the labels of the former.
pub fn open(folder: &Path) -> Result<(Vec<Records>, Layout, Vec<i64>)> {
    let train = Records::open(&folder.join(FILES[0]), LABELLED, PIXELS, 0, SOURCE)?;
    let classes = Records::open(&folder.join(FILES[1]), LABELLED, 1, 0, SOURCE)?;
    let unlabelled = Records::open(&folder.join(FILES[2]), UNLABELLED, PIXELS, 0, SOURCE)?;
    let mut labels = Vec::with_capacity(LABELLED);
    for index in 0..LABELLED {
        match classes.record(index)[0] {
            class @ 1..=10 => labels.push(i64::from(class) - 1),
            class => bail!(
                "{} is damaged: image {index} has class {class}, of 1 to 10 (get it anew: {SOURCE})",
                classes.path().display()
            ),
        }
    }
    Ok((vec![train, unlabelled], Layout { channels: 3, height: 96, width: 96, by_column: true }, labels))
}
