//! Texts of others (logs, names, messages of programs) on their way to a terminal.

/// Letters of a line that are shown.
const COLUMNS: usize = 160;

/// A line as it would stand on a terminal: what a progress bar wrote over itself is gone, and so are colours.
pub fn plain(line: &str) -> String {
    let line = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
    let mut plain = String::new();
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            // A control sequence: ESC [ … letter.
            if characters.next_if_eq(&'[').is_some() {
                characters.find(|character| ('@'..='~').contains(character));
            }
        } else if character == '\t' {
            plain.push_str("    ");
        } else if !character.is_control() {
            plain.push(character);
        }
    }
    if plain.chars().count() > COLUMNS {
        plain = plain.chars().take(COLUMNS).collect::<String>() + " …";
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_as_a_terminal_would() {
        assert_eq!(plain("\u{1b}[31merror\u{1b}[0m:\u{7} no\tway"), "error: no    way");
        assert_eq!(plain("10 %\r 20 %\r100 %\r"), "100 %");
        assert_eq!(plain("\u{1b}]0;title\u{7}"), "]0;title");
        assert_eq!(plain(&"x".repeat(500)).chars().count(), COLUMNS + 2);
    }
}
