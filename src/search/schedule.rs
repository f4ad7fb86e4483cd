//! How many epochs a step takes: `e_step`, constant or in pieces.

use serde::{Deserialize, Serialize};

/// Steps of `epochs` while the next boundary lies at or below `until` (for ever, if `until` is absent).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// Length of a step, in epochs.
    pub epochs: u32,
    /// Last epoch that a step of this piece may end at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u32>,
}

/// The epochs at which steps end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    pieces: Vec<Piece>,
    total: u32,
}

/// Why a schedule cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// No epoch at all.
    #[error("the search must have at least one epoch, and every step too")]
    Zero,
    /// A piece that can never be reached, or no piece for the rest.
    #[error("every piece but the last needs an `until` above the one before, and the last must have none")]
    Order,
}

impl Schedule {
    /// Steps in pieces up to `total` epochs; the last step is shorter where they do not fit.
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

    /// The epoch at which the step ends that starts at `from`, or none when the search is over.
    ///
    /// A step belongs to the first piece that lets it end by its `until` (facts: 20 while the next boundary
    /// is at or below epoch 150, then 10).
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

    /// Epochs of the whole search.
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
    fn the_paper_s_gan_schedule() {
        let schedule = Schedule::new(vec![Piece { epochs: 10, until: None }], 300).unwrap();
        assert_eq!(boundaries(&schedule), (1..=30).map(|i| i * 10).collect::<Vec<_>>());
    }

    #[test]
    fn the_paper_s_walker_schedule() {
        let pieces = vec![Piece { epochs: 20, until: Some(150) }, Piece { epochs: 10, until: None }];
        let ends = boundaries(&Schedule::new(pieces, 300).unwrap());
        assert_eq!(ends[..8], [20, 40, 60, 80, 100, 120, 140, 150]);
        assert_eq!(ends.last(), Some(&300));
        assert_eq!(ends.len(), 7 + 16);
    }

    #[test]
    fn the_last_step_may_be_short() {
        let schedule = Schedule::new(vec![Piece { epochs: 4, until: None }], 10).unwrap();
        assert_eq!(boundaries(&schedule), [4, 8, 10]);
    }

    #[test]
    fn epochs_do_not_run_over() {
        let pieces =
            |epochs, until| vec![Piece { epochs, until }, Piece { epochs: u32::MAX - 5, until: None }];
        let schedule = Schedule::new(pieces(u32::MAX - 1, Some(u32::MAX)), u32::MAX).unwrap();
        assert_eq!(boundaries(&schedule), [u32::MAX - 1, u32::MAX]);
    }

    #[test]
    fn nonsense_is_refused() {
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
