//! The folder of a run's experience: files of finished episodes.
//!
//! ```text
//! ROOT/0007/03/000035500-DIGEST.safetensors           share = none: generation, member, first agent step
//! ROOT/node-HOST/000035500-03-DIGEST.safetensors      share = node: first agent step, member
//! ROOT/run/000035500-03-DIGEST.safetensors            share = run
//! ```
//!
//! With `share = none`, checkpoints name the files of their member, so that survivors and offspring refer to files of
//! their ancestors without copies; checkpoint retention removes files that no checkpoint names. A shared folder has no
//! list: members read all its files, and remove the oldest if there are too many. Several processes do so concurrently,
//! on NFS too, so a file that was listed may be gone when it is opened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::episode::{ENDING, digits};
use super::{Episode, EpisodeError, EpisodePool, Share};
use pbtnas_core::durable_fs::{Digest, StorageError, TEMPORARY, ensure_dir, stage};
use pbtnas_core::search::MemberId;

/// Files beyond the capacity that remain in a shared folder: this many, or a tenth of those that fit if that is more.
/// Members within an episode may still read them.
const SLACK: usize = 64;
/// Age above which a temporary file is abandoned; far above any difference between the clocks of two machines.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// The experience of one member in one generation.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    share: Share,
    generation: u32,
    member: MemberId,
    /// Damaged files, which are reported once.
    damaged: BTreeSet<String>,
}

impl Store {
    /// Does not access the filesystem.
    pub fn new(root: &Path, share: Share, generation: u32, member: MemberId) -> Self {
        Self { root: root.to_owned(), share, generation, member, damaged: BTreeSet::new() }
    }

    /// Publishes a finished episode (see [`Episode::encode`]); `steps` is the number of agent steps before it. Returns
    /// the name of the file relative to the root. Publishing the same episode again has no effect. If the disk is full,
    /// the chain of errors has an `io::Error`.
    pub fn publish(&self, steps: u64, episode: &[u8]) -> Result<String> {
        let (member, digest) = (self.member.0, Digest::of(episode));
        let digest = digest.short();
        let (folder, file) = match self.share {
            Share::None => {
                (format!("{:04}/{member:02}", self.generation), format!("{steps:09}-{digest}{ENDING}"))
            }
            Share::Node | Share::Run => (self.shared(), format!("{steps:09}-{member:02}-{digest}{ENDING}")),
        };
        let name = format!("{folder}/{file}");
        publish(&self.root.join(folder), &file, episode)
            .with_context(|| format!("failed to write {}", self.root.join(&name).display()))?;
        Ok(name)
    }

    /// Opens an episode by its name, and checks its digest.
    pub fn open(&self, name: &str) -> Result<Arc<Episode>, EpisodeError> {
        let path = self.root.join(name);
        if !is_name(name) {
            return Err(EpisodeError::Damaged { path, reason: "invalid name of an episode".into() });
        }
        Ok(Arc::new(Episode::open(&path)?))
    }

    /// A pool of the newest episodes that fit, from names in the order of age, the oldest first. Missing and damaged
    /// files are reported and left out. Fails if the filesystem fails.
    pub fn load(&self, names: &[String], capacity: usize) -> Result<EpisodePool> {
        let (mut newest_first, mut transitions, mut lost) = (Vec::new(), 0, 0);
        for name in names.iter().rev() {
            if transitions >= capacity {
                break;
            }
            match self.open(name) {
                Ok(episode) => {
                    transitions += episode.transitions();
                    newest_first.push((name, episode));
                }
                Err(error) if error.is_storage_failure() => return Err(error.into()),
                Err(error) => {
                    tracing::warn!("{error}; the episode is left out");
                    lost += 1;
                }
            }
        }
        let mut pool = EpisodePool::new(capacity);
        for (name, episode) in newest_first.into_iter().rev() {
            pool.push(name, episode);
        }
        if lost > 0 {
            tracing::warn!(
                "member {} continues with {} transitions of experience: {lost} of its episodes are missing or \
                 damaged",
                self.member.0,
                pool.transitions(),
            );
        }
        Ok(pool)
    }

    /// Updates a pool with the newest episodes of a shared folder that fit, and removes the oldest files if there are
    /// too many. Returns the number of episodes that are new in the pool. Does nothing with `share = "none"`.
    pub fn refresh(&mut self, pool: &mut EpisodePool) -> Result<usize> {
        if self.share == Share::None {
            return Ok(0);
        }
        let names = self.list()?;
        let known: BTreeMap<String, Arc<Episode>> = pool.items().collect();
        let (mut newest_first, mut transitions, mut new, mut room) = (Vec::new(), 0, 0, true);
        let mut beyond = Vec::new();
        for name in names.into_iter().rev() {
            if !room {
                beyond.push(name);
                continue;
            }
            let opened = match known.get(&name) {
                _ if self.damaged.contains(&name) => continue,
                Some(episode) => Ok(episode.clone()),
                None => self.open(&name).inspect(|_| new += 1),
            };
            let episode = match opened {
                Ok(episode) => episode,
                Err(error) if error.is_gone() => continue,
                Err(error) if error.is_storage_failure() => return Err(error.into()),
                Err(error) => {
                    tracing::warn!("{error}; the episode is skipped: remove the file");
                    self.damaged.insert(name);
                    continue;
                }
            };
            transitions += episode.transitions();
            newest_first.push((name, episode));
            room = transitions < pool.capacity();
        }
        let slack = SLACK.max(newest_first.len() / 10);
        for name in beyond.iter().skip(slack) {
            // Another member may be removing the same file. After a failure, the next refresh tries again.
            let _ = fs::remove_file(self.root.join(name));
        }
        let mut fresh = EpisodePool::new(pool.capacity());
        for (name, episode) in newest_first.into_iter().rev() {
            fresh.push(&name, episode);
        }
        *pool = fresh;
        Ok(new)
    }

    /// The shared folder, relative to the root.
    fn shared(&self) -> String {
        match self.share {
            Share::Node => format!("node-{}", host()),
            _ => "run".into(),
        }
    }

    /// The names of the episodes in the shared folder, the oldest first.
    fn list(&self) -> Result<Vec<String>> {
        let folder = self.shared();
        let path = self.root.join(&folder);
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("failed to read {}", path.display()))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| format!("failed to read {}", path.display()))?;
            let Ok(file) = entry.file_name().into_string() else { continue };
            let name = format!("{folder}/{file}");
            if file.starts_with(TEMPORARY) {
                remove_abandoned(&entry.path());
            } else if let Some(order) = shared_order(&file) {
                names.push((order, name));
            }
        }
        names.sort();
        Ok(names.into_iter().map(|(_, name)| name).collect())
    }
}

/// Publishes a file in a directory, which is created if it is missing. The name has the digest of the contents: an
/// existing file of that name with other contents is damaged, and is replaced; processes that have it open keep the old
/// contents.
fn publish(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
    ensure_dir(dir)?;
    let path = dir.join(name);
    let (staged, ()) = stage(dir, |file| file.write_all(bytes).map_err(StorageError::at("write", &path)))?;
    match fs::read(&path) {
        Ok(there) if there != bytes => staged.replace(name),
        _ => staged.publish(name).map(drop),
    }
}

/// Removes a temporary file that is older than [`ABANDONED`].
fn remove_abandoned(file: &Path) {
    let age = fs::metadata(file).and_then(|found| found.modified()).ok().and_then(|time| time.elapsed().ok());
    if age.is_some_and(|age| age > ABANDONED) {
        let _ = fs::remove_file(file);
    }
}

/// The name of this machine, with characters that are valid in the name of a file.
fn host() -> String {
    pbtnas_core::durable_fs::host().replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")
}

/// The number of steps and the member in the name of a file in a shared folder.
fn shared_order(file: &str) -> Option<(u64, u32)> {
    digits(Path::new(file))?;
    let mut parts = file.split('-');
    let order = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (parts.count() == 1).then_some(order)
}

/// Whether a name is that of an episode file below the root.
fn is_name(name: &str) -> bool {
    let plain = |part: &str| {
        !part.starts_with('.') && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
    };
    digits(Path::new(name)).is_some() && name.split('/').all(|part| !part.is_empty() && plain(part))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::SystemTime;

    use super::super::testing::recording;
    use super::*;

    fn bytes(seed: u64, transitions: usize) -> Vec<u8> {
        Episode::encode(&recording(seed, transitions)).unwrap()
    }

    fn store(root: &Path, share: Share, member: u32) -> Store {
        Store::new(root, share, 7, MemberId(member))
    }

    /// Sorted names of the files in a folder.
    fn files(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn names(pool: &EpisodePool) -> Vec<&str> {
        pool.names().collect()
    }

    #[test]
    fn episodes_are_loaded_by_name() {
        let root = tempfile::tempdir().unwrap();
        let own = store(root.path(), Share::None, 3);
        let published: Vec<String> = (0..3).map(|i| own.publish(500 * i, &bytes(i, 4)).unwrap()).collect();
        let digest = Digest::of(&bytes(1, 4));
        assert_eq!(published[1], format!("0007/03/000000500-{}.safetensors", digest.short()));
        // Publishing again after a restart has no effect.
        assert_eq!(own.publish(500, &bytes(1, 4)).unwrap(), published[1]);
        assert_eq!(files(&root.path().join("0007/03")).len(), 3, "and no temporary files");
        // Another member can load them.
        let heir = Store::new(root.path(), Share::None, 8, MemberId(0));
        let pool = heir.load(&published, 100).unwrap();
        assert_eq!((names(&pool), pool.transitions()), (published.iter().map(String::as_str).collect(), 12));
        assert_eq!(names(&heir.load(&published, 8).unwrap()), published[1..]);
        assert_eq!(names(&heir.load(&published, 1).unwrap()), published[2..], "at least one");
        let mut pool = heir.load(&[], 8).unwrap();
        assert_eq!(pool.transitions(), 0);
        let mut heir = heir;
        assert_eq!(heir.refresh(&mut pool).unwrap(), 0);
    }

    #[test]
    fn missing_and_damaged_episodes_are_left_out() {
        let root = tempfile::tempdir().unwrap();
        let own = store(root.path(), Share::None, 0);
        let published: Vec<String> = (0..4).map(|i| own.publish(i, &bytes(i, 4)).unwrap()).collect();
        fs::remove_file(root.path().join(&published[1])).unwrap();
        let file = root.path().join(&published[2]);
        let mut damaged = fs::read(&file).unwrap();
        damaged[1000] ^= 1;
        fs::write(&file, damaged).unwrap();
        // Older episodes take the place of the two.
        let pool = own.load(&published, 8).unwrap();
        assert_eq!(names(&pool), [&published[0], &published[3]]);
        let elsewhere = format!("../{}", published[0]);
        for name in ["", "/etc/passwd", "0007/00/x.safetensors", elsewhere.as_str()] {
            assert!(matches!(own.open(name), Err(EpisodeError::Damaged { .. })), "{name}");
        }
    }

    #[test]
    fn publishing_replaces_a_damaged_file() {
        let root = tempfile::tempdir().unwrap();
        for share in [Share::None, Share::Run] {
            let own = store(root.path(), share, 0);
            let name = own.publish(0, &bytes(1, 4)).unwrap();
            let file = root.path().join(&name);
            for damaged in [vec![], bytes(1, 4)[1..].to_vec(), [&bytes(1, 4)[..], b"x"].concat()] {
                fs::write(&file, damaged).unwrap();
                assert!(own.open(&name).is_err());
                assert_eq!(own.publish(0, &bytes(1, 4)).unwrap(), name);
                assert!(own.open(&name).is_ok());
            }
            assert_eq!(files(file.parent().unwrap()).len(), 1, "and no temporary files");
        }
    }

    #[test]
    fn filesystem_errors_are_recognised() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let nowhere = store(&file, Share::None, 0);
        let error = nowhere.publish(0, &bytes(1, 1)).unwrap_err();
        assert!(error.chain().any(|cause| cause.is::<io::Error>()), "{error:?}");
        assert!(error.to_string().contains("failed to write") && error.to_string().contains("file/0007/00/"));
        let digits = "0123456789abcdef0123456789abcdef";
        let error = nowhere.load(&[format!("0007/00/000000000-{digits}.safetensors")], 9).unwrap_err();
        assert!(error.downcast_ref::<EpisodeError>().unwrap().is_storage_failure());
    }

    #[test]
    fn shared_pool_has_the_newest_episodes_of_all_members() {
        let root = tempfile::tempdir().unwrap();
        let (mut one, mut two) = (store(root.path(), Share::Run, 1), store(root.path(), Share::Run, 2));
        let mut pool = EpisodePool::new(12);
        assert_eq!(one.refresh(&mut pool).unwrap(), 0, "the folder does not exist yet");
        let mut published = Vec::new();
        for steps in [10, 20] {
            for (member, store) in [(1, &one), (2, &two)] {
                published.push(store.publish(steps, &bytes(steps * member, 4)).unwrap());
            }
        }
        assert!(published[1].starts_with("run/000000010-02-"));
        assert_eq!(one.refresh(&mut pool).unwrap(), 3);
        assert_eq!(names(&pool), published[1..]);
        assert_eq!(one.refresh(&mut pool).unwrap(), 0);
        // Late episodes with fewer steps do not displace newer ones.
        let late = two.publish(15, &bytes(99, 4)).unwrap();
        let early = two.publish(5, &bytes(98, 4)).unwrap();
        assert_eq!(one.refresh(&mut pool).unwrap(), 1);
        assert_eq!(names(&pool), [&late, &published[2], &published[3]]);
        // One file is removed, and one damaged.
        fs::remove_file(root.path().join(&late)).unwrap();
        fs::write(root.path().join(&published[1]), "x").unwrap();
        let mut reloaded = EpisodePool::new(12);
        assert_eq!(two.refresh(&mut reloaded).unwrap(), 3);
        assert_eq!(names(&reloaded), [&published[0], &published[2], &published[3]]);
        assert!(root.path().join(early).exists(), "within the slack");
    }

    #[test]
    fn each_machine_has_its_own_folder() {
        let root = tempfile::tempdir().unwrap();
        let mut node = store(root.path(), Share::Node, 1);
        node.publish(0, &bytes(1, 4)).unwrap();
        let folder = format!("node-{}", host());
        assert_eq!(files(root.path()), [folder.as_str()]);
        // As if another machine had written it.
        fs::rename(root.path().join(&folder), root.path().join("node-elsewhere")).unwrap();
        assert_eq!(node.refresh(&mut EpisodePool::new(100)).unwrap(), 0);
    }

    #[test]
    fn oldest_files_beyond_the_slack_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let mut own = store(root.path(), Share::Run, 0);
        let bytes = bytes(1, 2);
        for steps in 0..80 {
            own.publish(steps, &bytes).unwrap();
        }
        let mut pool = EpisodePool::new(10);
        assert_eq!(own.refresh(&mut pool).unwrap(), 5);
        let left = files(&root.path().join("run"));
        assert_eq!(left.len(), 5 + SLACK);
        assert!(left[0].starts_with("000000011-00-"), "{}", left[0]);
    }

    #[test]
    fn temporary_files_are_ignored_and_removed_after_a_day() {
        let root = tempfile::tempdir().unwrap();
        let mut own = store(root.path(), Share::Run, 0);
        own.publish(0, &bytes(1, 2)).unwrap();
        let folder = root.path().join("run");
        for (name, hours) in [(".tmp-a-1", 1), (".tmp-b-1", 30)] {
            let file = fs::File::create(folder.join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(3600 * hours)).unwrap();
        }
        fs::write(folder.join("notes.txt"), "").unwrap();
        assert_eq!(own.refresh(&mut EpisodePool::new(10)).unwrap(), 1);
        let left = files(&folder);
        assert_eq!(left.len(), 3, "{left:?}");
        assert_eq!((left[0].as_str(), left[2].as_str()), (".tmp-a-1", "notes.txt"));
    }

    const ROLE: &str = "PBTNAS_TEST_STORE";

    /// Four processes publish, refresh and remove concurrently; each of them runs this test as a member.
    #[test]
    fn processes_share_a_folder() {
        const EPISODES: u64 = 40;
        let Ok(role) = std::env::var(ROLE) else {
            let root = tempfile::tempdir().unwrap();
            let (_, module) = module_path!().split_once("::").unwrap();
            let name = format!("{module}::processes_share_a_folder");
            let mut members: Vec<_> = (0..4)
                .map(|member| {
                    let mut command = Command::new(std::env::current_exe().unwrap());
                    command.args(["--exact", &name]).env(ROLE, format!("{member}:{}", root.path().display()));
                    command.stdout(Stdio::null()).spawn().unwrap()
                })
                .collect();
            assert!(members.iter_mut().all(|member| member.wait().unwrap().success()));
            let mut pool = EpisodePool::new(20);
            store(root.path(), Share::Run, 0).refresh(&mut pool).unwrap();
            assert_eq!(pool.transitions(), 20);
            // The last episode of each member.
            for member in 0..4 {
                let newest = format!("run/{:09}-{member:02}-", EPISODES - 1);
                assert!(pool.names().any(|name| name.starts_with(&newest)), "{newest}");
            }
            let left = files(&root.path().join("run"));
            assert_eq!(left.len(), 10 + SLACK, "only complete files: {left:?}");
            return;
        };
        let (member, root) = role.split_once(':').unwrap();
        let mut own = store(Path::new(root), Share::Run, member.parse().unwrap());
        let mut pool = EpisodePool::new(20);
        for steps in 0..EPISODES {
            let seed = 1000 * (1 + u64::from(own.member.0)) + steps;
            let name = own.publish(steps, &bytes(seed, 2)).unwrap();
            own.refresh(&mut pool).unwrap();
            assert!(pool.transitions() <= 20 && own.damaged.is_empty());
            // All episodes can be read, and the member's own has its contents.
            let mut unpacker = super::super::Unpacker::new().unwrap();
            let mut frame = vec![0; super::super::FRAME];
            for (other, episode) in pool.items() {
                episode.frame(2, &mut unpacker, &mut frame).unwrap();
                if other == name {
                    assert_eq!(frame, recording(seed, 2).frames()[2 * super::super::FRAME..]);
                }
            }
        }
    }
}
