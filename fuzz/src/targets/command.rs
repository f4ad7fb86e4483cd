//! What a user's program writes: results, lines of progress, checkpoints. See [`safetensors`] for the form of the
//! last.

use super::{file, safetensors};
use pbtnas::checkpoint::{AVERAGE, MODEL, OPTIMIZER, tensors_in};
use pbtnas::error::{FAILED, exit_code};
use pbtnas::search::Genotype;
use pbtnas::tasks::command::{Progress, accept, read_result};

pub fn fuzz(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut progress = Progress::default();
    text.lines().for_each(|line| progress.update(Progress::parse(line)));

    match read_result(&file("result.json", input)) {
        Ok(evaluation) => assert!(evaluation.metrics.iter().all(|(_, value)| value.is_finite())),
        // Whatever it is, it is the program's fault.
        Err(error) => assert_eq!(exit_code(&error), FAILED, "{error:?}"),
    }

    match accept(&file("output", &safetensors(input)), &Genotype::new([])) {
        Ok(reader) => {
            for entry in reader.entries() {
                assert!([MODEL, AVERAGE, OPTIMIZER].iter().any(|prefix| entry.name.starts_with(prefix)));
            }
            assert!(!tensors_in(&reader).is_empty());
        }
        Err(error) => assert_eq!(exit_code(&error), FAILED, "{error:?}"),
    }
}
