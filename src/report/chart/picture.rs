//! Charts as PNG files, with embedded fonts.

use std::sync::Arc;

use anyhow::{Context, Result};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb::Database};

use super::Svg;

/// Pixels per unit.
const SCALE: f32 = 2.0;

/// Renders a chart as PNG at twice its size.
pub fn png(svg: &Svg) -> Result<Vec<u8>> {
    let mut fonts = Database::new();
    fonts.load_font_data(dejavu::sans::regular().to_vec());
    fonts.load_font_data(dejavu::sans::bold().to_vec());
    fonts.set_sans_serif_family("DejaVu Sans");
    let options = Options { fontdb: Arc::new(fonts), ..Options::default() };
    let tree = Tree::from_str(&svg.file(), &options).context("failed to read a chart")?;
    let size = tree.size().to_int_size();
    let pixels = |length: u32| (length as f32 * SCALE) as u32;
    let mut pixmap =
        Pixmap::new(pixels(size.width()), pixels(size.height())).context("a chart has no size")?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixmap.as_mut());
    pixmap.encode_png().context("failed to encode a chart")
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
