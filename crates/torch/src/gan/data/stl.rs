//! STL-10's binary files: 3 x 96 x 96 pixels, each channel column by column.

use std::path::Path;

use anyhow::{Result, bail};

use super::mapped::Records;
use super::{DataSet, ImageFormat, ImageLayout, Opened};
use crate::gan::GanConfig;

const LABELLED: usize = 5000;
const UNLABELLED: usize = 100_000;
const PIXELS: usize = 3 * 96 * 96;

pub struct Stl10;

impl ImageFormat for Stl10 {
    /// The labelled images, then the others; the labels of the former.
    fn open(&self, config: &GanConfig, _: &Path) -> Result<Opened> {
        let source = DataSet::Stl10.source();
        let paths = DataSet::Stl10.paths(&config.data)?;
        let train = Records::open(&paths[0], LABELLED, PIXELS, 0, source)?;
        let classes = Records::open(&paths[1], LABELLED, 1, 0, source)?;
        let unlabelled = Records::open(&paths[2], UNLABELLED, PIXELS, 0, source)?;
        let mut labels = Vec::with_capacity(LABELLED);
        for index in 0..LABELLED {
            match classes.record(index)[0] {
                class @ 1..=10 => labels.push(i64::from(class) - 1),
                class => bail!(
                    "{} is damaged: image {index} has class {class}, of 1 to 10 (replace it: {source})",
                    classes.path().display()
                ),
            }
        }
        let layout = ImageLayout { channels: 3, height: 96, width: 96, by_column: true };
        Ok(Opened { records: vec![train, unlabelled], layout, labels })
    }
}
