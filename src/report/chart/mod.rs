//! Charts as SVG, embedded in a page (whose style sheet has light and dark colours) or as files.

mod areas;
mod axis;
mod bars;
mod lineage;
mod lines;
mod picture;
mod variable_lineage;

use std::fmt::{Display, Write};

pub use areas::{areas, areas_with_key};
pub use bars::{Bars, bars};
pub use lineage::{lineage, main_line};
pub use lines::{Lines, Series, lines};
pub use picture::png;
pub use variable_lineage::variable_lineage;

/// Colours of Okabe and Ito, safe for colour-blindness; without yellow, which is too light for lines.
pub const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c6d46", "#7f7f7f"];

/// A drawing. Colours are CSS classes (`ink`, `grid`, `s0` to `s7`, …), see `style.css`.
#[derive(Debug, Clone, PartialEq)]
pub struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// The classes in SVG files: dark on white.
const FILE_STYLE: &str = include_str!("file.css");

impl Svg {
    /// An empty drawing; sizes are in pixels.
    pub fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    /// Adds an element without contents.
    pub fn element(&mut self, name: &str, attributes: &[(&str, &dyn Display)]) {
        self.open(name, attributes);
        self.body.truncate(self.body.len() - 1);
        self.body += "/>";
    }

    /// Adds an element with a title, which browsers show as a tooltip.
    pub fn titled(&mut self, name: &str, attributes: &[(&str, &dyn Display)], title: &str) {
        self.open(name, attributes);
        let _ = write!(self.body, "<title>{}</title></{name}>", escaped(title));
    }

    /// Opens an element; see [`Svg::close`].
    pub fn open(&mut self, name: &str, attributes: &[(&str, &dyn Display)]) {
        let _ = write!(self.body, "<{name}");
        for (key, value) in attributes {
            let _ = write!(self.body, " {key}=\"{}\"", escaped(&value.to_string()));
        }
        self.body.push('>');
    }

    pub fn close(&mut self, name: &str) {
        let _ = write!(self.body, "</{name}>");
    }

    /// Adds a text; `anchor` is `start`, `middle` or `end`.
    pub fn text(&mut self, (x, y): (f64, f64), anchor: &str, class: &str, text: &str) {
        self.open("text", &[("x", &short(x)), ("y", &short(y)), ("text-anchor", &anchor), ("class", &class)]);
        self.body += &escaped(text);
        self.close("text");
    }

    /// Adds another drawing with its upper left corner at (x, y).
    pub fn place(&mut self, other: &Svg, (x, y): (f64, f64)) {
        self.open("g", &[("transform", &format!("translate({x} {y})"))]);
        self.body += &other.body;
        self.close("g");
    }

    /// Width and height.
    pub fn size(&self) -> (f64, f64) {
        (self.width, self.height)
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(short);
        self.element("line", &[("x1", &x1), ("y1", &y1), ("x2", &x2), ("y2", &y2), ("class", &class)]);
    }

    pub fn rectangle(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), class: &str, title: &str) {
        let [x, y, width, height] = [x, y, width, height].map(short);
        let attributes: [(&str, &dyn Display); 5] =
            [("x", &x), ("y", &y), ("width", &width), ("height", &height), ("class", &class)];
        self.titled("rect", &attributes, title);
    }

    /// Adds a polyline or an area, depending on the class; nothing without points.
    pub fn path(&mut self, points: impl IntoIterator<Item = (f64, f64)>, class: &str) {
        let path = through(points);
        if !path.is_empty() {
            self.element("path", &[("d", &path), ("class", &class)]);
        }
    }

    /// The element for a page, scaled down to the width available; `label` is for screen readers.
    pub fn inline(&self, label: &str) -> String {
        let Self { width, height, body } = self;
        format!(
            "<svg class=\"chart\" viewBox=\"0 0 {width} {height}\" style=\"max-width:{width}px\" role=\"img\" \
             aria-label=\"{}\">{body}</svg>",
            escaped(label)
        )
    }

    /// The contents of an SVG file.
    pub fn file(&self) -> String {
        let Self { width, height, body } = self;
        let mut style = FILE_STYLE.to_owned();
        for (index, colour) in COLOURS.iter().enumerate() {
            let _ = write!(style, ".s{index}{{stroke:{colour}}}.f{index}{{fill:{colour}}}");
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\"><style>{style}</style><rect width=\"100%\" height=\"100%\" \
             class=\"paper\"/>{body}</svg>\n"
        )
    }
}

/// Escapes text for XML and removes control characters, which XML does not allow.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\n' | '\t' => out.push(letter),
            _ if letter.is_control() => {}
            _ => out.push(letter),
        }
    }
    out
}

/// The path data of a polyline.
fn through(points: impl IntoIterator<Item = (f64, f64)>) -> String {
    let mut path = String::new();
    for (x, y) in points {
        let command = if path.is_empty() { 'M' } else { 'L' };
        let _ = write!(path, "{command}{} {}", short(x), short(y));
    }
    path
}

/// Rounds a coordinate to a tenth of a pixel.
fn short(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// The class of lines in a colour.
fn stroke(index: usize) -> String {
    format!("s{}", index % COLOURS.len())
}

/// The class of areas in a colour.
fn fill(index: usize) -> String {
    format!("f{}{}", index % COLOURS.len(), paler(index))
}

/// The class of a colour's sample in a key.
pub fn key(index: usize) -> String {
    format!("key k{}{}", index % COLOURS.len(), paler(index))
}

/// Colours repeat in a paler shade.
fn paler(index: usize) -> &'static str {
    if index / COLOURS.len() % 2 == 1 { " pale" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        let mut svg = Svg::new(10.0, 10.0);
        svg.text((1.0, 2.0), "start", "ink", "<b> & \"c\"\u{1b}[0m");
        svg.titled("rect", &[("class", &"\"><script>")], "</title>");
        for text in [svg.inline("<i>"), svg.file()] {
            assert!(text.contains("&lt;b&gt; &amp; &quot;c&quot;[0m"), "{text}");
            assert!(!text.contains("<script>") && !text.contains("<i>"), "{text}");
            assert_eq!(text.matches("</title>").count(), 1);
        }
    }
}
