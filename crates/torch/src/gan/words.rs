//! Descriptions of options for diagrams.

use super::space::{EdgeOption, Pool, Up};

/// The nodes that the edges c0 to c4 of a generator's cell connect: from and to.
pub const GENERATOR_EDGES: [(usize, usize); 5] = [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)];
/// Names of the branches of a discriminator's cell.
pub const BRANCHES: [&str; 2] = ["first branch", "second branch"];

impl Up {
    pub fn words(self) -> &'static str {
        match self {
            Self::Nearest => "nearest neighbour",
            Self::Bilinear => "bilinear",
            Self::Transposed => "transposed convolution",
        }
    }
}

impl EdgeOption {
    pub fn words(self) -> String {
        match self {
            Self::None => "none".into(),
            Self::Skip => "skip connection".into(),
            Self::Conv(kernel, dilation) => convolution(kernel, dilation),
        }
    }
}

impl Pool {
    pub fn words(self) -> &'static str {
        match self {
            Self::Average => "average pooling",
            Self::Max => "max pooling",
        }
    }
}

pub fn convolution(kernel: i64, dilation: i64) -> String {
    match dilation {
        1 => format!("convolution {kernel}x{kernel}"),
        by => format!("convolution {kernel}x{kernel}, dilated by {by}"),
    }
}
