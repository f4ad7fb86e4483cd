//! From the start of `pbtnas train` until a member is ready for its first batch: a fresh network at the paper's size, and
//! one that resumes from a snapshot of it, as after a preemption. The peer (benches/gan.py) is a script in PyTorch that
//! builds the same networks and optimizers and loads the same images, without any checkpoint.
//!
//! ```text
//! cargo bench --bench startup                         8 turns
//! ```

mod shared;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pbtnas_core::search::MemberId;
use pbtnas_engine::advance::advance;
use pbtnas_engine::run::Run;
use pbtnas_torch::gan::GanConfig;
use shared::{Sides, machine, median, root, run, scratch};

#[derive(Parser)]
struct Options {
    /// Turns.
    #[arg(long, default_value_t = 8)]
    turns: u32,
    #[command(flatten)]
    sides: Sides,
}

fn main() -> Result<()> {
    let Options { turns, sides } = Options::parse();
    println!("Start-up: {}, {}", machine(), sides.device);
    let dir = scratch(None)?;
    let text = format!(
        "seed = 1\n[search]\npopulation = {}\nepochs = 2\nepochs_per_generation = 1\n[task]\nkind = \"gan\"\n[gan]\n\
         space = \"gan-hard\"\ndata = {:?}\nbatch = 4\ngenerator_batch = 4\nfeature_epochs = 1\nthreads = {}\n\
         generator_width = 256\ndiscriminator_width = 128\n\
         device = {:?}\n",
        turns.max(8),
        root().join(".deps/data/fashion-mnist"),
        sides.threads,
        sides.device,
    );
    let run = run(&dir.path().join("run"), &text)?;
    advance(&run, run.config.task().as_ref(), false)?;

    let (mut fresh, mut again, mut theirs, mut sizes) = (vec![], vec![], vec![], vec![]);
    for turn in 0..turns {
        let member = MemberId(turn);
        fresh.push(ready(&run, member)?);
        again.push(ready(&run, member)?);
        sizes.push(snapshot(&run, member)?);
        let genotype = &run.plan(0)?.members[turn as usize].genotype;
        let began = Instant::now();
        let peer = sides.gan_peer(
            run.config.task.settings::<GanConfig>().context("the task is gan")?,
            genotype,
            false,
        )?;
        theirs.push(began.elapsed().as_secs_f64());
        drop(peer);
    }
    println!("snapshots of {:.0} MB", median(&sizes));
    let [fresh, again, theirs] = [&fresh, &again, &theirs].map(|seconds| median(seconds));
    println!("medians: fresh {fresh:.2} s, from a snapshot {again:.2} s, PyTorch (fresh) {theirs:.2} s");
    Ok(())
}

/// Seconds until a member is ready for its first batch; then it is stopped, with a snapshot.
fn ready(run: &Run, member: MemberId) -> Result<f64> {
    let began = Instant::now();
    let mut train = Command::new(env!("CARGO_BIN_EXE_pbtnas"))
        .args(["train", "--member", &member.to_string(), "--state"])
        .arg(run.layout.root())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let mut lines = BufReader::new(train.stderr.take().context("no standard error")?).lines();
    let mut printed = String::new();
    let seconds = loop {
        let Some(line) = lines.next() else { anyhow::bail!("pbtnas train ended: {printed}") };
        let line = line?;
        if line.contains("ready to train after") {
            break began.elapsed().as_secs_f64();
        }
        printed = printed + &line + "\n";
    };
    kill(Pid::from_raw(train.id().cast_signed()), Signal::SIGTERM)?;
    let rest: Vec<String> = lines.collect::<std::io::Result<_>>()?;
    let code = train.wait()?.code();
    ensure!(code == Some(75), "pbtnas train ended with {code:?}: {printed}{}", rest.join("\n"));
    Ok(seconds)
}

/// The size of a member's snapshot in MB.
fn snapshot(run: &Run, member: MemberId) -> Result<f64> {
    let files = std::fs::read_dir(run.layout.progress(0, member))?;
    let sizes = files.map(|file| Ok(file?.metadata()?.len())).collect::<Result<Vec<u64>>>()?;
    Ok(sizes.into_iter().max().unwrap_or_default() as f64 / 1e6)
}
