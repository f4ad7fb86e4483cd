//! Other people's implementations, to compare with: Python scripts in tests/oracle.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tch::{Kind, Tensor};

use crate::search::{Address, rng};

/// Tensors by name.
pub type Named = BTreeMap<String, Tensor>;

/// Runs a program of the oracle's environment in the repository's root; it must succeed.
pub fn run<P: AsRef<Path>>(script: &str, arguments: &[P]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".deps/oracle/bin/python");
    assert!(python.exists(), "{} is missing: call scripts/setup oracle", python.display());
    let output = Command::new(python)
        .arg("-W")
        .arg("ignore")
        .arg(root.join(script))
        .args(arguments.iter().map(AsRef::as_ref))
        .env("CUDA_VISIBLE_DEVICES", "")
        .output()
        .unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The tensors of a safetensors file.
pub fn tensors(path: &Path) -> Named {
    Tensor::read_safetensors(path).unwrap().into_iter().collect()
}

/// A call of a script for many cases: starting PyTorch takes longer than they do.
pub struct Oracle {
    script: &'static str,
    dir: tempfile::TempDir,
    cases: Vec<PathBuf>,
}

impl Oracle {
    /// Of a script that takes folders with `case.json` and `inputs.safetensors`, and writes `outputs.safetensors`.
    pub fn new(script: &'static str) -> Self {
        Self { script, dir: tempfile::tempdir().unwrap(), cases: Vec::new() }
    }

    /// Adds a case.
    pub fn add(&mut self, case: &Value, inputs: &Named) {
        let folder = self.dir.path().join(self.cases.len().to_string());
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("case.json"), case.to_string()).unwrap();
        if !inputs.is_empty() {
            let inputs: Vec<_> = inputs.iter().map(|(name, tensor)| (name, tensor.detach())).collect();
            Tensor::write_safetensors(&inputs, folder.join("inputs.safetensors")).unwrap();
        }
        self.cases.push(folder);
    }

    /// The outputs of all cases.
    pub fn call(&self) -> Vec<Named> {
        run(self.script, &self.cases);
        self.cases.iter().map(|folder| tensors(&folder.join("outputs.safetensors"))).collect()
    }
}

/// Asserts that two tensors are the same but for rounding, which is measured against their largest element,
/// or against `scale` where that says what rounding errors are made of. How far they are apart, in that measure.
pub fn assert_close(what: &str, ours: &Tensor, theirs: &Tensor, tolerance: f64, scale: f64) -> f64 {
    assert_eq!(ours.size(), theirs.size(), "{what}");
    if ours.equal(theirs) {
        return 0.0;
    }
    let size = theirs.abs().max().double_value(&[]).max(scale);
    let difference =
        (ours.to_kind(Kind::Double) - theirs.to_kind(Kind::Double)).abs().max().double_value(&[]);
    assert!(difference <= tolerance * size, "{what} differs by {difference:e}, of {size:e}");
    difference / size
}

/// Standard normal numbers that a name stands for.
pub fn normal(shape: &[i64], name: &str) -> Tensor {
    let purpose = format!("parity {name}");
    let address = Address { run: 9, generation: 0, member: None, purpose: &purpose };
    let numbers: Vec<f64> = rand_distr::Distribution::sample_iter(rand_distr::StandardNormal, rng(&address))
        .take(shape.iter().product::<i64>() as usize)
        .collect();
    Tensor::from_slice(&numbers).reshape(shape)
}
