//! A script that breaks the contract fails its member, with the end of its output as the reason.

use std::path::Path;

use super::{python, script, temporaries};
use crate::support::{Search, text};

/// Each option occurs once: the first population has them equally often.
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

/// `requests` is the folder to which the script copies each request.
fn config(requests: &Path) -> String {
    format!(
        "seed = 1\n[search]\npopulation = {}\nepochs = 1\nepochs_per_generation = 1\n[training]\nmax_attempts = 1\n\
         [task]\nkind = \"command\"\n[command]\ncommand = [{:?}, {:?}]\nhang_seconds = 6\noutput_megabytes = 1\n\
         environment = {{ REQUESTS = {requests:?} }}\n\
         [[command.variables]]\nname = \"fault\"\noptions = {FAULTS:?}\n",
        FAULTS.len(),
        python(),
        script("faulty.py"),
    )
}

#[test]
fn a_misbehaving_script_fails_its_member_only_with_the_reason() {
    let requests = tempfile::tempdir().unwrap();
    let search = Search::init(&config(requests.path()));
    let output = search.call(&["run", "--workers", "4"]);
    assert!(output.status.success(), "{}", text(&output));
    let plan = search.json("generations/0000/plan.json");
    let expected = |fault: &str| match fault {
        "crash" => vec!["exited with code 1", "\n    ValueError: the loss exploded"],
        "exit" => vec!["(train) exited with code 7", "\n    this is train"],
        "hang" => vec!["produced neither output nor progress for 6 s", "hang_seconds", "\n    this is train"],
        "flood" => vec!["printed more than 1 MB", "output_megabytes", "all work and no play"],
        "no-checkpoint" => vec!["exited with code 0 but wrote no checkpoint to output.safetensors"],
        "early" => vec!["exited at epoch 0 and step 0, before epoch 1, without being asked to"],
        "wrong-name" => vec!["violated the contract", "no tensor whose name starts with model/"],
        "garbage" => vec!["violated the contract: its checkpoint is invalid"],
        "no-result" => vec!["(evaluate) violated the contract: it wrote no result"],
        "text" => vec!["its result is invalid", "\"very good\""],
        _ => vec![],
    };
    for (member, planned) in plan["members"].as_array().unwrap().iter().enumerate() {
        let fault = planned["genotype"]["fault"].as_str().unwrap();
        let result = search.json(&format!("generations/0000/members/{member:02}/result.json"));
        let outcome = &result["outcome"];
        match fault {
            "none" | "other" => assert_eq!(outcome["fitness"], 1.0, "{outcome}"),
            // A full disk is retried within the attempt: with one attempt a failure would be final.
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
    // `status` shows the reason, too, with the last lines.
    let status = search.ok(&["status"]);
    assert!(status.contains("ValueError: the loss exploded") && status.contains("diverged"), "{status}");
    assert!(search.ok(&["verify"]).starts_with("valid"));
    // The requests match the schema.
    let documents: Vec<_> =
        std::fs::read_dir(requests.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let documents: Vec<_> =
        documents.into_iter().filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    assert!(documents.len() >= 2 * FAULTS.len(), "{documents:?}");
    let validate = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/validate.py");
    let output = std::process::Command::new(python()).arg(validate).args(&documents).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    // The scripts' folders are removed.
    assert_eq!(temporaries(&search), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_wrong_configuration_is_reported_before_init() {
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
        (
            good.replace("hang_seconds", "directory = \"nowhere\"\nhang_seconds"),
            1,
            "nowhere is not a directory",
        ),
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

/// A common mistake: a tensor whose shape depends on a variable that does not own it.
#[test]
fn a_tensor_without_its_owner_is_named() {
    let config = format!(
        "seed = 1\n[search]\npopulation = 8\nepochs = 2\nepochs_per_generation = 1\n[training]\nmax_attempts = 1\n\
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

/// The shape of a tensor must not depend on a range.
#[test]
fn check_finds_a_tensor_that_depends_on_a_range() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("search.toml");
    let config = format!(
        "seed = 1\n[search]\npopulation = 8\nepochs = 2\nepochs_per_generation = 1\n[task]\nkind = \"command\"\n\
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
    assert!(text(&output).contains("differs between width = "), "{}", text(&output));
}
