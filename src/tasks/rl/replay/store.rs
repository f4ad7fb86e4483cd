//! The folder of a run's experience.
//!
//! ```text
//! ROOT/0007/03/000035500-DIGEST.safetensors           share = none: generation, member, first agent step
//! ROOT/node-HOST/000035500-03-DIGEST.safetensors      share = node: agent steps behind it, member
//! ROOT/run/000035500-03-DIGEST.safetensors            share = run
//! ```
//!
//! A member's own files are named in its checkpoints, so survivors and children name those of their ancestors, and
//! nothing is copied; what no checkpoint names any more, others remove. In a shared folder there is no list: everybody
//! looks for what is there, and whoever finds too much removes the oldest. Several processes do that at the same time,
//! on NFS too: a file may be gone between seeing and opening it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::episode::{ENDING, digits};
use super::publish::{host, is_temporary, publish, remove_abandoned};
use super::{Episode, EpisodeError, Pool};
use crate::checkpoint::Digest;
use crate::search::MemberId;

/// Who learns from a member's experience.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Share {
    /// The member, and who descends from it. Repeatable bit for bit.
    #[default]
    None,
    /// All members on its machine. What a member learns from depends on how fast the others are.
    Node,
    /// All members of the run, likewise.
    Run,
}

/// Files beyond the capacity that stay in a shared folder: at least so many, and a tenth of those that fit. Somebody
/// who is in the middle of an episode may still read them.
const SLACK: usize = 64;

/// The folder of experience, as one member in one generation sees it.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    share: Share,
    generation: u32,
    member: MemberId,
    /// Files of others that cannot be used; told once.
    damaged: BTreeSet<String>,
}

impl Store {
    /// Nothing is read or made yet.
    pub fn new(root: &Path, share: Share, generation: u32, member: MemberId) -> Self {
        Self { root: root.to_owned(), share, generation, member, damaged: BTreeSet::new() }
    }

    /// Brings a finished episode (see [`Episode::encode`]) to disk. `steps` are the agent steps that the member had
    /// lived through before it. Returns the file's name, relative to the root. Publishing the same again changes
    /// nothing. Where the disk is full there is an `io::Error` in the chain.
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

    /// Opens an episode by its name, checked against its digest.
    pub fn open(&self, name: &str) -> Result<Arc<Episode>, EpisodeError> {
        let path = self.root.join(name);
        if !is_name(name) {
            return Err(EpisodeError::Damaged { path, reason: "this is no name of an episode".into() });
        }
        Ok(Arc::new(Episode::open(&path)?))
    }

    /// The pool of episodes with these names (the oldest first): the newest that fit. What is missing or damaged is
    /// left out, with a message. Fails if the filesystem does.
    pub fn load(&self, names: &[String], capacity: usize) -> Result<Pool> {
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
                Err(error) if error.is_hindrance() => return Err(error.into()),
                Err(error) => {
                    eprintln!("pbtnas: {error}; this episode is left out");
                    lost += 1;
                }
            }
        }
        let mut pool = Pool::new(capacity);
        for (name, episode) in newest_first.into_iter().rev() {
            pool.push(name, episode);
        }
        if lost > 0 {
            eprintln!(
                "pbtnas: member {} goes on with {} transitions of experience, without {lost} of its episodes; it \
                 learns from fewer until it has lived as many again",
                self.member.0,
                pool.transitions(),
            );
        }
        Ok(pool)
    }

    /// Brings a pool up to date with a shared folder: the newest of all members that fit. Removes the oldest files
    /// where there are too many. Returns how many episodes are new in the pool. Does nothing with `share = "none"`.
    pub fn refresh(&mut self, pool: &mut Pool) -> Result<usize> {
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
                Err(error) if error.is_hindrance() => return Err(error.into()),
                Err(error) => {
                    eprintln!("pbtnas: {error}; nobody can learn from this episode: remove the file");
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
            // Somebody else may be at the same. If it fails, the next to come tries again.
            let _ = fs::remove_file(self.root.join(name));
        }
        let mut fresh = Pool::new(pool.capacity());
        for (name, episode) in newest_first.into_iter().rev() {
            fresh.push(&name, episode);
        }
        *pool = fresh;
        Ok(new)
    }

    /// The folder that is shared, relative to the root.
    fn shared(&self) -> String {
        match self.share {
            Share::Node => format!("node-{}", host()),
            _ => "run".into(),
        }
    }

    /// The names in the shared folder, the oldest first.
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
            if is_temporary(&file) {
                remove_abandoned(&entry.path());
            } else if let Some(order) = shared_order(&file) {
                names.push((order, name));
            }
        }
        names.sort();
        Ok(names.into_iter().map(|(_, name)| name).collect())
    }
}

/// The number at the start of a file's name in a shared folder, and the member.
fn shared_order(file: &str) -> Option<(u64, u32)> {
    digits(Path::new(file))?;
    let mut parts = file.split('-');
    let order = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (parts.count() == 1).then_some(order)
}

/// Whether a checkpoint may name such a file: one below the root, of an episode.
fn is_name(name: &str) -> bool {
    let plain = |part: &str| {
        !part.starts_with('.') && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
    };
    digits(Path::new(name)).is_some() && name.split('/').all(|part| !part.is_empty() && plain(part))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::{Duration, SystemTime};

    use super::super::testing::recording;
    use super::*;

    fn bytes(seed: u64, transitions: usize) -> Vec<u8> {
        Episode::encode(&recording(seed, transitions)).unwrap()
    }

    fn store(root: &Path, share: Share, member: u32) -> Store {
        Store::new(root, share, 7, MemberId(member))
    }

    /// What is in a folder.
    fn files(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn names(pool: &Pool) -> Vec<&str> {
        pool.names().collect()
    }

    #[test]
    fn a_member_s_own_episodes_are_found_by_their_names() {
        let root = tempfile::tempdir().unwrap();
        let own = store(root.path(), Share::None, 3);
        let published: Vec<String> = (0..3).map(|i| own.publish(500 * i, &bytes(i, 4)).unwrap()).collect();
        let digest = Digest::of(&bytes(1, 4));
        assert_eq!(published[1], format!("0007/03/000000500-{}.safetensors", digest.short()));
        // Once more, after a restart: nothing new.
        assert_eq!(own.publish(500, &bytes(1, 4)).unwrap(), published[1]);
        assert_eq!(files(&root.path().join("0007/03")).len(), 3, "and no temporary files");
        // Any other member can name them, in its own order.
        let heir = Store::new(root.path(), Share::None, 8, MemberId(0));
        let pool = heir.load(&published, 100).unwrap();
        assert_eq!((names(&pool), pool.transitions()), (published.iter().map(String::as_str).collect(), 12));
        assert_eq!(names(&heir.load(&published, 8).unwrap()), published[1..]);
        assert_eq!(names(&heir.load(&published, 1).unwrap()), published[2..], "one at least");
        let mut pool = heir.load(&[], 8).unwrap();
        assert_eq!(pool.transitions(), 0);
        let mut heir = heir;
        assert_eq!(heir.refresh(&mut pool).unwrap(), 0);
    }

    #[test]
    fn what_is_missing_or_damaged_is_left_out() {
        let root = tempfile::tempdir().unwrap();
        let own = store(root.path(), Share::None, 0);
        let published: Vec<String> = (0..4).map(|i| own.publish(i, &bytes(i, 4)).unwrap()).collect();
        fs::remove_file(root.path().join(&published[1])).unwrap();
        let file = root.path().join(&published[2]);
        let mut damaged = fs::read(&file).unwrap();
        damaged[1000] ^= 1;
        fs::write(&file, damaged).unwrap();
        // Room for two: those behind the holes move up.
        let pool = own.load(&published, 8).unwrap();
        assert_eq!(names(&pool), [&published[0], &published[3]]);
        let elsewhere = format!("../{}", published[0]);
        for name in ["", "/etc/passwd", "0007/00/x.safetensors", elsewhere.as_str()] {
            assert!(matches!(own.open(name), Err(EpisodeError::Damaged { .. })), "{name}");
        }
    }

    #[test]
    fn a_damaged_file_that_is_published_again_is_sound_again() {
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
    fn a_filesystem_that_refuses_is_no_loss() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let nowhere = store(&file, Share::None, 0);
        let error = nowhere.publish(0, &bytes(1, 1)).unwrap_err();
        assert!(error.chain().any(|cause| cause.is::<io::Error>()), "{error:?}");
        assert!(error.to_string().contains("failed to write") && error.to_string().contains("file/0007/00/"));
        let digits = "0123456789abcdef0123456789abcdef";
        let error = nowhere.load(&[format!("0007/00/000000000-{digits}.safetensors")], 9).unwrap_err();
        assert!(error.downcast_ref::<EpisodeError>().unwrap().is_hindrance());
    }

    #[test]
    fn members_that_share_learn_from_the_newest_of_all() {
        let root = tempfile::tempdir().unwrap();
        let (mut one, mut two) = (store(root.path(), Share::Run, 1), store(root.path(), Share::Run, 2));
        let mut pool = Pool::new(12);
        assert_eq!(one.refresh(&mut pool).unwrap(), 0, "there is no folder yet");
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
        // A straggler does not push newer ones out.
        let late = two.publish(15, &bytes(99, 4)).unwrap();
        let early = two.publish(5, &bytes(98, 4)).unwrap();
        assert_eq!(one.refresh(&mut pool).unwrap(), 1);
        assert_eq!(names(&pool), [&late, &published[2], &published[3]]);
        // One of them goes, and one is damaged.
        fs::remove_file(root.path().join(&late)).unwrap();
        fs::write(root.path().join(&published[1]), "x").unwrap();
        let mut anew = Pool::new(12);
        assert_eq!(two.refresh(&mut anew).unwrap(), 3);
        assert_eq!(names(&anew), [&published[0], &published[2], &published[3]]);
        assert!(root.path().join(early).exists(), "within what is left for others");
    }

    #[test]
    fn machines_have_folders_of_their_own() {
        let root = tempfile::tempdir().unwrap();
        let mut node = store(root.path(), Share::Node, 1);
        node.publish(0, &bytes(1, 4)).unwrap();
        let folder = format!("node-{}", host());
        assert_eq!(files(root.path()), [folder.as_str()]);
        // Of another machine.
        fs::rename(root.path().join(&folder), root.path().join("node-elsewhere")).unwrap();
        assert_eq!(node.refresh(&mut Pool::new(100)).unwrap(), 0);
    }

    #[test]
    fn the_oldest_files_are_removed_but_for_some_slack() {
        let root = tempfile::tempdir().unwrap();
        let mut own = store(root.path(), Share::Run, 0);
        let bytes = bytes(1, 2);
        for steps in 0..80 {
            own.publish(steps, &bytes).unwrap();
        }
        let mut pool = Pool::new(10);
        assert_eq!(own.refresh(&mut pool).unwrap(), 5);
        let left = files(&root.path().join("run"));
        assert_eq!(left.len(), 5 + SLACK);
        assert!(left[0].starts_with("000000011-00-"), "{}", left[0]);
    }

    #[test]
    fn what_a_killed_process_left_is_ignored_and_goes_after_a_day() {
        let root = tempfile::tempdir().unwrap();
        let mut own = store(root.path(), Share::Run, 0);
        own.publish(0, &bytes(1, 2)).unwrap();
        let folder = root.path().join("run");
        for (name, hours) in [(".tmp-a-1", 1), (".tmp-b-1", 30)] {
            let file = fs::File::create(folder.join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(3600 * hours)).unwrap();
        }
        fs::write(folder.join("notes.txt"), "").unwrap();
        assert_eq!(own.refresh(&mut Pool::new(10)).unwrap(), 1);
        let left = files(&folder);
        assert_eq!(left.len(), 3, "{left:?}");
        assert_eq!((left[0].as_str(), left[2].as_str()), (".tmp-a-1", "notes.txt"));
    }

    const ROLE: &str = "PBTNAS_TEST_STORE";

    /// Four processes publish, look and remove at the same time; this test is also what each of them runs.
    #[test]
    fn processes_share_a_folder() {
        const EPISODES: u64 = 40;
        let Ok(role) = std::env::var(ROLE) else {
            let root = tempfile::tempdir().unwrap();
            let name = "tasks::rl::replay::store::tests::processes_share_a_folder";
            let mut members: Vec<_> = (0..4)
                .map(|member| {
                    let mut command = Command::new(std::env::current_exe().unwrap());
                    command.args(["--exact", name]).env(ROLE, format!("{member}:{}", root.path().display()));
                    command.stdout(Stdio::null()).spawn().unwrap()
                })
                .collect();
            assert!(members.iter_mut().all(|member| member.wait().unwrap().success()));
            let mut pool = Pool::new(20);
            store(root.path(), Share::Run, 0).refresh(&mut pool).unwrap();
            assert_eq!(pool.transitions(), 20);
            // The last of each member, and the ones before.
            for member in 0..4 {
                let newest = format!("run/{:09}-{member:02}-", EPISODES - 1);
                assert!(pool.names().any(|name| name.starts_with(&newest)), "{newest}");
            }
            let left = files(&root.path().join("run"));
            assert_eq!(left.len(), 10 + SLACK, "whole files alone: {left:?}");
            return;
        };
        let (member, root) = role.split_once(':').unwrap();
        let mut own = store(Path::new(root), Share::Run, member.parse().unwrap());
        let mut pool = Pool::new(20);
        for steps in 0..EPISODES {
            let seed = 1000 * (1 + u64::from(own.member.0)) + steps;
            let name = own.publish(steps, &bytes(seed, 2)).unwrap();
            own.refresh(&mut pool).unwrap();
            assert!(pool.transitions() <= 20 && own.damaged.is_empty());
            // Whoever is ahead has its own, and all of it can be read.
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
