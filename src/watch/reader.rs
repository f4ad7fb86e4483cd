//! Threads that ask a filesystem and a scheduler which may be slow, or away.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::facts::Facts;
use super::figures::{Figures, figures};
use super::jobs::Jobs;
use crate::error::message;
use crate::report::history::{Generation, History};
use crate::scheduler::SchedulerError;
use crate::scheduler::slurm;
use crate::state::Run;

/// A reader rests at least so many times as long as it read: it takes less than a tenth of the time.
const REST: u32 = 10;
/// Time between two questions to the scheduler.
const ASK_EVERY: Duration = Duration::from_secs(30);
/// Time after which the scheduler is asked anew if nothing had been submitted to it.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What came of reading a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Read {
    /// Somebody begins to read.
    Begun,
    /// What is new.
    News(Box<News>),
    /// Why nothing could be read.
    Trouble(String),
}

/// What may be new in a run.
#[derive(Debug, Clone, PartialEq)]
pub struct News {
    /// The first of the generations below; those before it are as they were.
    pub from: usize,
    /// The generations from there on.
    pub generations: Vec<Generation>,
    /// What follows from all.
    pub figures: Figures,
    /// Until when it may be old.
    pub at: DateTime<Utc>,
    /// How long it took to read.
    pub took: Duration,
}

impl News {
    /// Brings a history up to date; whether anything changed.
    pub fn update(self, history: &mut History) -> bool {
        let changed = history.generations.get(self.from..).is_none_or(|old| old != self.generations);
        history.generations.truncate(self.from);
        history.generations.extend(self.generations);
        changed
    }
}

/// The time between the end of a pass and the next one.
pub fn rest(took: Duration, interval: Duration) -> Duration {
    interval.max(took.saturating_mul(REST))
}

/// A run that is read again and again.
pub struct Reader<'a> {
    run: &'a Run,
    facts: &'a Facts,
    history: History,
    /// The first generation of which something was read that could not be told: the pass failed later.
    untold: Option<usize>,
}

impl<'a> Reader<'a> {
    /// A reader that knows nothing yet.
    pub fn new(run: &'a Run, facts: &'a Facts) -> Self {
        Self { run, facts, history: History::default(), untold: None }
    }

    /// Reads what may have changed since the last pass that came to its end.
    pub fn read(&mut self) -> Result<News, String> {
        let (open, began) = (self.history.first_open(), Instant::now());
        let from = self.untold.map_or(open, |untold| untold.min(open));
        self.untold = Some(from);
        self.history.refresh(self.run).map_err(|error| message(&error))?;
        self.untold = None;
        let (at, took) = (Utc::now(), began.elapsed());
        let generations = self.history.generations[from..].to_vec();
        Ok(News { from, generations, figures: figures(&self.history, self.facts), at, took })
    }

    /// Reads without end, and tells what comes of it; ends when nobody listens any more.
    pub fn go_on(mut self, interval: Duration, mut tell: impl FnMut(Read) -> bool) {
        loop {
            if !tell(Read::Begun) {
                return;
            }
            let began = Instant::now();
            let read = match self.read() {
                Ok(news) => Read::News(Box::new(news)),
                Err(reason) => Read::Trouble(reason),
            };
            if !tell(read) {
                return;
            }
            std::thread::sleep(rest(began.elapsed(), interval));
        }
    }
}

/// Asks SLURM for the jobs of the last generation now and then, if the run is one of SLURM's. Ends when nobody listens
/// any more, and where there is no SLURM.
pub fn ask_for_jobs(run: &Run, mut tell: impl FnMut(Jobs) -> bool) {
    let mut jobs = Jobs::default();
    loop {
        let latest = run.latest_generation().ok().flatten();
        let answer = latest.map(|latest| slurm::look(run, latest)).transpose();
        let of_slurm = match answer {
            Err(error) => {
                let is_absent = error.chain().any(|cause| {
                    matches!(cause.downcast_ref(), Some(SchedulerError::Start { source, .. })
                        if source.kind() == std::io::ErrorKind::NotFound)
                });
                if is_absent {
                    tell(Jobs::default());
                    return;
                }
                jobs.trouble = Some(message(&error));
                true
            }
            Ok(queue) => {
                let queue = queue.flatten();
                let of_slurm = queue.is_some();
                jobs = Jobs { at: of_slurm.then(Utc::now), queue, trouble: None };
                of_slurm
            }
        };
        if !tell(jobs.clone()) {
            return;
        }
        std::thread::sleep(if of_slurm { ASK_EVERY } else { LOOK_EVERY });
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::testing::facts;
    use super::*;
    use crate::advance::advance;
    use crate::config::Config;
    use crate::create::create;
    use crate::report::history::testing::{generation, member};
    use crate::search::MemberId;
    use crate::state::{FORMAT, Outcome, ResultRecord, ensure_dir, publish_json};

    #[test]
    fn reading_takes_less_than_a_tenth_of_the_time() {
        let seconds = Duration::from_secs;
        assert_eq!(rest(Duration::from_millis(5), seconds(2)), seconds(2));
        assert_eq!(rest(seconds(3), seconds(2)), seconds(30));
        assert_eq!(rest(seconds(3), seconds(60)), seconds(60));
    }

    #[test]
    fn what_was_read_before_a_pass_failed_is_told_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let text = "seed = 7\n[search]\npopulation = 4\nepochs = 4\nepochs_per_step = 2\ntau = 0.5\n\
                    [task]\nkind = \"synthetic\"\n";
        let config = Config::parse(std::path::Path::new("run.toml"), text).unwrap();
        let task = config.task().unwrap();
        let run = create(&dir.path().join("run"), &config, task.as_ref()).unwrap().0;
        advance(&run, task.as_ref(), false).unwrap();
        let facts = Facts::of(&run);
        let mut reader = Reader::new(&run, &facts);
        assert_eq!(reader.read().unwrap().generations.len(), 1);
        for member in (0..4).map(MemberId) {
            let outcome = Outcome::Failed { reason: "no".into(), attempts: 1, left: None };
            let result = ResultRecord { format: FORMAT, generation: 0, member, outcome };
            ensure_dir(&run.layout.member(0, member)).unwrap();
            publish_json(&run.layout.result(0, member), &result).unwrap();
        }
        let plan = run.layout.plan(1);
        ensure_dir(plan.parent().unwrap()).unwrap();
        std::fs::write(&plan, "no plan").unwrap();
        assert!(reader.read().unwrap_err().contains("plan.json"));
        std::fs::remove_file(&plan).unwrap();
        let news = reader.read().unwrap();
        assert_eq!((news.from, news.generations.len()), (0, 1));
        assert!(news.generations[0].is_finished());
        assert_eq!(reader.read().unwrap().from, 1, "and once only");
    }

    #[test]
    fn news_replace_what_they_are_about() {
        let with = |fitness| generation(1, vec![member(0, fitness)]);
        let mut history =
            History { generations: vec![generation(0, vec![member(0, Some(1.0))]), with(None)] };
        let news = |fitness| News {
            from: 1,
            generations: vec![with(fitness)],
            figures: figures(&History::default(), &facts(3)),
            at: Utc::now(),
            took: Duration::ZERO,
        };
        assert!(!news(None).update(&mut history));
        assert!(news(Some(2.0)).update(&mut history));
        assert_eq!((history.generations.len(), history.generations[1].members[0].fitness()), (2, Some(2.0)));
        assert!(news(None).update(&mut History::default()), "whoever knows nothing learns something");
    }
}
