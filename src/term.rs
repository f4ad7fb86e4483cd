//! Text for a terminal: sanitizing foreign text (logs, names, output of programs), wrapping, cutting.

use std::borrow::Cow;

pub use pbtnas_engine::printable::{plain, sanitize};

/// Wraps words at `width` columns; longer words stay whole, and line breaks of the text are kept. `first` is the indent
/// of the first line, `rest` that of the others. Control characters are removed.
pub fn wrap(first: &str, rest: &str, text: &str, width: usize) -> String {
    let (mut lines, mut start) = (String::new(), first);
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            let word = match word.contains(char::is_control) {
                true => Cow::Owned(plain(word)),
                false => Cow::Borrowed(word),
            };
            let columns = [start, &line, &*word].map(|part| part.chars().count()).iter().sum::<usize>();
            if columns >= width && !line.is_empty() {
                lines += &format!("{start}{line}\n");
                (line, start) = (String::new(), rest);
            }
            line += if line.is_empty() { "" } else { " " };
            line += &word;
        }
        lines += format!("{start}{line}").trim_end();
        lines.push('\n');
        start = rest;
    }
    lines
}

/// Cuts the end of a text that is too long: `fashion-mn…`.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain((width > 0).then_some('…')).collect()
}

/// Cuts the start of a text that is too long, since the end of a path is the more specific part: `…/runs/first`.
pub fn cut_start(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    (width > 0).then_some('…').into_iter().chain(text.chars().skip(length + 1 - width.max(1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_wrapped_and_sanitized() {
        let path = "x".repeat(120);
        let text = format!("a {path} b\n\nc");
        assert_eq!(wrap("- ", "  ", &text, 100), format!("- a\n  {path}\n  b\n\n  c\n"));
        assert_eq!(wrap("", "", "\u{1b}[31mno\u{1b}[0m way", 100), "no way\n");
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(["längst", "läng", ""].map(|text| cut(text, 4)), ["län…", "läng", ""]);
        assert_eq!(["längst", "läng", ""].map(|text| cut_start(text, 4)), ["…gst", "läng", ""]);
        assert_eq!([cut("ab", 0), cut_start("ab", 0), cut_start("ab", 1)], ["", "", "…"]);
    }
}
