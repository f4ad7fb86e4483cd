//! Pictures inside of the page.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::report::best::{LINEAGE, lineage_json};
use crate::report::history::{Generation, History};
use crate::report::lineage::Carrier;
use crate::state::{FileRef, Run};
use crate::tasks::png;

/// A film of more bytes is left out: mail programs and notebooks would refuse the page.
const MOST: u64 = 24 << 20;

/// Generations that are shown; more are thinned out evenly.
const SHOWN: usize = 24;

/// A picture.
pub struct Picture {
    /// Of which generation's best member.
    pub generation: u32,
    /// Epochs of training behind it.
    pub epoch: u32,
    /// The member's fitness.
    pub fitness: Option<f64>,
    /// `data:` and so on.
    pub address: String,
    /// Whether it is much wider than high.
    pub is_strip: bool,
}

/// What can be looked at.
pub struct Media {
    /// Of the best member of generations.
    pub previews: Vec<Picture>,
    /// What `pbtnas best` made of the best member, if it did: names and addresses.
    pub exported: Vec<(String, String)>,
}

impl Media {
    /// Reads what is there. A picture that somebody has removed is not missed.
    /// `ancestry` is the best member's.
    pub fn read(run: &Run, history: &History, ancestry: &[(String, Vec<Carrier>)]) -> Self {
        let with: Vec<&Generation> =
            history.generations.iter().filter(|generation| generation.preview().is_some()).collect();
        let chosen = thinned(with.len(), SHOWN).into_iter().filter_map(|at| with.get(at));
        let previews = chosen.filter_map(|generation| preview(run, generation)).collect();
        Self { previews, exported: exported(run, ancestry) }
    }
}

/// At most `most` of so many places, the first and the last among them.
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

/// The PNG files in the run's folder `best`, if they are those of the member with this ancestry.
fn exported(run: &Run, ancestry: &[(String, Vec<Carrier>)]) -> Vec<(String, String)> {
    let folder = run.layout.root().join("best");
    // It ends with the very member: a survivor's genotype would be that of its past, too.
    let lineage = std::fs::read_to_string(folder.join(LINEAGE)).ok();
    if ancestry.is_empty() || lineage.is_none() || lineage != lineage_json(ancestry).ok() {
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
    fn many_generations_are_thinned_out_evenly() {
        assert_eq!(thinned(3, 24), [0, 1, 2]);
        let places = thinned(150, 24);
        assert_eq!((places.len(), places[0], places[23]), (24, 0, 149));
        assert!(places.is_sorted_by(|a, b| a < b));
    }
}
