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
