//! The search spaces Gan (21 variables) and GanHard (72) of the paper's section 4.2.
//!
//! A variable has the name of its layer, and owns the tensors under that name. Which tensors those are depends on the
//! value of that variable only. So any layer can replace any other, and a layer that another variable switches off
//! keeps its weights.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::nn::{names, value};
use pbtnas_core::search::{Genotype, Space, Variable};

/// Which of the paper's spaces is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpaceKind {
    /// The generator's cells; projections and discriminator are fixed.
    Gan,
    /// The generator's cells and projections, and the discriminator.
    GanHard,
}

/// The operation of an upsampling edge, which doubles width and height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Up {
    /// Nearest neighbour, then ReLU and convolution 1x1.
    Nearest,
    /// Bilinear, then ReLU and convolution 1x1.
    Bilinear,
    /// ReLU, depthwise transposed convolution 3x3 with stride 2, convolution 1x1.
    Transposed,
}

/// The operation of an edge between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeOption {
    /// No connection.
    None,
    /// Identity.
    Skip,
    /// ReLU and convolution of this kernel size and dilation.
    Conv(i64, i64),
}

/// The downsampling of a branch of the discriminator, which halves width and height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// Pooling of the branch's input.
    Start(Pool),
    /// Pooling of the branch's output.
    End(Pool),
    /// ReLU and convolution with stride 2, of this kernel size and dilation, at the end of the branch.
    Conv(i64, i64),
}

/// Pooling of 2x2 pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    Average,
    Max,
}

/// Width and height of a projection, before it is resized to its cell's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Those of the first cell's input.
    Bottom,
    /// Half of those of its own cell's input.
    Previous,
    /// Those of its own cell's input.
    Target,
}

/// The input of a projection's linear layer, and the size of its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Projected {
    /// Whether it reads the whole latent, instead of the part of its cell.
    pub whole: bool,
    pub side: Side,
}

/// Cells of the generator.
pub const CELLS: usize = 3;
/// Cells of the discriminator of GanHard.
pub const DISCRIMINATOR_CELLS: usize = 4;

pub(super) const UPS: [(&str, Up); 3] =
    [("nearest", Up::Nearest), ("bilinear", Up::Bilinear), ("transposed", Up::Transposed)];

pub(super) const EDGES: [(&str, EdgeOption); 7] = [
    ("none", EdgeOption::None),
    ("skip", EdgeOption::Skip),
    ("conv_1x1", EdgeOption::Conv(1, 1)),
    ("conv_3x3", EdgeOption::Conv(3, 1)),
    ("conv_5x5", EdgeOption::Conv(5, 1)),
    ("dilated_3x3", EdgeOption::Conv(3, 2)),
    ("dilated_5x5", EdgeOption::Conv(5, 2)),
];

pub(super) const DOWNS: [(&str, Down); 8] = [
    ("average_start", Down::Start(Pool::Average)),
    ("max_start", Down::Start(Pool::Max)),
    ("average_end", Down::End(Pool::Average)),
    ("max_end", Down::End(Pool::Max)),
    ("conv_3x3", Down::Conv(3, 1)),
    ("conv_5x5", Down::Conv(5, 1)),
    ("dilated_3x3", Down::Conv(3, 2)),
    ("dilated_5x5", Down::Conv(5, 2)),
];

pub(super) const PROJECTIONS: [(&str, Projected); 6] = [
    ("third_bottom", Projected { whole: false, side: Side::Bottom }),
    ("third_previous", Projected { whole: false, side: Side::Previous }),
    ("third_target", Projected { whole: false, side: Side::Target }),
    ("whole_bottom", Projected { whole: true, side: Side::Bottom }),
    ("whole_previous", Projected { whole: true, side: Side::Previous }),
    ("whole_target", Projected { whole: true, side: Side::Target }),
];

pub(super) const FLAGS: [(&str, bool); 2] = [("no", false), ("yes", true)];
pub(super) const BILINEAR: [(&str, bool); 2] = [("nearest", false), ("bilinear", true)];
pub(super) const DROPOUTS: [(&str, f64); 3] = [("0.0", 0.0), ("0.1", 0.1), ("0.2", 0.2)];

/// A variable that owns the layer with its name.
fn layer(name: String, options: Vec<String>) -> Variable {
    let owns = vec![format!("{name}/")];
    Variable::choice(name, options, owns)
}

/// A variable without weights.
fn flag(name: String, options: Vec<String>) -> Variable {
    Variable::choice(name, options, Vec::new())
}

/// The variables of a space.
pub fn space(kind: SpaceKind) -> Space {
    let mut variables = Vec::new();
    if kind == SpaceKind::GanHard {
        for number in 1..=CELLS {
            let projection = format!("generator/projection{number}");
            if number > 1 {
                variables.push(flag(format!("{projection}/enabled"), names(&FLAGS)));
            }
            variables.push(layer(format!("{projection}/linear"), names(&PROJECTIONS)));
            variables.push(flag(format!("{projection}/upsampling"), names(&BILINEAR)));
            variables.push(flag(format!("{projection}/dropout"), names(&DROPOUTS)));
        }
    }
    for cell in 1..=CELLS {
        for up in 0..2 {
            variables.push(layer(format!("generator/cell{cell}/up{up}"), names(&UPS)));
        }
        for edge in 0..5 {
            variables.push(layer(format!("generator/cell{cell}/c{edge}"), names(&EDGES)));
        }
    }
    if kind == SpaceKind::GanHard {
        for number in 1..=DISCRIMINATOR_CELLS {
            let cell = format!("discriminator/cell{number}");
            for edge in 0..7 {
                // An edge that reads the image must change the number of channels, so it is always a convolution.
                let options = if number == 1 && edge < 3 { names(&EDGES[2..]) } else { names(&EDGES) };
                variables.push(layer(format!("{cell}/c{edge}"), options));
            }
            variables.push(flag(format!("{cell}/downsample"), names(&FLAGS)));
            for down in 0..2 {
                variables.push(layer(format!("{cell}/down{down}"), names(&DOWNS)));
            }
        }
    }
    Space::new(variables)
}

/// The upsampling edge of a variable such as `generator/cell1/up0`.
pub fn up(genotype: &Genotype, variable: &str) -> Result<Up> {
    value(genotype, variable, &UPS)
}

/// The edge of a variable such as `generator/cell1/c0`.
pub fn edge(genotype: &Genotype, variable: &str) -> Result<EdgeOption> {
    value(genotype, variable, &EDGES)
}

/// The downsampling of a variable such as `discriminator/cell1/down0`.
pub fn down(genotype: &Genotype, variable: &str) -> Result<Down> {
    value(genotype, variable, &DOWNS)
}

/// The value of a flag such as `discriminator/cell1/downsample`.
pub fn enabled(genotype: &Genotype, variable: &str) -> Result<bool> {
    value(genotype, variable, &FLAGS)
}

/// The linear layer of a projection, e.g. of `generator/projection1/linear`.
pub fn projected(genotype: &Genotype, variable: &str) -> Result<Projected> {
    value(genotype, variable, &PROJECTIONS)
}

/// Whether a projection is resized bilinearly, e.g. by `generator/projection1/upsampling`.
pub fn bilinear(genotype: &Genotype, variable: &str) -> Result<bool> {
    value(genotype, variable, &BILINEAR)
}

/// The probability of dropping an element, e.g. of `generator/projection1/dropout`.
pub fn dropout(genotype: &Genotype, variable: &str) -> Result<f64> {
    value(genotype, variable, &DROPOUTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_have_the_published_sizes() {
        for (kind, variables, size) in [
            (SpaceKind::Gan, 21, "3460972340748447"),
            (SpaceKind::GanHard, 72, "29064744805785532203881706814130106923056021635072000"),
        ] {
            let space = space(kind);
            assert_eq!(space.check(), Ok(()));
            assert_eq!(space.variables.len(), variables);
            assert_eq!(space.size().to_string(), size);
        }
        let hard = space(SpaceKind::GanHard);
        let generator = hard.variables.iter().filter(|v| v.name.starts_with("generator/")).count();
        assert_eq!((generator, hard.variables.len() - generator), (32, 40));
    }
}
