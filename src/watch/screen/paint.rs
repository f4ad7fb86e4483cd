//! Colours of the screen.

use ratatui::style::{Color, Modifier, Style};

/// Meaning of a text, from which its colour follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    /// Less important.
    Faint,
    /// A heading.
    Strong,
    Good,
    /// In progress.
    Busy,
    New,
    Warning,
    Bad,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    /// False if NO_COLOR is set.
    pub colours: bool,
}

impl Paint {
    /// The style of a tone, with colours of the terminal's palette.
    pub fn style(self, tone: Tone) -> Style {
        let style = Style::new();
        let colour = match tone {
            Tone::Plain => return style,
            Tone::Faint => return style.add_modifier(Modifier::DIM),
            Tone::Strong => return style.add_modifier(Modifier::BOLD),
            Tone::Good => Color::Green,
            Tone::Busy => Color::Cyan,
            Tone::New => Color::Magenta,
            Tone::Warning => Color::Yellow,
            Tone::Bad => Color::Red,
        };
        match (self.colours, tone) {
            (true, _) => style.fg(colour),
            (false, Tone::Warning | Tone::Bad) => style.add_modifier(Modifier::BOLD),
            (false, _) => style,
        }
    }
}
