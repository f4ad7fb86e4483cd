//! Whether a folder's filesystem does what the directory of a run rests on (docs/fault-tolerance.md): tried with the
//! functions that a run uses.

use std::path::Path;
use std::time::{Duration, Instant};

use super::finding::{Area, Finding, Verdict};
use super::mount::{self, Mount, Reach};
use super::space::{Held, Need};
use crate::error::message;
use crate::state::{FORMAT, Lock, Published, publish_bytes, read_json, replace_json};
use crate::tasks::gan::map;

const AREA: Area = Area::Filesystem;
/// Threads that want the same name.
const WRITERS: usize = 8;
/// How often they do.
const ROUNDS: usize = 20;
/// Publishing a small file takes a few milliseconds on a good filesystem.
const SLOW: Duration = Duration::from_millis(500);

/// What is expected of the filesystem.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Whether jobs on other machines must see the folder.
    pub jobs: bool,
    /// Whether a job will try that.
    pub tried_by_job: bool,
    /// How much room the run takes at its largest; or why that is not known.
    pub need: Result<Need, &'a str>,
    /// How much of it the run has already.
    pub held: Held,
}

/// Everything about the filesystem; `folder` is empty and may be filled.
pub fn examine(folder: &Path, expected: Expected) -> Vec<Finding> {
    let mut findings = Vec::new();
    match mount::of(folder) {
        Ok(mount) => {
            findings.push(judge_kind(&mount, expected));
            findings.extend(judge_options(&mount));
            findings.push(judge_space(&mount, expected));
            findings.extend(mount.free_files.map(|free| judge_files(free, expected)));
        }
        Err(error) => findings.push(Finding::skipped(AREA, "kind", message(&error))),
    }
    let published = publishing(folder);
    let race = match published.verdict {
        Verdict::Problem => Finding::skipped(AREA, "first writer wins", "nothing can be published"),
        _ => first_writer_wins(folder),
    };
    findings.extend([published, race, replacing(folder), mapping(folder), locks(folder)]);
    findings
}

fn judge_kind(mount: &Mount, expected: Expected) -> Finding {
    const TITLE: &str = "kind";
    let found = format!("{}, mounted at {}", mount.kind, mount.point.display());
    let move_it =
        "Choose a --state on a filesystem that this machine and the nodes share (NFS, Lustre, GPFS, BeeGFS).";
    match (mount.reach, expected.jobs) {
        (Reach::Private, true) => Finding::warning(
            AREA,
            TITLE,
            found,
            "It is this machine's alone: jobs on other machines would find no run there, and it may be gone after a reboot.",
            move_it,
        ),
        (Reach::Private, false) => Finding::warning(
            AREA,
            TITLE,
            found,
            "It lasts no longer than this machine (or container) runs: after a reboot the search is gone.",
            "Choose a --state on a disk.",
        ),
        (Reach::Disk, true) if !expected.tried_by_job => Finding::warning(
            AREA,
            TITLE,
            found,
            "It is a disk of this machine. Unless it is exported to the nodes under the same path, jobs on them would \
             find no run there.",
            "Leave --no-jobs out, and a job on a node looks for it; or choose a --state on a shared filesystem.",
        ),
        (Reach::Disk, true) => Finding::ok(
            AREA,
            TITLE,
            format!("{found}; a disk of this machine: whether nodes see it, a job tells below"),
        ),
        (Reach::Unknown, _) => Finding::ok(
            AREA,
            TITLE,
            format!(
                "{found}; what pbtnas needs of it was tried below, but what it does when something fails was not"
            ),
        ),
        (Reach::Shared | Reach::Disk, _) => Finding::ok(AREA, TITLE, found),
    }
}

/// What the way of mounting means, where it means something.
fn judge_options(mount: &Mount) -> Option<Finding> {
    let has = |option: &str| mount.options.iter().any(|other| other == option);
    if mount.kind == "NFS" && (has("soft") || has("softerr")) {
        return Some(Finding::warning(
            AREA,
            "mount options",
            "soft",
            "When the server does not answer for a while, reads and writes fail instead of waiting. Members try again \
             for [storage] patience_seconds, then they stop.",
            "Ask for a mount with the option hard, or raise [storage] patience_seconds.",
        ));
    }
    if mount.kind == "Lustre" && !has("flock") {
        return Some(Finding::warning(
            AREA,
            "mount options",
            if has("localflock") { "localflock" } else { "without flock" },
            "File locks do not reach across nodes. Nothing goes wrong without them, but some work may be tried twice.",
            "Nothing needs to be done.",
        ));
    }
    None
}

/// Bytes and files in words: `12.3 GiB`.
fn size(bytes: u64) -> String {
    let mut number = bytes as f64;
    for unit in ["bytes", "KiB", "MiB", "GiB", "TiB"] {
        if number < 1024.0 {
            return if unit == "bytes" { format!("{bytes} bytes") } else { format!("{number:.1} {unit}") };
        }
        number /= 1024.0;
    }
    format!("{number:.1} PiB")
}

fn judge_space(mount: &Mount, expected: Expected) -> Finding {
    const TITLE: &str = "room";
    let free = mount.free_bytes.map_or("the filesystem does not tell how much is".into(), size);
    let need = match expected.need {
        Ok(need) => need,
        Err(why) => {
            return Finding::ok(
                AREA,
                TITLE,
                format!("{free} free; how much a run takes is not known: {why}"),
            );
        }
    };
    let collected = if need.collected > 0 {
        format!(", {} of replay buffers among it", size(need.collected))
    } else {
        String::new()
    };
    let held = match expected.held.bytes {
        0 => String::new(),
        bytes => format!(", and has {} of that", size(bytes)),
    };
    let found = format!(
        "{free} free; the run takes up to about {} (checkpoints of {}{collected}){held}. Quotas do not show here.",
        size(need.bytes),
        size(need.checkpoint)
    );
    let Some(free) = mount.free_bytes else { return Finding::ok(AREA, TITLE, found) };
    let missing = need.bytes.saturating_sub(expected.held.bytes);
    let way_out = "Make room, choose another --state, or keep less: a smaller [storage] keep, or \"best\".";
    if missing > free {
        let consequence =
            "The disk would be full in the middle of the search; members then wait for room, and stop.";
        Finding::problem(AREA, TITLE, found, consequence, way_out)
    } else if missing > free / 10 * 8 {
        Finding::warning(
            AREA,
            TITLE,
            found,
            "That is most of what is left, and others write there too.",
            way_out,
        )
    } else {
        Finding::ok(AREA, TITLE, found)
    }
}

fn judge_files(free: u64, expected: Expected) -> Finding {
    const TITLE: &str = "number of files";
    let found = |need: Need| {
        let held = match expected.held.files {
            0 => String::new(),
            files => format!(", and has {files} of them"),
        };
        format!("{free} more can be made; the run takes up to about {}{held}", need.files)
    };
    match expected.need {
        Ok(need) if need.files.saturating_sub(expected.held.files) > free => Finding::problem(
            AREA,
            TITLE,
            found(need),
            "No more files could be made in the middle of the search; members then wait, and stop.",
            "Remove files, ask for more inodes, choose another --state, or keep less: a smaller [storage] keep.",
        ),
        Ok(need) => Finding::ok(AREA, TITLE, found(need)),
        Err(_) => Finding::ok(AREA, TITLE, format!("{free} more can be made")),
    }
}

/// Publishing as every record is: create, write, fsync, hard link, fsync of the directory.
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
                Ok(_) => "a file that was there already was replaced".to_owned(),
                Err(error) => format!("a file that was published cannot be read: {error}"),
            },
            Ok(other) => format!("two links to one name came out as {other:?}"),
            Err(error) => message(&error.into()),
        };
        return Finding::problem(
            AREA,
            TITLE,
            found,
            "Every file of a run appears by a hard link to its final name, after an fsync: nothing could be published here.",
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
            "A member publishes a handful of files each generation, and the step between two generations some for \
             every member: that would take long.",
            "Is the filesystem busy? Try another --state, or another time.",
        ),
    }
}

/// Of several writers one wins, always.
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
                _ => "the file is not the winner's".to_owned(),
            },
            (None, winners) => {
                format!("{} of {WRITERS} writers of one name were told that they won", winners.len())
            }
        };
        return Finding::problem(
            AREA,
            TITLE,
            found,
            "Two processes could both believe that their result counts, or submit a generation twice.",
            "Choose a --state on another filesystem, and tell the administrators of this one: its hard links are not atomic.",
        );
    }
    Finding::ok(
        AREA,
        TITLE,
        format!("{WRITERS} writers at once, {ROUNDS} times: one hard link succeeded each time"),
    )
}

/// Replacing as best.json and heartbeats are.
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
        Ok(4) => return Finding::ok(AREA, TITLE, "a rename puts a file in the place of another"),
        Ok(number) => format!("after a rename the old contents were read (number {number} instead of 4)"),
        Err(error) => message(&error.into()),
    };
    Finding::problem(
        AREA,
        TITLE,
        found,
        "The best member so far and signs of life are files that are replaced by a rename.",
        "Choose a --state on another filesystem.",
    )
}

/// Checkpoints of episodes and data sets are read through memory maps.
fn mapping(folder: &Path) -> Finding {
    const TITLE: &str = "memory maps";
    let path = folder.join("mapped");
    let bytes: Vec<u8> = (0..40_000u32).flat_map(u32::to_le_bytes).collect();
    let mapped = std::fs::write(&path, &bytes).map_err(anyhow::Error::from).and_then(|()| map(&path));
    let found = match mapped {
        Ok(map) if map[..] == bytes => {
            return Finding::ok(AREA, TITLE, "a mapped file reads as it was written");
        }
        Ok(_) => "a mapped file reads other bytes than were written".to_owned(),
        Err(error) => message(&error),
    };
    Finding::warning(
        AREA,
        TITLE,
        found,
        "The replay buffers of [rl] are read through memory maps, and data sets if they lie here.",
        "Choose a --state, and a place for the data, on another filesystem.",
    )
}

fn locks(folder: &Path) -> Finding {
    const TITLE: &str = "locks";
    let path = folder.join("lock");
    let first = Lock::try_take(&path);
    match (&first, Lock::try_take(&path)) {
        (Some(_), None) => Finding::ok(AREA, TITLE, "a locked file is locked"),
        _ => Finding::warning(
            AREA,
            TITLE,
            "there are none",
            "Nothing goes wrong without them (correctness never rests on locks), but processes that start at the same \
             moment may do the same work.",
            "Nothing needs to be done. Do not call `pbtnas run` on two machines for the same run.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEED: Need = Need { checkpoint: 1 << 20, collected: 0, bytes: 1 << 30, files: 1000 };
    const NONE: Held = Held { bytes: 0, files: 0 };
    const JOBS: Expected = Expected { jobs: true, tried_by_job: true, need: Ok(NEED), held: NONE };
    const UNKNOWN: Expected =
        Expected { jobs: false, tried_by_job: false, need: Err("a program"), held: NONE };

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
    fn what_only_this_machine_sees_is_told() {
        let verdict = |reach, expected| judge_kind(&mount("x", reach), expected).verdict;
        let untried = Expected { tried_by_job: false, ..JOBS };
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
    fn mount_options() {
        let judge = |kind: &str, option: &str| {
            let mut mount = mount(kind, Reach::Shared);
            mount.options.push(option.into());
            judge_options(&mount).map(|finding| finding.verdict)
        };
        assert_eq!(judge("NFS", "soft"), Some(Verdict::Warning));
        assert_eq!(judge("NFS", "hard"), None);
        assert_eq!(judge("Lustre", "localflock"), Some(Verdict::Warning));
        assert_eq!(judge("Lustre", "flock"), None);
        assert_eq!(judge("ext4", "soft"), None);
    }

    #[test]
    fn room_and_files() {
        let with = |free, bytes| {
            let expected = Expected { held: Held { bytes, files: 0 }, ..JOBS };
            judge_space(&Mount { free_bytes: free, ..mount("x", Reach::Disk) }, expected)
        };
        let space = |free| with(Some(free), 0).verdict;
        assert_eq!(space((1 << 30) - 1), Verdict::Problem);
        assert_eq!(space((1 << 30) + 1), Verdict::Warning);
        assert_eq!(space(1 << 31), Verdict::Ok);
        let there = with(Some(1 << 20), (1 << 30) - (1 << 10));
        assert!(
            there.verdict == Verdict::Ok && there.found.contains("and has 1024.0 MiB of that"),
            "{there:?}"
        );
        assert_eq!(with(Some(1 << 20), 1 << 29).verdict, Verdict::Problem, "the other half is missing");
        assert_eq!(with(Some(0), u64::MAX).verdict, Verdict::Ok, "more than was reckoned with");
        let silent = with(None, 0);
        assert!(silent.verdict == Verdict::Ok && silent.found.contains("does not tell"), "{silent:?}");
        let unknown = judge_space(&mount("x", Reach::Disk), UNKNOWN);
        assert!(
            unknown.verdict == Verdict::Ok && unknown.found.contains("not known: a program"),
            "{unknown:?}"
        );
        assert_eq!(judge_files(999, JOBS).verdict, Verdict::Problem);
        assert_eq!(judge_files(1000, JOBS).verdict, Verdict::Ok);
        let held = Held { bytes: 0, files: 900 };
        assert_eq!(judge_files(100, Expected { held, ..JOBS }).verdict, Verdict::Ok);
        assert_eq!(judge_files(99, Expected { held, ..JOBS }).verdict, Verdict::Problem);
        assert_eq!(size(0), "0 bytes");
        assert_eq!(size(1 << 30), "1.0 GiB");
        assert_eq!(size(u64::MAX), "16384.0 PiB");
    }

    #[test]
    fn a_disk_does_what_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        for finding in examine(dir.path(), UNKNOWN) {
            assert!(finding.title == "kind" || finding.verdict == Verdict::Ok, "{finding:?}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_a_problem_in_each_respect() {
        let gone = Path::new("/nowhere");
        assert_eq!(publishing(gone).verdict, Verdict::Problem);
        assert_eq!(first_writer_wins(gone).verdict, Verdict::Problem);
        let all = examine(gone, UNKNOWN);
        let skipped: Vec<&str> =
            all.iter().filter(|one| one.verdict == Verdict::Skipped).map(|one| &*one.title).collect();
        assert_eq!(skipped, ["kind", "first writer wins"]);
        assert_eq!(replacing(gone).verdict, Verdict::Problem);
        assert_eq!(mapping(gone).verdict, Verdict::Warning);
        assert_eq!(locks(gone).verdict, Verdict::Warning);
    }
}
