//! Writes the folders of libtorch and MuJoCo into the program (rpath), so that it starts without LD_LIBRARY_PATH.

use std::env::var_os;
use std::path::Path;

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-env-changed=MUJOCO_DYNAMIC_LINK_DIR");
    if let (Some(_), Some(libtorch)) = (var_os("CARGO_FEATURE_TORCH"), var_os("LIBTORCH")) {
        rpath(&Path::new(&libtorch).join("lib"));
    }
    if let (Some(_), Some(mujoco)) = (var_os("CARGO_FEATURE_RL"), var_os("MUJOCO_DYNAMIC_LINK_DIR")) {
        rpath(Path::new(&mujoco));
    }
}

fn rpath(folder: &Path) {
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
}
