//! Writes a film of an episode as an animated PNG: browsers play it, it is lossless, and only one frame is in memory.
//!
//! Each frame contains only the rectangle that has changed, unfiltered: PNG's filters would enlarge these images, which
//! have few colours (walker at 256x256: 29 KB a frame unfiltered, 35 to 39 KB filtered).

use std::fs::{self, File};
use std::io::BufWriter;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use png::{BitDepth, ColorType, Compression, Encoder, EncodingError, Filter, Writer};

/// Bytes of a pixel.
const RGB: usize = 3;

/// A film that is being written. [`Video::finish`] renames it to its final name; if dropped before, it leaves no file.
pub struct Video {
    writer: Writer<BufWriter<File>>,
    file: File,
    temporary: Temporary,
    path: PathBuf,
    width: usize,
    height: usize,
    /// Number of frames that have not been added yet.
    missing: u32,
    /// The last frame; empty at first.
    shown: Vec<u8>,
}

/// Removes the file when dropped, unless it was renamed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Video {
    /// Begins a film of exactly `frames` frames, played in a loop. The folder must exist; an existing file is replaced
    /// at the end.
    pub fn create(
        path: &Path,
        (width, height): (usize, usize),
        frames: u32,
        frames_per_second: u16,
    ) -> Result<Self> {
        let name = path.file_name().with_context(|| format!("{} does not name a file", path.display()))?;
        let hidden = format!(".tmp-{}-{}", std::process::id(), name.to_string_lossy());
        let path = path.to_owned();
        let temporary = path.with_file_name(hidden);
        let failed = || format!("failed to write {}", temporary.display());
        let file = File::create(&temporary).with_context(failed)?;
        let guard = Temporary(temporary.clone());
        let begin = || {
            let out = BufWriter::new(file.try_clone()?);
            let mut encoder = Encoder::new(out, u32::try_from(width)?, u32::try_from(height)?);
            encoder.set_color(ColorType::Rgb);
            encoder.set_depth(BitDepth::Eight);
            encoder.set_compression(Compression::Balanced);
            encoder.set_filter(Filter::NoFilter);
            encoder.set_animated(frames, 0).map_err(plain)?;
            encoder.set_frame_delay(1, frames_per_second.max(1)).map_err(plain)?;
            encoder.write_header().map_err(plain)
        };
        let writer = begin().with_context(failed)?;
        let shown = Vec::new();
        Ok(Self { writer, file, temporary: guard, path, width, height, missing: frames, shown })
    }

    /// Adds a frame `(height, width, 3)`.
    pub fn push(&mut self, frame: &[u8]) -> Result<()> {
        let (size, path) = (self.width * self.height * RGB, self.path.display());
        if frame.len() != size {
            bail!("a frame of {} bytes instead of {size} for {path}", frame.len());
        }
        self.missing = self.missing.checked_sub(1).with_context(|| format!("too many frames for {path}"))?;
        let (rows, columns) = if self.shown.is_empty() {
            (0..self.height, 0..self.width)
        } else {
            changed(&self.shown, frame, self.width)
        };
        let mut part = Vec::with_capacity(rows.len() * columns.len() * RGB);
        for row in frame.chunks_exact(self.width * RGB).skip(rows.start).take(rows.len()) {
            part.extend_from_slice(&row[columns.start * RGB..columns.end * RGB]);
        }
        self.write(&rows, &columns, &part)
            .with_context(|| format!("failed to write {}", self.temporary.0.display()))?;
        self.shown.clear();
        self.shown.extend_from_slice(frame);
        Ok(())
    }

    fn write(&mut self, rows: &Range<usize>, columns: &Range<usize>, part: &[u8]) -> Result<()> {
        let number = |number: usize| u32::try_from(number);
        // Position and size must fit together after each call.
        self.writer.set_frame_position(0, 0).map_err(plain)?;
        self.writer.set_frame_dimension(number(columns.len())?, number(rows.len())?).map_err(plain)?;
        self.writer.set_frame_position(number(columns.start)?, number(rows.start)?).map_err(plain)?;
        self.writer.write_image_data(part).map_err(plain)
    }

    /// Completes the film and renames it to its final name. Fails if frames are missing.
    pub fn finish(self) -> Result<()> {
        let Self { writer, file, temporary, path, missing, .. } = self;
        if missing > 0 {
            bail!("{} lacks {missing} frames", path.display());
        }
        let whole = writer.finish().map_err(plain).and_then(|()| Ok(file.sync_all()?));
        whole.with_context(|| format!("failed to write {}", temporary.0.display()))?;
        fs::rename(&temporary.0, &path).with_context(|| format!("failed to write {}", path.display()))
    }
}

/// Unwraps an error of the operating system, so that callers can recognise it.
fn plain(error: EncodingError) -> anyhow::Error {
    match error {
        EncodingError::IoError(error) => error.into(),
        other => anyhow!(other),
    }
}

/// Rows and columns of the smallest rectangle with all pixels that differ; one pixel if none does.
fn changed(before: &[u8], now: &[u8], width: usize) -> (Range<usize>, Range<usize>) {
    let mut found = None;
    let lines = before.chunks_exact(width * RGB).zip(now.chunks_exact(width * RGB));
    for (y, (before, now)) in lines.enumerate().filter(|(_, (before, now))| before != now) {
        let differ = |&i: &usize| before.get(i) != now.get(i);
        let first = (0..now.len()).find(differ).unwrap_or(0) / RGB;
        let last = (0..now.len()).rev().find(differ).unwrap_or(0) / RGB;
        let (rows, columns): (Range<usize>, Range<usize>) = found.unwrap_or((y..y, first..first));
        found = Some((rows.start..y + 1, columns.start.min(first)..columns.end.max(last + 1)));
    }
    found.unwrap_or((0..1, 0..1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::BufReader;

    const SIZE: (usize, usize) = (7, 5);

    /// The frames that a player shows, and their duration in seconds.
    fn play(path: &Path) -> (Vec<Vec<u8>>, f64) {
        let mut reader = png::Decoder::new(BufReader::new(File::open(path).unwrap())).read_info().unwrap();
        let animation = reader.info().animation_control.unwrap();
        assert_eq!(animation.num_plays, 0);
        let mut shown = vec![0; SIZE.0 * SIZE.1 * RGB];
        let mut part = vec![0; reader.output_buffer_size().unwrap()];
        let (mut frames, mut seconds) = (Vec::new(), 0.0);
        for _ in 0..animation.num_frames {
            reader.next_frame(&mut part).unwrap();
            let frame = reader.info().frame_control.unwrap();
            let (width, x) = (frame.width as usize * RGB, frame.x_offset as usize * RGB);
            for (row, part) in part.chunks_exact(width).take(frame.height as usize).enumerate() {
                let y = frame.y_offset as usize + row;
                shown[y * SIZE.0 * RGB + x..][..width].copy_from_slice(part);
            }
            seconds += f64::from(frame.delay_num) / f64::from(frame.delay_den);
            frames.push(shown.clone());
        }
        (frames, seconds)
    }

    fn names(dir: &Path) -> Vec<String> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_frame_is_shown_unchanged(
            first in prop::collection::vec(any::<u8>(), SIZE.0 * SIZE.1 * RGB),
            changes in prop::collection::vec(
                prop::collection::vec((0..SIZE.0 * SIZE.1 * RGB, any::<u8>()), 0..4), 0..6),
        ) {
            let mut frames = vec![first];
            for changes in changes {
                let mut frame = frames[frames.len() - 1].clone();
                changes.into_iter().for_each(|(at, value)| frame[at] = value);
                frames.push(frame);
            }
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("film.png");
            let mut video = Video::create(&path, SIZE, frames.len() as u32, 25).unwrap();
            for frame in &frames {
                video.push(frame).unwrap();
            }
            prop_assert!(!path.exists());
            video.finish().unwrap();
            let (shown, seconds) = play(&path);
            prop_assert!((seconds - frames.len() as f64 / 25.0).abs() < 1e-9);
            prop_assert_eq!(shown, frames);
            prop_assert_eq!(names(dir.path()), ["film.png"]);
        }
    }

    #[test]
    fn incomplete_film_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("film.png");
        let frame = vec![1; SIZE.0 * SIZE.1 * RGB];
        let mut video = Video::create(&path, SIZE, 2, 25).unwrap();
        assert!(video.push(&frame[1..]).unwrap_err().to_string().contains("104 bytes instead of 105"));
        video.push(&frame).unwrap();
        assert!(video.finish().unwrap_err().to_string().contains("lacks 1 frames"));
        assert!(names(dir.path()).is_empty());
        let mut video = Video::create(&path, SIZE, 1, 25).unwrap();
        video.push(&frame).unwrap();
        assert!(video.push(&frame).unwrap_err().to_string().contains("too many frames"));
        drop(video);
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn filesystem_error_is_in_the_chain() {
        let nowhere = Path::new("/dev/null/film.png");
        let error = Video::create(nowhere, SIZE, 1, 25).err().unwrap();
        assert!(error.chain().any(|cause| cause.is::<std::io::Error>()), "{error:?}");
    }
}
