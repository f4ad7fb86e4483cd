//! A long search on this machine: a large population, many generations, attempts that fail at random and killed processes.
//! Prints the values that must stay constant: the time of a step, memory, the number of files.
//!
//! ```text
//! cargo bench --bench soak                                              1000 members, 300 generations
//! cargo bench --bench soak -- --members 100 --generations 30 --dir /scratch
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use pbtnas_core::run::{AttemptEnd, Heartbeat, Outcome, verify};
use pbtnas_core::search::MemberId;
use pbtnas_engine::advance::{NextAction, advance};
use pbtnas_engine::config::Config;
use pbtnas_engine::create::create;
use pbtnas_engine::run::Run;
use pbtnas_engine::scheduler::local::run_round;
use pbtnas_engine::scheduler::pool::{Round, Watcher};
use pbtnas_engine::scheduler::{JobSource, Search};
use pbtnas_engine::signal::StopSignal;

/// Fraction of the attempts that fail.
const FAILURES: f64 = 0.05;
/// Time between two kills of a process that trains.
const KILL_PAUSE: Duration = Duration::from_secs(2);
/// Generations that keep their files.
const KEEP: u32 = 2;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = 1000)]
    members: u32,
    #[arg(long, default_value_t = 300)]
    generations: u32,
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Parent of the run directory; by default a folder in memory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The peak memory of the processes killed since the last sample.
static WORKERS_MEMORY: AtomicU64 = AtomicU64::new(0);

struct Sample {
    step_seconds: f64,
    train_seconds: f64,
    memory: u64,
    workers_memory: u64,
    files: usize,
    bytes: u64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let near = options.dir.clone().unwrap_or_else(|| {
        ["/dev/shm", "/tmp"].map(PathBuf::from).into_iter().find(|dir| dir.is_dir()).unwrap_or_default()
    });
    let dir = tempfile::tempdir_in(&near)
        .with_context(|| format!("no folder can be made in {}", near.display()))?;
    let config = format!(
        "seed = 1\n[search]\npopulation = {}\nepochs = {}\nepochs_per_generation = 1\n[task]\nkind = \"synthetic\"\n\
         [synthetic]\nlayers = 3\nsteps_per_epoch = 2\nstep_milliseconds = 1\ncrash_rate = {FAILURES}\n\
         [storage]\nkeep = {KEEP}\nvisibility_timeout = 0\n",
        options.members, options.generations
    );
    let config = Config::parse(Path::new("soak.toml"), &config)?;
    let (run, _) = create(&dir.path().join("run"), &config, config.task().as_ref())?;
    println!(
        "{} members, {} generations, {} workers, in {}; {:.0} % of attempts fail, and every {} s a process is killed",
        options.members,
        options.generations,
        options.workers,
        near.display(),
        FAILURES * 100.0,
        KILL_PAUSE.as_secs()
    );
    println!("generation  step s  training s  memory MiB  of workers MiB   files  disk MiB");
    let began = Instant::now();
    let mut samples: Vec<Sample> = Vec::new();
    let soaked = kill_now_and_then(|| {
        soak(&run, options.workers, |generation, sample| {
            if generation % (options.generations / 15).max(1) == 0 || generation + 1 == options.generations {
                println!(
                    "{generation:10}  {:6.3}  {:10.2}  {:10.1}  {:14.1}  {:6}  {:8.1}",
                    sample.step_seconds,
                    sample.train_seconds,
                    mib(sample.memory),
                    mib(sample.workers_memory),
                    sample.files,
                    mib(sample.bytes)
                );
            }
            samples.push(sample);
        })
    });
    let kills = soaked?;
    let seconds = began.elapsed().as_secs_f64();
    println!("{seconds:.0} s, {kills} processes killed");
    count_attempts(&run)?;
    compare(&samples)?;
    let looked = Instant::now();
    let faults = verify(&run)?;
    ensure!(faults.is_empty(), "verify: {faults:?}");
    println!("verify: sound, in {:.1} s", looked.elapsed().as_secs_f64());
    Ok(())
}

/// The search, as `pbtnas run` does it.
fn soak(run: &Run, workers: usize, mut record: impl FnMut(u32, Sample)) -> Result<()> {
    let task = run.config.task();
    let search = Search { run, task: task.as_ref() };
    let program = Path::new(env!("CARGO_BIN_EXE_pbtnas"));
    let stop = StopSignal::default();
    let mut current = None;
    let mut training = Instant::now();
    loop {
        let stepping = Instant::now();
        let next = advance(run, task.as_ref(), true)?;
        let step_seconds = stepping.elapsed().as_secs_f64();
        let (generation, members) = match next {
            NextAction::Train { generation, members } => (generation, members),
            NextAction::Finished { .. } => return Ok(()),
        };
        // A step that only retries members does not count.
        if current != Some(generation) {
            let (files, bytes) = count_files(run.layout.root());
            let train_seconds = training.elapsed().as_secs_f64() - step_seconds;
            let (memory, workers_memory) = (resident("self"), WORKERS_MEMORY.swap(0, Ordering::Relaxed));
            record(generation, Sample { step_seconds, train_seconds, memory, workers_memory, files, bytes });
            current = Some(generation);
            training = Instant::now();
        }
        let round = Round { source: &search, number: generation, units: &members, program, stop: &stop };
        run_round(&round, workers, &mut Quiet)?;
        ensure!(search.dir(generation).exists(), "generation {generation} is gone");
    }
}

struct Quiet;

impl Watcher for Quiet {
    fn started(&mut self, _: MemberId) {}
    fn heartbeat(&mut self, _: MemberId, _: &Heartbeat) {}
    fn ended(&mut self, _: MemberId, _: bool) {}
}

/// Does something while children of this process are killed from time to time; returns how many.
fn kill_now_and_then(act: impl FnOnce() -> Result<()>) -> Result<usize> {
    let (over, kills) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut killed = Instant::now();
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(50));
                if killed.elapsed() < KILL_PAUSE {
                    continue;
                }
                killed = Instant::now();
                let children = children();
                let Some(victim) = children.get(rand::random_range(0..children.len().max(1))) else {
                    continue;
                };
                WORKERS_MEMORY.fetch_max(resident(victim), Ordering::Relaxed);
                let Ok(pid) = victim.parse() else { continue };
                let signal = nix::sys::signal::Signal::SIGKILL;
                if nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).is_ok() {
                    kills.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let acted = act();
        over.store(true, Ordering::Relaxed);
        acted
    })?;
    Ok(kills.into_inner())
}

/// Processes that the main thread started.
fn children() -> Vec<String> {
    let me = std::process::id();
    let children = std::fs::read_to_string(format!("/proc/{me}/task/{me}/children")).unwrap_or_default();
    children.split_whitespace().map(str::to_owned).collect()
}

/// Resident memory of a process in bytes.
fn resident(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() * 1024
}

fn count_files(root: &Path) -> (usize, u64) {
    let files = walkdir::WalkDir::new(root).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    files.fold((0, 0), |(count, bytes), file| {
        (count + 1, bytes + file.metadata().map_or(0, |meta| meta.len()))
    })
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// How all attempts ended, from the archives and the generations that still have their files.
fn count_attempts(run: &Run) -> Result<()> {
    let mut endings: BTreeMap<&str, usize> = BTreeMap::new();
    let mut given_up = 0;
    for generation in 0..=run.latest_generation()?.unwrap_or(0) {
        let results = run.results(generation)?;
        given_up += results
            .iter()
            .flatten()
            .filter(|result| matches!(result.outcome, Outcome::Failed { .. }))
            .count();
        let attempts = match run.archive(generation)? {
            Some(archive) => archive.attempts,
            None => (0..results.len() as u32)
                .map(|member| {
                    pbtnas_core::run::read_attempts(&run.layout.attempts(generation, MemberId(member)))
                })
                .collect::<Result<_, _>>()?,
        };
        for attempt in attempts.iter().flatten() {
            *endings
                .entry(match attempt.ending() {
                    None => "lost",
                    Some(AttemptEnd::Done) => "done",
                    Some(AttemptEnd::Failed { .. }) => "failed",
                    Some(_) => "other",
                })
                .or_default() += 1;
        }
    }
    let all: usize = endings.values().sum();
    println!("{all} attempts: {endings:?}; members given up {given_up} times");
    Ok(())
}

/// The first third of the generations against the last third. The first generation has no step before it.
fn compare(samples: &[Sample]) -> Result<()> {
    let samples = samples.get(1 + KEEP as usize..).unwrap_or_default();
    if samples.len() < 6 {
        bail!("too few generations to compare");
    }
    let third = samples.len() / 3;
    let (early, late) = (&samples[..third], &samples[samples.len() - third..]);
    for (name, value) in [
        ("step, s", (|sample| sample.step_seconds) as fn(&Sample) -> f64),
        ("training, s", |sample| sample.train_seconds),
        ("memory, MiB", |sample| mib(sample.memory)),
        ("memory of a worker, MiB", |sample| mib(sample.workers_memory)),
        ("files", |sample| sample.files as f64),
        ("disk, MiB", |sample| mib(sample.bytes)),
    ] {
        let median = |samples: &[Sample]| {
            let mut values: Vec<f64> = samples.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let (early, late) = (median(early), median(late));
        println!(
            "{name}: median of the first third {early:.3}, of the last third {late:.3} ({:.2} times)",
            late / early
        );
    }
    Ok(())
}
