//! The file of a finished episode.
//!
//! Safetensors; `format` in the metadata is [`FORMAT`]. For T transitions with actions of A numbers:
//!
//! ```text
//! frames   U8  (n)        T + 1 frames, each compressed separately (see frame.rs), concatenated
//! offsets  U64 (T + 2)    the start of each of them in `frames`; the last is n
//! actions  F32 (T, A)
//! rewards  F32 (T)        summed over the repeats of the action
//! ```
//!
//! The file is memory-mapped, so all members on a machine share its pages. Its name ends in `-`, 32 digits of its
//! BLAKE3 and `.safetensors`.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use nix::libc;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorView, serialize};

use super::{FRAME, Packer, Recording, Unpacker};
use pbtnas_core::durable_fs::Digest;

/// Identifies the format and its version.
const FORMAT: &str = "pbtnas episode 1";
/// End of a file's name.
pub(super) const ENDING: &str = ".safetensors";

/// An episode that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EpisodeError {
    #[error("failed to read {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is damaged or not an episode file of pbtnas: {reason}")]
    Damaged { path: PathBuf, reason: String },
}

impl EpisodeError {
    /// Whether the file does not exist, or was removed.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if source.kind() == io::ErrorKind::NotFound || source.raw_os_error() == Some(libc::ESTALE))
    }

    /// Whether the filesystem failed, so that a retry may help.
    pub fn is_storage_failure(&self) -> bool {
        matches!(self, Self::Io { .. }) && !self.is_gone()
    }
}

/// A finished episode, in a mapped file.
#[derive(Debug)]
pub struct Episode {
    path: PathBuf,
    map: Mmap,
    parts: EpisodeParts,
}

impl Episode {
    /// The bytes of a recording's file, which depend on the recording only. Takes 0.1 ms per frame.
    pub fn encode(recording: &Recording) -> anyhow::Result<Vec<u8>> {
        let mut packer = Packer::new()?;
        let (mut frames, mut offsets) = (Vec::new(), vec![0; 8]);
        for frame in recording.frames().chunks_exact(FRAME) {
            frames.extend(packer.pack(frame)?);
            offsets.extend((frames.len() as u64).to_le_bytes());
        }
        let bytes = |numbers: &[f32]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        let (actions, rewards) = (bytes(recording.actions()), bytes(recording.rewards()));
        let steps = recording.transitions();
        let tensors = [
            ("frames", TensorView::new(Dtype::U8, vec![frames.len()], &frames)?),
            ("offsets", TensorView::new(Dtype::U64, vec![steps + 2], &offsets)?),
            ("actions", TensorView::new(Dtype::F32, vec![steps, recording.action_size()], &actions)?),
            ("rewards", TensorView::new(Dtype::F32, vec![steps], &rewards)?),
        ];
        // Only one entry, since the order of several would differ between processes.
        let metadata = HashMap::from([("format".to_owned(), FORMAT.to_owned())]);
        Ok(serialize(tensors, Some(metadata))?)
    }

    /// Opens a file, and checks it against the digest in its name.
    #[allow(unsafe_code)]
    pub fn open(path: &Path) -> Result<Self, EpisodeError> {
        let io = |source| EpisodeError::Io { path: path.to_owned(), source };
        let damaged = |reason: String| EpisodeError::Damaged { path: path.to_owned(), reason };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() == 0 {
            return Err(damaged("it is empty".into()));
        }
        // Safety: an episode's file is never modified, and a removed one remains as long as it is mapped (on NFSv4 too,
        // no matter which machine removes it). If it is truncated or lost by a server nevertheless, access kills this
        // process (SIGBUS), which costs this member one attempt.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        let digest = digits(path).ok_or_else(|| damaged("its name has no digest".into()))?;
        if !Digest::of(&map).starts_with(digest) {
            return Err(damaged("its digest is not the one in its name".into()));
        }
        let parts = EpisodeParts::of(&map).map_err(damaged)?;
        Ok(Self { path: path.to_owned(), map, parts })
    }

    /// Number of transitions, T.
    pub fn transitions(&self) -> usize {
        self.parts.transitions
    }

    /// Size of an action, A.
    pub fn action_size(&self) -> usize {
        self.parts.action_size
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads action `index`, A numbers, into `action`.
    pub fn action(&self, index: usize, action: &mut [f32]) -> Result<(), EpisodeError> {
        let size = 4 * self.parts.action_size;
        let bytes = self.part(&self.parts.actions, index, size)?;
        for (number, bytes) in action.iter_mut().zip(bytes.chunks_exact(4)) {
            *number = f32::from_le_bytes(fixed(bytes));
        }
        Ok(())
    }

    /// Reward `index`.
    pub fn reward(&self, index: usize) -> Result<f32, EpisodeError> {
        Ok(f32::from_le_bytes(fixed(self.part(&self.parts.rewards, index, 4)?)))
    }

    /// Decompresses frame `index`, 0 to T, `(3, 84, 84)`.
    pub fn frame(&self, index: usize, unpacker: &mut Unpacker, frame: &mut [u8]) -> Result<(), EpisodeError> {
        let offset =
            |index| Ok(u64::from_le_bytes(fixed(self.part(&self.parts.offsets, index, 8)?)) as usize);
        let (start, end) = (offset(index)?, offset(index + 1)?);
        let packed = self.map.get(self.parts.frames.clone()).and_then(|frames| frames.get(start..end));
        let packed = packed.ok_or_else(|| self.damaged(format!("frame {index} is missing")))?;
        unpacker.unpack(packed, frame).map_err(|why| self.damaged(format!("frame {index}: {why}")))
    }

    /// Element `index` of a part whose elements have `size` bytes.
    fn part(&self, all: &Range<usize>, index: usize, size: usize) -> Result<&[u8], EpisodeError> {
        let found = index.checked_mul(size).and_then(|start| {
            let end = start.checked_add(size)?;
            self.map.get(all.clone())?.get(start..end)
        });
        found.ok_or_else(|| {
            self.damaged(format!(
                "it has {} transitions, so index {index} is invalid",
                self.parts.transitions
            ))
        })
    }

    fn damaged(&self, reason: String) -> EpisodeError {
        EpisodeError::Damaged { path: self.path.clone(), reason }
    }
}

/// An array with the bytes of a slice, padded with zeros.
fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    for (to, from) in array.iter_mut().zip(bytes) {
        *to = *from;
    }
    array
}

/// The digits of the digest in a file's name.
pub(super) fn digits(path: &Path) -> Option<&str> {
    let stem = path.file_name()?.to_str()?.strip_suffix(ENDING)?;
    stem.rsplit('-').next().filter(|digits| digits.len() == 32)
}

/// The byte ranges of a file's tensors.
#[derive(Debug)]
struct EpisodeParts {
    frames: Range<usize>,
    offsets: Range<usize>,
    actions: Range<usize>,
    rewards: Range<usize>,
    action_size: usize,
    transitions: usize,
}

impl EpisodeParts {
    /// Parses the header. The error is the reason why the file is invalid.
    fn of(bytes: &[u8]) -> Result<Self, String> {
        let (length, rest) = bytes.split_at_checked(8).ok_or("it ends within its header")?;
        let length = usize::try_from(u64::from_le_bytes(fixed(length))).unwrap_or(usize::MAX);
        let (header, data) =
            rest.split_at_checked(length).ok_or(format!("it announces a header of {length} bytes"))?;
        let header: Metadata =
            serde_json::from_slice(header).map_err(|error| format!("bad header: {error}"))?;
        if header.data_len() != data.len() {
            let (found, expected) = (data.len(), header.data_len());
            return Err(format!("it has {found} bytes behind its header instead of {expected}"));
        }
        let format = header.metadata().as_ref().and_then(|map| map.get("format"));
        if format.map(String::as_str) != Some(FORMAT) {
            return Err(format!("its format is {format:?}, and this program reads {FORMAT:?}"));
        }
        let tensor = |name: &str, dtype| {
            let info = header.info(name).filter(|info| info.dtype == dtype);
            let info = info.ok_or_else(|| format!("it lacks the tensor {name:?} of type {dtype:?}"))?;
            let (start, end) = info.data_offsets;
            Ok::<_, String>((info.shape.as_slice(), 8 + length + start..8 + length + end))
        };
        let (shape, actions) = tensor("actions", Dtype::F32)?;
        let [transitions, action_size] = *shape else {
            return Err("its actions do not have two dimensions".into());
        };
        let (shape, rewards) = tensor("rewards", Dtype::F32)?;
        let fits = shape == [transitions] && action_size > 0;
        let (shape, offsets) = tensor("offsets", Dtype::U64)?;
        let fits = fits && shape.len() == 1 && transitions.checked_add(2) == shape.first().copied();
        let (_, frames) = tensor("frames", Dtype::U8)?;
        if !fits {
            return Err("the shapes of its tensors do not match".into());
        }
        Ok(Self { frames, offsets, actions, rewards, action_size, transitions })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ACTION, episode, recording};
    use super::*;
    use proptest::prelude::*;

    /// The contents of an episode as a recording.
    fn read(episode: &Episode) -> Result<Recording, EpisodeError> {
        let steps = episode.transitions();
        let mut unpacker = Unpacker::new().unwrap();
        let (mut frames, mut actions) = (vec![0; (steps + 1) * FRAME], vec![0.0; steps * ACTION]);
        for (index, frame) in frames.chunks_exact_mut(FRAME).enumerate() {
            episode.frame(index, &mut unpacker, frame)?;
        }
        for (index, action) in actions.chunks_exact_mut(ACTION).enumerate() {
            episode.action(index, action)?;
        }
        let rewards = (0..steps).map(|index| episode.reward(index)).collect::<Result<_, _>>()?;
        Ok(Recording::from_parts(frames, actions, rewards, ACTION).unwrap())
    }

    #[test]
    fn index_beyond_the_end_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let episode = episode(dir.path(), &recording(1, 3));
        let mut frame = vec![0; FRAME];
        let mut unpacker = Unpacker::new().unwrap();
        assert!(episode.frame(3, &mut unpacker, &mut frame).is_ok());
        assert!(episode.frame(4, &mut unpacker, &mut frame).is_err());
        assert!(episode.reward(3).is_err() && episode.action(3, &mut [0.0; ACTION]).is_err());
        assert!(episode.reward(usize::MAX).is_err() && episode.reward(usize::MAX / 4).is_err());
        let error = episode.reward(3).unwrap_err().to_string();
        assert!(error.contains("3 transitions, so index 3 is invalid"), "{error}");
    }

    #[test]
    fn file_with_another_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = episode(dir.path(), &recording(1, 1)).path().to_owned();
        for name in ["e.safetensors", "e-0123456789abcdef0123456789abcdef.safetensors", "e-.safetensors"] {
            let renamed = dir.path().join(name);
            std::fs::copy(&path, &renamed).unwrap();
            assert!(matches!(Episode::open(&renamed), Err(EpisodeError::Damaged { .. })), "{name}");
        }
        let gone = Episode::open(&dir.path().join("gone"));
        assert!(matches!(gone, Err(EpisodeError::Io { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn episodes_survive_a_round_trip(seed: u64, steps in 0usize..6) {
            let dir = tempfile::tempdir().unwrap();
            let recorded = recording(seed, steps);
            prop_assert_eq!(Episode::encode(&recorded).unwrap(), Episode::encode(&recorded).unwrap());
            prop_assert_eq!(read(&episode(dir.path(), &recorded)).unwrap(), recorded);
        }

        #[test]
        fn damaged_file_is_refused(bit: prop::sample::Index, cut: prop::sample::Index) {
            let dir = tempfile::tempdir().unwrap();
            let path = episode(dir.path(), &recording(1, 2)).path().to_owned();
            let bytes = std::fs::read(&path).unwrap();
            let is_damaged = |bytes: &[u8]| {
                std::fs::write(&path, bytes).unwrap();
                matches!(Episode::open(&path), Err(EpisodeError::Damaged { .. }))
            };
            prop_assert!(is_damaged(&bytes[..cut.index(bytes.len())]));
            let bit = bit.index(bytes.len() * 8);
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(is_damaged(&flipped));
        }

        /// A file with a valid digest and wrong contents must not make the reader panic.
        #[test]
        fn invalid_contents_do_not_panic(
            at in 0usize..500, new: u8, cut in prop::option::of(any::<prop::sample::Index>())
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut bytes = Episode::encode(&recording(1, 2)).unwrap();
            bytes[at] = new;
            let bytes = &bytes[..cut.map_or(bytes.len(), |cut| cut.index(bytes.len()))];
            let path = dir.path().join(format!("e-{}.safetensors", Digest::of(bytes).short()));
            std::fs::write(&path, bytes).unwrap();
            if let Ok(episode) = Episode::open(&path) && episode.action_size() == ACTION {
                let _ = read(&episode);
            }
        }
    }
}
