//! Data sets and saved statistics. The first byte selects an IDX data set, CIFAR-10, STL-10, or the statistics.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::{file, folder, safetensors};
use pbtnas_torch::gan::{DataSet, Features, GanConfig, Images};
use pbtnas_torch::tch::{Device, Kind, Tensor};

pub fn fuzz(input: &[u8]) {
    let [kind, input @ ..] = input else { return };
    match kind {
        b'i' => idx(input),
        b'c' => large(DataSet::Cifar10, &CIFAR, input),
        b's' => large(DataSet::Stl10, &STL, input),
        b'f' => features(input),
        _ => {}
    }
}

fn config(dataset: DataSet, data: &Path) -> GanConfig {
    GanConfig {
        dataset,
        data: data.to_owned(),
        image_size: 8,
        bottom_width: 1,
        batch: 1,
        ..GanConfig::default()
    }
}

/// Reads every image of the header's count, and checks that every label belongs to one.
fn look(config: &GanConfig, all: bool) {
    let Ok(images) = Images::open(config, &config.data) else { return };
    assert!(images.labels().len() <= images.len() && !images.is_empty());
    assert!(images.labels().iter().all(|label| (0..256).contains(label)));
    let last = images.len() as i64 - 1;
    let positions = if all { (0..=last.min(99)).collect() } else { vec![0, last] };
    let pixels = images.pixels(&positions);
    assert_eq!(pixels.size(), [positions.len() as i64, images.channels(), 8, 8]);
    assert_eq!(pixels.kind(), Kind::Uint8);
}

/// Images up to the first `\n\n` and labels behind it.
fn idx(input: &[u8]) {
    let middle = input.windows(2).position(|pair| pair == b"\n\n");
    let (images, labels) = middle.map_or((input, &[][..]), |at| (&input[..at], &input[at + 2..]));
    for (name, bytes) in DataSet::Idx.files().iter().zip([images, labels]) {
        file(name, bytes);
    }
    look(&config(DataSet::Idx, folder()), true);
}

static CIFAR: LazyLock<PathBuf> = LazyLock::new(|| sparse(DataSet::Cifar10, &[30_730_000; 5], 0));
static STL: LazyLock<PathBuf> =
    LazyLock::new(|| sparse(DataSet::Stl10, &[138_240_000, 5000, 2_764_800_000], 1));

/// Sparse files of a data set in their correct sizes; files of labels get one byte.
fn sparse(dataset: DataSet, sizes: &[u64], label: u8) -> PathBuf {
    let folder = folder().join(format!("{dataset:?}"));
    std::fs::create_dir_all(&folder).expect("a folder");
    for (name, &size) in dataset.files().iter().zip(sizes) {
        let file = File::create(folder.join(name)).expect("a file");
        file.set_len(size).expect("a size");
        if size < 10_000 {
            file.write_all_at(&vec![label; size as usize], 0).expect("labels");
        }
    }
    folder
}

/// Writes the input over the beginning of the second file, reads the images, and restores the file. Odd lengths cut or
/// extend the file.
fn large(dataset: DataSet, folder: &Path, input: &[u8]) {
    let path = folder.join(dataset.files()[1]);
    let file = File::options().read(true).write(true).open(path).expect("a file");
    let size = file.metadata().expect("a size").len();
    let mut before = vec![0; input.len().min(size as usize)];
    file.read_exact_at(&mut before, 0).expect("what was there");
    file.write_all_at(&input[..before.len()], 0).expect("the input");
    if input.len() % 2 == 1 {
        file.set_len(size + 1 - 2 * (input.len() as u64 % 4 / 2)).expect("a size");
    }
    look(&config(dataset, folder), false);
    file.set_len(size).expect("a size");
    file.write_all_at(&before, 0).expect("what was there");
}

/// `features.safetensors`; see [`safetensors`].
fn features(input: &[u8]) {
    file("features.safetensors", &safetensors(input));
    let config = config(DataSet::Idx, folder());
    let Ok(features) = Features::load(folder(), &config, 1, Device::Cpu) else { return };
    let (of_images, probabilities) =
        features.of(&Tensor::zeros([3, 1, 8, 8], (Kind::Uint8, Device::Cpu))).expect("features");
    assert_eq!((of_images.size()[0], probabilities.size()[0]), (3, 3));
    let (mean, covariance) = &features.real;
    let dimension = of_images.size()[1];
    assert_eq!((mean.size(), covariance.size()), (vec![dimension], vec![dimension, dimension]));
    let (of_mean, of_covariance) = (
        of_images.mean_dim([0i64].as_slice(), false, Kind::Double),
        Tensor::eye(dimension, (Kind::Double, Device::Cpu)),
    );
    let _ = pbtnas_torch::gan::frechet_distance((mean, covariance), (&of_mean, &of_covariance));
}
