//! Diagrams of architectures as files: an SVG that is laid out here, or a text for Graphviz.

mod caption;
mod dot;
mod layers;
mod layout;
mod order;
mod svg;
mod text;

use std::path::Path;

use anyhow::{Result, bail};

use super::difference::differing;
use super::{Named, title};
use crate::state::Run;
use crate::tasks::{Diagram, Task};
use caption::Caption;

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A picture.
    Svg,
    /// The language of Graphviz.
    Dot,
}

impl Format {
    /// By the ending of a file's name. Fails if it is none of the known ones.
    pub fn of(file: &Path) -> Result<Self> {
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("svg") => Ok(Self::Svg),
            Some("dot" | "gv") => Ok(Self::Dot),
            _ => bail!("{} must end in .svg (a picture) or .dot (for Graphviz)", file.display()),
        }
    }
}

/// The diagram of a network of a run, as the text of a file. Where another one is given, what differs from that is
/// highlighted.
pub fn draw(
    run: &Run,
    task: &dyn Task,
    of: &Named,
    against: Option<&Named>,
    format: Format,
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

/// A diagram as the text of a file.
pub fn render(diagram: &Diagram, caption: &Caption, format: Format) -> String {
    match format {
        Format::Svg => svg::svg(diagram, caption),
        Format::Dot => dot::dot(diagram, caption),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_tells_the_format() {
        assert_eq!(Format::of(Path::new("a/b.svg")).unwrap(), Format::Svg);
        assert_eq!(Format::of(Path::new("b.dot")).unwrap(), Format::Dot);
        for other in ["b.png", "svg", "b"] {
            let error = Format::of(Path::new(other)).unwrap_err().to_string();
            assert!(error.contains(other) && error.contains(".svg"), "{error}");
        }
    }
}
