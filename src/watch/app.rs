//! State of the screen, and the keys that change it.

use chrono::{DateTime, FixedOffset, Utc};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::estimates::Estimates;
use super::jobs::Jobs;
use super::reader::ReadEvent;
use super::run_info::RunInfo;
use super::snapshot::{MemberEntry, Phase, Snapshot, phase};
use crate::report::history::History;

/// Sort key of the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    Member,
    /// Highest first.
    Fitness,
    /// Active members first.
    State,
    /// Highest first.
    Progress,
    /// Most first.
    Attempts,
    /// Longest ago first.
    Seen,
}

impl Sort {
    const ALL: [Self; 6] =
        [Self::Member, Self::Fitness, Self::State, Self::Progress, Self::Attempts, Self::Seen];

    pub fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Fitness => "fitness",
            Self::State => "state",
            Self::Progress => "progress",
            Self::Attempts => "attempts",
            Self::Seen => "seen",
        }
    }

    fn compare(self, a: &MemberEntry, b: &MemberEntry) -> std::cmp::Ordering {
        let fitness = |row: &MemberEntry| row.fitness.unwrap_or(f64::NEG_INFINITY);
        // Members with a result come last.
        let seen = |row: &MemberEntry| (row.last_seen.is_none(), row.last_seen);
        match self {
            Self::Member => a.index.cmp(&b.index),
            Self::Fitness => fitness(b).total_cmp(&fitness(a)),
            Self::State => a.state.cmp(&b.state),
            Self::Progress => b.progress.total_cmp(&a.progress),
            Self::Attempts => b.attempts.cmp(&a.attempts),
            Self::Seen => seen(a).cmp(&seen(b)),
        }
    }
}

/// The pane below the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pane {
    Closed,
    /// The selected member.
    Details,
    Jobs,
}

#[derive(Debug)]
pub struct App {
    pub info: RunInfo,
    pub zone: FixedOffset,
    pub history: History,
    pub estimates: Estimates,
    pub jobs: Jobs,
    pub snapshot: Snapshot,
    /// Indices of the snapshot's rows, in display order.
    pub order: Vec<usize>,
    pub sort: Sort,
    pub reversed: bool,
    /// Index of the selected row.
    pub selected: usize,
    /// First visible position of `order`.
    top: usize,
    /// Visible rows when last drawn.
    page: usize,
    /// None until a key selects one: the default depends on the screen's height.
    pub pane: Option<Pane>,
    /// First visible line of the pane.
    pub scroll: usize,
    /// When the reading in progress started.
    pub reading_since: Option<DateTime<Utc>>,
    /// When the shown data was read, and how long that took.
    pub read: Option<(DateTime<Utc>, std::time::Duration)>,
    pub read_error: Option<String>,
    /// When the data last changed.
    pub changed: Option<DateTime<Utc>>,
    /// When the first data arrived.
    first_read: Option<DateTime<Utc>>,
    /// Lines of the screen when last drawn.
    pub height: u16,
}

impl App {
    pub fn new(info: RunInfo, zone: FixedOffset) -> Self {
        Self {
            info,
            zone,
            history: History::default(),
            estimates: Estimates::default(),
            jobs: Jobs::default(),
            snapshot: Snapshot::default(),
            order: Vec::new(),
            sort: Sort::Member,
            reversed: false,
            selected: 0,
            top: 0,
            page: 1,
            pane: None,
            scroll: 0,
            reading_since: None,
            read: None,
            read_error: None,
            changed: None,
            first_read: None,
            height: 0,
        }
    }

    pub fn on_read(&mut self, event: ReadEvent, now: DateTime<Utc>) {
        match event {
            ReadEvent::Started => self.reading_since = Some(now),
            ReadEvent::Failed(reason) => (self.reading_since, self.read_error) = (None, Some(reason)),
            ReadEvent::Updated(update) => {
                let first = self.read.is_none();
                self.first_read.get_or_insert(now);
                (self.reading_since, self.read_error) = (None, None);
                self.read = Some((update.read_at, update.took));
                self.estimates = update.estimates.clone();
                if update.apply(&mut self.history) {
                    self.changed = if first { None } else { Some(now) };
                    self.rebuild();
                }
            }
        }
    }

    pub fn on_jobs(&mut self, jobs: Jobs) {
        self.jobs = jobs;
        self.rebuild();
    }

    fn rebuild(&mut self) {
        self.snapshot = Snapshot::new(&self.history, &self.jobs);
        self.apply_sort();
    }

    fn apply_sort(&mut self) {
        let rows = &self.snapshot.rows;
        self.order = (0..rows.len()).collect();
        self.order.sort_by(|&a, &b| self.sort.compare(&rows[a], &rows[b]));
        if self.reversed {
            self.order.reverse();
        }
        self.selected = self.selected.min(rows.len().saturating_sub(1));
    }

    pub fn phase(&self, now: DateTime<Utc>) -> Phase {
        match self.read {
            None => Phase::Loading,
            Some(_) => {
                // A run without any record counts as silent from the first reading on.
                let first = self.first_read.filter(|_| self.estimates.last_seen.is_none());
                let changed = self.changed.or(first);
                phase(&self.history, &self.estimates, &self.jobs, &self.info, changed, now)
            }
        }
    }

    /// Handles a key; returns true if it quits.
    pub fn press(&mut self, key: KeyEvent) -> bool {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let page = self.page.max(1) as isize;
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('c') if control => return true,
            KeyCode::Up => self.move_selection(-1),
            KeyCode::Down => self.move_selection(1),
            KeyCode::PageUp => self.move_selection(-page),
            KeyCode::PageDown | KeyCode::Char(' ') => self.move_selection(page),
            KeyCode::Home | KeyCode::Char('g') => self.move_selection(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.move_selection(isize::MAX),
            KeyCode::Char('s') => self.sort_by(1),
            KeyCode::Char('S') => self.sort_by(Sort::ALL.len() - 1),
            KeyCode::Char('r') => {
                self.reversed = !self.reversed;
                self.apply_sort();
            }
            KeyCode::Char('d') | KeyCode::Enter => self.toggle(Pane::Details),
            KeyCode::Char('j') | KeyCode::Tab => self.toggle(Pane::Jobs),
            KeyCode::Char('<' | '[') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Char('>' | ']') => self.scroll += 1,
            _ => {}
        }
        false
    }

    /// The pane on a screen of this height.
    pub fn pane(&self, height: u16) -> Pane {
        self.pane.unwrap_or(if height >= 36 { Pane::Details } else { Pane::Closed })
    }

    fn toggle(&mut self, pane: Pane) {
        self.scroll = 0;
        self.pane = Some(if self.pane(self.height) == pane { Pane::Closed } else { pane });
    }

    fn sort_by(&mut self, steps: usize) {
        let at = Sort::ALL.iter().position(|sort| *sort == self.sort).unwrap_or(0);
        self.sort = Sort::ALL[(at + steps) % Sort::ALL.len()];
        self.apply_sort();
    }

    fn move_selection(&mut self, lines: isize) {
        let Some(last) = self.order.len().checked_sub(1) else { return };
        let to = self.position().saturating_add_signed(lines).min(last);
        self.selected = self.order[to];
        self.scroll = 0;
    }

    /// Position of the selected row in `order`.
    pub fn position(&self) -> usize {
        self.order.iter().position(|&row| row == self.selected).unwrap_or(0)
    }

    /// Scrolls to the selected row; returns the visible positions of `order`.
    pub fn scroll_to_selected(&mut self, page: usize) -> std::ops::Range<usize> {
        let at = self.position();
        self.page = page;
        let last_top = self.order.len().saturating_sub(page);
        self.top = self.top.clamp(at.saturating_sub(page.saturating_sub(1)), at).min(last_top);
        self.top..(self.top + page).min(self.order.len())
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::super::estimates::estimates;
    use super::super::reader::Update;
    use super::super::run_info::testing::run_info;
    use super::*;
    use crate::report::history::Generation;

    /// The screen of a run with three generations of two epochs.
    pub fn app(generations: Vec<Generation>, now: DateTime<Utc>) -> App {
        let info = run_info(3);
        let estimates = estimates(&History { generations: generations.clone() }, &info);
        let mut app = App::new(info, FixedOffset::east_opt(0).unwrap());
        let took = std::time::Duration::from_millis(3);
        let update = Update { from: 0, generations, estimates, read_at: now, took };
        app.on_read(ReadEvent::Updated(Box::new(update)), now);
        app
    }
}

#[cfg(test)]
mod tests {
    use super::testing::app;
    use super::*;
    use crate::report::history::testing::{attempt, generation, member, second};

    fn press(app: &mut App, keys: &str) -> bool {
        let key = |code| KeyEvent::new(code, KeyModifiers::NONE);
        keys.chars().any(|one| {
            app.press(key(match one {
                'v' => KeyCode::Down,
                '^' => KeyCode::Up,
                other => KeyCode::Char(other),
            }))
        })
    }

    #[test]
    fn selection_survives_sorting() {
        let mut members: Vec<_> = (0..5).map(|id| member(id, Some(f64::from(id % 3)))).collect();
        members[4].result = None;
        members[4].attempts = vec![attempt(1, 0)];
        let mut app = app(vec![generation(0, members)], second(10));
        assert_eq!(app.order, [0, 1, 2, 3, 4]);
        assert!(!press(&mut app, "vv"));
        assert_eq!(app.selected, 2);
        press(&mut app, "s");
        assert_eq!((app.sort, &*app.order, app.selected), (Sort::Fitness, &[2, 1, 0, 3, 4][..], 2));
        press(&mut app, "r");
        assert_eq!(app.order, [4, 3, 0, 1, 2]);
        assert_eq!(app.scroll_to_selected(2), 3..5);
        press(&mut app, "g");
        assert_eq!((app.selected, app.scroll_to_selected(2)), (4, 0..2));
        press(&mut app, "S r");
        assert_eq!(app.sort, Sort::Member);
        press(&mut app, "G");
        assert_eq!((app.selected, app.scroll_to_selected(2)), (4, 3..5));
        assert_eq!(app.scroll_to_selected(100), 0..5);
        assert!(press(&mut app, "q"));
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(app.press(control_c));
        assert!(app.press(KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE)));
    }

    #[test]
    fn keys_before_any_data() {
        let mut app =
            App::new(super::super::run_info::testing::run_info(3), FixedOffset::east_opt(0).unwrap());
        assert!(!press(&mut app, "v^ gGsSrdj<>"));
        assert_eq!((app.scroll_to_selected(5), app.phase(second(0))), (0..0, Phase::Loading));
    }

    #[test]
    fn read_error_is_cleared() {
        let one = || vec![generation(0, vec![member(0, None)])];
        let mut app = app(one(), second(10));
        app.on_read(ReadEvent::Started, second(12));
        assert_eq!(app.reading_since, Some(second(12)));
        app.on_read(ReadEvent::Failed("no".into()), second(13));
        assert_eq!((app.reading_since, app.read_error.as_deref()), (None, Some("no")));
        let mut next = one();
        next[0].members[0].attempts = vec![attempt(1, 0)];
        let update = super::super::reader::Update {
            from: 0,
            generations: next,
            estimates: Estimates::default(),
            read_at: second(20),
            took: std::time::Duration::ZERO,
        };
        app.on_read(ReadEvent::Updated(Box::new(update)), second(20));
        assert_eq!((app.read_error, app.changed), (None, Some(second(20))));
    }
}
