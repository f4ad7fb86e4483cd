//! Shared by the benchmarks: the peer in Python, the options of both sides, runs, and a description of the machine.

// Each benchmark uses a part of it.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use pbtnas_core::search::Genotype;
use pbtnas_engine::config::Config;
use pbtnas_engine::create::create;
use pbtnas_engine::device::DeviceChoice;
use pbtnas_engine::run::Run;
use pbtnas_torch::gan::GanConfig;
use serde_json::Value;

/// The Python that `scripts/setup oracle` makes.
pub const PYTHON: &str = ".deps/oracle/bin/python";

/// Options of pbtnas and its peer.
#[derive(Args)]
pub struct Sides {
    /// cpu or cuda.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Threads of the networks, for both.
    #[arg(long, default_value_t = 2)]
    pub threads: i32,
    /// The peer's Python, as built by `scripts/setup oracle`.
    #[arg(long, default_value = PYTHON)]
    pub python: PathBuf,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Sides {
    pub fn device(&self) -> Result<DeviceChoice> {
        match self.device.as_str() {
            "cpu" => Ok(DeviceChoice::Cpu),
            "cuda" => Ok(DeviceChoice::Cuda),
            other => bail!("--device is {other:?}, not cpu or cuda"),
        }
    }

    /// The peer of the task `gan` on Fashion-MNIST (benches/gan.py), ready to train an architecture.
    pub fn gan_peer(&self, config: &GanConfig, genotype: &Genotype, tuned: bool) -> Result<Peer> {
        let mut case: Value = serde_json::to_value(config)?;
        case["genotype"] = serde_json::to_value(genotype)?;
        case["channels"] = 1.into();
        case["tuned"] = tuned.into();
        case["device"] = self.device.clone().into();
        Peer::start(&self.python, "gan.py", &[&case.to_string()])
    }
}

/// Opens the run, or creates it with this configuration.
pub fn run(state: &Path, config: &str) -> Result<Run> {
    let config = Config::parse(Path::new("bench.toml"), config)?;
    Ok(create(state, &config, config.task().as_ref())?.0)
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A Python script that prints `ready` and then answers each line of input with one line.
pub struct Peer {
    script: &'static str,
    process: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    /// Starts a script of `benches` and waits until it is ready.
    pub fn start(python: &Path, script: &'static str, arguments: &[&str]) -> Result<Self> {
        let python = root().join(python);
        let mut process = Command::new(&python)
            .args(["-W", "ignore"])
            .arg(root().join("benches").join(script))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start {}: call scripts/setup oracle", python.display()))?;
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().context("no output")?).lines();
        let mut peer = Self { script, process, input, output };
        let said = peer.line()?;
        if said != "ready" {
            bail!("benches/{script} said {said:?}");
        }
        Ok(peer)
    }

    fn line(&mut self) -> Result<String> {
        Ok(self.output.next().with_context(|| format!("benches/{} has ended", self.script))??)
    }

    /// Sends a line; returns the numbers of the answer.
    pub fn ask(&mut self, line: &str) -> Result<Vec<f64>> {
        writeln!(self.input.as_mut().context("no input")?, "{line}")?;
        let answer = self.line()?;
        let numbers = answer.split_whitespace().map(str::parse).collect::<Result<_, _>>();
        numbers.with_context(|| format!("benches/{} answered {answer:?}", self.script))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The script ends at the end of its input.
        drop(self.input.take());
        let _ = self.process.wait();
    }
}

/// Processor, cores and memory in one line.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        line.split_once(':').map_or(String::new(), |(_, value)| value.trim().to_owned())
    };
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let kib: f64 = memory.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or_default();
    format!(
        "{}, {} cores, {:.0} GiB",
        field(&read("/proc/cpuinfo"), "model name"),
        std::thread::available_parallelism().map_or(1, usize::from),
        kib / f64::from(1 << 20)
    )
}

/// The median.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}

/// A folder for gigabytes of files; removed at the end.
pub fn scratch(dir: Option<&PathBuf>) -> Result<tempfile::TempDir> {
    let near = dir.cloned().unwrap_or_else(|| root().join("target"));
    let made = tempfile::Builder::new().prefix("bench-").tempdir_in(&near);
    made.with_context(|| format!("no folder can be made in {}", near.display()))
}

/// A process's resident memory in MiB: `VmRSS` (now) or `VmHWM` (the peak).
pub fn memory(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}
