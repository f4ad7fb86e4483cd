//! Filesystems that are full, out of inodes, read-only, or on a broken disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{essence, text};
use crate::tiny::{CONFIG, assert_sound, copy, folder, init, pbtnas, train_all, try_train_all};

/// A filesystem in memory, mounted in a temporary folder.
struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    fn tmpfs(options: &str) -> Self {
        let disk = Self { dir: tempfile::tempdir().unwrap() };
        run("mount", &["-t", "tmpfs", "-o", options, "none", disk.path()]).unwrap();
        disk
    }

    fn path(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }

    fn remount(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}"), self.path()]).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run("umount", &["--lazy", self.path()]);
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().unwrap();
    output.status.success().then_some(()).ok_or_else(|| text(&output))
}

fn calm(dir: &Path) -> PathBuf {
    let state = init(dir, CONFIG);
    train_all(&state, u32::MAX);
    state
}

#[test]
#[ignore = "needs root: mounts a filesystem"]
fn a_disk_full_at_any_write_changes_nothing_once_it_has_room() {
    let dir = folder();
    let expected = essence(&calm(dir.path()));
    let disk = Disk::tmpfs("size=64m");
    for (what, enough, steps) in [("size", "64m".to_owned(), 4096), ("nr_inodes", "100k".to_owned(), 1)] {
        let mut refusals = 0;
        for step in 1.. {
            let state = disk.dir.path().join("run");
            let _ = fs::remove_dir_all(&state);
            let made = init(disk.dir.path(), CONFIG);
            // The room left grows until it is enough.
            let used = used(disk.path(), what);
            disk.remount(&format!("{what}={}", used + step * steps * 3));
            let outcome = try_train_all(&made, u32::MAX);
            disk.remount(&format!("{what}={enough}"));
            assert_sound(&made, &format!("{what}, step {step}"));
            let Err(error) = outcome else {
                assert!(essence(&made) == expected);
                break;
            };
            refusals += 1;
            let said = pbtnas_core::fault::message(&error);
            assert!(said.contains("No space left") && said.contains(made.to_str().unwrap()), "{said}");
            assert_eq!(pbtnas_engine::fault::exit_code(&error), pbtnas_engine::fault::exit::IO, "{said}");
            train_all(&made, u32::MAX);
            assert_sound(&made, &format!("{what}, step {step}, at the end"));
            assert!(essence(&made) == expected, "{what}, step {step}: another population");
        }
        assert!(refusals > 10, "{what}: only {refusals} disks were full");
        println!("{refusals} disks with too little room ({what}), each at another write");
    }
}

/// Bytes or inodes in use.
fn used(path: &str, what: &str) -> u64 {
    let stat = nix::sys::statvfs::statvfs(path).unwrap();
    match what {
        "size" => (stat.blocks() - stat.blocks_free()) * stat.fragment_size(),
        _ => stat.files() - stat.files_free(),
    }
}

#[test]
#[ignore = "needs root: mounts a filesystem"]
fn commands_name_the_file_that_a_full_or_read_only_disk_refuses() {
    let dir = folder();
    let calm = calm(dir.path());
    let disk = Disk::tmpfs("size=64m");
    let state = init(disk.dir.path(), CONFIG);
    let config = disk.dir.path().join("config.toml");
    let fresh = disk.dir.path().join("fresh");
    train_all(&state, 1);
    let before = essence(&state);
    let said = |state: &Path, arguments: &[&str]| {
        let output = pbtnas(state, arguments).output().unwrap();
        (output.status.code(), text(&output))
    };

    disk.remount("ro");
    for arguments in [&["run"][..], &["step"], &["train", "--member", "0", "--generation", "0"]] {
        let (code, message) = said(&state, arguments);
        let done = message.contains("is done"); // member 0 is trained: there is nothing to write
        assert!(done || code == Some(74), "{arguments:?}: {code:?} {message}");
        assert!(
            done || message.contains("Read-only file system") && message.contains(state.to_str().unwrap())
        );
    }
    let (code, message) = said(&fresh, &["init", "--config", config.to_str().unwrap()]);
    assert!(code == Some(74) && message.contains("Read-only file system"), "{message}");
    for arguments in [&["status"][..], &["verify"]] {
        let (code, message) = said(&state, arguments);
        assert_eq!(code, Some(0), "reading needs no writing: {arguments:?}: {message}");
    }
    assert!(essence(&state) == before);

    disk.remount("rw");
    let room = used(disk.path(), "size") + 8192;
    disk.remount(&format!("size={room}"));
    let (code, message) = said(&state, &["run"]);
    assert!(code == Some(74) && message.contains("No space left"), "{code:?} {message}");
    disk.remount("size=64m");
    assert_eq!(said(&state, &["run"]).0, Some(0));
    assert_sound(&state, "with room");
    assert!(essence(&state) == essence(&calm));
}

#[test]
#[ignore = "needs root and a loop device: mounts a filesystem"]
fn a_broken_disk_is_reported_and_a_backup_resumes() {
    let dir = folder();
    let expected = essence(&calm(dir.path()));
    let (image, backup, place) =
        (dir.path().join("disk"), dir.path().join("backup"), dir.path().join("mounted"));
    fs::create_dir(&place).unwrap();
    let (image_name, place_name) = (image.to_str().unwrap(), place.to_str().unwrap());
    run("truncate", &["-s", "16M", image_name]).unwrap();
    run("mkfs.ext4", &["-q", image_name]).unwrap();
    run("mount", &["-o", "loop,errors=continue", image_name, place_name]).unwrap();
    let state = init(&place, CONFIG);
    train_all(&state, 1);
    run("sync", &["--file-system", place_name]).unwrap();
    copy(&image, &backup);
    // Most of the disk is gone: reads of what is not cached return EIO.
    run("truncate", &["-s", "64K", image_name]).unwrap();
    fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
    let output = pbtnas(&state, &["run"]).output().unwrap();
    run("umount", &["--lazy", place_name]).unwrap();
    let said = text(&output);
    let codes = [Some(74), Some(4)];
    assert!(codes.contains(&output.status.code()) && said.contains(state.to_str().unwrap()), "{said}");
    println!("a broken disk: {}", said.trim());

    run("mount", &["-o", "loop", backup.to_str().unwrap(), place_name]).unwrap();
    let output = pbtnas(&state, &["run"]).output().unwrap();
    assert_sound(&state, "from the copy");
    let found = essence(&state);
    run("umount", &[place_name]).unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(found == expected);
}
