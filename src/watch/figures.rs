//! What takes a look at all of a run: the best member, how long an epoch takes, what is left, what it has cost.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::facts::Facts;
use crate::report::history::{
    Cost, Generation, History, Member, MemberState, bounds, cost, job_seconds, spans,
};
use crate::report::statistics::quantile;
use crate::search::Ancestor;

/// Part of the step that a member has behind it before its pace counts.
const TELLING: f64 = 0.25;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// The best member, and its fitness.
    pub best: Option<(Ancestor, f64)>,
    /// The best fitness of each generation.
    pub trend: Vec<Option<f64>>,
    /// The fitness that counts as low and as high in pictures: the lowest tenth is all low.
    pub scale: (f64, f64),
    /// Seconds that an epoch of one member takes, evaluation and restarts included: the median over members.
    pub epoch_seconds: Option<f64>,
    /// Seconds until the generation is trained, if members go on beside each other as they do now.
    pub generation_left: Option<f64>,
    /// Seconds until the end of the search.
    pub search_left: Option<f64>,
    /// What all has cost.
    pub cost: Cost,
    /// Seconds that GPUs were taken.
    pub gpu_seconds: f64,
    /// Those of them that came to nothing.
    pub gpu_lost_seconds: f64,
    /// When somebody was last seen: the latest time in any record of the last generation.
    pub seen: Option<chrono::DateTime<chrono::Utc>>,
}

/// Looks at all of a run.
pub fn figures(history: &History, facts: &Facts) -> Figures {
    let costs = cost(history);
    let (of_jobs, lost_of_jobs) = job_seconds(history);
    let epoch_seconds = median(history.generations.iter().flat_map(paces).collect());
    let generation_left = epoch_seconds.and_then(|pace| generation_left(history, pace));
    let search_left = generation_left
        .zip(epoch_seconds)
        .and_then(|(left, pace)| Some(left + later_left(history, &costs, facts, pace)?));
    Figures {
        best: history.best().and_then(|(of, member)| Some((of, member.fitness()?))),
        trend: history.generations.iter().map(|one| one.best().and_then(|best| best.1.fitness())).collect(),
        scale: scale(history.generations.iter().flat_map(Generation::fitness).collect()),
        epoch_seconds,
        generation_left,
        search_left,
        cost: costs.into_iter().fold(Cost::default(), |a, b| a + b),
        gpu_seconds: facts.gpus * of_jobs,
        gpu_lost_seconds: facts.gpus * lost_of_jobs,
        seen: history.latest().and_then(|latest| bounds(latest).1),
    }
}

/// The seconds of an epoch of each member that tells them.
fn paces(generation: &Generation) -> impl Iterator<Item = f64> + '_ {
    let epochs = f64::from(generation.to_epoch.saturating_sub(generation.from_epoch).max(1));
    generation.members.iter().filter_map(move |member| {
        let progress = member.progress();
        let useful: f64 = spans(member).iter().map(|span| span.seconds() - span.lost()).sum();
        (progress >= TELLING && useful > 0.0).then(|| useful / (progress * epochs))
    })
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    quantile(&values, 0.5)
}

fn is_at_work(member: &Member) -> bool {
    matches!(member.state(), MemberState::Training | MemberState::Evaluating)
}

/// Seconds until the last generation is trained: members that wait take the place of whoever is done first.
fn generation_left(history: &History, epoch_seconds: f64) -> Option<f64> {
    let latest = history.latest()?;
    let step = epoch_seconds * f64::from(latest.to_epoch.saturating_sub(latest.from_epoch));
    let left = |member: &Member| (step * (1.0 - member.progress()) * 1000.0) as u64;
    let open = || latest.members.iter().filter(|member| member.result.is_none());
    let mut free: BinaryHeap<Reverse<u64>> =
        open().filter(|member| is_at_work(member)).map(|member| Reverse(left(member))).collect();
    if free.is_empty() && open().next().is_some() {
        // Nobody works now: as many as before.
        let workers =
            history.generations.iter().rev().take(2).map(side_by_side).max().filter(|&most| most > 0)?;
        free.extend(std::iter::repeat_n(Reverse(0), workers));
    }
    for member in open().filter(|member| !is_at_work(member)) {
        let Reverse(begin) = free.pop()?;
        free.push(Reverse(begin + left(member)));
    }
    Some(free.into_iter().map(|Reverse(end)| end).max().unwrap_or(0) as f64 / 1000.0)
}

/// Seconds from the end of the last generation to the end of the search.
fn later_left(history: &History, costs: &[Cost], facts: &Facts, epoch_seconds: f64) -> Option<f64> {
    let latest = history.latest()?;
    let epochs = f64::from(facts.epochs.saturating_sub(latest.to_epoch));
    if epochs == 0.0 {
        return Some(0.0);
    }
    // Whole generations tell how long an epoch of all takes, with the time until the next one begins.
    let whole = history.generations.iter().zip(costs).filter(|(generation, _)| generation.is_finished());
    let measured = whole.filter_map(|(generation, cost)| {
        let (begin, end) = bounds(generation);
        let seconds = (end? - begin?).num_milliseconds() as f64 / 1000.0 + cost.idle_seconds;
        Some(seconds / f64::from(generation.to_epoch.saturating_sub(generation.from_epoch).max(1)))
    });
    let measured = median(measured.collect());
    let planned = || {
        let most = side_by_side(latest);
        (most > 0).then(|| epoch_seconds * latest.members.len().div_ceil(most) as f64)
    };
    Some(epochs * measured.or_else(planned)?)
}

/// The most members of a generation that were at work at a time.
fn side_by_side(generation: &Generation) -> usize {
    let spans = generation.members.iter().flat_map(spans);
    let mut changes: Vec<_> = spans.flat_map(|span| [(span.begin, 1), (span.end, -1)]).collect();
    changes.sort_unstable();
    let counts = changes.iter().scan(0_isize, |count, (_, change)| {
        *count += change;
        Some(*count)
    });
    counts.max().unwrap_or(0).max(0) as usize
}

fn scale(mut fitness: Vec<f64>) -> (f64, f64) {
    fitness.sort_unstable_by(f64::total_cmp);
    let low = fitness.get(fitness.len() / 10).copied().unwrap_or(0.0);
    (low, fitness.last().copied().unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::super::facts::testing::facts;
    use super::*;
    use crate::report::history::testing::{attempt, beat, ended, generation, member, second};
    use crate::search::MemberId;
    use crate::state::{Ending, Heartbeat};

    /// A member of a step of two epochs that was trained from one second to another.
    fn trained(id: u32, begin: i64, end: i64) -> Member {
        let mut member = member(id, Some(f64::from(id)));
        member.attempts = vec![attempt(1, begin)];
        member.attempts[0].start.job = Some(format!("9_{id}"));
        member.attempts[0].end = Some(ended(end, Ending::Done));
        member
    }

    fn running(id: u32, begin: i64, seen: i64, fraction: f64) -> Member {
        let mut member = member(id, None);
        member.attempts = vec![attempt(1, begin)];
        member.heartbeat = Some(Heartbeat { at: second(seen), fraction, ..beat(1) });
        member
    }

    #[test]
    fn what_is_left_follows_from_the_pace_and_from_who_works_beside_whom() {
        // Two at a time, 20 s each: 10 s an epoch.
        let first =
            generation(0, vec![trained(0, 0, 20), trained(1, 0, 20), trained(2, 20, 40), trained(3, 20, 40)]);
        // Then, after 5 s: one done, one half done, two to come.
        let second_one = generation(
            1,
            vec![trained(0, 45, 65), running(1, 45, 55, 0.5), member(2, None), member(3, None)],
        );
        let history = History { generations: vec![first, second_one] };
        let facts = Facts { gpus: 0.5, ..facts(3) };
        let figures = figures(&history, &facts);
        assert_eq!(figures.epoch_seconds, Some(10.0));
        // One works now, and it takes three turns: 10 s, 20 s, 20 s.
        assert_eq!(figures.generation_left, Some(50.0));
        // A generation of two epochs took 40 s, without waiting for one before it.
        assert_eq!(figures.search_left, Some(50.0 + 40.0));
        assert_eq!(figures.best, Some((Ancestor { generation: 0, member: MemberId(3) }, 3.0)));
        assert_eq!(figures.trend, [Some(3.0), Some(0.0)]);
        assert_eq!((figures.cost.seconds, figures.gpu_seconds), (110.0, 0.5 * 100.0));
        assert_eq!(figures.seen, Some(second(65)));
    }

    #[test]
    fn nothing_is_promised_before_anything_is_known() {
        let none = figures(&History::default(), &facts(3));
        assert_eq!((none.epoch_seconds, none.generation_left, none.search_left), (None, None, None));
        let history =
            History { generations: vec![generation(0, vec![member(0, None), running(1, 0, 1, 0.1)])] };
        assert_eq!(figures(&history, &facts(3)).search_left, None);
        let history =
            History { generations: vec![generation(0, vec![member(0, None), running(1, 0, 10, 0.5)])] };
        // 10 s for half of it; then the other member, then two generations of both, one after the other.
        let figures = figures(&history, &facts(3));
        assert_eq!((figures.generation_left, figures.search_left), (Some(30.0), Some(30.0 + 80.0)));
    }

    #[test]
    fn the_worst_do_not_make_all_others_look_alike() {
        let mut fitness: Vec<f64> = (0..20).map(f64::from).collect();
        fitness.push(-1e9);
        fitness.push(-1e8);
        assert_eq!(scale(fitness), (0.0, 19.0));
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
