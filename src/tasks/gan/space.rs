//! The Gan space: 21 variables (paper, section 4.2; facts: Generator).

use anyhow::{Context, Result, bail};

use crate::search::{Genotype, Space, Variable};

/// How an upsampling edge doubles the width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Up {
    /// Nearest neighbour, then ReLU and convolution 1x1.
    Nearest,
    /// Bilinear, then ReLU and convolution 1x1.
    Bilinear,
    /// ReLU, depthwise transposed convolution 3x3 with stride 2, convolution 1x1.
    Transposed,
}

/// What an edge between nodes does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// No connection.
    None,
    /// Identity.
    Skip,
    /// ReLU and convolution of this kernel size and dilation.
    Conv(i64, i64),
}

const UPS: [(&str, Up); 3] =
    [("nearest", Up::Nearest), ("bilinear", Up::Bilinear), ("transposed", Up::Transposed)];

const EDGES: [(&str, Edge); 7] = [
    ("none", Edge::None),
    ("skip", Edge::Skip),
    ("conv_1x1", Edge::Conv(1, 1)),
    ("conv_3x3", Edge::Conv(3, 1)),
    ("conv_5x5", Edge::Conv(5, 1)),
    ("dilated_3x3", Edge::Conv(3, 2)),
    ("dilated_5x5", Edge::Conv(5, 2)),
];

/// Cells of the generator.
pub const CELLS: usize = 3;

/// The Gan space: in each cell two upsampling edges and five others; each owns its layer.
pub fn space() -> Space {
    let mut variables = Vec::new();
    for cell in 1..=CELLS {
        let mut add = |edge: String, options: Vec<&str>| {
            let name = format!("cell{cell}/{edge}");
            variables.push(Variable {
                owns: vec![format!("generator/{name}/")],
                name,
                options: options.into_iter().map(str::to_owned).collect(),
            });
        };
        for up in 0..2 {
            add(format!("up{up}"), UPS.iter().map(|(name, _)| *name).collect());
        }
        for edge in 0..5 {
            add(format!("c{edge}"), EDGES.iter().map(|(name, _)| *name).collect());
        }
    }
    Space { variables }
}

fn value<T: Copy>(genotype: &Genotype, variable: &str, options: &[(&str, T)]) -> Result<T> {
    let value =
        genotype.get(variable).with_context(|| format!("the genotype has no value for {variable}"))?;
    match options.iter().find(|(name, _)| *name == value) {
        Some((_, option)) => Ok(*option),
        None => bail!("{variable} has no option {value:?}"),
    }
}

/// The upsampling edge of a variable such as `cell1/up0`.
pub fn up(genotype: &Genotype, variable: &str) -> Result<Up> {
    value(genotype, variable, &UPS)
}

/// The edge of a variable such as `cell1/c0`.
pub fn edge(genotype: &Genotype, variable: &str) -> Result<Edge> {
    value(genotype, variable, &EDGES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_space_has_the_size_that_its_variables_give() {
        let space = space();
        assert_eq!(space.check(), Ok(()));
        assert_eq!(space.variables.len(), 21);
        let size: u128 = space.variables.iter().map(|variable| variable.options.len() as u128).product();
        assert_eq!(size, 3_460_972_340_748_447);
    }
}
