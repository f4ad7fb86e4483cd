//! Charts as PNG files. The letters of an embedded font are drawn as paths, so that the renderer needs no fonts.

use std::fmt::Write;

use anyhow::{Context, Result};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};
use ttf_parser::{Face, OutlineBuilder};

use super::{Svg, short};

/// Pixels per unit.
const SCALE: f32 = 2.0;

/// Renders a chart as PNG at twice its size.
pub fn png(svg: &Svg) -> Result<Vec<u8>> {
    let drawing = with_outlines(&svg.file()).context("failed to draw the letters of a chart")?;
    let tree = Tree::from_str(&drawing, &Options::default()).context("failed to read a chart")?;
    let size = tree.size().to_int_size();
    let pixels = |length: u32| (length as f32 * SCALE) as u32;
    let mut pixmap =
        Pixmap::new(pixels(size.width()), pixels(size.height())).context("a chart has no size")?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixmap.as_mut());
    pixmap.encode_png().context("failed to encode a chart")
}

/// Replaces each text, as [`Svg::text`] writes it, by the outlines of its letters.
fn with_outlines(svg: &str) -> Result<String> {
    let regular = Face::parse(dejavu::sans::regular(), 0).context("invalid font")?;
    let bold = Face::parse(dejavu::sans::bold(), 0).context("invalid font")?;
    let mut parts = svg.split("<text ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (text, rest) = part.split_once("</text>").context("a text is not closed")?;
        let (attributes, letters) = text.split_once('>').context("a text has no contents")?;
        let attribute = |name: &str| {
            let found =
                attributes.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
            found.map(|(value, _)| value).with_context(|| format!("a text has no {name}"))
        };
        let class = attribute("class")?;
        // The sizes of file.css.
        let (face, size) = match class.split(' ').find(|class| ["title", "tiny"].contains(class)) {
            Some("title") => (&bold, 14.0),
            Some(_) => (&regular, 10.0),
            None => (&regular, 12.0),
        };
        let mut path = Outline::default();
        for letter in unescaped(letters).chars() {
            path.letter(face, letter);
        }
        let scale = size / f64::from(face.units_per_em());
        let before = match attribute("text-anchor")? {
            "middle" => path.width / 2.0,
            "end" => path.width,
            _ => 0.0,
        };
        let x = attribute("x")?.parse::<f64>().context("invalid x of a text")? - before * scale;
        let y = attribute("y")?;
        let data = path.data;
        let place = format!("translate({} {y}) scale({scale} -{scale})", short(x));
        write!(out, "<path transform=\"{place}\" class=\"{class}\" d=\"{data}\"/>{rest}")?;
    }
    Ok(out)
}

/// The reverse of [`super::escaped`].
fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

/// Path data of letters side by side, in units of the font.
#[derive(Default)]
struct Outline {
    data: String,
    width: f64,
}

impl Outline {
    /// Appends a letter; the font's sign for a missing one if it has none.
    fn letter(&mut self, face: &Face, letter: char) {
        let glyph = face.glyph_index(letter).unwrap_or_default();
        face.outline_glyph(glyph, self);
        self.width += f64::from(face.glyph_hor_advance(glyph).unwrap_or_default());
    }

    fn add(&mut self, command: char, points: &[(f32, f32)]) {
        self.data.push(command);
        for (x, y) in points {
            let _ = write!(self.data, "{} {y} ", f64::from(*x) + self.width);
        }
    }
}

impl OutlineBuilder for Outline {
    fn move_to(&mut self, x: f32, y: f32) {
        self.add('M', &[(x, y)]);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.add('L', &[(x, y)]);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        self.add('Q', &[(x1, y1), (x, y)]);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        self.add('C', &[(x1, y1), (x2, y2), (x, y)]);
    }

    fn close(&mut self) {
        self.data.push('Z');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_lines_are_drawn_in_their_colours() {
        let mut svg = Svg::new(60.0, 20.0);
        let empty = dark(&svg);
        svg.text((2.0, 15.0), "start", "ink", "WWWW");
        let with_text = dark(&svg);
        svg.line((0.0, 18.0), (60.0, 18.0), "line s1");
        assert_eq!(empty, 0);
        assert!(with_text > 200, "{with_text}");
        let (width, _, pixels) = decoded(&png(&svg).unwrap());
        assert_eq!(pixels[(36 * width + 60) * 4..][..3], [0xd5, 0x5e, 0x00]);
    }

    #[test]
    fn letters_stand_where_the_anchor_says() {
        let middle = |anchor| {
            let mut svg = Svg::new(60.0, 20.0);
            svg.text((30.0, 15.0), anchor, "title ink", "<&>");
            let (width, _, pixels) = decoded(&png(&svg).unwrap());
            let dark = (0..width * 40).filter(|at| pixels[at * 4] < 100).map(|at| at % width);
            let columns: Vec<usize> = dark.collect();
            (columns.iter().min().unwrap() + columns.iter().max().unwrap()) / 2
        };
        let (start, centre, end) = (middle("start"), middle("middle"), middle("end"));
        assert!(start > 80 && (55..65).contains(&centre) && end < 40, "{start} {centre} {end}");
    }

    fn dark(svg: &Svg) -> usize {
        let (width, height, pixels) = decoded(&png(svg).unwrap());
        assert_eq!((width, height), (120, 40));
        pixels.chunks_exact(4).filter(|pixel| pixel[0] < 100).count()
    }

    fn decoded(file: &[u8]) -> (usize, usize, Vec<u8>) {
        let mut reader = ::png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        (info.width as usize, info.height as usize, pixels)
    }
}
