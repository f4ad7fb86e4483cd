//! Reference implementations for tests: Python scripts in tests/oracle.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tch::{Kind, Tensor};

use pbtnas_core::checkpoint::{Init, TensorSpec, fresh};
use pbtnas_core::search::RngKey;
use safetensors::Dtype;

/// Tensors by name.
pub type OracleTensors = BTreeMap<String, Tensor>;

/// Runs a Python script in the oracle's environment; it must succeed.
pub fn run<P: AsRef<Path>>(script: &str, arguments: &[P]) {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let python = root.join(".deps/oracle/bin/python");
    assert!(python.exists(), "{} is missing: run scripts/setup oracle", python.display());
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
pub fn tensors(path: &Path) -> OracleTensors {
    Tensor::read_safetensors(path).unwrap().into_iter().collect()
}

/// A single call of a script for many cases, because starting PyTorch takes longer than the cases themselves.
pub struct Oracle {
    script: &'static str,
    dir: tempfile::TempDir,
    cases: Vec<PathBuf>,
}

impl Oracle {
    /// The script takes folders with `case.json` and `inputs.safetensors`, and writes `outputs.safetensors` to each.
    pub fn new(script: &'static str) -> Self {
        Self { script, dir: tempfile::tempdir().unwrap(), cases: Vec::new() }
    }

    pub fn add(&mut self, case: &Value, inputs: &OracleTensors) {
        let folder = self.dir.path().join(self.cases.len().to_string());
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("case.json"), case.to_string()).unwrap();
        if !inputs.is_empty() {
            let inputs: Vec<_> = inputs.iter().map(|(name, tensor)| (name, tensor.detach())).collect();
            Tensor::write_safetensors(&inputs, folder.join("inputs.safetensors")).unwrap();
        }
        self.cases.push(folder);
    }

    /// Runs the script, and returns the outputs of all cases.
    pub fn call(&self) -> Vec<OracleTensors> {
        run(self.script, &self.cases);
        self.cases.iter().map(|folder| tensors(&folder.join("outputs.safetensors"))).collect()
    }
}

/// Asserts that two tensors agree to `tolerance`, relative to their largest element or to `scale`, whichever is larger.
/// Returns the relative difference.
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

/// Standard normal numbers that depend on a name only.
pub fn normal(shape: &[i64], name: &str) -> Tensor {
    let spec = TensorSpec {
        name: name.into(),
        shape: shape.iter().map(|&size| size as usize).collect(),
        dtype: Dtype::F32,
        init: Init::Normal { mean: 0.0, std: 1.0 },
        trained: true,
        average: None,
    };
    let numbers: Vec<f32> =
        fresh(&spec, &RngKey { run: 9, generation: 0, member: None, purpose: "parity" }).collect();
    Tensor::from_slice(&numbers).to_kind(Kind::Double).reshape(shape)
}
