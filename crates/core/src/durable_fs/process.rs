//! Identity and liveness of processes that records and temporary files name.

use std::fs;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::Digest;

/// The host name of this machine.
pub fn host() -> String {
    nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned()
}

/// Identifies the scope of process ids: the host name with a digest of the boot id and the process namespace, because
/// containers and nodes may share a name.
pub fn machine() -> &'static str {
    static MACHINE: OnceLock<String> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let host = host();
        let boot = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let processes = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let identity = [host.as_bytes(), &boot, processes.as_os_str().as_encoded_bytes()].concat();
        format!("{host}-{}", &Digest::of(&identity).short()[..12])
    })
}

/// Whether no process of this machine has this id.
pub fn is_gone(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0);
    pid.is_some_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH))
}
