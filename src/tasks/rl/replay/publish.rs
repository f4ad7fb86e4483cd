//! Files that appear whole or not at all, under names that tell their contents.
//!
//! As `state::publish` does it for a run's records (temporary name, write, fsync, hard link, fsync of the directory),
//! with less to decide: the digest is in the name, so whoever finds the name taken by a sound file is done.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::failpoint::reach;

/// Prefix of temporary names; `state` removes what has it, too.
const TEMPORARY: &str = ".tmp-";
/// Nobody writes a file for so long, whatever the clocks of two machines say.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// Publishes a file in a directory, which is made if it is not there.
pub fn publish(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    ensure_dir(dir)?;
    let host = host();
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let number = rand::random::<u32>();
    let temporary = Temporary(dir.join(format!("{TEMPORARY}{host}-{process}-{count}-{number:08x}")));
    reach("create")?;
    let mut file = File::options().write(true).create_new(true).open(&temporary.0)?;
    reach("write").and_then(|()| file.write_all(bytes))?;
    reach("fsync").and_then(|()| file.sync_all())?;
    let path = dir.join(name);
    match reach("link").and_then(|()| fs::hard_link(&temporary.0, &path)) {
        // What has been damaged since then is made sound again; who has it open keeps what there was.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::read(&path).is_ok_and(|there| there != bytes) {
                reach("rename").and_then(|()| fs::rename(&temporary.0, &path))?;
            }
        }
        linked => linked?,
    }
    sync_dir(dir)
}

/// A file that goes when it has got its final name, or when something failed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = reach("remove").and_then(|()| fs::remove_file(&self.0));
    }
}

/// Whether a name is that of a file that is not whole yet.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY)
}

/// Removes a temporary file that a killed process has left long ago.
pub fn remove_abandoned(file: &Path) {
    let age = fs::metadata(file).and_then(|found| found.modified()).ok().and_then(|time| time.elapsed().ok());
    if age.is_some_and(|age| age > ABANDONED) {
        let _ = fs::remove_file(file);
    }
}

/// The name of this machine, fit for a file's name.
pub fn host() -> String {
    let host = nix::unistd::gethostname().unwrap_or_default();
    host.to_string_lossy().replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")
}

/// Makes a directory and those above it.
fn ensure_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ensure_dir(parent)?;
    match reach("mkdir").and_then(|()| fs::create_dir(dir)) {
        Err(error) if !dir.is_dir() => return Err(error),
        _ => {}
    }
    sync_dir(parent)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    reach("fsync directory").and_then(|()| File::open(dir)?.sync_all())
}
