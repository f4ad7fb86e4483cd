//! A grid of images as a PNG file.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result, bail};
use tch::Tensor;

use crate::tasks::nn::bytes_of;

/// Writes 8-bit images `(n, 1 or 3, h, w)` in rows of `columns`, enlarged `zoom` times.
pub fn write_grid(path: &Path, pixels: &Tensor, columns: i64, zoom: i64) -> Result<()> {
    let [count, channels, height, width] = pixels.size()[..] else { bail!("images have four dimensions") };
    let color = match channels {
        1 => png::ColorType::Grayscale,
        3 => png::ColorType::Rgb,
        _ => bail!("a PNG cannot hold {channels} channels"),
    };
    let rows = count / columns;
    let grid = pixels
        .narrow(0, 0, rows * columns)
        .reshape([rows, columns, channels, height, width])
        .permute([0, 3, 1, 4, 2])
        .reshape([rows * height, columns * width, channels])
        .repeat_interleave_self_int(zoom, 0, None)
        .repeat_interleave_self_int(zoom, 1, None);
    let file = File::create(path).with_context(|| format!("failed to write {}", path.display()))?;
    let (wide, high) = (columns * width * zoom, rows * height * zoom);
    let mut encoder = png::Encoder::new(BufWriter::new(file), u32::try_from(wide)?, u32::try_from(high)?);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&bytes_of(&grid))?;
    writer.finish().with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn images_lie_in_rows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("grid.png");
        // Four images of 2x3, each of one brightness.
        let values = Tensor::from_slice(&[10u8, 20, 30, 40]).view([4, 1, 1, 1]);
        let pixels = values.expand([4, 1, 2, 3], false) + Tensor::zeros([1], (Kind::Uint8, Device::Cpu));
        write_grid(&path, &pixels, 2, 1).unwrap();
        let mut reader =
            png::Decoder::new(std::io::BufReader::new(File::open(&path).unwrap())).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        assert_eq!((info.width, info.height), (6, 4));
        assert_eq!(bytes[..6], [10, 10, 10, 20, 20, 20]);
        assert_eq!(bytes[18..24], [30, 30, 30, 40, 40, 40]);
    }
}
