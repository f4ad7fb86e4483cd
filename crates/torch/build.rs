//! Writes the folders of libtorch and MuJoCo into this crate's tests (rpath), so that they start without
//! LD_LIBRARY_PATH. The program gets them from its own build script.

use std::env::var_os;
use std::path::Path;

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-env-changed=MUJOCO_DYNAMIC_LINK_DIR");
    if let (Some(_), Some(libtorch)) = (var_os("CARGO_FEATURE_LIBTORCH"), var_os("LIBTORCH")) {
        rpath(&Path::new(&libtorch).join("lib"));
    }
    if let (Some(_), Some(mujoco)) = (var_os("CARGO_FEATURE_MUJOCO"), var_os("MUJOCO_DYNAMIC_LINK_DIR")) {
        rpath(Path::new(&mujoco));
    }
}

fn rpath(folder: &Path) {
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
}
