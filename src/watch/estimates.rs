//! Numbers computed from the whole history: best member, pace, remaining time, cost.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::run_info::RunInfo;
use crate::report::history::{Cost, Generation, History, Member, bounds, cost, job_seconds, spans};
use crate::report::statistics::quantile;
use pbtnas_core::search::Ancestor;

/// Fraction of the generation after which the pace of a member counts.
const MIN_PROGRESS: f64 = 0.25;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Estimates {
    /// The best member and its fitness.
    pub best: Option<(Ancestor, f64)>,
    /// The best fitness of each generation.
    pub best_by_generation: Vec<Option<f64>>,
    /// Fitness drawn as lowest and highest; the lowest tenth of all values is clipped.
    pub fitness_range: (f64, f64),
    /// Seconds per epoch of one member, evaluation and restarts included: the median over members.
    pub epoch_seconds: Option<f64>,
    /// Seconds until the generation is trained, at the present number of concurrent members.
    pub generation_left: Option<f64>,
    /// Seconds until the search ends.
    pub search_left: Option<f64>,
    /// Cost of the run so far.
    pub cost: Cost,
    /// GPU-seconds allocated to jobs.
    pub gpu_seconds: f64,
    /// GPU-seconds whose work was lost.
    pub gpu_lost_seconds: f64,
    /// The latest time in any record of the last generation.
    pub last_seen: Option<chrono::DateTime<chrono::Utc>>,
}

/// Computes the estimates of a run.
pub fn estimates(history: &History, info: &RunInfo) -> Estimates {
    let costs = cost(history);
    let (of_jobs, lost_of_jobs) = job_seconds(history);
    let epoch_seconds = median(history.generations.iter().flat_map(paces).collect());
    let generation_left = epoch_seconds.and_then(|pace| generation_left(history, pace));
    let search_left = generation_left
        .zip(epoch_seconds)
        .and_then(|(left, pace)| Some(left + later_left(history, &costs, info, pace)?));
    Estimates {
        best: history.best(info.best_of).and_then(|(of, member)| Some((of, member.fitness()?))),
        best_by_generation: history
            .generations
            .iter()
            .map(|one| one.best().and_then(|best| best.1.fitness()))
            .collect(),
        fitness_range: fitness_range(history.generations.iter().flat_map(Generation::fitness).collect()),
        epoch_seconds,
        generation_left,
        search_left,
        cost: costs.into_iter().fold(Cost::default(), |a, b| a + b),
        gpu_seconds: info.gpus * of_jobs,
        gpu_lost_seconds: info.gpus * lost_of_jobs,
        last_seen: history.latest().and_then(|latest| bounds(latest).1),
    }
}

/// Seconds per epoch of each member that has made enough progress.
fn paces(generation: &Generation) -> impl Iterator<Item = f64> + '_ {
    let epochs = f64::from(generation.to_epoch.saturating_sub(generation.from_epoch).max(1));
    generation.members.iter().filter_map(move |member| {
        let progress = member.progress();
        let useful: f64 = spans(member).iter().map(|span| span.seconds() - span.lost()).sum();
        (progress >= MIN_PROGRESS && useful > 0.0).then(|| useful / (progress * epochs))
    })
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// Seconds until the last generation is trained. Each waiting member starts when the first slot becomes free.
fn generation_left(history: &History, epoch_seconds: f64) -> Option<f64> {
    let latest = history.latest()?;
    let seconds = epoch_seconds * f64::from(latest.to_epoch.saturating_sub(latest.from_epoch));
    let left = |member: &Member| (seconds * (1.0 - member.progress()) * 1000.0) as u64;
    let open = || latest.members.iter().filter(|member| member.result.is_none());
    let mut free: BinaryHeap<Reverse<u64>> =
        open().filter(|member| member.state().is_active()).map(|member| Reverse(left(member))).collect();
    if free.is_empty() && open().next().is_some() {
        // No member is active: assume the earlier number of concurrent members.
        let workers =
            history.generations.iter().rev().take(2).map(concurrency).max().filter(|&most| most > 0)?;
        free.extend(std::iter::repeat_n(Reverse(0), workers));
    }
    for member in open().filter(|member| !member.state().is_active()) {
        let Reverse(begin) = free.pop()?;
        free.push(Reverse(begin + left(member)));
    }
    Some(free.into_iter().map(|Reverse(end)| end).max().unwrap_or(0) as f64 / 1000.0)
}

/// Seconds from the end of the last generation to the end of the search.
fn later_left(history: &History, costs: &[Cost], info: &RunInfo, epoch_seconds: f64) -> Option<f64> {
    let latest = history.latest()?;
    let epochs = f64::from(info.epochs.saturating_sub(latest.to_epoch));
    if epochs == 0.0 {
        return Some(0.0);
    }
    // Seconds per epoch of whole generations, including the time between generations.
    let whole = history.generations.iter().zip(costs).filter(|(generation, _)| generation.is_finished());
    let measured = whole.filter_map(|(generation, cost)| {
        let (begin, end) = bounds(generation);
        let seconds = (end? - begin?).num_milliseconds() as f64 / 1000.0 + cost.idle_seconds;
        Some(seconds / f64::from(generation.to_epoch.saturating_sub(generation.from_epoch).max(1)))
    });
    let measured = median(measured.collect());
    let planned = || {
        let most = concurrency(latest);
        (most > 0).then(|| epoch_seconds * latest.members.len().div_ceil(most) as f64)
    };
    Some(epochs * measured.or_else(planned)?)
}

/// The maximum number of members of a generation that ran at the same time.
fn concurrency(generation: &Generation) -> usize {
    let spans = generation.members.iter().flat_map(spans);
    let mut changes: Vec<_> = spans.flat_map(|span| [(span.begin, 1), (span.end, -1)]).collect();
    changes.sort_unstable();
    let counts = changes.iter().scan(0_isize, |count, (_, change)| {
        *count += change;
        Some(*count)
    });
    counts.max().unwrap_or(0).max(0) as usize
}

fn fitness_range(mut fitness: Vec<f64>) -> (f64, f64) {
    fitness.sort_unstable_by(f64::total_cmp);
    let low = fitness.get(fitness.len() / 10).copied().unwrap_or(0.0);
    (low, fitness.last().copied().unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::super::run_info::testing::run_info;
    use super::*;
    use crate::report::history::testing::{attempt, beat, ended, generation, member, second};
    use pbtnas_core::run::{AttemptEnd, Heartbeat};
    use pbtnas_core::search::MemberId;

    /// A member trained for two epochs between two times, in seconds.
    fn trained(id: u32, begin: i64, end: i64) -> Member {
        let mut member = member(id, Some(f64::from(id)));
        member.attempts = vec![attempt(1, begin)];
        member.attempts[0].start.job = Some(format!("9_{id}"));
        member.attempts[0].end = Some(ended(end, AttemptEnd::Done));
        member
    }

    fn running(id: u32, begin: i64, seen: i64, fraction: f64) -> Member {
        let mut member = member(id, None);
        member.attempts = vec![attempt(1, begin)];
        member.heartbeat = Some(Heartbeat { at: second(seen), fraction, ..beat(1) });
        member
    }

    #[test]
    fn remaining_time_from_pace_and_concurrency() {
        // Two at a time, 20 s each: 10 s an epoch.
        let first =
            generation(0, vec![trained(0, 0, 20), trained(1, 0, 20), trained(2, 20, 40), trained(3, 20, 40)]);
        // After 5 s: one done, one half done, two waiting.
        let second_one = generation(
            1,
            vec![trained(0, 45, 65), running(1, 45, 55, 0.5), member(2, None), member(3, None)],
        );
        let history = History { generations: vec![first, second_one] };
        let info = RunInfo { gpus: 0.5, ..run_info(3) };
        let estimates = estimates(&history, &info);
        assert_eq!(estimates.epoch_seconds, Some(10.0));
        // One slot, three members in turn: 10 s, 20 s, 20 s.
        assert_eq!(estimates.generation_left, Some(50.0));
        // A generation of two epochs took 40 s, with no idle time before it.
        assert_eq!(estimates.search_left, Some(50.0 + 40.0));
        assert_eq!(estimates.best, Some((Ancestor { generation: 0, member: MemberId(3) }, 3.0)));
        assert_eq!(estimates.best_by_generation, [Some(3.0), Some(0.0)]);
        assert_eq!((estimates.cost.seconds, estimates.gpu_seconds), (110.0, 0.5 * 100.0));
        assert_eq!(estimates.last_seen, Some(second(65)));
    }

    #[test]
    fn no_estimates_without_data() {
        let none = estimates(&History::default(), &run_info(3));
        assert_eq!((none.epoch_seconds, none.generation_left, none.search_left), (None, None, None));
        let history =
            History { generations: vec![generation(0, vec![member(0, None), running(1, 0, 1, 0.1)])] };
        assert_eq!(estimates(&history, &run_info(3)).search_left, None);
        let history =
            History { generations: vec![generation(0, vec![member(0, None), running(1, 0, 10, 0.5)])] };
        // 10 s for the other half, 20 s for the other member; then two generations of both, in turn.
        let estimates = estimates(&history, &run_info(3));
        assert_eq!((estimates.generation_left, estimates.search_left), (Some(30.0), Some(30.0 + 80.0)));
    }

    #[test]
    fn outliers_do_not_flatten_the_range() {
        let mut fitness: Vec<f64> = (0..20).map(f64::from).collect();
        fitness.push(-1e9);
        fitness.push(-1e8);
        assert_eq!(fitness_range(fitness), (0.0, 19.0));
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
