//! Whether this program works: its libraries, the GPU, what reinforcement learning draws with.

use std::path::Path;

use anyhow::{Result, ensure};
use rand::SeedableRng;

use super::finding::{Area, Finding};
use crate::config::{Config, TaskKind};
use crate::error::message;
use crate::gpu::{self, DeviceChoice};
use crate::tasks::rl::environment::{EPISODE, Environment, PICTURE};

const AREA: Area = Area::Program;

/// Everything about the program. `jobs` tells that members train as jobs, on other machines than this one.
pub fn examine(config: Option<&Config>, jobs: bool) -> Vec<Finding> {
    let mut findings = vec![itself(), libtorch()];
    if let Some(config) = config {
        findings.extend(device(config).map(|choice| gpu(choice, config.task.kind, jobs)));
        if config.task.kind == TaskKind::Rl {
            findings.push(environment(config, jobs));
        }
    }
    findings
}

fn itself() -> Finding {
    let rl = match cfg!(feature = "rl") {
        true => "with reinforcement learning",
        false => "without reinforcement learning (cargo feature rl)",
    };
    let tests = if cfg!(feature = "failpoints") { ", with failpoints for tests" } else { "" };
    let place =
        std::env::current_exe().map_or_else(|_| "an unknown place".into(), |path| path.display().to_string());
    Finding::ok(AREA, "pbtnas", format!("{} in {place}, {rl}{tests}", env!("CARGO_PKG_VERSION")))
}

fn libtorch() -> Finding {
    let place = gpu::libtorch().ok().flatten();
    let place = place.map_or_else(|| "libtorch".into(), |path| path.display().to_string());
    match gpu::calculate(tch::Device::Cpu) {
        Ok(()) => Finding::ok(AREA, "libtorch", format!("{place} computes what it should")),
        Err(error) => Finding::problem(
            AREA,
            "libtorch",
            format!("{place} does not: {}", message(&error)),
            "Every member would fail, or train to nonsense.",
            "Call `scripts/setup libtorch` and build pbtnas again; if it stays, try another machine: memory or \
             processor of this one may be broken.",
        ),
    }
}

/// What the task wants to train on; none if it never uses a GPU.
fn device(config: &Config) -> Option<DeviceChoice> {
    let choice = match config.task.kind {
        TaskKind::Gan => config.gan.device,
        TaskKind::Rl => config.rl.device,
        TaskKind::Command => config.command.as_ref()?.device,
        TaskKind::Synthetic => return None,
    };
    (choice != DeviceChoice::Cpu).then_some(choice)
}

fn gpu(choice: DeviceChoice, kind: TaskKind, jobs: bool) -> Finding {
    const TITLE: &str = "GPU";
    let wanted = choice == DeviceChoice::Cuda;
    if !gpu::driver_is_there() {
        return match (wanted, jobs) {
            (_, true) => Finding::skipped(
                AREA,
                TITLE,
                "this machine has no NVIDIA driver, which says nothing about the nodes (call `pbtnas doctor \
                 --no-jobs` in a job on one of them)",
            ),
            (false, false) => Finding::ok(AREA, TITLE, "none, no NVIDIA driver: members train on the CPU"),
            (true, false) => Finding::problem(
                AREA,
                TITLE,
                "device = \"cuda\", but this machine has no NVIDIA driver (/proc/driver/nvidia/version)",
                "Every member would fail at once.",
                "Set device to \"auto\" or \"cpu\", or go to a machine with a GPU.",
            ),
        };
    }
    if kind == TaskKind::Command {
        return match gpu::device_name(choice) {
            Ok(name) => Finding::ok(AREA, TITLE, format!("your program is told to train on {name}")),
            Err(error) => unusable(TITLE, &message(&error), wanted && !jobs),
        };
    }
    let tried = gpu::device(DeviceChoice::Cuda)
        .and_then(|device| gpu::calculate(device).map(|()| tch::Cuda::device_count()));
    match tried {
        Ok(1) => Finding::ok(AREA, TITLE, "1, which computes what it should"),
        Ok(count) => Finding::ok(AREA, TITLE, format!("{count}, the first of which computes what it should")),
        Err(error) => unusable(TITLE, &message(&error), wanted && !jobs),
    }
}

fn unusable(title: &str, why: &str, needed: bool) -> Finding {
    let found = format!("there is one, but {why}");
    let consequence = match needed {
        true => "Every member would fail at once.",
        false => "Members on this machine would train on the CPU, slowly.",
    };
    let advice = format!(
        "Set {} to the folder torch/lib of an installed PyTorch 2.11 (for jobs: in [slurm.environment]), and look \
         at what `nvidia-smi` says.",
        gpu::CUDA_LIBRARIES
    );
    Finding::problem(AREA, title, found, consequence, advice).only_warning_if(!needed)
}

/// MuJoCo and EGL: whether an agent of the configuration could see anything.
fn environment(config: &Config, jobs: bool) -> Finding {
    const TITLE: &str = "environment";
    let rl = &config.rl;
    let tried = look(rl.environment, &rl.models);
    match tried {
        Ok(()) => Finding::ok(AREA, TITLE, "MuJoCo moves it, EGL draws it"),
        Err(error) => Finding::problem(
            AREA,
            TITLE,
            message(&error),
            match jobs {
                true => "If the nodes are like this machine, every member fails at once. (A login node may lack what \
                         they have.)",
                false => "Every member would fail at once.",
            },
            "`scripts/setup rl` gets MuJoCo and the models. EGL comes with an NVIDIA driver, or as Debian's libegl1 \
             libegl-mesa0 libgl1-mesa-dri.",
        )
        .only_warning_if(jobs && Environment::check(rl.environment, &rl.models).is_ok()),
    }
}

fn look(kind: crate::tasks::rl::environment::EnvironmentKind, models: &Path) -> Result<()> {
    let mut environment = Environment::new(kind, models, EPISODE)?;
    environment.reset(&mut rand_chacha::ChaCha8Rng::seed_from_u64(0))?;
    let mut picture = vec![0; PICTURE];
    environment.pixels(&mut picture)?;
    let first = picture.first().copied().unwrap_or(0);
    ensure!(picture.iter().any(|byte| *byte != first), "the picture that EGL drew is blank");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn config(kind: &str, more: &str) -> Config {
        let text = format!(
            "seed = 1\n[search]\npopulation = 8\nepochs = 2\nepochs_per_step = 1\n[task]\nkind = {kind:?}\n{more}"
        );
        Config::parse(Path::new("c.toml"), &text).unwrap()
    }

    #[test]
    fn a_machine_without_a_gpu_is_a_problem_only_if_members_train_here_and_must_have_one() {
        if gpu::driver_is_there() {
            return;
        }
        let verdict = |device: &str, jobs| {
            let config = config("gan", &format!("[gan]\ndevice = {device:?}\n"));
            super::device(&config).map(|choice| gpu(choice, config.task.kind, jobs).verdict)
        };
        assert_eq!(verdict("cpu", false), None);
        assert_eq!(verdict("auto", false), Some(Verdict::Ok));
        assert_eq!(verdict("cuda", false), Some(Verdict::Problem));
        assert_eq!(verdict("cuda", true), Some(Verdict::Skipped));
        assert_eq!(device(&config("synthetic", "")), None);
    }

    #[test]
    fn a_gpu_that_cannot_be_used_is_a_problem_only_where_it_is_needed() {
        assert_eq!(unusable("GPU", "it is too old", true).verdict, Verdict::Problem);
        assert_eq!(unusable("GPU", "it is too old", false).verdict, Verdict::Warning);
    }

    #[test]
    fn without_models_nothing_is_seen() {
        let config = config("rl", "[rl]\nmodels = \"/nowhere\"\n");
        for jobs in [true, false] {
            let finding = environment(&config, jobs);
            assert_eq!(finding.verdict, Verdict::Problem, "no model, no agent: {finding:?}");
        }
        let there = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/data/dm-control");
        if cfg!(feature = "rl") && there.exists() {
            let config = super::tests::config("rl", &format!("[rl]\nmodels = {there:?}\n"));
            assert_eq!(environment(&config, false).verdict, Verdict::Ok);
        }
    }

    #[test]
    fn this_program_works() {
        assert!(examine(None, false).iter().all(|finding| finding.verdict == Verdict::Ok));
    }
}
