//! A grid of images as a PNG file.

use anyhow::{Result, bail};
use tch::Tensor;

use crate::nn::bytes_of;
use pbtnas_engine::png::encode;

/// A PNG file of 8-bit images `(n, 1 or 3, h, w)` in rows of `columns`, enlarged `zoom` times.
pub fn grid(pixels: &Tensor, columns: i64, zoom: i64) -> Result<Vec<u8>> {
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
    let (wide, high) = (columns * width * zoom, rows * height * zoom);
    encode((usize::try_from(wide)?, usize::try_from(high)?), color, &bytes_of(&grid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn images_are_arranged_in_rows() {
        // Four images of 2x3, each of one brightness.
        let values = Tensor::from_slice(&[10u8, 20, 30, 40]).view([4, 1, 1, 1]);
        let pixels = values.expand([4, 1, 2, 3], false) + Tensor::zeros([1], (Kind::Uint8, Device::Cpu));
        let file = grid(&pixels, 2, 1).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        assert_eq!((info.width, info.height), (6, 4));
        assert_eq!(bytes[..6], [10, 10, 10, 20, 20, 20]);
        assert_eq!(bytes[18..24], [30, 30, 30, 40, 40, 40]);
    }
}
