//! The screen: what is known and how it is looked at -> characters. Nothing is read or asked here.

mod details;
mod header;
mod jobs;
mod members;
mod paint;

use chrono::{DateTime, Utc};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

pub use paint::{Paint, Tone};

use super::app::{App, Pane};
use super::text::span;

/// Everything that a part of the screen is drawn from.
pub struct View<'a> {
    /// What is known.
    pub app: &'a App,
    /// How it is painted.
    pub paint: Paint,
    /// The clock.
    pub now: DateTime<Utc>,
}

impl View<'_> {
    /// A piece of a line.
    pub fn span(&self, text: impl Into<String>, tone: Tone) -> Span<'static> {
        Span::styled(text.into(), self.paint.style(tone))
    }

    /// How long ago something was; other machines' clocks may be ahead.
    pub fn ago(&self, at: DateTime<Utc>) -> String {
        span((self.now - at).max(chrono::TimeDelta::zero()))
    }

    /// The time of day, with the day if it is another one.
    pub fn clock(&self, at: DateTime<Utc>) -> String {
        let (at, now) = (at.with_timezone(&self.app.zone), self.now.with_timezone(&self.app.zone));
        at.format(if at.date_naive() == now.date_naive() { "%H:%M" } else { "%a %d %b %H:%M" }).to_string()
    }
}

/// Draws everything.
pub fn draw(frame: &mut Frame, app: &mut App, paint: Paint, now: DateTime<Utc>) {
    let area = frame.area();
    app.height = area.height;
    let width = area.width as usize;
    let (header, pane_lines, pane) = {
        let view = View { app, paint, now };
        let pane = app.pane(area.height);
        let lines = match pane {
            Pane::Closed => Vec::new(),
            Pane::Details => details::lines(&view, width),
            Pane::Jobs => jobs::lines(&view, width),
        };
        (header::lines(&view, width), lines, pane)
    };
    // From the top: header, members with their heads, pane, footer.
    let mut left = area.height as usize;
    let header_height = header.len().min(left);
    left -= header_height;
    let footer_height = 1.min(left);
    left -= footer_height;
    let pane_height = match pane {
        Pane::Closed => 0,
        _ => (pane_lines.len() + 1).min(left / 2 + 1).min(left),
    };
    left -= pane_height;
    put(frame, area, 0, header);
    let shown = app.turn_to_selected(left.saturating_sub(members::HEADS));
    app.scroll = app.scroll.min(pane_lines.len().saturating_sub(pane_height.saturating_sub(1)));
    let view = View { app, paint, now };
    let mut rows = members::lines(&view, shown, width);
    rows.truncate(left);
    put(frame, area, header_height, rows);
    if pane_height > 0 {
        let scroll = app.scroll;
        let more = pane_lines.len() > scroll + pane_height - 1;
        let title = match pane {
            Pane::Jobs => "jobs",
            _ => "member",
        };
        let hint = if more || scroll > 0 { " [ ] scroll " } else { "" };
        let rule = "─".repeat(width.saturating_sub(title.len() + hint.len() + 4));
        let line = Line::from(view.span(format!("── {title} {hint}{rule}"), Tone::Faint));
        let lines = pane_lines.into_iter().skip(scroll).take(pane_height - 1);
        put(frame, area, header_height + left, std::iter::once(line).chain(lines).collect());
    }
    if footer_height > 0 {
        let footer = header::footer(&view, width);
        put(frame, area, area.height as usize - 1, vec![footer]);
    }
}

/// Puts lines onto the screen, from a line of the area on.
fn put(frame: &mut Frame, area: Rect, from: usize, lines: Vec<Line<'_>>) {
    for (line, y) in lines.iter().zip(from..area.height as usize) {
        frame.buffer_mut().set_line(area.x, area.y + y as u16, line, area.width);
    }
}

/// Words in lines of at most so many cells; words that are longer are cut.
fn wrap(text: &str, cells: usize) -> Vec<String> {
    let cells = cells.max(1);
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        // Whoever prints a traceback indents it.
        let indent = paragraph.chars().take_while(|c| *c == ' ').count().min(cells / 2);
        let mut line = " ".repeat(indent);
        let mut is_empty = true;
        for word in paragraph.split(' ').filter(|word| !word.is_empty()) {
            let mut word: Vec<char> = word.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            if !is_empty && line.chars().count() + 1 + word.len() > cells {
                lines.push(std::mem::take(&mut line));
                is_empty = true;
            }
            while line.chars().count() + word.len() > cells {
                let room = cells - line.chars().count();
                line.extend(word.drain(..room));
                lines.push(std::mem::take(&mut line));
            }
            if !is_empty {
                line.push(' ');
            }
            line.extend(word);
            is_empty = false;
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests;
