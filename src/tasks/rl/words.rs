//! Variables and options of the space in words, for diagrams and comparisons.

use super::space::{ACTIVATIONS, Activation, CONVOLUTIONS, Convolution, DENSE, Dense, FLAGS};
use crate::tasks::Words;
use crate::tasks::nn::option;

impl Convolution {
    /// In words.
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
    /// In words.
    pub fn words(self) -> String {
        match self {
            Self::Identity => "identity".into(),
            Self::Linear => "linear".into(),
            Self::Residual(multiplier) => format!("residual block, {multiplier} times as wide inside"),
        }
    }
}

impl Activation {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Identity => "no activation",
            Self::Tanh => "tanh",
            Self::Relu => "ReLU",
            Self::Swish => "swish",
        }
    }
}

/// An option of a variable; what is none stays as it is.
pub fn value(variable: &str, value: &str) -> String {
    let last = variable.rsplit('/').next().unwrap_or_default();
    let words = match last {
        "spectral_norm" => option(&FLAGS, value).map(|on| if on { "yes" } else { "no" }.to_owned()),
        _ if last.contains("activation") => option(&ACTIVATIONS, value).map(|kind| kind.words().to_owned()),
        _ if variable.starts_with("encoder/layer") => option(&CONVOLUTIONS, value).map(Convolution::words),
        _ if last.starts_with("layer") => option(&DENSE, value).map(Dense::words),
        "representation" => Some(format!("{value} numbers")),
        _ => None,
    };
    words.unwrap_or_else(|| value.to_owned())
}

/// A variable.
pub fn variable(name: &str) -> Words {
    let Some((network, last)) = name.rsplit_once('/') else {
        return Words { group: String::new(), name: name.replace('_', " ") };
    };
    let group = match network {
        "critic/q1" => "critic, Q1",
        "critic/q2" => "critic, Q2",
        other => other,
    };
    let number = last.trim_start_matches(|c: char| !c.is_ascii_digit());
    let name = match last {
        "spectral_norm" => "spectral norm".to_owned(),
        "trunk_activation" => "activation of the trunk".to_owned(),
        _ if last.starts_with("activation") => format!("activation of layer {number}"),
        _ if last.starts_with("layer") => format!("layer {number}"),
        other => other.to_owned(),
    };
    Words { group: group.into(), name }
}

#[cfg(test)]
mod tests {
    use super::super::space;
    use super::*;
    use crate::tasks::words::testing::assert_words_of_their_own;

    #[test]
    fn every_variable_and_option_has_words_of_its_own() {
        assert_words_of_their_own(&space(), variable, value);
    }

    #[test]
    fn words_say_what_is_meant() {
        let said = |name: &str, option: &str| format!("{}: {}", variable(name), value(name, option));
        assert_eq!(
            said("critic/q2/layer3", "residual_0.5"),
            "critic, Q2, layer 3: residual block, 0.5 times as wide inside"
        );
        assert_eq!(said("encoder/layer1", "separable_5x5"), "encoder, layer 1: separable convolution 5x5");
        assert_eq!(said("actor/trunk_activation", "relu"), "actor, activation of the trunk: ReLU");
        assert_eq!(said("actor/representation", "50"), "actor, representation: 50 numbers");
    }
}
