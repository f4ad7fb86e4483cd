//! Two processes on two machines who talk through files of one folder: how long each waits until it sees the other's,
//! and who wins when both want a name.
//!
//! The asking process is `pbtnas doctor`, the answering one a job. A question is a file that the asker publishes, the
//! answer one that the job publishes as soon as it sees the question. Clocks are never compared directly: see [`Delay`].

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::message;
use crate::gpu;
use crate::scheduler::slurm::host;
use crate::signal::StopSignal;
use crate::state::{FORMAT, Lock, Published, find_json, machine, publish_bytes, publish_json};

/// Questions that are asked at most.
const QUESTIONS: u32 = 20;
/// No further question is asked after that: on a slow filesystem a few tell as much.
const ASKING: Duration = Duration::from_secs(90);
/// Names that both want.
pub const NAMES: u32 = 50;
/// How long either side waits at least for the other before it gives up, and at most.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(600));
/// Longest rest of who has won a name.
const REST: Duration = Duration::from_secs(1);
/// Between two looks for a file.
const PAUSE: Duration = Duration::from_millis(5);

/// The file that the asker keeps locked.
pub const LOCK: &str = "lock";
const TERMS: &str = "terms.json";
const HELLO: &str = "hello.json";
const RACE: &str = "race.json";
const RACED: &str = "raced.json";
const END: &str = "end.json";
const ASKER: &[u8] = b"asker";
const JOB: &[u8] = b"job";

/// How long either side waits for the other, where a run waits so many seconds for files: longer than that, so that a
/// delay which the run would bear is measured.
pub fn patience(visibility_timeout: u64) -> Duration {
    Duration::from_secs(visibility_timeout.saturating_add(10)).clamp(PATIENCE.0, PATIENCE.1)
}

/// Minutes that a job needs which answers with such patience: half of it each for its first word and the end, questions
/// up to [`ASKING`] and one more, the race and half a minute for its names.
pub fn minutes(patience: Duration) -> u64 {
    (120 + 3 * patience.as_secs()).div_ceil(60)
}

/// What the asker writes down before there is a job.
#[derive(Serialize, Deserialize)]
struct Terms {
    format: u64,
    patience_seconds: u64,
}

/// What a job says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    format: u64,
    /// Name of its machine.
    pub host: String,
    /// Its machine, as [`machine`] tells them apart.
    pub machine: String,
    /// Why libtorch does not work there, if it does not.
    pub libtorch: Option<String>,
    /// Whether it sees that the asker has locked a file.
    pub locked: bool,
}

#[derive(Serialize, Deserialize)]
struct Note {
    format: u64,
}

const NOTE: Note = Note { format: FORMAT };

/// On the job's clock, in seconds.
#[derive(Serialize, Deserialize)]
struct Answer {
    format: u64,
    seen: f64,
    told: f64,
}

#[derive(Serialize, Deserialize)]
struct Raced {
    format: u64,
    won: Vec<u32>,
}

/// A question and its answer, in seconds: `asked` and `heard` on the asker's clock, `seen` and `told` on the job's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exchange {
    /// The question was about to be published.
    pub asked: f64,
    /// The job saw it.
    pub seen: f64,
    /// The answer was about to be published.
    pub told: f64,
    /// The asker saw it.
    pub heard: f64,
}

/// How late files of the one are seen by the other, the time for writing them included.
///
/// The two clocks began at different times, but run alike. In the fastest exchange both ways are taken to be equally
/// long, which is wrong by half of what that exchange took at most; that gives the difference of the clocks, and so
/// each way of every other exchange.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Delay {
    /// Longest time until the job saw a file of the asker, in seconds.
    pub there: f64,
    /// Longest time until the asker saw a file of the job.
    pub back: f64,
    /// By how much both may be wrong.
    pub uncertainty: f64,
}

/// The delays of some exchanges; none of none.
pub fn delay(exchanges: &[Exchange]) -> Option<Delay> {
    let round = |one: &Exchange| (one.heard - one.asked) - (one.told - one.seen);
    let fastest = exchanges.iter().min_by(|a, b| round(a).total_cmp(&round(b)))?;
    let offset = ((fastest.seen - fastest.asked) - (fastest.heard - fastest.told)) / 2.0;
    let most = |way: &dyn Fn(&Exchange) -> f64| exchanges.iter().map(way).fold(0.0, f64::max);
    Some(Delay {
        there: most(&|one| one.seen - one.asked - offset),
        back: most(&|one| one.heard - one.told + offset),
        uncertainty: round(fastest).max(0.0) / 2.0,
    })
}

/// Who won which names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Race {
    /// The asker.
    pub ours: Vec<u32>,
    /// The job.
    pub theirs: Vec<u32>,
    /// Names whose file is not its winner's, as the asker sees it.
    pub foreign: Vec<u32>,
}

/// What the job said first, if it has said something.
pub fn hello(folder: &Path) -> Result<Option<Hello>> {
    Ok(find_json(&folder.join(HELLO))?)
}

/// Writes down how patient the job shall be; before it is submitted.
pub fn begin(folder: &Path, patience: Duration) -> Result<()> {
    publish_json(&folder.join(TERMS), &Terms { format: FORMAT, patience_seconds: patience.as_secs() })?;
    Ok(())
}

/// Asks all questions, or as many as there is time for.
pub fn ask(folder: &Path, patience: Duration, stop: &StopSignal) -> Result<Vec<Exchange>> {
    ask_for(ASKING, folder, patience, stop)
}

fn ask_for(time: Duration, folder: &Path, patience: Duration, stop: &StopSignal) -> Result<Vec<Exchange>> {
    let clock = Instant::now();
    let seconds = || clock.elapsed().as_secs_f64();
    let mut exchanges = Vec::new();
    for number in 0..QUESTIONS {
        if number > 0 && clock.elapsed() >= time {
            break;
        }
        let asked = seconds();
        publish_json(&folder.join(question(number)), &NOTE)?;
        let path = folder.join(format!("answer-{number}.json"));
        let Answer { seen, told, .. } = wait(&path, patience, stop)?;
        exchanges.push(Exchange { asked, seen, told, heard: seconds() });
    }
    Ok(exchanges)
}

/// Wants the same names as the job, at the same time.
pub fn race(folder: &Path, patience: Duration, stop: &StopSignal) -> Result<Race> {
    publish_json(&folder.join(RACE), &NOTE)?;
    let ours = want(folder, ASKER)?;
    let theirs = wait::<Raced>(&folder.join(RACED), patience, stop)?.won;
    let is_foreign = |number: &&u32, winner: &[u8]| {
        std::fs::read(folder.join(name(**number))).ok().as_deref() != Some(winner)
    };
    let foreign = ours.iter().filter(|number| is_foreign(number, ASKER));
    let foreign = foreign.chain(theirs.iter().filter(|number| is_foreign(number, JOB))).copied().collect();
    Ok(Race { ours, theirs, foreign })
}

/// The job may leave.
pub fn end(folder: &Path) -> Result<()> {
    publish_json(&folder.join(END), &NOTE)?;
    Ok(())
}

/// The job's side, until it is told to leave.
pub fn answer(folder: &Path) -> Result<()> {
    let clock = Instant::now();
    let seconds = || clock.elapsed().as_secs_f64();
    let libtorch = gpu::calculate(tch::Device::Cpu).err().map(|error| message(&error));
    let locked = Lock::try_take(&folder.join(LOCK)).is_none();
    let hello = Hello { format: FORMAT, host: host(), machine: machine().into(), libtorch, locked };
    publish_json(&folder.join(HELLO), &hello).context("failed to answer")?;
    let stop = StopSignal::default();
    // The asker may have asked all that it has time for: the race begins when every question is answered.
    let raced = folder.join(RACE);
    for number in 0.. {
        let question = folder.join(question(number));
        let is_asked = || match find_json::<Note>(&question)? {
            Some(_) => Ok(Some(true)),
            None => Ok(find_json::<Note>(&raced)?.map(|_| false)),
        };
        if !wait_until(is_asked, &question, agreed(folder), &stop)? {
            break;
        }
        let seen = seconds();
        let path = folder.join(format!("answer-{number}.json"));
        publish_json(&path, &Answer { format: FORMAT, seen, told: seconds() })?;
    }
    let won = want(folder, JOB)?;
    publish_json(&folder.join(RACED), &Raced { format: FORMAT, won })?;
    wait::<Note>(&folder.join(END), agreed(folder), &stop).map(drop)
}

/// How patient the job is to be; its node may see that late.
fn agreed(folder: &Path) -> Duration {
    let terms = find_json::<Terms>(&folder.join(TERMS)).ok().flatten();
    terms.map_or(PATIENCE.0, |terms| Duration::from_secs(terms.patience_seconds))
}

fn question(number: u32) -> String {
    format!("question-{number}.json")
}

fn name(number: u32) -> String {
    format!("wanted-{number}")
}

/// Publishes every name that it can. Who wins one waits for about as long as the other needs to lose it, so that both
/// stay side by side.
fn want(folder: &Path, who: &[u8]) -> Result<Vec<u32>> {
    let mut won = Vec::new();
    for number in 0..NAMES {
        let began = Instant::now();
        if publish_bytes(&folder.join(name(number)), who)? == Published::Created {
            won.push(number);
            std::thread::sleep(began.elapsed().mul_f64(rand::random_range(0.0..2.0)).min(REST));
        }
    }
    Ok(won)
}

/// Waits for a record, looking as a run does.
fn wait<T: DeserializeOwned>(path: &Path, patience: Duration, stop: &StopSignal) -> Result<T> {
    wait_until(|| Ok(find_json(path)?), path, patience, stop)
}

/// Waits until `look` finds something; `path` is what is missing if it does not.
fn wait_until<T>(
    look: impl Fn() -> Result<Option<T>>,
    path: &Path,
    patience: Duration,
    stop: &StopSignal,
) -> Result<T> {
    let until = Instant::now() + patience;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if let Some(signal) = stop.get() {
            bail!("stopped by {}", signal.name());
        }
        if Instant::now() > until {
            bail!("{} did not appear within {} s", path.display(), patience.as_secs());
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Signal;
    use proptest::prelude::*;

    #[test]
    fn two_processes_talk_through_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let stop = StopSignal::default();
        let _lock = Lock::try_take(&dir.path().join(LOCK)).unwrap();
        assert_eq!(hello(dir.path()).unwrap(), None);
        std::thread::scope(|scope| {
            let job = scope.spawn(|| answer(dir.path()));
            let exchanges = ask(dir.path(), PATIENCE.0, &stop).unwrap();
            assert_eq!(exchanges.len(), QUESTIONS as usize);
            let hello = hello(dir.path()).unwrap().unwrap();
            assert!(hello.locked && hello.libtorch.is_none() && hello.machine == machine(), "{hello:?}");
            let delay = delay(&exchanges).unwrap();
            assert!(delay.there < 30.0 && delay.back < 30.0, "{delay:?}");
            let race = race(dir.path(), PATIENCE.0, &stop).unwrap();
            let mut all: Vec<u32> = race.ours.iter().chain(&race.theirs).copied().collect();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..NAMES) && race.foreign.is_empty(), "{race:?}");
            end(dir.path()).unwrap();
            job.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_slow_filesystem_is_asked_less() {
        let dir = tempfile::tempdir().unwrap();
        let stop = StopSignal::default();
        std::thread::scope(|scope| {
            let job = scope.spawn(|| answer(dir.path()));
            let exchanges = ask_for(Duration::ZERO, dir.path(), PATIENCE.0, &stop).unwrap();
            assert!(exchanges.len() == 1 && delay(&exchanges).is_some());
            let race = race(dir.path(), PATIENCE.0, &stop).unwrap();
            assert_eq!(race.ours.len() + race.theirs.len(), NAMES as usize);
            end(dir.path()).unwrap();
            job.join().unwrap().unwrap();
        });
    }

    #[test]
    fn who_waits_longer_for_files_waits_longer_here() {
        let seconds = [0, 20, 50, 51, 300, u64::MAX].map(|timeout| patience(timeout).as_secs());
        assert_eq!(seconds, [60, 60, 60, 61, 310, 600]);
        assert_eq!([60, 61, 600].map(|seconds| minutes(Duration::from_secs(seconds))), [5, 6, 32]);
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(agreed(dir.path()), PATIENCE.0, "it is not seen yet");
        begin(dir.path(), patience(300)).unwrap();
        assert_eq!(agreed(dir.path()).as_secs(), 310);
        let gone = wait::<Note>(&dir.path().join("x"), Duration::ZERO, &StopSignal::default());
        assert!(gone.err().unwrap().to_string().ends_with("x did not appear within 0 s"));
    }

    #[test]
    fn a_signal_ends_the_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let stop = StopSignal::default();
        stop.raise(Signal::Terminate);
        let error = ask(dir.path(), PATIENCE.0, &stop).unwrap_err().to_string();
        assert_eq!(error, "stopped by SIGTERM");
    }

    #[test]
    fn of_nothing_there_is_no_delay() {
        assert_eq!(delay(&[]), None);
    }

    proptest! {
        /// However the clocks differ, the true ways come out, but for what cannot be known.
        #[test]
        fn clocks_do_not_matter(
            ways in prop::collection::vec((0.001f64..30.0, 0.001f64..30.0, 0.0f64..1.0), 1..30),
            difference in -1e6f64..1e6,
        ) {
            let mut now = 0.0;
            let exchanges: Vec<Exchange> = ways.iter().map(|(there, back, pause)| {
                let asked = now;
                let seen = asked + there;
                let told = seen + pause;
                now = told + back;
                Exchange { asked, seen: seen + difference, told: told + difference, heard: now }
            }).collect();
            let delay = delay(&exchanges).unwrap();
            let most = |way: fn(&(f64, f64, f64)) -> f64| ways.iter().map(way).fold(0.0, f64::max);
            let bound = delay.uncertainty + 1e-6;
            prop_assert!((delay.there - most(|way| way.0)).abs() <= bound, "{:?}", delay);
            prop_assert!((delay.back - most(|way| way.1)).abs() <= bound, "{:?}", delay);
        }
    }
}
