//! Pictures as the bytes of a PNG file.

use anyhow::{Context, Result};

/// A picture whose pixels, of 8 bits a colour, go row by row: `(height, width, colours)`.
pub fn encode((width, height): (usize, usize), color: png::ColorType, pixels: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, u32::try_from(width)?, u32::try_from(height)?);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().context("failed to encode a picture")?;
    writer.write_image_data(pixels).context("failed to encode a picture")?;
    writer.finish().context("failed to encode a picture")?;
    Ok(bytes)
}

/// Width and height of a PNG file, which stand at its beginning.
pub fn size(file: &[u8]) -> Option<(u32, u32)> {
    let number = |at: usize| file.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    file.starts_with(b"\x89PNG").then_some(())?;
    Some((number(16)?, number(20)?))
}
