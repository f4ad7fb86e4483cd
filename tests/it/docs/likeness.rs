//! Compares the output of a command with the one on a page.
//!
//! A line `...` stands for any lines, `...` within a line for any text. Values that differ from run to run are compared by
//! kind: decimal numbers, ids of jobs and runs, names of jobs and nodes, dates and times. Runs of spaces count as one.

use std::iter::Peekable;
use std::str::Chars;

/// The first line that is shown and was not printed, or none.
pub fn missing<'a>(shown: &'a [String], printed: &str) -> Option<&'a str> {
    let printed: Vec<String> = printed.lines().map(general).collect();
    let mut rest = printed.as_slice();
    let mut anything = false;
    for line in shown {
        if line.trim() == "..." {
            anything = true;
            continue;
        }
        let wanted = general(line);
        let at = if anything {
            rest.iter().position(|line| fits(&wanted, line))
        } else {
            rest.first().filter(|line| fits(&wanted, line)).map(|_| 0)
        };
        match at {
            Some(at) => rest = &rest[at + 1..],
            None => return Some(line),
        }
        anything = false;
    }
    if anything || rest.iter().all(String::is_empty) { None } else { Some("(the end)") }
}

fn fits(pattern: &str, line: &str) -> bool {
    let parts: Vec<&str> = pattern.split("...").map(str::trim).collect();
    let [first, middle @ .., last] = parts.as_slice() else { return pattern == line };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// The line with each value that differs from run to run replaced by its kind.
fn general(line: &str) -> String {
    let words: Vec<String> = line.split_whitespace().map(word).collect();
    words.join(" ")
}

fn word(word: &str) -> String {
    // squeue truncates the names of jobs: `pbtnas-6`.
    if word.starts_with("pbtnas-") && word.len() == 8 {
        return "<job>".into();
    }
    if matches!(word, "n1" | "n2" | "n3" | "n4") {
        return "<node>".into();
    }
    let mut chars = word.chars().peekable();
    let mut general = String::new();
    while let Some(&c) = chars.peek() {
        if c.is_ascii_alphanumeric() {
            general += &kind(&take(&mut chars));
        } else {
            general.push(c);
            chars.next();
        }
    }
    general
}

/// Letters, digits, and the points, colons and dashes that have a digit on both sides.
fn take(chars: &mut Peekable<Chars>) -> String {
    let mut token = String::new();
    while let Some(&c) = chars.peek() {
        let mut after = chars.clone();
        after.next();
        let inside = ".:-_".contains(c)
            && token.ends_with(|c: char| c.is_ascii_digit())
            && after.peek().is_some_and(char::is_ascii_digit);
        if !c.is_ascii_alphanumeric() && !inside {
            break;
        }
        token.push(c);
        chars.next();
    }
    token
}

fn kind(token: &str) -> String {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = |text: &str| text.split_once('.').is_some_and(|(whole, part)| digits(whole) && digits(part));
    let hexadecimal = |text: &str| text.len() >= 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    // A task of an array: `123_4`.
    let token = token.split_once('_').map_or(token, |(job, _)| job);
    if number(token) {
        "<number>".into()
    } else if digits(token) && token.len() >= 4 || hexadecimal(token) {
        "<id>".into()
    } else if token.contains(':') && token.split(':').all(digits) {
        "<time>".into()
    } else if token.split('-').count() == 3 && token.split('-').all(digits) {
        "<date>".into()
    } else {
        token.into()
    }
}

#[test]
fn lines_alike() {
    let shown = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let alike = |a: &str, b: &str| missing(&shown(a), b).is_none();
    assert!(alike(
        "job 55511859 of 7b3ceabf at 10:12",
        "job 23 45".replace("23 45", "99991111 of 0a0b0c0d at 9:01").as_str()
    ));
    assert!(alike("fitness 12.4946,  x", "fitness -3.1, x".replace("-3.1", "3.1").as_str()));
    assert!(alike("a\n...\nd", "a\nb\nc\nd\n"));
    assert!(alike("a\n...", "a\nb"));
    assert!(alike("run ... (pbt-nas)", "run x in /y (pbt-nas)"));
    assert!(alike("2026-11-25", "2027-01-02"));
    assert!(alike(
        "  55634657_7  low pbtnas-6 R 0:02 n1",
        "44_3  low pbtnas-a R 10:12 n4".replace("44", "4444").as_str()
    ));
    // Not alike: other whole numbers or words, too many or too few lines.
    assert!(!alike("generation 3", "generation 4"));
    assert!(!alike("a", "a\nb"));
    assert!(!alike("a\nb", "a"));
    assert!(!alike("a\n...\nd", "a\nb"));
    assert!(!alike("survivor 1.5", "survivor one"));
    assert!(!alike("run ... (pbt-nas)", "run x (random)"));
}
