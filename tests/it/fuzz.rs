//! Replays the inputs in `fuzz/corpus` with the code that libFuzzer calls. `scripts/fuzz` generates new ones.

use std::path::Path;

#[path = "../../fuzz/src/targets/mod.rs"]
mod targets;

type Target = fn(&[u8]);

#[test]
fn known_inputs_do_not_panic() {
    // One at a time: they write the same files.
    let all: &[(&str, Target)] = &[
        ("checkpoint", targets::checkpoint::fuzz),
        ("command", targets::command::fuzz),
        ("config", targets::config::fuzz),
        ("data", targets::data::fuzz),
        ("records", targets::records::fuzz),
        ("scheduler", targets::scheduler::fuzz),
        ("script", targets::script::fuzz),
        ("space", targets::space::fuzz),
    ];
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let names = |dir: &str| {
        let entries = std::fs::read_dir(fuzz.join(dir)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    };
    let stems =
        names("fuzz_targets").iter().map(|path| path.file_stem().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(stems, all.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "a target is missing here");
    let mut failed = vec![];
    for &(name, target) in all {
        let inputs = names(&format!("corpus/{name}"));
        assert!(!inputs.is_empty(), "{name}");
        // Files of the target before.
        std::fs::remove_dir_all(targets::folder()).unwrap();
        std::fs::create_dir(targets::folder()).unwrap();
        for path in inputs {
            let input = std::fs::read(&path).unwrap();
            if std::panic::catch_unwind(|| target(&input)).is_err() {
                failed.push(path);
            }
        }
    }
    std::fs::remove_dir_all(targets::folder()).unwrap();
    assert!(failed.is_empty(), "{failed:?}");
}
