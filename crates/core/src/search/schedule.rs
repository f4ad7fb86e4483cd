//! Epochs per generation (the paper's e_step), constant or piecewise.

use serde::{Deserialize, Serialize};

/// Generations of `epochs` epochs, as long as they end at or before epoch `until` (no limit if absent).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// Epochs per generation.
    pub epochs: u32,
    /// Last epoch at which a generation of this piece may end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u32>,
}

/// The epochs at which generations end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    pieces: Vec<Piece>,
    total: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error("the search and each of its generations must have at least one epoch")]
    Zero,
    #[error(
        "every piece except the last needs an `until` above the previous one, and the last must have none"
    )]
    Order,
}

impl Schedule {
    /// Creates a schedule of `total` epochs; the last generation is shorter if they do not divide evenly.
    pub fn new(pieces: Vec<Piece>, total: u32) -> Result<Self, ScheduleError> {
        if total == 0 || pieces.iter().any(|piece| piece.epochs == 0) {
            return Err(ScheduleError::Zero);
        }
        let (Some(last), bounded) = (pieces.last(), &pieces[..pieces.len().saturating_sub(1)]) else {
            return Err(ScheduleError::Order);
        };
        let mut before = 0;
        for piece in bounded {
            match piece.until {
                Some(until) if until > before => before = until,
                _ => return Err(ScheduleError::Order),
            }
        }
        if last.until.is_some() {
            return Err(ScheduleError::Order);
        }
        Ok(Self { pieces, total })
    }

    /// The epoch at which the generation that starts at epoch `from` ends, or none at the end of the search.
    ///
    /// A generation belongs to the first piece whose `until` it does not exceed (facts: 20 while the next boundary is
    /// at or below epoch 150, then 10).
    pub fn next_boundary(&self, from: u32) -> Option<u32> {
        if from >= self.total {
            return None;
        }
        let fits = |piece: &&Piece| {
            piece.until.is_none_or(|until| from.checked_add(piece.epochs).is_some_and(|end| end <= until))
        };
        let piece = self.pieces.iter().find(fits)?;
        Some(from.saturating_add(piece.epochs).min(self.total))
    }

    /// Total epochs of the search.
    pub fn total(&self) -> u32 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boundaries(schedule: &Schedule) -> Vec<u32> {
        std::iter::successors(schedule.next_boundary(0), |&epoch| schedule.next_boundary(epoch)).collect()
    }

    #[test]
    fn paper_gan_schedule() {
        let schedule = Schedule::new(vec![Piece { epochs: 10, until: None }], 300).unwrap();
        assert_eq!(boundaries(&schedule), (1..=30).map(|i| i * 10).collect::<Vec<_>>());
    }

    #[test]
    fn paper_walker_schedule() {
        let pieces = vec![Piece { epochs: 20, until: Some(150) }, Piece { epochs: 10, until: None }];
        let ends = boundaries(&Schedule::new(pieces, 300).unwrap());
        assert_eq!(ends[..8], [20, 40, 60, 80, 100, 120, 140, 150]);
        assert_eq!(ends.last(), Some(&300));
        assert_eq!(ends.len(), 7 + 16);
    }

    #[test]
    fn last_generation_may_be_shorter() {
        let schedule = Schedule::new(vec![Piece { epochs: 4, until: None }], 10).unwrap();
        assert_eq!(boundaries(&schedule), [4, 8, 10]);
    }

    #[test]
    fn large_epochs_do_not_overflow() {
        let pieces =
            |epochs, until| vec![Piece { epochs, until }, Piece { epochs: u32::MAX - 5, until: None }];
        let schedule = Schedule::new(pieces(u32::MAX - 1, Some(u32::MAX)), u32::MAX).unwrap();
        assert_eq!(boundaries(&schedule), [u32::MAX - 1, u32::MAX]);
    }

    #[test]
    fn invalid_schedules_are_rejected() {
        let piece = |epochs, until| Piece { epochs, until };
        assert_eq!(Schedule::new(vec![piece(0, None)], 10), Err(ScheduleError::Zero));
        assert_eq!(Schedule::new(vec![piece(1, None)], 0), Err(ScheduleError::Zero));
        assert_eq!(Schedule::new(vec![], 10), Err(ScheduleError::Order));
        assert_eq!(Schedule::new(vec![piece(1, Some(5))], 10), Err(ScheduleError::Order));
        let swapped = vec![piece(1, Some(5)), piece(1, Some(3)), piece(1, None)];
        assert_eq!(Schedule::new(swapped, 10), Err(ScheduleError::Order));
        assert_eq!(Schedule::new(vec![piece(1, None), piece(1, None)], 10), Err(ScheduleError::Order));
    }
}
