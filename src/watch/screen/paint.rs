//! Colours, where there are any.

use ratatui::style::{Color, Modifier, Style};

/// What something means, for whoever chooses its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    Plain,
    /// Less important.
    Faint,
    /// A heading.
    Strong,
    /// Good.
    Good,
    /// Under way.
    Busy,
    /// New.
    New,
    /// To be looked at.
    Warning,
    /// Wrong.
    Bad,
}

/// How things are painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    /// False with NO_COLOR.
    pub colours: bool,
}

impl Paint {
    /// The style of a tone. Colours are those of the terminal's own palette.
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
