//! PNG and JPEG files as 8-bit RGB pixels.

use std::io::Cursor;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Larger images are refused before they are decoded: a small damaged or hostile file can announce gigabytes.
const MAX_PIXELS: usize = 1 << 26;

/// A decoded image.
pub struct Rgb {
    pub width: usize,
    pub height: usize,
    /// `(height, width, 3)`
    pub pixels: Vec<u8>,
}

/// Decodes a PNG or JPEG file, which is recognised by its first bytes. Grey becomes RGB, an alpha channel is dropped,
/// 16 bits are cut to 8, and of an animation only the first frame is read, as PIL's `convert("RGB")` does. Colour
/// profiles and the orientation in EXIF are ignored.
pub fn decode(path: &Path) -> Result<Rgb> {
    let decoded = std::fs::read(path).map_err(anyhow::Error::from).and_then(|bytes| match bytes.as_slice() {
        [0x89, b'P', b'N', b'G', ..] => png(&bytes),
        [0xff, 0xd8, ..] => jpeg(&bytes),
        _ => bail!("neither a PNG nor a JPEG file"),
    });
    decoded.with_context(|| format!("failed to read the image {}", path.display()))
}

fn png(bytes: &[u8]) -> Result<Rgb> {
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info()?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    check_size(width, height)?;
    let mut decoded = vec![0; reader.output_buffer_size().context("the image is too large")?];
    let frame = reader.next_frame(&mut decoded)?;
    // Up to the end of the file, where a truncated one fails.
    reader.finish()?;
    let pixels = match frame.color_type.samples() {
        3 => decoded,
        samples => {
            let rgb = |pixel: &[u8]| match *pixel {
                [red, green, blue, _] => [red, green, blue],
                _ => [pixel[0]; 3],
            };
            decoded.chunks_exact(samples).flat_map(rgb).collect()
        }
    };
    Ok(Rgb { width, height, pixels })
}

fn jpeg(bytes: &[u8]) -> Result<Rgb> {
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB).set_strict_mode(true);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(one_line)?;
    let info = decoder.info().context("the file has no header")?;
    let (width, height) = (usize::from(info.width), usize::from(info.height));
    check_size(width, height)?;
    let pixels = decoder.decode().map_err(one_line)?;
    ensure!(pixels.len() == width * height * 3, "its colours cannot be converted to RGB");
    Ok(Rgb { width, height, pixels })
}

/// Some messages of the decoder end with a line break.
fn one_line(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{}", error.to_string().trim())
}

fn check_size(width: usize, height: usize) -> Result<()> {
    let pixels = width.checked_mul(height);
    ensure!(
        width > 0 && height > 0 && pixels.is_some_and(|pixels| pixels <= MAX_PIXELS),
        "it has {width}x{height} pixels, of at most {MAX_PIXELS}"
    );
    Ok(())
}
