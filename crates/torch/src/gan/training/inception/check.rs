//! Tests an Inception file by running it.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use rand::RngCore;
use tch::{Kind, Tensor};

use super::{CLASSES, FEATURES, Inception};
use crate::device::device;
use crate::gan::inception_report::InceptionReport;
use pbtnas_core::durable_fs::digest_file;
use pbtnas_core::search::{RngKey, rng};
use pbtnas_engine::device::DeviceChoice;

/// Noise images and constant images of each size.
const EACH: usize = 3;
/// Largest difference of features that should be equal, relative to the largest feature.
const TOLERANCE: f64 = 1e-4;

/// Loads the Inception network, on a GPU if there is one, and runs it on fixed images: noise and constants. Fails if
/// outputs have wrong shapes, are not finite, do not depend on the image, or depend on the other images of the batch,
/// and if probabilities do not add up to 1.
pub fn check_inception(path: &Path) -> Result<InceptionReport> {
    let device = device(DeviceChoice::Auto)?;
    let inception = Inception::load(path, device)?;
    // A plain error: that of a damaged checkpoint has its own exit code.
    let written = digest_file(path).map_err(|error| anyhow!("{error}"))?;
    let mut report = InceptionReport {
        path: path.to_owned(),
        kind: inception.file(),
        digest: written.digest,
        bytes: written.size,
        device: format!("{device:?}"),
        threads: tch::get_num_threads(),
        images: 0,
        milliseconds: 0.0,
        moved: 0.0,
    };
    for side in [32, 48] {
        let images = fixed_images(side);
        let count = images.size()[0];
        let began = Instant::now();
        let features = checked(&inception, &images)?;
        report.milliseconds = began.elapsed().as_secs_f64() * 1e3 / count as f64;
        report.images += count as usize;

        let largest = features.abs().max().double_value(&[]);
        if features.std_dim([0i64].as_slice(), false, false).max().double_value(&[]) < TOLERANCE * largest {
            bail!("all images of {side}x{side} have the same features");
        }
        let mut moved: f64 = 0.0;
        for i in [0, count - 1] {
            let alone = checked(&inception, &images.narrow(0, i, 1))?;
            moved = moved.max(largest_difference(&features.narrow(0, i, 1), &alone) / largest);
        }
        if moved > TOLERANCE {
            bail!(
                "the features of an image depend on the other images of its batch: they change by {moved:.1e}"
            );
        }
        report.moved = report.moved.max(moved);

        let grey = images.narrow(0, 0, 1).narrow(1, 0, 1);
        let colours = checked(&inception, &grey.repeat([1, 3, 1, 1]))?;
        let apart = largest_difference(&colours, &checked(&inception, &grey)?) / largest;
        if apart > TOLERANCE {
            bail!(
                "a greyscale image and its copy in colour have different features: they differ by {apart:.1e}"
            );
        }
    }
    Ok(report)
}

/// Noise, then black, grey and white, `(6, 3, side, side)`.
fn fixed_images(side: i64) -> Tensor {
    let area = (side * side) as usize;
    let mut bytes = vec![0; EACH * 3 * area];
    let purpose = format!("features check {side}");
    rng(&RngKey { run: 0, generation: 0, member: None, purpose: &purpose }).fill_bytes(&mut bytes);
    for value in [0, 128, 255] {
        bytes.resize(bytes.len() + 3 * area, value);
    }
    Tensor::from_data_size(&bytes, &[2 * EACH as i64, 3, side, side], Kind::Uint8)
}

/// Features of images, after checking both outputs.
fn checked(inception: &Inception, images: &Tensor) -> Result<Tensor> {
    let (features, probabilities) = inception.features_and_probabilities(images)?;
    let count = images.size()[0];
    for (what, output, width) in
        [("features", &features, FEATURES), ("probabilities", &probabilities, CLASSES)]
    {
        let size = images.size();
        if output.size() != [count, width] {
            bail!(
                "for images of shape {size:?} the {what} have the shape {:?} instead of [{count}, {width}]",
                output.size()
            );
        }
        if output.isfinite().all().int64_value(&[]) != 1 {
            bail!("for images of shape {size:?} some {what} are not finite");
        }
    }
    let sums = probabilities.sum_dim_intlist([1i64].as_slice(), false, Kind::Double);
    let off = (sums - 1.0).abs().max().double_value(&[]);
    if off > TOLERANCE || probabilities.min().double_value(&[]) < 0.0 {
        bail!("probabilities do not add up to 1: the largest error of a sum is {off:.1e}");
    }
    Ok(features)
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}
