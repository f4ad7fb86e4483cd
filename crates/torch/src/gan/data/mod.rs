//! Training images: IDX files (Fashion-MNIST and the like), CIFAR-10 and STL-10 in their binary formats, and folders of
//! PNG and JPEG images.
//!
//! The files are memory-mapped and each batch is copied from them, so that all members on a node share the pages.
//!
//! To add a format, add a variant to [`DataSet`] and to the two tables in this file, and a module that implements
//! `ImageFormat`.

#[cfg(feature = "libtorch")]
mod cifar;
#[cfg(feature = "libtorch")]
mod decode;
#[cfg(feature = "libtorch")]
mod folder;
#[cfg(feature = "libtorch")]
mod idx;
#[cfg(feature = "libtorch")]
mod images;
#[cfg(feature = "libtorch")]
mod mapped;
#[cfg(feature = "libtorch")]
mod stl;

#[cfg(test)]
#[cfg(feature = "libtorch")]
pub mod tests;

use std::path::Path;
#[cfg(feature = "libtorch")]
use std::path::PathBuf;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

#[cfg(feature = "libtorch")]
use super::GanConfig;
#[cfg(feature = "libtorch")]
use images::{ImageFormat, ImageLayout, Opened, fit};
#[cfg(feature = "libtorch")]
pub use images::{Images, quantise, scale};
#[cfg(feature = "libtorch")]
pub use mapped::map;

/// The format of the training images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataSet {
    /// Grey images of one size.
    Idx,
    /// 50 000 colour images of 32x32.
    #[serde(rename = "cifar-10")]
    Cifar10,
    /// 105 000 colour images of 96x96, of which 5000 are labelled.
    #[serde(rename = "stl-10")]
    Stl10,
    /// Colour images of any size as PNG and JPEG files, in a sub-folder for each class or without labels.
    Folder,
}

/// The properties of a format that are known without reading images.
struct Description {
    channels: i64,
    /// Required file names; empty if any name is accepted.
    files: &'static [&'static str],
    /// Where to get the files: a clause for error messages.
    source: &'static str,
}

impl DataSet {
    fn description(self) -> Description {
        match self {
            Self::Idx => Description {
                channels: 1,
                files: &["train-images-idx3-ubyte", "train-labels-idx1-ubyte"],
                source: "`scripts/setup data` downloads Fashion-MNIST; or set [gan] data to a folder with IDX files",
            },
            Self::Cifar10 => Description {
                channels: 3,
                files: &[
                    "data_batch_1.bin",
                    "data_batch_2.bin",
                    "data_batch_3.bin",
                    "data_batch_4.bin",
                    "data_batch_5.bin",
                ],
                source: "unpack cifar-10-binary.tar.gz, the \"CIFAR-10 binary version\" of \
                         https://www.cs.toronto.edu/~kriz/cifar.html, and set [gan] data to its folder",
            },
            Self::Stl10 => Description {
                channels: 3,
                files: &["train_X.bin", "train_y.bin", "unlabeled_X.bin"],
                source: "unpack stl10_binary.tar.gz of https://cs.stanford.edu/~acoates/stl10 (STL-10), and set \
                         [gan] data to its folder",
            },
            Self::Folder => Description {
                channels: 3,
                files: &[],
                source: "set [gan] data to a folder of .png, .jpg and .jpeg files, with a sub-folder for each class if \
                         there are classes",
            },
        }
    }

    #[cfg(feature = "libtorch")]
    fn format(self) -> &'static dyn ImageFormat {
        match self {
            Self::Idx => &idx::Idx,
            Self::Cifar10 => &cifar::Cifar10,
            Self::Stl10 => &stl::Stl10,
            Self::Folder => &folder::ImageFolder,
        }
    }

    /// Colour channels.
    pub fn channels(self) -> i64 {
        self.description().channels
    }

    /// Names of the files that the data set consists of; empty if any name is accepted.
    pub fn files(self) -> &'static [&'static str] {
        self.description().files
    }

    #[cfg(feature = "libtorch")]
    fn source(self) -> &'static str {
        self.description().source
    }

    /// Fails if files are missing, with a message that says where to get them.
    pub fn check(self, folder: &Path) -> Result<()> {
        let Description { files, source, .. } = self.description();
        let missing = files.iter().map(|name| folder.join(name)).find(|path| !path.is_file());
        match missing.or_else(|| (!folder.is_dir()).then(|| folder.to_owned())) {
            Some(path) => bail!("the data set lacks {} ({source})", path.display()),
            None => Ok(()),
        }
    }

    /// The paths of [`DataSet::files`]. Fails as [`DataSet::check`] does.
    #[cfg(feature = "libtorch")]
    fn paths(self, folder: &Path) -> Result<Vec<PathBuf>> {
        self.check(folder)?;
        Ok(self.files().iter().map(|name| folder.join(name)).collect())
    }

    /// Writes the files that [`Images::open`] reads in addition to the data set to `dir`, and returns their names.
    #[cfg(feature = "libtorch")]
    pub fn prepare(self, config: &GanConfig, dir: &Path) -> Result<Vec<String>> {
        self.format().prepare(config, dir)
    }
}
