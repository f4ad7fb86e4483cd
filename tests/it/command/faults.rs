//! What breaks the contract is one member's failure, told with the end of what it printed.

use std::path::Path;

use super::{python, script, temporaries};
use crate::support::{Search, text};

/// Each option once, since the first population deals them out evenly.
const FAULTS: [&str; 14] = [
    "none",
    "other",
    "crash",
    "exit",
    "hang",
    "flood",
    "no-checkpoint",
    "early",
    "wrong-name",
    "garbage",
    "no-result",
    "text",
    "nan",
    "full",
];

/// `requests` is a folder in which the script leaves a copy of each request.
fn config(requests: &Path) -> String {
    format!(
        "seed = 1\n[search]\npopulation = {}\nepochs = 1\nepochs_per_step = 1\n[training]\nmax_attempts = 1\n\
         [task]\nkind = \"command\"\n[command]\ncommand = [{:?}, {:?}]\nhang_seconds = 6\noutput_megabytes = 1\n\
         environment = {{ REQUESTS = {requests:?} }}\n\
         [[command.variables]]\nname = \"fault\"\noptions = {FAULTS:?}\n",
        FAULTS.len(),
        python(),
        script("faulty.py"),
    )
}

#[test]
fn a_script_that_misbehaves_fails_for_its_member_alone_and_says_why() {
    let requests = tempfile::tempdir().unwrap();
    let search = Search::init(&config(requests.path()));
    let output = search.call(&["run", "--workers", "4"]);
    assert!(output.status.success(), "{}", text(&output));
    let plan = search.json("generations/0000/plan.json");
    let expected = |fault: &str| match fault {
        "crash" => vec!["ended with exit code 1", "\n    ValueError: the loss exploded"],
        "exit" => vec!["(train) ended with exit code 7", "\n    this is train"],
        "hang" => vec!["gave no sign of life for 6 s", "hang_seconds", "\n    this is train"],
        "flood" => vec!["printed more than 1 MB", "output_megabytes", "all work and no play"],
        "no-checkpoint" => vec!["ended well but wrote no checkpoint to output.safetensors"],
        "early" => vec!["ended at epoch 0 and step 0 of 1 epochs without being asked to"],
        "wrong-name" => vec!["did not keep the contract", "no tensor whose name starts with model/"],
        "garbage" => vec!["did not keep the contract: its checkpoint cannot be used"],
        "no-result" => vec!["(evaluate) did not keep the contract: it wrote no result"],
        "text" => vec!["its result cannot be read", "\"very good\""],
        _ => vec![],
    };
    for (member, planned) in plan["members"].as_array().unwrap().iter().enumerate() {
        let fault = planned["genotype"]["fault"].as_str().unwrap();
        let result = search.json(&format!("generations/0000/members/{member:02}/result.json"));
        let outcome = &result["outcome"];
        match fault {
            "none" | "other" => assert_eq!(outcome["fitness"], 1.0, "{outcome}"),
            // A filesystem that refuses is waited for; with one attempt a failure would have been the last.
            "full" => {
                assert_eq!((&outcome["fitness"], &outcome["attempt"]), (&1.0.into(), &1.into()), "{outcome}")
            }
            "nan" => assert!(outcome["fitness"].is_null() && outcome["kind"] == "trained", "{outcome}"),
            _ => {
                let reason = outcome["reason"].as_str().unwrap_or_else(|| panic!("{fault}: {outcome}"));
                for part in expected(fault) {
                    assert!(reason.contains(part), "{fault}: {reason}");
                }
                assert!(!reason.contains('\u{1b}') && reason.len() < 4000, "{fault}: {reason:?}");
            }
        }
    }
    // Who asks is told, too: why, and the last lines.
    let status = search.ok(&["status"]);
    assert!(status.contains("ValueError: the loss exploded") && status.contains("diverged"), "{status}");
    assert!(search.ok(&["verify"]).starts_with("sound"));
    // What was asked is what the schema says.
    let documents: Vec<_> =
        std::fs::read_dir(requests.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let documents: Vec<_> =
        documents.into_iter().filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    assert!(documents.len() >= 2 * FAULTS.len(), "{documents:?}");
    let validate = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/validate.py");
    let output = std::process::Command::new(python()).arg(validate).args(&documents).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    // Nothing is left of the programs' folders.
    assert_eq!(temporaries(&search), Vec::<std::path::PathBuf>::new());
}

#[test]
fn what_is_missing_or_wrong_is_told_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("search.toml");
    let init = |config: &str| {
        std::fs::write(&file, config).unwrap();
        let state = dir.path().join("run");
        let arguments = ["init", "--config", file.to_str().unwrap(), "--state", state.to_str().unwrap()];
        let output = std::process::Command::new(crate::support::PBTNAS).args(arguments).output().unwrap();
        assert!(!state.join("run.json").exists());
        (output.status.code(), text(&output))
    };
    let good = config(dir.path());
    let variable = "[[command.variables]]\nname = \"fault\"";
    for (wrong, code, said) in [
        (good.replace("faulty.py", "fawlty.py"), 1, "fawlty.py"),
        (
            good.replace("[task]", "[slurm]\ntime = \"1:00:00\"\nwarning_seconds = 24\n[task]"),
            3,
            "slurm.warning_seconds: ",
        ),
        (good.replace("hang_seconds", "directory = \"nowhere\"\nhang_seconds"), 1, "nowhere is no folder"),
        (good.replace("hang_seconds", "hang_second"), 3, "did you mean `hang_seconds`?"),
        (
            good.replace("hang_seconds = 6", "hang_seconds = 0"),
            3,
            "search.toml:12: command.hang_seconds: must be",
        ),
        (good.replace(variable, &format!("{variable}\nown = []")), 3, "did you mean `owns`?"),
        (good.replace("\"none\", \"other\"", "\"none\", \"none\""), 3, "command.variables: "),
        (good.split("[command]").next().unwrap().to_owned(), 3, "needs a section [command]"),
    ] {
        assert_ne!(wrong, good);
        let (found, message) = init(&wrong);
        assert_eq!(found, Some(code), "{message}");
        assert!(message.contains(said), "{said}: {message}");
    }
}

/// The usual mistake: a tensor whose shape depends on a variable that does not own it.
#[test]
fn a_tensor_without_its_owner_is_named() {
    let config = format!(
        "seed = 1\n[search]\npopulation = 8\nepochs = 2\nepochs_per_step = 1\n[training]\nmax_attempts = 1\n\
         [task]\nkind = \"command\"\n[command]\ncommand = [{:?}, {:?}]\nenvironment = {{ HEAD = \"1\" }}\n\
         [[command.variables]]\nname = \"width\"\noptions = [\"2\", \"3\", \"4\", \"5\", \"6\", \"7\", \"8\", \"9\"]\n\
         owns = [\"net/body\"]\n",
        python(),
        script("unowned.py"),
    );
    let search = Search::init(&config);
    search.call(&["run"]);
    let status = search.ok(&["status"]);
    assert!(status.contains("model/net/head") && status.contains("`owns` of the variable"), "{status}");
}

/// And a number, which nothing may depend on.
#[test]
fn check_finds_a_tensor_that_depends_on_a_range() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("search.toml");
    let config = format!(
        "seed = 1\n[search]\npopulation = 8\nepochs = 2\nepochs_per_step = 1\n[task]\nkind = \"command\"\n\
         [command]\ncommand = [{:?}, {:?}]\n\
         [[command.variables]]\nname = \"width\"\nrange = {{ low = 2, high = 9, integer = true }}\n",
        python(),
        script("unowned.py"),
    );
    std::fs::write(&file, config).unwrap();
    let output = std::process::Command::new(crate::support::PBTNAS)
        .arg("check")
        .arg("--config")
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("is not the same with width = "), "{}", text(&output));
}
