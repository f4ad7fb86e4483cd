//! PNG encoding.

use anyhow::{Context, Result};

/// Encodes pixels with 8 bits per channel in the order `(height, width, channels)`.
pub fn encode((width, height): (usize, usize), color: png::ColorType, pixels: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, u32::try_from(width)?, u32::try_from(height)?);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().context("failed to encode a PNG")?;
    writer.write_image_data(pixels).context("failed to encode a PNG")?;
    writer.finish().context("failed to encode a PNG")?;
    Ok(bytes)
}

/// The width and height in the header of a PNG file.
pub fn size(file: &[u8]) -> Option<(u32, u32)> {
    let number = |at: usize| file.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    file.starts_with(b"\x89PNG").then_some(())?;
    Some((number(16)?, number(20)?))
}
