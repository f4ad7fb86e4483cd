//! Members of the task `gan` against the same networks trained in PyTorch (benches/gan.py): real images a second of
//! both, in turns, with as many threads, over random architectures of GanHard at a small and at the paper's width.
//! A turn is a cycle: five discriminator steps and a generator step. Evaluation is not measured. On a GPU, the
//! fraction of time in which it is idle during pbtnas' cycles is printed, too, as sampled by nvidia-smi.
//!
//! ```text
//! cargo bench --bench gan                                    five architectures at both widths
//! cargo bench --bench gan -- --size small --turns 5 --tuned
//! cargo bench --bench gan -- --device cuda --python /path/to/python
//! ```

mod shared;

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use pbtnas_core::search::{Initial, MemberId, initial_population};
use pbtnas_engine::device::DeviceChoice;
use pbtnas_engine::task::{MemberContext, Seeds, Session, Start, Task};
use pbtnas_torch::gan::{GanConfig, GanTask, SpaceKind};
use shared::{Sides, machine, median, root, scratch};

#[derive(Parser)]
struct Options {
    /// Random architectures.
    #[arg(long, default_value_t = 5)]
    genotypes: usize,
    /// Seed of the architectures.
    #[arg(long, default_value_t = 8)]
    seed: u64,
    /// Cycles that are timed, at the small width; at the full one a third as many.
    #[arg(long, default_value_t = 9)]
    turns: usize,
    /// Only this size: `small` or `full`.
    #[arg(long)]
    size: Option<String>,
    /// PyTorch with the optimizations of its documentation: no graph where none is needed, fused AdamW, multi-tensor
    /// average, channels-last.
    #[arg(long)]
    tuned: bool,
    #[command(flatten)]
    sides: Sides,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let kind = if options.tuned { "PyTorch, tuned" } else { "PyTorch eager" };
    println!(
        "GAN training against {kind}: {}, {} threads, {}",
        machine(),
        options.sides.threads,
        options.sides.device
    );
    for (size, width, turns) in [("small", [32, 32], options.turns), ("full", [256, 128], options.turns / 3)]
    {
        if options.size.as_deref().is_none_or(|only| only == size) {
            compare(&options, size, width, turns.max(1))?;
        }
    }
    Ok(())
}

fn compare(
    options: &Options,
    size: &str,
    [generator, discriminator]: [usize; 2],
    turns: usize,
) -> Result<()> {
    let config = GanConfig {
        space: SpaceKind::GanHard,
        data: root().join(".deps/data/fashion-mnist"),
        generator_width: generator,
        discriminator_width: discriminator,
        threads: options.sides.threads,
        device: options.sides.device()?,
        ..GanConfig::default()
    };
    println!("{size}: generator {generator}, discriminator {discriminator} channels, {turns} cycles each");
    let images = (config.batch as u64 * config.discriminator_steps) as f64;
    let task = GanTask::new(config.clone());
    let genotypes = initial_population(task.space(), options.genotypes, Initial::Uniform, options.seed);
    let (mut ratios, mut idle) = (Vec::new(), Vec::new());
    for (number, genotype) in genotypes.iter().enumerate() {
        let folder = scratch(None)?;
        let seeds = Seeds { run: 1, generation: 0, member: MemberId(number as u32) };
        let mut ours =
            task.session(Start::Fresh(genotype, 0), MemberContext::outside(seeds, folder.path()))?;
        let mut theirs = options.sides.gan_peer(&config, genotype, options.tuned)?;
        let (mut our_seconds, mut their_seconds) = (Vec::new(), Vec::new());
        for turn in 0..=turns {
            let usage = (config.device == DeviceChoice::Cuda && turn > 0).then(Usage::begin).transpose()?;
            let mine = cycle(ours.as_mut(), config.discriminator_steps)?;
            idle.extend(usage.map(Usage::idle).transpose()?.flatten());
            let other = *theirs.ask("1")?.first().context("no number")?;
            // The first is the warm-up.
            if turn > 0 {
                our_seconds.push(mine);
                their_seconds.push(other);
            }
        }
        let (mine, other) = (median(&our_seconds), median(&their_seconds));
        ratios.push(other / mine);
        println!(
            "  architecture {number}: pbtnas {:.1}, PyTorch {:.1} images/s, ratio {:.2}",
            images / mine,
            images / other,
            other / mine
        );
    }
    println!("  {size}: median ratio {:.2}", median(&ratios));
    if !idle.is_empty() {
        println!("  {size}: the GPU idles for {:.0} % of the time (median of the cycles)", median(&idle));
    }
    Ok(())
}

/// Samples of the first GPU by nvidia-smi, from now on.
struct Usage(Child);

impl Usage {
    fn begin() -> Result<Self> {
        let query =
            ["--id=0", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=50"];
        let child = Command::new("nvidia-smi").args(query).stdout(Stdio::piped()).spawn();
        Ok(Self(child.context("failed to start nvidia-smi")?))
    }

    /// Per cent of the time since then in which no kernel ran; none if the time was too short for a sample.
    fn idle(mut self) -> Result<Option<f64>> {
        self.0.kill()?;
        let output = self.0.wait_with_output()?;
        let busy: Vec<f64> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| line.trim().parse().ok())
            .collect();
        let mean = busy.iter().sum::<f64>() / busy.len() as f64;
        Ok((!busy.is_empty()).then_some(100.0 - mean))
    }
}

/// Seconds of a cycle.
fn cycle(session: &mut dyn Session, steps: u64) -> Result<f64> {
    let began = Instant::now();
    for _ in 0..steps {
        session.advance(u32::MAX)?;
    }
    // Waits for the device.
    session.metrics();
    Ok(began.elapsed().as_secs_f64())
}
