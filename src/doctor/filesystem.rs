//! Whether a filesystem has the properties that a run needs (docs/fault-tolerance.md), tested with the functions that
//! a run uses.

use std::path::Path;
use std::time::{Duration, Instant};

use super::finding::{Area, Finding, Verdict};
use super::mount::{self, Mount, Reach};
use super::space::{Held, Need};
use crate::fmt;
use pbtnas_core::durable_fs::{Lock, Published, publish_bytes};
use pbtnas_core::fault::message;
use pbtnas_core::run::{FORMAT, read_json, replace_json};
#[cfg(feature = "torch")]
use pbtnas_torch::gan::map;

const AREA: Area = Area::Filesystem;
/// Concurrent writers of one name.
const WRITERS: usize = 8;
const ROUNDS: usize = 20;
/// Publishing a small file is reported as slow above this time; a good filesystem takes a few milliseconds.
const SLOW: Duration = Duration::from_millis(500);

/// What the run requires of the filesystem.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Whether jobs on other machines must see the folder.
    pub jobs: bool,
    /// Whether a job will check that.
    pub checked_by_job: bool,
    /// The largest size of the run, or why it is unknown.
    pub need: Result<Need, &'a str>,
    /// The present size of the run.
    pub held: Held,
}

/// Checks the filesystem with files in `folder`, which is empty.
pub fn check(folder: &Path, expected: Expected) -> Vec<Finding> {
    let mut findings = Vec::new();
    match mount::of(folder) {
        Ok(mount) => {
            findings.push(check_kind(&mount, expected));
            findings.extend(check_options(&mount));
            findings.push(check_space(&mount, expected));
            findings.extend(mount.free_files.map(|free| check_files(free, expected)));
        }
        Err(error) => findings.push(Finding::skipped(AREA, "kind", message(&error))),
    }
    let published = publishing(folder);
    let race = match published.verdict {
        Verdict::Problem => Finding::skipped(AREA, "first writer wins", "files cannot be published"),
        _ => first_writer_wins(folder),
    };
    findings.extend([published, race, replacing(folder), locks(folder)]);
    #[cfg(feature = "torch")]
    findings.push(mapping(folder));
    findings
}

fn check_kind(mount: &Mount, expected: Expected) -> Finding {
    const TITLE: &str = "kind";
    let found = format!("{}, mounted at {}", mount.kind, mount.point.display());
    let move_it =
        "Choose a --state on a filesystem that this machine and the nodes share (NFS, Lustre, GPFS, BeeGFS).";
    match (mount.reach, expected.jobs) {
        (Reach::Private, true) => Finding::warning(
            AREA,
            TITLE,
            found,
            "Other machines cannot see it: their jobs would not find the run. It may be lost at a reboot.",
            move_it,
        ),
        (Reach::Private, false) => Finding::warning(
            AREA,
            TITLE,
            found,
            "It is lost when this machine or container stops.",
            "Choose a --state on a disk.",
        ),
        (Reach::Disk, true) if !expected.checked_by_job => Finding::warning(
            AREA,
            TITLE,
            found,
            "It is a disk of this machine. Unless it is exported to the nodes under the same path, their jobs would not \
             find the run.",
            "Run this without --no-jobs to check it from a node, or choose a --state on a shared filesystem.",
        ),
        (Reach::Disk, true) => Finding::ok(
            AREA,
            TITLE,
            format!("{found}; a disk of this machine: a job checks below whether nodes see it"),
        ),
        (Reach::Unknown, _) => Finding::ok(
            AREA,
            TITLE,
            format!("{found}; the checks below do not cover its behaviour at failures"),
        ),
        (Reach::Shared | Reach::Disk, _) => Finding::ok(AREA, TITLE, found),
    }
}

/// Checks the mount options that matter.
fn check_options(mount: &Mount) -> Option<Finding> {
    let has = |option: &str| mount.options.iter().any(|other| other == option);
    if mount.kind == "NFS" && (has("soft") || has("softerr")) {
        return Some(Finding::warning(
            AREA,
            "mount options",
            "soft",
            "When the server does not answer for a while, reads and writes fail instead of waiting. Members retry for \
             [storage] retry_seconds, then stop.",
            "Ask for a mount with the option hard, or raise [storage] retry_seconds.",
        ));
    }
    if mount.kind == "Lustre" && !has("flock") {
        return Some(Finding::warning(
            AREA,
            "mount options",
            if has("localflock") { "localflock" } else { "without flock" },
            "File locks do not work across nodes. Results do not depend on them, but some work may be done twice.",
            "No action is needed.",
        ));
    }
    None
}

fn check_space(mount: &Mount, expected: Expected) -> Finding {
    const TITLE: &str = "free space";
    let free = mount.free_bytes.map_or("an unknown amount of space is".into(), fmt::bytes);
    let need = match expected.need {
        Ok(need) => need,
        Err(why) => {
            return Finding::ok(AREA, TITLE, format!("{free} free; the size of a run is unknown: {why}"));
        }
    };
    let collected = if need.collected > 0 {
        format!(", {} of replay buffers", fmt::bytes(need.collected))
    } else {
        String::new()
    };
    let held = match expected.held.bytes {
        0 => String::new(),
        bytes => format!(", {} of which exist", fmt::bytes(bytes)),
    };
    let found = format!(
        "{free} free; the run takes up to about {} (checkpoints of {}{collected}){held}. Quotas are not included.",
        fmt::bytes(need.bytes),
        fmt::bytes(need.checkpoint)
    );
    let Some(free) = mount.free_bytes else { return Finding::ok(AREA, TITLE, found) };
    let missing = need.bytes.saturating_sub(expected.held.bytes);
    let advice = "Free space, choose another --state, or lower [storage] keep (minimum \"best\").";
    if missing > free {
        let consequence =
            "The disk would be full before the end of the search; members would wait for space, then stop.";
        Finding::problem(AREA, TITLE, found, consequence, advice)
    } else if missing > free / 10 * 8 {
        Finding::warning(AREA, TITLE, found, "That is more than 80 % of the free space.", advice)
    } else {
        Finding::ok(AREA, TITLE, found)
    }
}

fn check_files(free: u64, expected: Expected) -> Finding {
    const TITLE: &str = "number of files";
    let found = |need: Need| {
        let held = match expected.held.files {
            0 => String::new(),
            files => format!(", {files} of which exist"),
        };
        format!("{free} more can be created; the run takes up to about {}{held}", need.files)
    };
    match expected.need {
        Ok(need) if need.files.saturating_sub(expected.held.files) > free => Finding::problem(
            AREA,
            TITLE,
            found(need),
            "Files could not be created before the end of the search; members would wait, then stop.",
            "Remove files, ask for more inodes, choose another --state, or lower [storage] keep.",
        ),
        Ok(need) => Finding::ok(AREA, TITLE, found(need)),
        Err(_) => Finding::ok(AREA, TITLE, format!("{free} more can be created")),
    }
}

/// Publishes files as a run does: create, write, fsync, hard link, fsync of the directory.
fn publishing(folder: &Path) -> Finding {
    const TITLE: &str = "publishing";
    let began = Instant::now();
    for number in 0..5 {
        let path = folder.join(format!("published-{number}"));
        let published =
            publish_bytes(&path, b"it").and_then(|first| Ok((first, publish_bytes(&path, b"another")?)));
        let found = match published {
            Ok((Published::Created, Published::Existed)) => match std::fs::read(&path) {
                Ok(bytes) if bytes == b"it" => continue,
                Ok(_) => "an existing file was replaced".to_owned(),
                Err(error) => format!("a published file cannot be read: {error}"),
            },
            Ok(other) => format!("two links to one name resulted in {other:?}"),
            Err(error) => message(&error.into()),
        };
        return Finding::problem(
            AREA,
            TITLE,
            found,
            "Each file of a run is created by a hard link to its final name after an fsync; a run cannot work here.",
            "Choose a --state on a filesystem with hard links. FAT, exFAT, many FUSE filesystems (object stores) and some \
             SMB servers have none; NFS, Lustre, GPFS and BeeGFS do.",
        );
    }
    let each = began.elapsed() / 10;
    let found = format!(
        "create, fsync, hard link and fsync of the directory take {:.1} ms",
        each.as_secs_f64() * 1e3
    );
    match each > SLOW {
        false => Finding::ok(AREA, TITLE, found),
        true => Finding::warning(
            AREA,
            TITLE,
            found,
            "Members and controller jobs publish several files per member and generation, which would take long.",
            "Run this again when the filesystem is less busy, or choose another --state.",
        ),
    }
}

/// Lets several writers publish one name; exactly one may win.
fn first_writer_wins(folder: &Path) -> Finding {
    const TITLE: &str = "first writer wins";
    for round in 0..ROUNDS {
        let path = folder.join(format!("wanted-{round}"));
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let path = &path;
                    scope.spawn(move || publish_bytes(path, &[writer as u8]))
                })
                .collect();
            writers.into_iter().map(|writer| writer.join()).collect()
        });
        let winners: Vec<u8> = (0..)
            .zip(&outcomes)
            .filter(|(_, outcome)| matches!(outcome, Ok(Ok(Published::Created))))
            .map(|(writer, _)| writer)
            .collect();
        let failed = outcomes.into_iter().flatten().find_map(Result::err);
        let found = match (failed, winners.as_slice()) {
            (Some(error), _) => message(&error.into()),
            (None, [winner]) => match std::fs::read(&path) {
                Ok(bytes) if bytes == [*winner] => continue,
                _ => "the file is not that of the winner".to_owned(),
            },
            (None, winners) => {
                format!("{} of {WRITERS} writers of one name succeeded", winners.len())
            }
        };
        return Finding::problem(
            AREA,
            TITLE,
            found,
            "Two processes could both record a result, or submit a generation twice.",
            "Choose a --state on another filesystem, and report this to the administrators: hard links are not atomic.",
        );
    }
    Finding::ok(
        AREA,
        TITLE,
        format!("{WRITERS} writers at once, {ROUNDS} times: one hard link succeeded each time"),
    )
}

/// Replaces a file as best.json and heartbeats are replaced.
fn replacing(folder: &Path) -> Finding {
    const TITLE: &str = "replacing";
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Number {
        format: u64,
        number: u32,
    }
    let path = folder.join("replaced.json");
    let last = (0..5).try_fold(0, |_, number| {
        replace_json(&path, &Number { format: FORMAT, number })?;
        read_json::<Number>(&path).map(|read| read.number)
    });
    let found = match last {
        Ok(4) => return Finding::ok(AREA, TITLE, "a rename replaces a file"),
        Ok(number) => format!("after a rename, the old contents were read (number {number} instead of 4)"),
        Err(error) => message(&error.into()),
    };
    Finding::problem(
        AREA,
        TITLE,
        found,
        "best.json and heartbeats are replaced by renames.",
        "Choose a --state on another filesystem.",
    )
}

/// Replay buffers and data sets are read through memory maps.
#[cfg(feature = "torch")]
fn mapping(folder: &Path) -> Finding {
    const TITLE: &str = "memory maps";
    let path = folder.join("mapped");
    let bytes: Vec<u8> = (0..40_000u32).flat_map(u32::to_le_bytes).collect();
    let mapped = std::fs::write(&path, &bytes).map_err(anyhow::Error::from).and_then(|()| map(&path));
    let found = match mapped {
        Ok(map) if map[..] == bytes => {
            return Finding::ok(AREA, TITLE, "a mapped file has the bytes that were written");
        }
        Ok(_) => "a mapped file has other bytes than were written".to_owned(),
        Err(error) => message(&error),
    };
    Finding::warning(
        AREA,
        TITLE,
        found,
        "Replay buffers of [rl], and data sets on this filesystem, are read through memory maps.",
        "Choose a --state, and a folder for the data, on another filesystem.",
    )
}

fn locks(folder: &Path) -> Finding {
    const TITLE: &str = "locks";
    let path = folder.join("lock");
    let first = Lock::try_take(&path);
    match (&first, Lock::try_take(&path)) {
        (Some(_), None) => Finding::ok(AREA, TITLE, "a file can be locked"),
        _ => Finding::warning(
            AREA,
            TITLE,
            "a file cannot be locked",
            "Results do not depend on locks, but concurrent processes may do the same work.",
            "No action is needed. Do not run `pbtnas run` on two machines for the same run.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEED: Need = Need { checkpoint: 1 << 20, collected: 0, bytes: 1 << 30, files: 1000 };
    const NONE: Held = Held { bytes: 0, files: 0 };
    const JOBS: Expected = Expected { jobs: true, checked_by_job: true, need: Ok(NEED), held: NONE };
    const UNKNOWN: Expected =
        Expected { jobs: false, checked_by_job: false, need: Err("a program"), held: NONE };

    fn mount(kind: &str, reach: Reach) -> Mount {
        let options = vec!["rw".to_owned()];
        Mount {
            kind: kind.into(),
            reach,
            point: "/x".into(),
            options,
            free_bytes: Some(1 << 40),
            free_files: Some(1 << 20),
        }
    }

    #[test]
    fn filesystems_that_nodes_cannot_see_are_warned_of() {
        let verdict = |reach, expected| check_kind(&mount("x", reach), expected).verdict;
        let untried = Expected { checked_by_job: false, ..JOBS };
        let here = Expected { jobs: false, ..untried };
        assert_eq!(verdict(Reach::Shared, untried), Verdict::Ok);
        assert_eq!(verdict(Reach::Private, JOBS), Verdict::Warning);
        assert_eq!(verdict(Reach::Private, here), Verdict::Warning);
        assert_eq!(verdict(Reach::Disk, untried), Verdict::Warning);
        assert_eq!(verdict(Reach::Disk, JOBS), Verdict::Ok);
        assert_eq!(verdict(Reach::Disk, here), Verdict::Ok);
        assert_eq!(verdict(Reach::Unknown, JOBS), Verdict::Ok);
    }

    #[test]
    fn mount_options_that_matter_are_warned_of() {
        let check = |kind: &str, option: &str| {
            let mut mount = mount(kind, Reach::Shared);
            mount.options.push(option.into());
            check_options(&mount).map(|finding| finding.verdict)
        };
        assert_eq!(check("NFS", "soft"), Some(Verdict::Warning));
        assert_eq!(check("NFS", "hard"), None);
        assert_eq!(check("Lustre", "localflock"), Some(Verdict::Warning));
        assert_eq!(check("Lustre", "flock"), None);
        assert_eq!(check("ext4", "soft"), None);
    }

    #[test]
    fn space_and_files_are_compared_with_the_need() {
        let with = |free, bytes| {
            let expected = Expected { held: Held { bytes, files: 0 }, ..JOBS };
            check_space(&Mount { free_bytes: free, ..mount("x", Reach::Disk) }, expected)
        };
        let space = |free| with(Some(free), 0).verdict;
        assert_eq!(space((1 << 30) - 1), Verdict::Problem);
        assert_eq!(space((1 << 30) + 1), Verdict::Warning);
        assert_eq!(space(1 << 31), Verdict::Ok);
        let there = with(Some(1 << 20), (1 << 30) - (1 << 10));
        assert!(
            there.verdict == Verdict::Ok && there.found.contains("1024.0 MiB of which exist"),
            "{there:?}"
        );
        assert_eq!(with(Some(1 << 20), 1 << 29).verdict, Verdict::Problem, "the other half is missing");
        assert_eq!(with(Some(0), u64::MAX).verdict, Verdict::Ok, "more than the estimate");
        let silent = with(None, 0);
        assert!(silent.verdict == Verdict::Ok && silent.found.contains("an unknown amount"), "{silent:?}");
        let unknown = check_space(&mount("x", Reach::Disk), UNKNOWN);
        assert!(
            unknown.verdict == Verdict::Ok && unknown.found.contains("unknown: a program"),
            "{unknown:?}"
        );
        assert_eq!(check_files(999, JOBS).verdict, Verdict::Problem);
        assert_eq!(check_files(1000, JOBS).verdict, Verdict::Ok);
        let held = Held { bytes: 0, files: 900 };
        assert_eq!(check_files(100, Expected { held, ..JOBS }).verdict, Verdict::Ok);
        assert_eq!(check_files(99, Expected { held, ..JOBS }).verdict, Verdict::Problem);
    }

    #[test]
    fn a_disk_passes_all_checks() {
        let dir = tempfile::tempdir().unwrap();
        for finding in check(dir.path(), UNKNOWN) {
            assert!(finding.title == "kind" || finding.verdict == Verdict::Ok, "{finding:?}");
        }
    }

    #[test]
    fn a_missing_folder_fails_each_check() {
        let gone = Path::new("/nowhere");
        assert_eq!(publishing(gone).verdict, Verdict::Problem);
        assert_eq!(first_writer_wins(gone).verdict, Verdict::Problem);
        let all = check(gone, UNKNOWN);
        let skipped: Vec<&str> =
            all.iter().filter(|one| one.verdict == Verdict::Skipped).map(|one| &*one.title).collect();
        assert_eq!(skipped, ["kind", "first writer wins"]);
        assert_eq!(replacing(gone).verdict, Verdict::Problem);
        #[cfg(feature = "torch")]
        assert_eq!(mapping(gone).verdict, Verdict::Warning);
        assert_eq!(locks(gone).verdict, Verdict::Warning);
    }
}
