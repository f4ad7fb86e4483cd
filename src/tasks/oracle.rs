//! Other people's implementations, to compare with: Python scripts in tests/oracle.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use tch::Tensor;

/// Runs a program of the oracle's environment in the repository's root; it must succeed.
pub fn run(script: &str, arguments: &[&Path]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".deps/oracle/bin/python");
    assert!(python.exists(), "{} is missing: call scripts/setup oracle", python.display());
    let output = Command::new(python)
        .arg("-W")
        .arg("ignore")
        .arg(root.join(script))
        .args(arguments)
        .env("CUDA_VISIBLE_DEVICES", "")
        .output()
        .unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The tensors of a safetensors file.
pub fn tensors(path: &Path) -> BTreeMap<String, Tensor> {
    Tensor::read_safetensors(path).unwrap().into_iter().collect()
}
