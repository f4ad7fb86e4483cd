//! Sanitizes foreign text (logs, names, output of programs) for a terminal.

/// The maximum number of characters of a line.
const COLUMNS: usize = 160;

/// Renders a line as a terminal would show it, without overwritten progress bars and colours; cut if it is long.
pub fn plain(line: &str) -> String {
    let plain = sanitize(line);
    match plain.chars().count() > COLUMNS {
        true => plain.chars().take(COLUMNS).collect::<String>() + " …",
        false => plain,
    }
}

/// Like [`plain`], but not cut.
pub fn sanitize(line: &str) -> String {
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
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_and_overwritten_text_are_removed() {
        assert_eq!(plain("\u{1b}[31merror\u{1b}[0m:\u{7} no\tway"), "error: no    way");
        assert_eq!(plain("10 %\r 20 %\r100 %\r"), "100 %");
        assert_eq!(plain("\u{1b}]0;title\u{7}"), "]0;title");
        let long = "x".repeat(500);
        assert_eq!((plain(&long).chars().count(), sanitize(&long)), (COLUMNS + 2, long));
    }
}
