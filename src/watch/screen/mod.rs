//! The screen, drawn from the state of the application alone.

mod details;
mod header;
mod jobs;
mod members;
mod paint;

use chrono::{DateTime, TimeDelta, Utc};
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Table, TableState, Widget, Wrap};

pub use paint::{Paint, Tone};

use super::app::{App, Pane};
use super::text::duration;
use crate::term::sanitize;

/// Maximum number of lines of a notice.
const NOTICE_LINES: u16 = 4;

/// The input of every part of the screen.
pub struct View<'a> {
    pub app: &'a App,
    pub paint: Paint,
    pub now: DateTime<Utc>,
}

impl View<'_> {
    pub fn span(&self, text: impl Into<String>, tone: Tone) -> Span<'static> {
        Span::styled(text.into(), self.paint.style(tone))
    }

    /// The lines of a text, without control characters.
    pub fn lines(&self, text: &str, tone: Tone) -> Vec<Line<'static>> {
        text.lines().map(|line| Line::from(self.span(sanitize(line), tone))).collect()
    }

    /// Time since `at`; zero if the clock of another machine is ahead.
    pub fn ago(&self, at: DateTime<Utc>) -> String {
        duration((self.now - at).max(TimeDelta::zero()))
    }

    /// The time of day, with the date unless it is today.
    pub fn clock(&self, at: DateTime<Utc>) -> String {
        let (at, now) = (at.with_timezone(&self.app.zone), self.now.with_timezone(&self.app.zone));
        at.format(if at.date_naive() == now.date_naive() { "%H:%M" } else { "%a %d %b %H:%M" }).to_string()
    }
}

/// What a pane shows: text, or a table with this number of rows.
enum PaneContent {
    Text(Paragraph<'static>),
    Table(Table<'static>, usize),
}

impl PaneContent {
    fn line_count(&self, width: u16) -> usize {
        match self {
            Self::Text(text) => line_count(text, width).into(),
            Self::Table(_, rows) => *rows,
        }
    }

    fn draw(self, frame: &mut Frame, area: Rect, scroll: usize, block: Block<'static>) {
        match self {
            Self::Text(text) => frame.render_widget(text.scroll((scroll as u16, 0)).block(block), area),
            Self::Table(table, _) => {
                let mut state = TableState::new().with_offset(scroll);
                frame.render_stateful_widget(table.block(block), area, &mut state);
            }
        }
    }
}

/// Draws the screen.
pub fn draw(frame: &mut Frame, app: &mut App, paint: Paint, now: DateTime<Utc>) {
    let area = frame.area();
    app.height = area.height;
    let view = View { app, paint, now };
    let summary = header::summary(&view, area.width.into());
    let mut header = vec![(summary.len() as u16, Paragraph::new(summary))];
    header.extend(header::notices(&view).into_iter().map(|(text, tone)| {
        let notice = wrapped(view.lines(&text, tone));
        (line_count(&notice, area.width).min(NOTICE_LINES), notice)
    }));
    let pane = match app.pane(area.height) {
        Pane::Closed => None,
        Pane::Details => Some((details::content(&view), "member")),
        Pane::Jobs => Some((jobs::content(&view, area.width.into()), "jobs")),
    };
    let pane_lines = pane.as_ref().map_or(0, |(content, _)| content.line_count(area.width));

    let header_height = header.iter().map(|(height, _)| height).sum::<u16>().min(area.height);
    let footer_height = 1.min(area.height - header_height);
    let room = area.height - header_height - footer_height;
    let pane_height = pane.as_ref().map_or(0, |_| (pane_lines + 1).min((room / 2 + 1).min(room).into()));
    let heights = [header_height, room - pane_height as u16, pane_height as u16, footer_height];
    let [header_area, members_area, pane_area, footer_area] =
        Layout::vertical(heights.map(Constraint::Length)).areas(area);

    app.scroll = app.scroll.min(pane_lines.saturating_sub(pane_height.saturating_sub(1)));
    let shown = app.scroll_to_selected(members_area.height.saturating_sub(members::HEADER_LINES).into());
    let view = View { app, paint, now };
    let header_areas = Layout::vertical(header.iter().map(|(height, _)| *height)).split(header_area);
    for ((_, paragraph), area) in header.into_iter().zip(header_areas.iter()) {
        frame.render_widget(paragraph, *area);
    }
    members::draw(frame, &view, shown, members_area);
    if let Some((content, name)) = pane {
        let scrolls = pane_lines + 1 > pane_height || app.scroll > 0;
        let hint = if scrolls { "[ ] scroll " } else { "" };
        let style = paint.style(Tone::Faint);
        let title = Span::styled(format!("── {name} {hint}"), style);
        let block = Block::new().borders(Borders::TOP).border_style(style).title(title);
        content.draw(frame, pane_area, app.scroll, block);
    }
    header::draw_footer(frame, &view, footer_area);
}

fn wrapped(lines: Vec<Line<'static>>) -> Paragraph<'static> {
    Paragraph::new(lines).wrap(Wrap { trim: false })
}

/// Lines of a wrapped text, at most 500 (`Paragraph::line_count` is unstable).
fn line_count(text: &Paragraph, width: u16) -> u16 {
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, 500));
    text.render(buffer.area, &mut buffer);
    let lines = buffer.content.chunks(width.max(1).into());
    let is_blank = |line: &[ratatui::buffer::Cell]| line.iter().all(|cell| cell.symbol() == " ");
    lines.rev().position(|line| !is_blank(line)).map_or(0, |blank| 500 - blank as u16)
}

#[cfg(test)]
mod tests;
