//! Diagrams of architectures as SVG or Graphviz DOT.

mod caption;
mod dot;
mod layout;
mod svg;
mod text;

use std::path::Path;

use anyhow::{Result, bail};

use super::difference::differing;
use super::{NamedNetwork, title};
use caption::Caption;
use pbtnas_engine::run::Run;
use pbtnas_engine::task::{Diagram, Task};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrawFormat {
    Svg,
    Dot,
}

impl DrawFormat {
    /// The format of a file name by its extension.
    pub fn of(file: &Path) -> Result<Self> {
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("svg") => Ok(Self::Svg),
            Some("dot" | "gv") => Ok(Self::Dot),
            _ => bail!("{} must end in .svg or .dot (Graphviz)", file.display()),
        }
    }
}

/// Draws a network of a run, with differences from `against` highlighted; returns the contents of the file.
pub fn draw(
    run: &Run,
    task: &dyn Task,
    of: &NamedNetwork,
    against: Option<&NamedNetwork>,
    format: DrawFormat,
) -> Result<String> {
    let diagram = task.diagram(&of.genotype)?;
    let names = run.space.variables.iter().map(|variable| variable.name.as_str());
    let changed = against.map(|other| differing(names, &other.genotype, &of.genotype)).unwrap_or_default();
    let caption = Caption {
        title: title(run, of)?,
        against: against.map(|other| other.name.clone()),
        changed: changed.into_iter().map(|(name, ..)| name.to_owned()).collect(),
    };
    Ok(render(&diagram, &caption, format))
}

/// The contents of a file.
pub fn render(diagram: &Diagram, caption: &Caption, format: DrawFormat) -> String {
    match format {
        DrawFormat::Svg => svg::svg(diagram, caption),
        DrawFormat::Dot => dot::dot(diagram, caption),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_by_extension() {
        assert_eq!(DrawFormat::of(Path::new("a/b.svg")).unwrap(), DrawFormat::Svg);
        assert_eq!(DrawFormat::of(Path::new("b.dot")).unwrap(), DrawFormat::Dot);
        for other in ["b.png", "svg", "b"] {
            let error = DrawFormat::of(Path::new(other)).unwrap_err().to_string();
            assert!(error.contains(other) && error.contains(".svg"), "{error}");
        }
    }
}
