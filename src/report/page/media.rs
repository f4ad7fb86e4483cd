//! Pictures embedded in the page.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::report::best::{LINEAGE, lineage_json};
use crate::report::history::{Generation, History};
use crate::report::lineage::Carrier;
use pbtnas_core::run::FileRef;
use pbtnas_engine::png;
use pbtnas_engine::run::Run;

/// Larger files are left out, since mail programs and notebooks would reject the page.
const MOST: u64 = 24 << 20;

/// Maximum number of previews, evenly spaced.
const SHOWN: usize = 24;

/// A preview of the best member of a generation.
pub struct Picture {
    pub generation: u32,
    pub epoch: u32,
    pub fitness: Option<f64>,
    /// A `data:` URL.
    pub address: String,
    /// Whether the picture is more than three times as wide as high.
    pub is_strip: bool,
}

pub struct Media {
    pub previews: Vec<Picture>,
    /// Names and `data:` URLs of the pictures that `pbtnas best` exported.
    pub exported: Vec<(String, String)>,
}

impl Media {
    /// Reads the pictures; missing files are left out. `carriers` are those of the best member.
    pub fn read(run: &Run, history: &History, carriers: &[(String, Vec<Carrier>)]) -> Self {
        let with: Vec<&Generation> =
            history.generations.iter().filter(|generation| generation.preview().is_some()).collect();
        let chosen = thinned(with.len(), SHOWN).into_iter().filter_map(|at| with.get(at));
        let previews = chosen.filter_map(|generation| preview(run, generation)).collect();
        Self { previews, exported: exported(run, carriers) }
    }
}

/// At most `most` of `count` indices, evenly spaced, including the first and the last.
fn thinned(count: usize, most: usize) -> Vec<usize> {
    if count <= most {
        return (0..count).collect();
    }
    (0..most).map(|index| index * (count - 1) / (most - 1)).collect()
}

fn preview(run: &Run, generation: &Generation) -> Option<Picture> {
    let bytes = read(run, generation.preview()?)?;
    let (width, height) = png::size(&bytes)?;
    Some(Picture {
        generation: generation.number,
        epoch: generation.to_epoch,
        fitness: generation.best().and_then(|(_, member)| member.fitness()),
        address: address(&bytes),
        is_strip: width / 3 > height,
    })
}

fn read(run: &Run, file: &FileRef) -> Option<Vec<u8>> {
    let path = run.path_of(file).ok().filter(|_| file.size <= MOST)?;
    run.check_file(file).ok()?;
    std::fs::read(path).ok().filter(|bytes| bytes.starts_with(b"\x89PNG"))
}

/// The PNG files in `best` of the run directory, if its lineage.json is that of the best member.
fn exported(run: &Run, carriers: &[(String, Vec<Carrier>)]) -> Vec<(String, String)> {
    let folder = run.layout.root().join("best");
    // Compares lineages: a genotype would not distinguish a survivor from its earlier generations.
    let lineage = std::fs::read_to_string(folder.join(LINEAGE)).ok();
    if carriers.is_empty() || lineage.is_none() || lineage != lineage_json(carriers).ok() {
        return Vec::new();
    }
    let Ok(entries) = std::fs::read_dir(&folder) else { return Vec::new() };
    let mut found: Vec<(String, String)> = entries
        .flatten()
        .filter(|entry| entry.metadata().is_ok_and(|data| data.is_file() && data.len() <= MOST))
        .filter_map(|entry| {
            let bytes = std::fs::read(entry.path()).ok().filter(|bytes| bytes.starts_with(b"\x89PNG"))?;
            Some((entry.file_name().to_string_lossy().into_owned(), address(&bytes)))
        })
        .collect();
    found.sort();
    found
}

fn address(bytes: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previews_are_evenly_spaced() {
        assert_eq!(thinned(3, 24), [0, 1, 2]);
        let places = thinned(150, 24);
        assert_eq!((places.len(), places[0], places[23]), (24, 0, 149));
        assert!(places.is_sorted_by(|a, b| a < b));
    }
}
