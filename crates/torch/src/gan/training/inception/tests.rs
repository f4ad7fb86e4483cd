use std::path::Path;

use super::*;
use crate::oracle;

const NAMES: [&str; 6] = ["small", "larger", "wide", "native", "huge", "grey"];

fn apart(a: &Tensor, b: &Tensor) -> f64 {
    (a.to_kind(Kind::Double) - b.to_kind(Kind::Double)).abs().max().double_value(&[])
}

/// Loads a file and compares its outputs for every batch of images with those of pytorch-fid.
fn compare(folder: &Path, file: &str) -> InceptionFile {
    let inception = Inception::load(&folder.join(file), Device::Cpu).unwrap();
    let images = oracle::tensors(&folder.join("images.safetensors"));
    let expected = oracle::tensors(&folder.join("expected.safetensors"));
    assert_eq!(images.len(), NAMES.len());
    for name in NAMES {
        let of = |what: &str| &expected[&format!("{name}/{what}")];
        let (features, probabilities) = inception.features_and_probabilities(&images[name]).unwrap();
        // The comparison is worthless if the random network's features, or its probabilities, are all alike.
        let spread = of("features").std(true).double_value(&[]);
        let largest = of("features").abs().max().double_value(&[]);
        assert!(spread > 0.1 && largest < 100.0, "{name}: {spread} {largest}");
        assert!(of("probabilities").max().double_value(&[]) > 0.01, "{name}");
        let (off, off_probability) = (
            apart(&features, of("features")) / largest,
            apart(&probabilities, of("probabilities")) / of("probabilities").max().double_value(&[]),
        );
        println!("{file} {name}: features {off:.1e}, probabilities {off_probability:.1e}");
        assert!(off < 1e-4 && off_probability < 1e-4, "{file} {name}: {off} {off_probability}");
    }
    inception.file()
}

#[test]
fn both_files_agree_with_pytorch_fid() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    oracle::run("tests/oracle/inception.py", &[folder]);

    // The conversion script for users, on the oracle's state dict.
    let (pickled, converted) = (folder.join("weights.pth"), folder.join("weights.safetensors"));
    oracle::run("scripts/inception-to-safetensors", &[&pickled, &converted]);
    assert_eq!(compare(folder, "weights.safetensors"), InceptionFile::Safetensors);
    assert_eq!(compare(folder, "inception.pt"), InceptionFile::TorchScript);

    // Resizing and scaling agree with an independent implementation, pixel by pixel.
    let images = oracle::tensors(&folder.join("images.safetensors"));
    let expected = oracle::tensors(&folder.join("expected.safetensors"));
    for name in NAMES {
        let input = resize::prepare(&images[name].expand([-1, 3, -1, -1], false));
        let off = apart(&input, &expected[&format!("{name}/input")]);
        println!("{name}: input {off:.1e}");
        assert!(off < 1e-6, "{name}: {off}");
    }

    // Files that users may confuse with the two are refused, and the message names those.
    let refused = |path: &Path| Inception::load(path, Device::Cpu).err().unwrap().to_string();
    let message = refused(&pickled);
    assert!(message.contains("scripts/inception-to-safetensors for the weights"), "{message}");
    let message = refused(&folder.join("images.safetensors"));
    assert!(message.contains("lacks the tensor \"Conv2d_1a_3x3.conv.weight\""), "{message}");
    assert!(message.contains("inception-2015-12-05.pt"), "{message}");

    // Another network with the same names: 1000 classes.
    let mut tensors = oracle::tensors(&converted);
    let head = tensors.insert("fc.weight".into(), Tensor::zeros([1000, 2048], (Kind::Float, Device::Cpu)));
    assert!(head.is_some());
    let named: Vec<(String, Tensor)> = tensors.into_iter().collect();
    Tensor::write_safetensors(&named, &converted).unwrap();
    let message = refused(&converted);
    assert!(message.contains("[1000, 2048] instead of F32 [1008, 2048]"), "{message}");
}

#[test]
fn error_names_the_content_of_other_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inception.pt");
    let refused = || Inception::load(&path, Device::Cpu).err().map(|error| format!("{error:#}")).unwrap();
    assert!(refused().starts_with("failed to read"), "{}", refused());
    for (content, expected) in [
        (&b"\x80\x02}q\x00."[..], "it is a Python pickle"),
        (b"<!DOCTYPE html>", "it is neither TorchScript nor safetensors"),
        (b"", "it is neither TorchScript nor safetensors"),
        (b"PK\x03\x04 and no more", "it is a PyTorch archive, but not that TorchScript"),
        (b"\x20\0\0\0\0\0\0\0{\"a\": 1}", "it is safetensors, but"),
    ] {
        fs::write(&path, content).unwrap();
        let message = refused();
        assert!(message.contains(expected) && message.contains("inception-2015-12-05.pt"), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn script_with_other_outputs_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.pt");
    oracle::run("tests/oracle/other_script.py", &[&path]);
    let message = Inception::load(&path, Device::Cpu).err().unwrap().to_string();
    assert!(message.contains("its features are Float [1, 512] instead of Float [1, 2048]"), "{message}");
}

#[test]
fn table_has_the_convolutions_of_inception_v3() {
    fn count(parts: &[table::InceptionPart]) -> usize {
        let of = |part: &table::InceptionPart| match part {
            table::InceptionPart::Conv(_) => 1,
            table::InceptionPart::Pool(_) => 0,
            table::InceptionPart::Fork(branches) => branches.iter().map(|branch| count(branch)).sum(),
        };
        parts.iter().map(of).sum()
    }
    assert_eq!(count(&table::network()), 94);
}

#[test]
fn resize_starts_at_the_first_pixel_and_ends_beyond_the_last() {
    let row = Tensor::from_slice(&[0u8, 128, 255]).reshape([1, 1, 1, 3]).expand([1, 3, 2, 3], false);
    let input = resize::prepare(&row);
    assert_eq!(input.size(), [1, 3, 299, 299]);
    let at = |x: i64| input.double_value(&[0, 1, 150, x]) * 128.0 + 128.0;
    assert_eq!(at(0), 0.0);
    assert!((at(50) - 128.0 * 150.0 / 299.0).abs() < 1e-4);
    // Beyond 2/3 of the way, 299 * 2 / 3 = 199.3, the last pixel is repeated.
    assert_eq!((at(200), at(298)), (255.0, 255.0));
}
