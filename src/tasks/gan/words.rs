//! Variables and options of both spaces in words, for diagrams and comparisons.

use super::space::{
    BILINEAR, DOWNS, DROPOUTS, Down, EDGES, Edge, FLAGS, PROJECTIONS, Pool, Projected, Side, UPS, Up,
};
use crate::tasks::Words;
use crate::tasks::nn::option;

/// The edges of a generator's cell, c0 to c4: from which node to which.
pub const GENERATOR_EDGES: [(usize, usize); 5] = [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)];
/// The branches of a discriminator's cell, as people count.
pub const BRANCHES: [&str; 2] = ["first branch", "second branch"];

impl Up {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Nearest => "nearest neighbour",
            Self::Bilinear => "bilinear",
            Self::Transposed => "transposed convolution",
        }
    }
}

impl Edge {
    /// In words.
    pub fn words(self) -> String {
        match self {
            Self::None => "none".into(),
            Self::Skip => "skip connection".into(),
            Self::Conv(kernel, dilation) => convolution(kernel, dilation),
        }
    }
}

impl Pool {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Average => "average pooling",
            Self::Max => "max pooling",
        }
    }
}

impl Down {
    /// In words.
    pub fn words(self) -> String {
        match self {
            Self::Start(pool) => format!("{} at the start", pool.words()),
            Self::End(pool) => format!("{} at the end", pool.words()),
            Self::Conv(kernel, dilation) => {
                format!("{} with stride 2 at the end", convolution(kernel, dilation))
            }
        }
    }
}

impl Projected {
    /// In words.
    pub fn words(self) -> String {
        let part = if self.whole { "the whole latent" } else { "a third of the latent" };
        let size = match self.side {
            Side::Bottom => "at the size of the first cell's input",
            Side::Previous => "at half the size of its cell's input",
            Side::Target => "at the size of its cell's input",
        };
        format!("{part}, made {size}")
    }
}

/// A convolution with a kernel of this width.
pub fn convolution(kernel: i64, dilation: i64) -> String {
    match dilation {
        1 => format!("convolution {kernel}x{kernel}"),
        by => format!("convolution {kernel}x{kernel}, dilated by {by}"),
    }
}

/// An option of a variable; what is none stays as it is.
pub fn value(variable: &str, value: &str) -> String {
    let last = variable.rsplit('/').next().unwrap_or_default();
    let words = match last {
        "enabled" | "downsample" => option(&FLAGS, value).map(|on| if on { "yes" } else { "no" }.to_owned()),
        "linear" => option(&PROJECTIONS, value).map(Projected::words),
        "upsampling" => {
            option(&BILINEAR, value).map(|on| if on { Up::Bilinear } else { Up::Nearest }.words().to_owned())
        }
        "dropout" => option(&DROPOUTS, value).map(|p| if p == 0.0 { "none".into() } else { p.to_string() }),
        _ if last.starts_with("up") => option(&UPS, value).map(|up| up.words().to_owned()),
        _ if last.starts_with("down") => option(&DOWNS, value).map(Down::words),
        _ if last.starts_with('c') => option(&EDGES, value).map(Edge::words),
        _ => None,
    };
    words.unwrap_or_else(|| value.to_owned())
}

/// A variable.
pub fn variable(name: &str) -> Words {
    let parts: Vec<&str> = name.split('/').collect();
    let [network, block, last] = parts[..] else {
        return Words { group: String::new(), name: name.replace('_', " ") };
    };
    let number = block.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let kind = &block[..block.len() - number.len()];
    let digit = last.chars().last().and_then(|c| c.to_digit(10)).unwrap_or(0) as usize;
    let branch = |index: usize| BRANCHES[index.min(1)];
    let name = match (network, last) {
        (_, "enabled") => "whether there is one".to_owned(),
        (_, "linear") => "linear layer".to_owned(),
        (_, "upsampling") => "upsampling".to_owned(),
        (_, "dropout") => "dropout".to_owned(),
        (_, "downsample") => "whether it downsamples".to_owned(),
        (_, "up0" | "up1") => format!("upsampling to node {digit}"),
        (_, "down0" | "down1") => format!("downsampling of the {}", branch(digit)),
        ("discriminator", "c0" | "c1" | "c2") => format!("operation from the input to node {digit}"),
        ("discriminator", "c3" | "c4") => format!("operation from node 0 to the {}", branch(digit - 3)),
        ("discriminator", "c5" | "c6") => format!("last operation of the {}", branch(digit - 5)),
        ("generator", "c0" | "c1" | "c2" | "c3" | "c4") => {
            let (from, to) = GENERATOR_EDGES[digit];
            format!("operation from node {from} to node {to}")
        }
        (_, other) => other.to_owned(),
    };
    Words { group: format!("{network}, {kind} {number}"), name }
}

#[cfg(test)]
mod tests {
    use super::super::{SpaceKind, space};
    use super::*;
    use crate::tasks::words::testing::assert_words_of_their_own;

    #[test]
    fn every_variable_and_option_of_both_spaces_has_words_of_its_own() {
        for kind in [SpaceKind::Gan, SpaceKind::GanHard] {
            let space = space(kind);
            assert_words_of_their_own(&space, variable, value);
        }
    }

    #[test]
    fn words_say_what_is_meant() {
        let said = |name: &str, option: &str| format!("{}: {}", variable(name), value(name, option));
        for (name, option, words) in [
            (
                "generator/cell1/up0",
                "transposed",
                "generator, cell 1, upsampling to node 0: transposed convolution",
            ),
            (
                "generator/cell3/c4",
                "dilated_5x5",
                "generator, cell 3, operation from node 2 to node 3: convolution 5x5, dilated by 2",
            ),
            (
                "generator/projection2/linear",
                "third_bottom",
                "generator, projection 2, linear layer: a third of the latent, made at the size of the first cell's input",
            ),
            (
                "discriminator/cell4/c3",
                "skip",
                "discriminator, cell 4, operation from node 0 to the first branch: skip connection",
            ),
            (
                "discriminator/cell4/down1",
                "average_end",
                "discriminator, cell 4, downsampling of the second branch: average pooling at the end",
            ),
            ("discriminator_learning_rate", "0.1", "discriminator learning rate: 0.1"),
        ] {
            assert_eq!(said(name, option), words);
        }
    }
}
