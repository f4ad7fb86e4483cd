//! What the screen shows and what keys do with it.

use chrono::{DateTime, FixedOffset, Utc};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::board::{Board, Phase, Row, phase};
use super::facts::Facts;
use super::figures::Figures;
use super::jobs::Jobs;
use super::reader::Read;
use crate::report::history::History;

/// By what the members are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// By their ids.
    Member,
    /// The best first.
    Fitness,
    /// Those at work first.
    State,
    /// The furthest first.
    Progress,
    /// The most attempts first.
    Attempts,
    /// Those that were not seen for longest first.
    Seen,
}

impl Sort {
    const ALL: [Self; 6] =
        [Self::Member, Self::Fitness, Self::State, Self::Progress, Self::Attempts, Self::Seen];

    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Fitness => "fitness",
            Self::State => "state",
            Self::Progress => "step",
            Self::Attempts => "tries",
            Self::Seen => "seen",
        }
    }

    fn compare(self, a: &Row, b: &Row) -> std::cmp::Ordering {
        let fitness = |row: &Row| row.fitness.unwrap_or(f64::NEG_INFINITY);
        // Who is done is seen by nobody any more, and comes last.
        let seen = |row: &Row| (row.seen.is_none(), row.seen);
        match self {
            Self::Member => a.place.cmp(&b.place),
            Self::Fitness => fitness(b).total_cmp(&fitness(a)),
            Self::State => a.standing.cmp(&b.standing),
            Self::Progress => b.progress.total_cmp(&a.progress),
            Self::Attempts => b.attempts.cmp(&a.attempts),
            Self::Seen => seen(a).cmp(&seen(b)),
        }
    }
}

/// What lies below the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pane {
    /// Nothing.
    Closed,
    /// The selected member.
    Details,
    /// The jobs.
    Jobs,
}

/// See the module.
#[derive(Debug)]
pub struct App {
    /// The run.
    pub facts: Facts,
    /// Of the clock.
    pub zone: FixedOffset,
    /// What was read.
    pub history: History,
    /// What follows from it.
    pub figures: Figures,
    /// What the scheduler said.
    pub jobs: Jobs,
    /// The last generation.
    pub board: Board,
    /// Its rows in the order in which they are shown.
    pub order: Vec<usize>,
    /// By what they are sorted.
    pub sort: Sort,
    /// Backwards.
    pub reversed: bool,
    /// The place of the selected member.
    pub selected: usize,
    /// The first position of the order that is shown.
    pub top: usize,
    /// How many are shown; known once something was drawn.
    pub page: usize,
    /// What lies below the members; none until somebody chose, which is then up to the size of the screen.
    pub pane: Option<Pane>,
    /// Lines of the pane that are above its top.
    pub scroll: usize,
    /// Since when somebody reads.
    pub reading: Option<DateTime<Utc>>,
    /// Until when what was read may be old, and how long it took.
    pub read: Option<(DateTime<Utc>, std::time::Duration)>,
    /// Why nothing can be read.
    pub trouble: Option<String>,
    /// When something was last seen to change.
    pub changed: Option<DateTime<Utc>>,
    /// When the first news came.
    first: Option<DateTime<Utc>>,
    /// Lines of the screen; known once something was drawn.
    pub height: u16,
}

impl App {
    /// Before anything is known.
    pub fn new(facts: Facts, zone: FixedOffset) -> Self {
        Self {
            facts,
            zone,
            history: History::default(),
            figures: Figures::default(),
            jobs: Jobs::default(),
            board: Board::default(),
            order: Vec::new(),
            sort: Sort::Member,
            reversed: false,
            selected: 0,
            top: 0,
            page: 1,
            pane: None,
            scroll: 0,
            reading: None,
            read: None,
            trouble: None,
            changed: None,
            first: None,
            height: 0,
        }
    }

    /// Takes in what a reader tells.
    pub fn hear(&mut self, read: Read, now: DateTime<Utc>) {
        match read {
            Read::Begun => self.reading = Some(now),
            Read::Trouble(reason) => (self.reading, self.trouble) = (None, Some(reason)),
            Read::News(news) => {
                let first = self.read.is_none();
                self.first.get_or_insert(now);
                (self.reading, self.trouble) = (None, None);
                self.read = Some((news.at, news.took));
                self.figures = news.figures.clone();
                if news.update(&mut self.history) {
                    self.changed = if first { None } else { Some(now) };
                    self.rebuild();
                }
            }
        }
    }

    /// Takes in what the scheduler told.
    pub fn hear_of_jobs(&mut self, jobs: Jobs) {
        self.jobs = jobs;
        self.rebuild();
    }

    fn rebuild(&mut self) {
        self.board = Board::of(&self.history, &self.jobs);
        self.arrange();
    }

    fn arrange(&mut self) {
        let rows = &self.board.rows;
        self.order = (0..rows.len()).collect();
        self.order.sort_by(|&a, &b| self.sort.compare(&rows[a], &rows[b]));
        if self.reversed {
            self.order.reverse();
        }
        self.selected = self.selected.min(rows.len().saturating_sub(1));
    }

    /// How the run stands.
    pub fn phase(&self, now: DateTime<Utc>) -> Phase {
        match self.read {
            None => Phase::Unread,
            Some(_) => {
                // A search that nobody has begun with is silent from the first look on.
                let changed = self.changed.or_else(|| self.first.filter(|_| self.figures.seen.is_none()));
                phase(&self.history, &self.figures, &self.jobs, &self.facts, changed, now)
            }
        }
    }

    /// Does what a key asks for; true if it asks to leave.
    pub fn press(&mut self, key: KeyEvent) -> bool {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let page = self.page.max(1) as isize;
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('c') if control => return true,
            KeyCode::Up => self.walk(-1),
            KeyCode::Down => self.walk(1),
            KeyCode::PageUp => self.walk(-page),
            KeyCode::PageDown | KeyCode::Char(' ') => self.walk(page),
            KeyCode::Home | KeyCode::Char('g') => self.walk(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.walk(isize::MAX),
            KeyCode::Char('s') => self.sort_by(1),
            KeyCode::Char('S') => self.sort_by(Sort::ALL.len() - 1),
            KeyCode::Char('r') => {
                self.reversed = !self.reversed;
                self.arrange();
            }
            KeyCode::Char('d') | KeyCode::Enter => self.toggle(Pane::Details),
            KeyCode::Char('j') | KeyCode::Tab => self.toggle(Pane::Jobs),
            KeyCode::Char('<' | '[') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Char('>' | ']') => self.scroll += 1,
            _ => {}
        }
        false
    }

    /// The pane, on a screen of so many lines.
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
        self.arrange();
    }

    /// Selects a member so many lines further down.
    fn walk(&mut self, lines: isize) {
        let Some(last) = self.order.len().checked_sub(1) else { return };
        let to = self.position().saturating_add_signed(lines).min(last);
        self.selected = self.order[to];
        self.scroll = 0;
    }

    /// Where the selected member is in the order.
    fn position(&self) -> usize {
        self.order.iter().position(|&row| row == self.selected).unwrap_or(0)
    }

    /// The positions of the order that a page shows, with the selected one among them.
    pub fn turn_to_selected(&mut self, page: usize) -> std::ops::Range<usize> {
        let at = self.position();
        self.page = page;
        let last_top = self.order.len().saturating_sub(page);
        self.top = self.top.clamp(at.saturating_sub(page.saturating_sub(1)), at).min(last_top);
        self.top..(self.top + page).min(self.order.len())
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::super::facts::testing::facts;
    use super::super::figures::figures;
    use super::super::reader::News;
    use super::*;
    use crate::report::history::Generation;

    /// That has read a run of three generations of two epochs.
    pub fn app(generations: Vec<Generation>, now: DateTime<Utc>) -> App {
        let facts = facts(3);
        let history = History { generations: generations.clone() };
        let figures = figures(&history, &facts);
        let mut app = App::new(facts, FixedOffset::east_opt(0).unwrap());
        let took = std::time::Duration::from_millis(3);
        app.hear(Read::News(Box::new(News { from: 0, generations, figures, at: now, took })), now);
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
    fn the_selected_member_stays_selected_however_rows_are_sorted() {
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
        assert_eq!(app.turn_to_selected(2), 3..5);
        press(&mut app, "g");
        assert_eq!((app.selected, app.turn_to_selected(2)), (4, 0..2));
        press(&mut app, "S r");
        assert_eq!(app.sort, Sort::Member);
        press(&mut app, "G");
        assert_eq!((app.selected, app.turn_to_selected(2)), (4, 3..5));
        assert_eq!(app.turn_to_selected(100), 0..5);
        assert!(press(&mut app, "q"));
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(app.press(control_c));
        assert!(app.press(KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE)));
    }

    #[test]
    fn keys_do_no_harm_before_anything_is_known() {
        let mut app = App::new(super::super::facts::testing::facts(3), FixedOffset::east_opt(0).unwrap());
        assert!(!press(&mut app, "v^ gGsSrdj<>"));
        assert_eq!((app.turn_to_selected(5), app.phase(second(0))), (0..0, Phase::Unread));
    }

    #[test]
    fn trouble_is_forgotten_when_it_is_over() {
        let one = || vec![generation(0, vec![member(0, None)])];
        let mut app = app(one(), second(10));
        app.hear(Read::Begun, second(12));
        assert_eq!(app.reading, Some(second(12)));
        app.hear(Read::Trouble("no".into()), second(13));
        assert_eq!((app.reading, app.trouble.as_deref()), (None, Some("no")));
        let mut next = one();
        next[0].members[0].attempts = vec![attempt(1, 0)];
        let news = super::super::reader::News {
            from: 0,
            generations: next,
            figures: Figures::default(),
            at: second(20),
            took: std::time::Duration::ZERO,
        };
        app.hear(Read::News(Box::new(news)), second(20));
        assert_eq!((app.trouble, app.changed), (None, Some(second(20))));
    }
}
