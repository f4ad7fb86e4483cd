//! The heartbeat of an attempt: a small file that is replaced every few seconds during training.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::run::AttemptRun;
use crate::task::Session;
use pbtnas_core::durable_fs::exists;
use pbtnas_core::run::{CurvePoint, FORMAT, Heartbeat, replace_json};

/// The interval between heartbeats.
pub const HEARTBEAT: Duration = Duration::from_secs(2);

/// The maximum number of points of a generation's curve: with a task's five metrics, results stay below 10 KB.
const POINTS: usize = 32;

/// The maximum number of metrics: a script may log any number of them, and each has its own chart.
const METRICS: usize = 64;

/// The history of an attempt in its heartbeats. The last heartbeat preserves it for the next attempt.
#[derive(Default)]
pub struct LastMetrics {
    curve: RefCell<Vec<CurvePoint>>,
    saved: Cell<Option<DateTime<Utc>>>,
}

impl LastMetrics {
    /// Continues the curve of the previous attempt up to `epoch`, the position of the restored checkpoint.
    pub fn resume_from(&self, before: Option<Heartbeat>, epoch: f64) {
        let curve = before.map(|beat| beat.curve).unwrap_or_default();
        *self.curve.borrow_mut() = curve.into_iter().filter(|point| point.epoch <= epoch).collect();
    }

    pub fn curve(&self) -> Vec<CurvePoint> {
        self.curve.borrow().clone()
    }

    /// Records that a snapshot was saved.
    pub fn saved(&self) {
        self.saved.set(Some(Utc::now()));
    }

    /// Adds a point if training has progressed since the last one.
    fn add(&self, point: CurvePoint) {
        let mut curve = self.curve.borrow_mut();
        if !point.metrics.is_empty() && curve.last().is_none_or(|last| last.epoch < point.epoch) {
            curve.push(point);
            if curve.len() > POINTS {
                *curve = halved(&curve);
            }
        }
    }
}

/// Merges pairs of points: the mean of their metrics, at the epoch of the later point.
fn halved(curve: &[CurvePoint]) -> Vec<CurvePoint> {
    let merge = |pair: &[CurvePoint]| match pair {
        [first, second] => {
            let mut merged = second.clone();
            for (name, value) in &first.metrics {
                let entry = merged.metrics.entry(name.clone()).or_insert(*value);
                *entry = entry.midpoint(*value);
            }
            Some(merged)
        }
        rest => rest.first().cloned(),
    };
    curve.chunks(2).filter_map(merge).collect()
}

impl AttemptRun<'_> {
    /// Writes a heartbeat. A failure is reported but does not affect the member.
    pub fn beat(&self, session: &dyn Session, phase: &str) {
        let (from, target) = (f64::from(self.begins_at()), f64::from(self.target()));
        let epoch = session.progress();
        let news = session.metrics().into_iter().filter(|(_, value)| value.is_finite()).take(METRICS);
        let point = CurvePoint { epoch, metrics: news.collect() };
        let beat = Heartbeat {
            format: FORMAT,
            epoch: epoch as u32,
            fraction: ((epoch - from) / (target - from).max(1.0)).clamp(0.0, 1.0),
            phase: phase.into(),
            metrics: point.metrics.clone(),
            attempt: self.attempt,
            saved: self.last_metrics.saved.get(),
            curve: {
                self.last_metrics.add(point);
                self.last_metrics.curve()
            },
            at: Utc::now(),
        };
        let path = self.trainer.run.layout.heartbeat(self.plan.generation, self.planned.id);
        let gone = matches!(exists(path.parent().unwrap_or(Path::new("."))), Ok(false));
        if let Err(error) = replace_json(&path, &beat)
            && !gone
        {
            tracing::warn!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(epoch: f64, loss: f64) -> CurvePoint {
        CurvePoint { epoch, metrics: [("loss".to_owned(), loss)].into() }
    }

    #[test]
    fn long_curves_are_averaged_to_few_points() {
        let last_metrics = LastMetrics::default();
        for step in 0..1000 {
            last_metrics.add(point(f64::from(step), f64::from(step)));
        }
        let curve = last_metrics.curve();
        assert!(curve.len() > POINTS / 4 && curve.len() <= POINTS, "{}", curve.len());
        assert!(curve.is_sorted_by(|a, b| a.epoch < b.epoch));
        assert_eq!(curve.last().map(|point| point.epoch), Some(999.0));
        // A point is the mean since the previous point.
        for pair in curve.windows(2) {
            let loss = pair[1].metrics["loss"];
            assert!(pair[0].epoch < loss && loss <= pair[1].epoch, "{pair:?}");
        }
    }

    #[test]
    fn metrics_of_only_one_point_survive_merging() {
        let mut both = point(1.0, 4.0);
        both.metrics.insert("return".into(), 7.0);
        let merged = halved(&[both, point(2.0, 6.0), point(3.0, 1.0)]);
        assert_eq!(merged.len(), 2);
        assert_eq!(
            (merged[0].epoch, merged[0].metrics["loss"], merged[0].metrics["return"]),
            (2.0, 5.0, 7.0)
        );
        assert_eq!(merged[1], point(3.0, 1.0));
    }

    #[test]
    fn a_restored_member_continues_the_curve() {
        let last_metrics = LastMetrics::default();
        last_metrics.add(point(1.0, 1.0));
        last_metrics.add(point(1.0, 9.0));
        last_metrics.add(CurvePoint { epoch: 1.5, metrics: Default::default() });
        last_metrics.add(point(2.0, 2.0));
        last_metrics.add(point(3.0, 3.0));
        let before = Heartbeat {
            format: FORMAT,
            epoch: 3,
            fraction: 0.5,
            phase: "training".into(),
            metrics: Default::default(),
            attempt: 1,
            saved: None,
            curve: last_metrics.curve(),
            at: Utc::now(),
        };
        let next = LastMetrics::default();
        next.resume_from(Some(before), 2.5);
        assert_eq!(next.curve(), [point(1.0, 1.0), point(2.0, 2.0)]);
        next.resume_from(None, 2.5);
        assert_eq!(next.curve(), []);
    }
}
