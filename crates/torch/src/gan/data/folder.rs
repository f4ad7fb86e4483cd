//! A folder of PNG and JPEG images of any size, with a sub-folder for each class if they are labelled.
//!
//! The images are decoded once, when the run is created, into two IDX files among those that members share. So a
//! training step decodes nothing, all members on a node share the pages, and later changes of the folder have no effect
//! on the run.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use rand::seq::SliceRandom;
use tch::{Kind, Tensor};
use walkdir::{DirEntry, WalkDir};

use super::decode::{Rgb, decode};
use super::mapped::Records;
use super::{DataSet, ImageFormat, ImageLayout, Opened, fit, idx};
use crate::gan::GanConfig;
use pbtnas_core::parallel;
use pbtnas_core::search::{RngKey, rng};

/// `(n, 3, image_size, image_size)`, unsigned bytes.
const IMAGES: &str = "images-idx4-ubyte";
/// `(n)`, or `(0)` without labels; 32-bit integers.
const LABELS: &str = "labels-idx1-int";
/// Images that are decoded at a time. A photograph of 12 megapixels takes 200 MB while it is scaled down.
const AT_ONCE: usize = 32;

pub struct ImageFolder;

impl ImageFormat for ImageFolder {
    fn prepare(&self, config: &GanConfig, dir: &Path) -> Result<Vec<String>> {
        DataSet::Folder.check(&config.data)?;
        let images = shuffled(list(&config.data)?, config.subset);
        let labels = images.iter().filter_map(|image| image.class);
        let labels: Vec<u8> = labels.flat_map(|class| (class as u32).to_be_bytes()).collect();
        let header = idx::header(idx::INT, &[labels.len() / 4])?;
        let path = dir.join(LABELS);
        std::fs::write(&path, [header, labels].concat())
            .with_context(|| format!("failed to write {}", path.display()))?;
        write_images(&dir.join(IMAGES), &images, config.image_size)?;
        Ok(vec![IMAGES.into(), LABELS.into()])
    }

    fn open(&self, config: &GanConfig, shared: &Path) -> Result<Opened> {
        let path = shared.join(IMAGES);
        let (shape, images, head) = idx::read(&path, idx::BYTE, 4)?;
        let (label_shape, labels, label_head) = idx::read(&shared.join(LABELS), idx::INT, 1)?;
        let size = config.image_size;
        ensure!(
            shape[1..] == [3, size, size] && (label_shape == [0] || label_shape == shape[..1]),
            "{} holds images of shape {shape:?} and {LABELS} labels of shape {label_shape:?}: the files are damaged, or \
             the run was created for another [gan] image_size than {size}",
            path.display()
        );
        let labels = labels[label_head..]
            .chunks_exact(4)
            .map(|bytes| i64::from(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])))
            .collect();
        let layout = ImageLayout { channels: 3, height: size as i64, width: size as i64, by_column: false };
        Ok(Opened { records: vec![Records::behind(&path, images, head, 3 * size * size)], layout, labels })
    }
}

struct ImageFile {
    path: PathBuf,
    class: Option<usize>,
}

/// The images of a folder in the order of their paths. Their classes are the sub-folders of the first level, in order;
/// a single sub-folder is not a class, since it does not distinguish any images.
fn list(folder: &Path) -> Result<Vec<ImageFile>> {
    let (mut paths, mut ignored) = (Vec::new(), 0);
    for entry in walk(folder) {
        let entry = entry?;
        match is_image(&entry) {
            true => paths.push(entry.into_path()),
            false if entry.file_type().is_dir() => {}
            false => ignored += 1,
        }
    }
    if paths.is_empty() {
        bail!("{} holds no image: {}", folder.display(), DataSet::Folder.source());
    }
    paths.sort();
    let sub_folder = |path: &Path| -> Option<OsString> {
        let mut below = path.strip_prefix(folder).ok()?.components();
        let first = below.next()?.as_os_str().to_owned();
        below.next().map(|_| first)
    };
    let names: Vec<Option<OsString>> = paths.iter().map(|path| sub_folder(path)).collect();
    let distinct: BTreeSet<&OsString> = names.iter().flatten().collect();
    if !distinct.is_empty()
        && let Some(at) = names.iter().position(Option::is_none)
    {
        bail!(
            "{} lies beside sub-folders with images, so it has no class: move all images to sub-folders, or none",
            paths[at].display()
        );
    }
    let classes: Vec<&OsString> =
        if distinct.len() > 1 { distinct.into_iter().collect() } else { Vec::new() };
    tracing::info!(
        "data set {}: {} images, {} classes, {ignored} other files ignored",
        folder.display(),
        paths.len(),
        classes.len()
    );
    let class = |name: &Option<OsString>| classes.binary_search(&name.as_ref()?).ok();
    let images = paths.into_iter().zip(&names).map(|(path, name)| ImageFile { path, class: class(name) });
    Ok(images.collect())
}

/// The first `subset` images (0 for all) in a shuffled order that depends on the number of images only. In the order of
/// the paths, the first images would all belong to one class, and so would the last tenth, on which the accuracy of the
/// feature network is measured.
fn shuffled(mut images: Vec<ImageFile>, subset: usize) -> Vec<ImageFile> {
    images.shuffle(&mut rng(&RngKey { run: 0, generation: 0, member: None, purpose: "folder order" }));
    if subset > 0 {
        images.truncate(subset);
    }
    images
}

fn walk(folder: &Path) -> impl Iterator<Item = Result<DirEntry>> {
    let hidden =
        |entry: &DirEntry| entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".");
    let entries =
        WalkDir::new(folder).follow_links(true).into_iter().filter_entry(move |entry| !hidden(entry));
    let folder = folder.to_owned();
    entries
        .map(move |entry| entry.with_context(|| format!("failed to list the data set {}", folder.display())))
}

fn is_image(entry: &DirEntry) -> bool {
    let extension = entry.path().extension().and_then(|extension| extension.to_str());
    entry.file_type().is_file()
        && extension.is_some_and(|extension| {
            ["png", "jpg", "jpeg"].iter().any(|known| extension.eq_ignore_ascii_case(known))
        })
}

fn write_images(path: &Path, images: &[ImageFile], size: usize) -> Result<()> {
    let failed = || format!("failed to write {}", path.display());
    let mut out = BufWriter::new(File::create(path).with_context(failed)?);
    out.write_all(&idx::header(idx::BYTE, &[images.len(), 3, size, size])?).with_context(failed)?;
    let begun = Instant::now();
    let mut reported = begun;
    for (done, group) in images.chunks(AT_ONCE).enumerate() {
        for pixels in
            parallel::each(group, |image| Ok::<_, anyhow::Error>(square(&decode(&image.path)?, size)))?
        {
            out.write_all(&pixels).with_context(failed)?;
        }
        if reported.elapsed().as_secs() >= 30 {
            reported = Instant::now();
            let done = done * AT_ONCE + group.len();
            tracing::info!(
                "data set: {done} of {} images decoded after {} s",
                images.len(),
                begun.elapsed().as_secs()
            );
        }
    }
    out.flush().with_context(failed)
}

/// The bytes `(3, size, size)` of an image. Its centre is cut out, a square with the image's shorter side, and scaled
/// down to `size`. If the shorter side is below `size`, the square has `size`, and what the image does not cover is
/// black.
fn square(image: &Rgb, size: usize) -> Vec<u8> {
    let side = image.width.min(image.height).max(size);
    let (height, width) = (image.height.min(side), image.width.min(side));
    let (top, left) = ((image.height - height) / 2, (image.width - width) / 2);
    let pixels = Tensor::from_slice(&image.pixels)
        .view([1, image.height as i64, image.width as i64, 3])
        .narrow(1, top as i64, height as i64)
        .narrow(2, left as i64, width as i64)
        .permute([0, 3, 1, 2])
        .contiguous();
    let fitted = fit(&pixels, size as i64).to_kind(Kind::Uint8).contiguous();
    let mut bytes = vec![0; 3 * size * size];
    fitted.copy_data_u8(&mut bytes, 3 * size * size);
    bytes
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{DataSet, Images};
    use super::*;
    use crate::oracle;

    /// A JPEG file of 16x8 grey pixels: the left half is 50, the right one 200.
    const JPEG: &[u8] = include_bytes!("testing.jpg");

    fn config(folder: &Path, image_size: usize, subset: usize) -> GanConfig {
        GanConfig {
            data: folder.to_owned(),
            dataset: DataSet::Folder,
            image_size,
            bottom_width: image_size / 8,
            subset,
            batch: 1,
            ..GanConfig::default()
        }
    }

    /// Writes a PNG file of one grey level, and the folders above it.
    fn write_png(path: &Path, width: u32, height: u32, grey: u8) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut encoder = png::Encoder::new(File::create(path).unwrap(), width, height);
        encoder.set_color(png::ColorType::Grayscale);
        let pixels = vec![grey; (width * height) as usize];
        encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    }

    fn prepare(config: &GanConfig) -> Result<(tempfile::TempDir, Images)> {
        let shared = tempfile::tempdir().unwrap();
        assert_eq!(config.dataset.prepare(config, shared.path())?, [IMAGES, LABELS]);
        let images = Images::open(config, shared.path())?;
        Ok((shared, images))
    }

    fn error(config: &GanConfig) -> String {
        format!("{:#}", prepare(config).err().unwrap())
    }

    #[test]
    fn sub_folders_are_classes() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..30 {
            let (class, size) = (["ant", "bee", "cat"][i % 3], 5 + i as u32);
            write_png(
                &dir.path().join(format!("{class}/{}/{i:02}.PNG", i % 2)),
                size,
                size,
                80 * (i % 3) as u8 + 9,
            );
        }
        for other in ["ant/notes.txt", "ant/._00.png", ".hidden/x.png", "png"] {
            fs::create_dir_all(dir.path().join(other).parent().unwrap()).unwrap();
            fs::write(dir.path().join(other), "text").unwrap();
        }
        let (_shared, images) = prepare(&config(dir.path(), 8, 0)).unwrap();
        assert_eq!((images.len(), images.channels(), images.labels().len()), (30, 3, 30));
        let pixels = images.pixels(&(0..30).collect::<Vec<_>>());
        assert_eq!(pixels.size(), [30, 3, 8, 8]);
        for (i, &label) in images.labels().iter().enumerate() {
            assert_eq!(pixels.int64_value(&[i as i64, 2, 4, 4]), 80 * label + 9);
        }
        let last: BTreeSet<&i64> = images.labels()[20..].iter().collect();
        assert_eq!(last.len(), 3, "the classes are mixed: {:?}", images.labels());

        let (_shared, few) = prepare(&config(dir.path(), 8, 7)).unwrap();
        assert_eq!((few.len(), few.labels()), (7, &images.labels()[..7]));
    }

    #[test]
    fn one_folder_has_no_classes() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.png", "b.jpg"] {
            let path = dir.path().join("faces").join(name);
            write_png(&path, 8, 8, 100);
        }
        let (_shared, images) = prepare(&config(dir.path(), 8, 0)).unwrap();
        assert_eq!((images.len(), images.labels().len()), (2, 0));
        let (_shared, images) = prepare(&config(&dir.path().join("faces"), 8, 0)).unwrap();
        assert_eq!((images.len(), images.labels().len()), (2, 0));
        write_png(&dir.path().join("c.png"), 8, 8, 1);
        let message = error(&config(dir.path(), 8, 0));
        assert!(message.contains("c.png lies beside sub-folders"), "{message}");
    }

    #[test]
    fn centre_is_cut_out() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("wide.jpeg"), JPEG).unwrap();
        let (_shared, images) = prepare(&config(dir.path(), 8, 0)).unwrap();
        let near = |column: i64, expected: i64| {
            let value = images.pixels(&[0]).int64_value(&[0, 1, 5, column]);
            assert!((value - expected).abs() <= 12, "{column}: {value}");
        };
        // Columns 4 to 11 of 16.
        near(0, 50);
        near(3, 50);
        near(4, 200);
        near(7, 200);
        // Lower than the network's images: 12 columns of 16 rows' height would not be scaled up.
        let (_shared, images) = prepare(&config(dir.path(), 16, 0)).unwrap();
        let at = |row: i64, column: i64| images.pixels(&[0]).int64_value(&[0, 0, row, column]);
        assert_eq!((at(3, 9), at(12, 9)), (0, 0));
        assert!((at(4, 0) - 50).abs() <= 12 && (at(11, 15) - 200).abs() <= 12);
    }

    #[test]
    fn error_names_file_or_folder() {
        let dir = tempfile::tempdir().unwrap();
        let missing = config(&dir.path().join("missing"), 8, 0);
        let message = error(&missing);
        assert!(message.contains("missing") && message.contains("sub-folder for each class"), "{message}");
        assert_eq!(DataSet::Folder.check(&missing.data).unwrap_err().to_string(), message);

        fs::write(dir.path().join("notes.txt"), "text").unwrap();
        let empty = config(dir.path(), 8, 0);
        let message = error(&empty);
        assert!(message.contains("holds no image"), "{message}");

        let good = dir.path().join("good.png");
        write_png(&good, 9, 9, 1);
        let png = fs::read(&good).unwrap();
        let mut huge = png.clone();
        huge[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
        for (name, bytes) in [
            ("empty.png", &[][..]),
            ("text.jpg", b"text"),
            ("half.png", &png[..png.len() / 2]),
            ("no-end.png", &png[..png.len() - 12]),
            ("huge.png", &huge),
            ("half.jpg", &JPEG[..JPEG.len() / 2]),
            ("short.jpg", &JPEG[..JPEG.len() - 10]),
        ] {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            let message = error(&empty);
            assert!(message.contains(&format!("{}: ", path.display())), "{message}");
            assert!(message.contains("failed to read the image"), "{message}");
            fs::remove_file(path).unwrap();
        }
        prepare(&empty).unwrap();
    }

    #[test]
    fn files_of_another_size_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        write_png(&dir.path().join("a.png"), 9, 9, 1);
        let (shared, _) = prepare(&config(dir.path(), 8, 0)).unwrap();
        let message = Images::open(&config(dir.path(), 16, 0), shared.path()).err().unwrap().to_string();
        assert!(message.contains("another [gan] image_size than 16"), "{message}");
        fs::write(shared.path().join(LABELS), idx::header(idx::INT, &[0, 0]).unwrap()).unwrap();
        let message = Images::open(&config(dir.path(), 8, 0), shared.path()).err().unwrap().to_string();
        assert!(message.contains(LABELS), "{message}");
        fs::remove_file(shared.path().join(IMAGES)).unwrap();
        let message = format!("{:#}", Images::open(&config(dir.path(), 8, 0), shared.path()).err().unwrap());
        assert!(message.contains(IMAGES), "{message}");
    }

    #[test]
    fn images_are_those_of_pil() {
        let dir = tempfile::tempdir().unwrap();
        oracle::run("tests/oracle/images.py", &[dir.path()]);
        let expected = oracle::tensors(&dir.path().join("expected.safetensors"));
        let config = config(&dir.path().join("data"), 32, 0);
        let (_shared, images) = prepare(&config).unwrap();
        let files = shuffled(list(&config.data).unwrap(), 0);
        assert_eq!(
            (files.len(), images.len(), images.labels().len()),
            (expected.len(), expected.len(), expected.len())
        );
        for (at, file) in files.iter().enumerate() {
            let name = file.path.strip_prefix(&config.data).unwrap().to_str().unwrap();
            let difference =
                images.pixels(&[at as i64]).to_kind(Kind::Float) - expected[name].to_kind(Kind::Float);
            let (most, mean) = (difference.abs().max(), difference.abs().mean(Kind::Float));
            let (most, mean) = (most.double_value(&[]), mean.double_value(&[]));
            // PIL scales with integers. JPEG decoders round differently, and interpolate subsampled colours
            // differently.
            let tolerance = match name.split('/').next() {
                Some("420" | "progressive") => (12.0, 1.0),
                Some("444" | "grey" | "cmyk") => (3.0, 0.5),
                _ => (1.0, 0.5),
            };
            assert!(most <= tolerance.0 && mean <= tolerance.1, "{name}: {most}, {mean} on average");
        }
    }
}
