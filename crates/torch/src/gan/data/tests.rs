use std::fs;
use std::path::Path;

use anyhow::Result;
use tch::{Device, Kind};

pub use super::idx::tests::write_data_set;
use super::*;

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

fn open(config: &GanConfig) -> Result<Images> {
    Images::open(config, Path::new("unused"))
}

fn error(config: &GanConfig) -> String {
    open(config).err().unwrap().to_string()
}

#[test]
fn images_are_padded_or_scaled_down_to_size() {
    let dir = tempfile::tempdir().unwrap();
    write_data_set(dir.path(), 20);
    let large = open(&config(dir.path(), DataSet::Idx, 32)).unwrap();
    let pixels = large.pixels(&[3, 19]);
    assert_eq!((large.len(), pixels.size()), (20, vec![2, 1, 32, 32]));
    assert_eq!(pixels.int64_value(&[0, 0, 0, 0]), 0);
    assert_eq!(pixels.int64_value(&[0, 0, 2, 2]), (3 * 25 + 9) as i64);
    assert_eq!(large.labels()[13], 3);
    let small = open(&config(dir.path(), DataSet::Idx, 16)).unwrap().pixels(&[3]);
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
fn error_names_damaged_idx_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), DataSet::Idx, 32);
    assert!(error(&config).contains("scripts/setup data"));
    write_data_set(dir.path(), 20);
    let path = dir.path().join(DataSet::Idx.files()[0]);
    let good = fs::read(&path).unwrap();
    fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert!(error(&config).contains("announces the shape [20, 28, 28]"));
    fs::write(&path, &good[..7]).unwrap();
    assert!(error(&config).contains("ends within its header"));
    fs::write(&path, [&[1u8][..], &good[1..]].concat()).unwrap();
    assert!(error(&config).contains("not an IDX file"));
}

/// CIFAR-10's five files: class and pixels of image `i` follow from `i`.
fn write_cifar(folder: &Path) {
    for (batch, name) in DataSet::Cifar10.files().iter().enumerate() {
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
    assert!(message.contains("data_batch_1.bin") && message.contains("CIFAR-10 binary version"), "{message}");
    write_cifar(dir.path());
    let images = open(&config).unwrap();
    assert_eq!((images.len(), images.channels(), images.labels().len()), (50_000, 3, 50_000));
    let pixels = images.pixels(&[0, 20_017, 49_999]);
    assert_eq!(pixels.size(), [3, 3, 32, 32]);
    assert_eq!(pixels.int64_value(&[1, 2, 5, 5]), 120 + 17);
    assert_eq!(pixels.int64_value(&[2, 0, 1, 1]), 255);
    assert_eq!(pixels.int64_value(&[2, 0, 0, 2]), 7);
    assert_eq!(pixels.int64_value(&[2, 1, 31, 31]), 60 + 49);
    assert_eq!(images.labels()[20_017], 7);

    let path = dir.path().join(DataSet::Cifar10.files()[2]);
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
fn stl_10_images_are_read_column_by_column_and_scaled_down() {
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
    std::os::unix::fs::FileExt::write_all_at(&unlabelled, &vec![90; image], 94_999 * image as u64).unwrap();

    let images = open(&config).unwrap();
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
