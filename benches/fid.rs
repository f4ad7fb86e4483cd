//! The Fréchet Inception Distance of 5 000 images against pytorch-fid (benches/fid.py), both with the same network and the same
//! images: seconds for the features and for the distance computed from them. Random weights take as long as trained ones.
//!
//! ```text
//! cargo bench --bench fid                       20 minutes on two cores
//! cargo bench --bench fid -- --images 200
//! ```

mod shared;

use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use pbtnas_engine::task::Task;
use pbtnas_torch::device::device;
use pbtnas_torch::gan::{Features, GanConfig, GanTask, Statistics, frechet_distance};
use pbtnas_torch::tch::Tensor;
use shared::{Peer, Sides, machine, root, scratch};

/// Images that an evaluation generates at a time.
const BATCH: usize = 100;
/// Bytes of an image of 3 x 32 x 32.
const BYTES: usize = 3 * 32 * 32;

#[derive(Parser)]
struct Options {
    /// Images.
    #[arg(long, default_value_t = 5000)]
    images: usize,
    #[command(flatten)]
    sides: Sides,
}

fn main() -> Result<()> {
    let Options { images, sides } = Options::parse();
    println!("FID of {images} images: {}, {} threads, {}", machine(), sides.threads, sides.device);
    let folder = scratch(None)?;
    let path = folder.path().to_str().context("no name for a folder")?;
    let [images, threads] = [images.to_string(), sides.threads.to_string()];
    let choice = sides.device()?;
    let mut peer = Peer::start(&sides.python, "fid.py", &[path, &images, &threads, &sides.device])?;

    let config = GanConfig {
        data: root().join(".deps/data/fashion-mnist"),
        // The statistics of the real images are computed once per run; here of a few images.
        subset: 100,
        inception: Some(folder.path().join("inception.safetensors")),
        device: choice,
        threads: sides.threads,
        ..GanConfig::default()
    };
    GanTask::new(config.clone()).prepare(folder.path())?;
    let device = device(choice)?;
    let features = Features::load(folder.path(), &config, 1, device)?;
    let pixels = std::fs::read(folder.path().join("images.bin"))?;

    let began = Instant::now();
    let mut statistics: Option<Statistics> = None;
    for batch in pixels.chunks(BATCH * BYTES) {
        let images = Tensor::from_slice(batch).view([-1, 3, 32, 32]);
        let (of_images, _) = features.of(&images)?;
        statistics.get_or_insert_with(|| Statistics::new(of_images.size()[1])).add(&of_images);
    }
    let ours = began.elapsed().as_secs_f64();
    let (mean, covariance) = statistics.context("no images")?.finish()?;
    let (real_mean, real_covariance) = &features.real;
    let fid = frechet_distance((real_mean, real_covariance), (&mean, &covariance))?;
    let total = began.elapsed().as_secs_f64();

    let theirs = peer.ask("go")?;
    let [their_features, their_distance, their_fid] = theirs[..] else {
        anyhow::bail!("fid.py printed {theirs:?}")
    };
    println!("pbtnas       features {ours:.1} s, distance {:.1} s; FID {fid:.4}", total - ours);
    println!(
        "pytorch-fid  features {their_features:.1} s, distance {their_distance:.1} s; FID {their_fid:.4}"
    );
    println!("{:.2} times as fast", (their_features + their_distance) / total);
    Ok(())
}
