//! Descriptions of options for diagrams.

use super::space::{Activation, Convolution, Dense};

impl Convolution {
    pub fn words(self) -> String {
        match self {
            Self::Identity => "identity".into(),
            Self::Plain(kernel) => format!("convolution {kernel}x{kernel}"),
            Self::Residual(kernel) => format!("residual block of convolutions {kernel}x{kernel}"),
            Self::Separable(kernel) => format!("separable convolution {kernel}x{kernel}"),
        }
    }
}

impl Dense {
    pub fn words(self) -> String {
        match self {
            Self::Identity => "identity".into(),
            Self::Linear => "linear".into(),
            Self::Residual(multiplier) => format!("residual block, {multiplier} times as wide inside"),
        }
    }
}

impl Activation {
    pub fn words(self) -> &'static str {
        match self {
            Self::Identity => "no activation",
            Self::Tanh => "tanh",
            Self::Relu => "ReLU",
            Self::Swish => "swish",
        }
    }
}
