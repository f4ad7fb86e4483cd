//! A member of the task `rl` against DrQ-v2's loop in PyTorch with dm-control (benches/drqv2.py), at the same settings
//! and with the same networks: frames a second of both, in turns, after the seed phase. Evaluation is not measured.
//!
//! ```text
//! cargo bench --features rl --bench drqv2                        hidden 256, batch 64, and the paper's 1024 and 256
//! cargo bench --features rl --bench drqv2 -- --steps 1000 --device cuda --python /path/to/python --environment humanoid-run
//! ```
//!
//! A frame is a step of the environment. The Python needs PyTorch and dm-control; `scripts/setup oracle` installs one.

mod shared;

use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use pbtnas_core::search::{Genotype, Initial, MemberId, initial_population};
use pbtnas_engine::task::{MemberContext, Seeds, Start, Task};
use pbtnas_torch::rl::environment::EnvironmentKind;
use pbtnas_torch::rl::{RlConfig, RlTask};
use shared::{Peer, Sides, root, scratch};

/// Steps of the agent before the first update.
const SEED_STEPS: u64 = 2000;

#[derive(Parser)]
struct Options {
    /// walker-run, quadruped-run or humanoid-run.
    #[arg(long, default_value = "walker-run")]
    environment: String,
    /// Steps of the agent in a turn, at the small size; half as many at the paper's.
    #[arg(long, default_value_t = 100)]
    steps: u64,
    /// Turns per side.
    #[arg(long, default_value_t = 2)]
    turns: usize,
    /// Threads and processes that load batches, for both.
    #[arg(long, default_value_t = 4)]
    workers: usize,
    /// Only this size: `small` or `paper`.
    #[arg(long)]
    size: Option<String>,
    #[command(flatten)]
    sides: Sides,
}

fn main() -> Result<()> {
    let options = Options::parse();
    println!("{}, {}, {} threads", options.environment, options.sides.device, options.sides.threads);
    for (size, hidden, batch, steps) in
        [("small", 256, 64, options.steps), ("paper", 1024, 256, options.steps / 2)]
    {
        if options.size.as_deref().is_none_or(|only| only == size) {
            compare(&options, hidden, batch, steps.max(2))?;
        }
    }
    Ok(())
}

fn compare(options: &Options, hidden: usize, batch: usize, steps: u64) -> Result<()> {
    let folder = scratch(None)?;
    let task = task(options, hidden, batch)?;
    let genotype = drqv2(&task);
    let seeds = Seeds { run: 1, generation: 0, member: MemberId(0) };
    let mut ours = task.session(Start::Fresh(&genotype, 0), MemberContext::outside(seeds, folder.path()))?;
    for _ in 0..SEED_STEPS {
        ours.advance(u32::MAX)?;
    }
    let mut theirs = peer(options, hidden, batch)?;
    println!(
        "hidden {hidden}, batch {batch}; {steps} steps of the agent in a turn, an update at every second one"
    );
    let (mut our_seconds, mut their_seconds) = (0.0, 0.0);
    for turn in 1..=options.turns {
        let began = Instant::now();
        for _ in 0..steps {
            ours.advance(u32::MAX)?;
        }
        // Waits for the device.
        ours.metrics();
        let mine = began.elapsed().as_secs_f64();
        let other = *theirs.ask(&steps.to_string())?.first().context("no number")?;
        println!("turn {turn}: pbtnas {:.1}, PyTorch {:.1} frames/s", rate(steps, mine), rate(steps, other));
        our_seconds += mine;
        their_seconds += other;
    }
    let total = steps * options.turns as u64;
    println!(
        "pbtnas {:.1} frames/s, PyTorch {:.1} frames/s, ratio {:.2}",
        rate(total, our_seconds),
        rate(total, their_seconds),
        their_seconds / our_seconds
    );
    Ok(())
}

fn rate(steps: u64, seconds: f64) -> f64 {
    2.0 * steps as f64 / seconds
}

fn task(options: &Options, hidden: usize, batch: usize) -> Result<RlTask> {
    let environment: EnvironmentKind = serde_json::from_value(options.environment.clone().into())
        .with_context(|| format!("unknown environment {}", options.environment))?;
    Ok(RlTask::new(RlConfig {
        environment,
        models: root().join(".deps/data/dm-control"),
        hidden,
        batch,
        n_step: 1,
        threads: options.sides.threads,
        replay_threads: options.workers,
        device: options.sides.device()?,
        ..RlConfig::default()
    }))
}

/// The networks of DrQ-v2, as nearly as the space has them: four convolutions 3x3, three linear layers, ReLU.
fn drqv2(task: &RlTask) -> Genotype {
    let mut genotype = initial_population(task.space(), 1, Initial::Uniform, 1).remove(0);
    for variable in &task.space().variables {
        let name = variable.name.as_str();
        let option = match name.rsplit('/').next().unwrap_or_default() {
            "representation" => "50",
            "trunk_activation" => "tanh",
            "spectral_norm" => "no",
            part if part.starts_with("activation") => "relu",
            _ if name.starts_with("encoder/layer") => "conv_3x3",
            "layer1" => "linear",
            _ => "identity",
        };
        genotype.set(name, option);
    }
    genotype
}

/// The loop in PyTorch, in its own process.
fn peer(options: &Options, hidden: usize, batch: usize) -> Result<Peer> {
    let [hidden, batch] = [hidden, batch].map(|number| number.to_string());
    let [threads, workers] = [options.sides.threads.to_string(), options.workers.to_string()];
    let arguments = [
        ["--environment", &options.environment],
        ["--device", &options.sides.device],
        ["--hidden", &hidden],
        ["--batch", &batch],
        ["--threads", &threads],
        ["--workers", &workers],
    ];
    Peer::start(&options.sides.python, "drqv2.py", arguments.as_flattened())
}
