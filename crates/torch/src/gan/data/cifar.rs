//! CIFAR-10's binary version: records of a class and 3 x 32 x 32 pixels.

use std::path::Path;

use anyhow::{Result, bail};

use super::mapped::Records;
use super::{DataSet, ImageFormat, ImageLayout, Opened};
use crate::gan::GanConfig;

const IMAGES_PER_FILE: usize = 10_000;
const PIXELS: usize = 3 * 32 * 32;

pub struct Cifar10;

impl ImageFormat for Cifar10 {
    fn open(&self, config: &GanConfig, _: &Path) -> Result<Opened> {
        let mut files = Vec::new();
        let mut labels = Vec::new();
        let source = DataSet::Cifar10.source();
        for path in DataSet::Cifar10.paths(&config.data)? {
            let records = Records::open(&path, IMAGES_PER_FILE, 1 + PIXELS, 1, source)?;
            for index in 0..records.len() {
                let class = records.record(index)[0];
                if class > 9 {
                    bail!(
                        "{} is damaged: image {index} has class {class}, of 0 to 9 (replace it: {source})",
                        records.path().display()
                    );
                }
                labels.push(i64::from(class));
            }
            files.push(records);
        }
        let layout = ImageLayout { channels: 3, height: 32, width: 32, by_column: false };
        Ok(Opened { records: files, layout, labels })
    }
}
