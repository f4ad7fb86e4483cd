//! The filesystem of a folder: its type and mount options.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::sys::statfs::statfs;
use nix::sys::statvfs::statvfs;

/// Which machines see a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The machines of a cluster.
    Shared,
    /// One machine (a disk), and others only if it is exported.
    Disk,
    /// Only this machine (memory) or container.
    Private,
    /// Unknown: FUSE, or a type that is not in the table.
    Unknown,
}

/// A mounted filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Display name of its type: `NFS`, `ext4`.
    pub kind: String,
    pub reach: Reach,
    /// Mount point.
    pub point: PathBuf,
    /// Mount options, e.g. `rw`, `vers=4.2`, `soft`.
    pub options: Vec<String>,
    /// Free bytes for an unprivileged user; none if the filesystem does not report them.
    pub free_bytes: Option<u64>,
    /// Free inodes; none if there is no limit or it is not reported.
    pub free_files: Option<u64>,
}

/// Returns the filesystem of a folder.
pub fn of(folder: &Path) -> Result<Mount> {
    let failed = || format!("failed to query the filesystem of {}", folder.display());
    let (magic, space) = (statfs(folder).with_context(failed)?, statvfs(folder).with_context(failed)?);
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let folder = folder.canonicalize().with_context(failed)?;
    let (point, name, options) = find(&table, &folder).unwrap_or_default();
    // The mount table names the FUSE type; otherwise the magic number is more reliable.
    let (kind, reach) = kind(magic.filesystem_type().0 as u32, &name);
    Ok(Mount {
        kind,
        reach,
        point,
        options,
        free_bytes: free_bytes(space.blocks(), space.blocks_available(), space.fragment_size()),
        // A total of 0 files means that there is no limit (btrfs, many servers).
        free_files: (space.files() > 0).then_some(space.files_available()),
    })
}

/// None for a filesystem without blocks (some on FUSE). Saturates, because some report nearly 2^64 blocks.
fn free_bytes(blocks: u64, available: u64, size: u64) -> Option<u64> {
    (blocks > 0).then(|| available.saturating_mul(size))
}

/// Types by the magic number of statfs (statfs(2), and the sources of filesystems outside the kernel).
fn kind(magic: u32, name: &str) -> (String, Reach) {
    use Reach::{Disk, Private, Shared, Unknown};
    const KINDS: [(u32, &str, Reach); 22] = [
        (0x6969, "NFS", Shared),
        (0x0BD0_0BD0, "Lustre", Shared),
        (0x4750_4653, "GPFS (Spectrum Scale)", Shared),
        (0x1983_0326, "BeeGFS", Shared),
        (0x00C3_6400, "CephFS", Shared),
        (0x5346_414F, "AFS", Shared),
        (0x7461_636F, "OCFS2", Shared),
        (0x0116_1970, "GFS2", Shared),
        (0xAAD7_AAEA, "PanFS", Shared),
        (0xFF53_4D42, "CIFS", Shared),
        (0xFE53_4D42, "SMB", Shared),
        (0x517B, "SMB", Shared),
        (0xEF53, "ext4", Disk),
        (0x5846_5342, "XFS", Disk),
        (0x9123_683E, "Btrfs", Disk),
        (0x2FC1_2FC1, "ZFS", Disk),
        (0xF2F5_2010, "F2FS", Disk),
        (0x4D44, "FAT", Disk),
        (0x2011_BAB0, "exFAT", Disk),
        (0x0102_1994, "tmpfs", Private),
        (0x8584_58F6, "ramfs", Private),
        (0x794C_7630, "overlayfs (of a container)", Private),
    ];
    const FUSE: u32 = 0x6573_5546;
    match KINDS.iter().find(|(number, ..)| *number == magic) {
        Some((_, kind, reach)) => ((*kind).to_owned(), *reach),
        None if magic == FUSE => (if name.is_empty() { "FUSE".into() } else { name.to_owned() }, Unknown),
        None if name.is_empty() => (format!("unknown type {magic:#x}"), Unknown),
        None => (name.to_owned(), Unknown),
    }
}

/// Finds the mount of a folder in /proc/self/mountinfo; returns mount point, type and options.
fn find(table: &str, folder: &Path) -> Option<(PathBuf, String, Vec<String>)> {
    let read = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let (mut left, mut right) = (left.split(' ').skip(4), right.split(' '));
        let point = PathBuf::from(left.next()?.replace("\\040", " "));
        let (own, name, of_server) = (left.next()?, right.next()?, right.nth(1).unwrap_or_default());
        let options = own.split(',').chain(of_server.split(',')).map(str::to_owned).collect();
        Some((point, name.to_owned(), options))
    };
    let within = table.lines().filter_map(read).filter(|(point, ..)| folder.starts_with(point));
    // Of two mounts at one point, the later hides the earlier.
    within.max_by_key(|(point, ..)| point.components().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_and_last_mount_is_found() {
        let table = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                     40 22 0:50 / /home rw,nosuid shared:9 - nfs4 server:/home rw,vers=4.2,soft,local_lock=none\n\
                     41 22 0:51 / /home/a\\040b rw - tmpfs tmpfs rw,size=4k\n\
                     42 22 0:52 / /home rw shared:9 - lustre mgs@tcp:/scratch rw,flock\nnonsense\n";
        let name = |path: &str| find(table, Path::new(path)).unwrap().1;
        assert_eq!(name("/etc"), "ext4");
        assert_eq!(name("/homer"), "ext4");
        assert_eq!(name("/home/me/run"), "lustre");
        assert_eq!(name("/home/a b/run"), "tmpfs");
        let options = find(table, Path::new("/home/me")).unwrap().2;
        assert!(options.contains(&"flock".to_owned()), "{options:?}");
        assert_eq!(find("", Path::new("/")), None);
    }

    #[test]
    fn free_bytes_of_unusual_block_counts() {
        assert_eq!(free_bytes(10, 5, 4096), Some(20_480));
        assert_eq!(free_bytes(0, 0, 0), None);
        assert_eq!(free_bytes(u64::MAX, u64::MAX, 4096), Some(u64::MAX));
    }

    #[test]
    fn kinds() {
        assert_eq!(kind(0x6969, "nfs4"), ("NFS".into(), Reach::Shared));
        assert_eq!(kind(0x6573_5546, "fuse.sshfs"), ("fuse.sshfs".into(), Reach::Unknown));
        assert_eq!(kind(1, "wekafs"), ("wekafs".into(), Reach::Unknown));
        assert_eq!(kind(1, "").1, Reach::Unknown);
    }

    #[test]
    fn shared_memory_is_private() {
        let shared_memory = Path::new("/dev/shm");
        if shared_memory.is_dir() {
            let mount = of(shared_memory).unwrap();
            assert_eq!((&*mount.kind, mount.reach), ("tmpfs", Reach::Private));
            assert!(mount.free_bytes > Some(0) && mount.options.contains(&"rw".to_owned()));
        }
        assert!(of(Path::new("/nowhere")).is_err());
    }
}
