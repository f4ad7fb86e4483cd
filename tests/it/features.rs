//! `pbtnas features check` and the conversion of the Inception network.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{PBTNAS, text};

/// Runs a Python script in the oracle's environment.
fn oracle(arguments: &[&Path]) -> Output {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/oracle/bin/python");
    assert!(python.exists(), "{} is missing: call scripts/setup oracle", python.display());
    let mut command = Command::new(python);
    command.args(["-W", "ignore"]).args(arguments).env("CUDA_VISIBLE_DEVICES", "");
    command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

fn check(path: &Path) -> (Option<i32>, String) {
    let output = Command::new(PBTNAS).args(["features", "check"]).arg(path).output().unwrap();
    (output.status.code(), text(&output))
}

#[test]
fn features_check_accepts_both_inception_files_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let in_dir = |name: &str| -> PathBuf { dir.path().join(name) };
    let made = oracle(&[Path::new("tests/oracle/inception.py"), Path::new("--files-only"), dir.path()]);
    assert!(made.status.success(), "{}", text(&made));

    let (code, said) = check(&in_dir("inception.pt"));
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("the Inception network, as TorchScript") && said.contains("digest blake3:"),
        "{said}"
    );
    assert!(said.contains("ms per image on C"), "{said}");
    let output = Command::new(PBTNAS)
        .args(["features", "check", "--json"])
        .arg(in_dir("inception.pt"))
        .output()
        .unwrap();
    std::fs::write(in_dir("check.json"), output.stdout).unwrap();
    let files = [Path::new("docs/schemas/features.json"), &in_dir("check.json")];
    let valid = oracle(&[Path::new("tests/oracle/validate.py"), files[0], files[1]]);
    assert!(valid.status.success(), "{}", text(&valid));

    // pytorch-fid's weights are refused until they are converted.
    let (code, said) = check(&in_dir("weights.pth"));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("scripts/inception-to-safetensors"), "{said}");
    let convert = |from: &str, to: &str| {
        oracle(&[Path::new("scripts/inception-to-safetensors"), &in_dir(from), &in_dir(to)])
    };
    let converted = convert("weights.pth", "weights.safetensors");
    assert!(converted.status.success(), "{}", text(&converted));
    let (code, said) = check(&in_dir("weights.safetensors"));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("safetensors with pytorch-fid's names"), "{said}");

    // A damaged download, and a file of another kind.
    std::fs::copy(in_dir("weights.pth"), in_dir("weights-0123abcd.pth")).unwrap();
    let refused = convert("weights-0123abcd.pth", "damaged.safetensors");
    assert!(text(&refused).contains("its SHA-256 is not the one in its name"), "{}", text(&refused));
    let refused = convert("images.safetensors", "other.safetensors");
    assert!(text(&refused).contains("is not a state dict of PyTorch"), "{}", text(&refused));
    assert!(!in_dir("damaged.safetensors").exists() && !in_dir("other.safetensors").exists());
    let (code, said) = check(&in_dir("nowhere.pt"));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("failed to read"), "{said}");
}
