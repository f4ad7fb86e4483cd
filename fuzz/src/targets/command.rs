//! Output of a user's program: results, lines of progress, checkpoints (form of the input: [`safetensors`]).

use super::{file, safetensors};
use pbtnas_core::checkpoint::{AVERAGE, MODEL, OPTIMIZER, tensors_in};
use pbtnas_core::search::Genotype;
use pbtnas_engine::command::{ScriptProgress, accept, read_result};
use pbtnas_engine::fault::exit::FAILED;
use pbtnas_engine::fault::exit_code;

pub fn fuzz(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut progress = ScriptProgress::default();
    text.lines().for_each(|line| progress.update(ScriptProgress::parse(line)));

    match read_result(&file("result.json", input)) {
        Ok(evaluation) => assert!(evaluation.metrics.iter().all(|(_, value)| value.is_finite())),
        // Every error is a fault of the program.
        Err(error) => assert_eq!(exit_code(&error), FAILED, "{error:?}"),
    }

    match accept(&file("output", &safetensors(input)), &Genotype::new([])) {
        Ok(reader) => {
            for entry in reader.entries() {
                assert!([MODEL, AVERAGE, OPTIMIZER].iter().any(|prefix| entry.name.starts_with(prefix)));
            }
            assert!(!tensors_in(&reader, &[]).is_empty());
        }
        Err(error) => assert_eq!(exit_code(&error), FAILED, "{error:?}"),
    }
}
