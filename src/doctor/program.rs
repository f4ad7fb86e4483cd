//! Checks of this program: the self-tests of its task, and the GPU.

use pbtnas_core::fault::message;
use pbtnas_engine::config::Config;
use pbtnas_engine::device::{DeviceChoice, device_name, has_nvidia_driver};
use pbtnas_engine::task::SelfTest;

use super::finding::{Area, Finding};

const AREA: Area = Area::Program;

/// Checks the program. `jobs` means that members train as jobs, on other machines than this one.
pub fn check(config: Option<&Config>, jobs: bool) -> Vec<Finding> {
    let tests = config.map_or_else(pbtnas_torch::self_tests, |config| config.task().self_tests());
    let tested_gpu = tests.iter().any(|test| test.title == GPU);
    let mut findings = vec![itself()];
    findings.extend(tests.into_iter().map(|test| check_test(test, jobs)));
    let compute = config.and_then(|config| config.task.settings.compute());
    findings.extend(
        compute.filter(|_| !tested_gpu).and_then(|compute| gpu(compute.device, has_nvidia_driver(), jobs)),
    );
    findings
}

const GPU: &str = "GPU";

fn itself() -> Finding {
    let tasks = match (cfg!(feature = "torch"), cfg!(feature = "rl")) {
        (_, true) => "with the tasks gan and rl",
        (true, false) => "with the task gan, without rl (cargo feature rl)",
        (false, false) => "without the tasks gan and rl (cargo features torch, rl)",
    };
    let tests = if cfg!(feature = "failpoints") { ", with failpoints for tests" } else { "" };
    let place = std::env::current_exe()
        .map_or_else(|_| "an unknown folder".into(), |path| path.display().to_string());
    Finding::ok(AREA, "pbtnas", format!("{} in {place}, {tasks}{tests}", env!("CARGO_PKG_VERSION")))
}

fn check_test(test: SelfTest, jobs: bool) -> Finding {
    match test.outcome {
        Ok(found) => Finding::ok(AREA, test.title, found),
        Err(error) => Finding::problem(AREA, test.title, message(&error), test.consequence, test.advice)
            .downgrade_if(!test.required || (jobs && test.depends_on_machine)),
    }
}

/// Checks the GPU if no self-test has; none if members train on the CPU.
fn gpu(choice: DeviceChoice, driver: bool, jobs: bool) -> Option<Finding> {
    const AT_ONCE: &str = "Every member would fail at once.";
    let wanted = match choice {
        DeviceChoice::Cpu => return None,
        DeviceChoice::Auto => false,
        DeviceChoice::Cuda => true,
    };
    Some(match (driver, wanted, jobs) {
        (true, _, _) => match device_name(choice) {
            Ok(name) => Finding::ok(AREA, GPU, format!("your program will get device {name}")),
            Err(error) => {
                let advice = "Unset CUDA_VISIBLE_DEVICES, or set device to \"auto\" or \"cpu\".";
                Finding::problem(AREA, GPU, message(&error), AT_ONCE, advice).downgrade_if(jobs)
            }
        },
        (false, _, true) => Finding::skipped(
            AREA,
            GPU,
            "this machine has no NVIDIA driver; check the nodes with `pbtnas doctor --no-jobs` in a job on one of them",
        ),
        (false, false, false) => Finding::ok(AREA, GPU, "no NVIDIA driver: members train on the CPU"),
        (false, true, false) => Finding::problem(
            AREA,
            GPU,
            "device = \"cuda\", but this machine has no NVIDIA driver (/proc/driver/nvidia/version)",
            AT_ONCE,
            "Set device to \"auto\" or \"cpu\", or use a machine with a GPU.",
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::finding::Verdict;
    use super::*;

    fn config(kind: &str, more: &str) -> Config {
        crate::register_tasks();
        let text = format!(
            "seed = 1\n[search]\npopulation = 8\nepochs = 2\nepochs_per_generation = 1\n[task]\nkind = {kind:?}\n{more}"
        );
        Config::parse(Path::new("c.toml"), &text).unwrap()
    }

    #[test]
    fn a_missing_gpu_is_a_problem_only_if_members_train_here_and_need_one() {
        let verdict = |device: &str, jobs| {
            let config = config("gan", &format!("[gan]\ndevice = {device:?}\n"));
            gpu(config.task.settings.compute().unwrap().device, false, jobs).map(|finding| finding.verdict)
        };
        assert_eq!(verdict("cpu", false), None);
        assert_eq!(verdict("auto", false), Some(Verdict::Ok));
        assert_eq!(verdict("cuda", false), Some(Verdict::Problem));
        assert_eq!(verdict("cuda", true), Some(Verdict::Skipped));
        assert_eq!(config("synthetic", "").task.settings.compute(), None);
    }

    #[test]
    fn a_failed_test_is_a_problem_unless_it_is_optional_or_of_another_machine() {
        for (required, depends_on_machine, jobs, verdict) in [
            (true, false, true, Verdict::Problem),
            (true, true, false, Verdict::Problem),
            (true, true, true, Verdict::Warning),
            (false, true, false, Verdict::Warning),
        ] {
            let test = SelfTest {
                title: GPU,
                outcome: Err(anyhow::anyhow!("it is too old")),
                consequence: "None.",
                advice: "None.".into(),
                required,
                depends_on_machine,
            };
            assert_eq!(check_test(test, jobs).verdict, verdict);
        }
    }

    #[cfg(feature = "torch")]
    #[test]
    fn missing_models_are_a_problem() {
        let findings = |models: &Path| {
            let config = config("rl", &format!("[rl]\nmodels = {models:?}\n"));
            let found = check(Some(&config), true);
            found.into_iter().find(|finding| finding.title == "environment").unwrap().verdict
        };
        assert_eq!(findings(Path::new("/nowhere")), Verdict::Problem);
        #[cfg(feature = "rl")]
        assert_eq!(
            findings(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/data/dm-control")),
            Verdict::Ok
        );
    }

    #[test]
    fn this_program_passes() {
        assert!(check(None, false).iter().all(|finding| finding.verdict == Verdict::Ok));
    }
}
