//! Compares the networks and their training with an independent version in PyTorch (`tests/oracle/gan.py`): the same
//! weights must give the same outputs, gradients, power iterations and trained weights.

use std::path::PathBuf;

use serde_json::{Value, json};
use tch::{Device, Kind, Tensor, no_grad};

use crate::gan::projection::Mode;
use crate::gan::training::networks_tests::{task, values};
use crate::gan::training::session::GanSession;
use crate::gan::{GanConfig, GanTask, SpaceKind};
use crate::nn::{Scope, Values, uniform};
use crate::oracle::{Oracle, OracleTensors, assert_close, normal};
use pbtnas_core::checkpoint::fresh;
use pbtnas_core::search::{Genotype, Initial, MemberId, RngKey, initial_population, rng};
use pbtnas_engine::task::{Seeds, Session, Start, Task};

const SPACES: [SpaceKind; 2] = [SpaceKind::Gan, SpaceKind::GanHard];
const SEEDS: Seeds = Seeds { run: 4, generation: 1, member: MemberId(2) };
/// Rounding errors of double precision after some dozens of layers are far below 1e-4.
const DOUBLE: f64 = 1e-8;
/// Tolerance in single precision.
const SINGLE: f64 = 1e-4;
/// Tolerance where a number lies on the kink of a ReLU.
const KINK: f64 = 1e-3;

/// The description of an architecture for the oracle, with the entries of `extra`.
fn case(kind: &str, config: &GanConfig, genotype: &Genotype, extra: &Value) -> Value {
    let mut case = serde_json::to_value(config).unwrap();
    case["kind"] = kind.into();
    case["channels"] = 1.into();
    case["genotype"] = serde_json::to_value(genotype).unwrap();
    for (key, value) in extra.as_object().unwrap() {
        case[key] = value.clone();
    }
    case
}

/// Twelve architectures that contain every option.
fn genotypes(task: &GanTask) -> Vec<Genotype> {
    initial_population(task.space(), 12, Initial::Balanced, 21)
}

#[test]
fn outputs_gradients_and_power_iterations_match_pytorch() {
    let dir = tempfile::tempdir().unwrap();
    let mut oracle = Oracle::new("tests/oracle/gan.py");
    let mut ours: Vec<OracleTensors> = Vec::new();
    for space in SPACES {
        let mut task = task(dir.path(), space);
        for (number, genotype) in genotypes(&task).iter().enumerate() {
            // In the space Gan, STL-10 has two projections instead of three.
            task.config.projections = 2 + number % 2;
            let doubles: Values = values(&task, genotype, number as u64)
                .iter()
                .map(|(name, value)| {
                    let double =
                        value.detach().to_kind(Kind::Double).set_requires_grad(value.requires_grad());
                    (name.clone(), double)
                })
                .collect();
            let mut inputs: OracleTensors =
                doubles.iter().map(|(name, value)| (format!("model/{name}"), value.copy())).collect();
            inputs.insert("latents".into(), normal(&[5, 6], &format!("latents {number}")));
            inputs.insert("real".into(), normal(&[5, 1, 16, 16], &format!("real {number}")));
            inputs.insert("image_weights".into(), normal(&[5, 1, 16, 16], "images"));
            inputs.insert("score_weights".into(), normal(&[5, 1], "scores"));

            let (generator, discriminator) = task.networks(genotype, &mut Scope::load(&doubles)).unwrap();
            let mut drawn = Vec::new();
            let mut numbers = |shape: &[i64]| {
                drawn.push(normal(shape, "dropout").abs() / 5.0);
                drawn[drawn.len() - 1].shallow_clone()
            };
            let images = generator.forward(&inputs["latents"], Mode::Training(&mut numbers));
            for (index, numbers) in drawn.into_iter().enumerate() {
                inputs.insert(format!("uniform/{index}"), numbers);
            }
            let scores = discriminator.forward(&images, true);
            let loss = (&images * &inputs["image_weights"]).sum(Kind::Double)
                + (&scores * &inputs["score_weights"]).sum(Kind::Double);
            let trained: Vec<(&String, &Tensor)> =
                doubles.iter().filter(|(_, v)| v.requires_grad()).collect();
            let leaves: Vec<&Tensor> = trained.iter().map(|(_, value)| *value).collect();
            let gradients = Tensor::run_backward(&[loss], &leaves, false, false);
            let mut outputs = OracleTensors::from([("images".into(), images), ("scores".into(), scores)]);
            for ((name, _), gradient) in trained.iter().zip(gradients).filter(|(_, g)| g.defined()) {
                outputs.insert(format!("gradient/{name}"), gradient);
            }
            outputs.extend(doubles.iter().map(|(name, value)| (format!("after/{name}"), value.copy())));
            let evaluated = no_grad(|| generator.forward(&inputs["latents"], Mode::Evaluation));
            outputs.insert("evaluated/images".into(), evaluated);
            outputs.insert("evaluated/scores".into(), discriminator.forward(&inputs["real"], false));
            oracle.add(&case("forward", &task.config, genotype, &json!({})), &inputs);
            ours.push(outputs);
        }
    }
    let theirs = oracle.call();
    let mut compared = 0;
    for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "case {number}");
        let gradients = theirs.iter().filter(|(name, _)| name.starts_with("gradient/"));
        let largest = gradients.map(|(_, g)| g.abs().max().double_value(&[])).fold(0.0, f64::max);
        for (name, tensor) in ours {
            // Some gradients are zero up to rounding, e.g. those of a bias before a normalisation.
            let scale = if name.starts_with("gradient/") { 1e-4 * largest } else { 0.0 };
            assert_close(&format!("case {number}: {name}"), tensor, &theirs[name], DOUBLE, scale);
            compared += 1;
        }
    }
    println!("{compared} tensors of {} architectures agree to {DOUBLE:e}", ours.len());
}

#[test]
fn training_cycle_ends_in_the_weights_of_pytorch() {
    let mut oracle = Oracle::new("tests/oracle/gan.py");
    let mut ours: Vec<OracleTensors> = Vec::new();
    let dir = tempfile::tempdir().unwrap();
    for space in SPACES {
        let mut task = task(dir.path(), space);
        task.config.generator_batch = 6;
        task.config.discriminator_steps = 2;
        task.config.weight_decay = 0.01;
        task.config.average_decay = 0.9;
        for genotype in &genotypes(&task)[..6] {
            let start = || GanSession::new(&task, Start::Fresh(genotype, 0), SEEDS, PathBuf::new()).unwrap();
            let (mut trained, recorder) = (start(), start());
            let mut inputs: OracleTensors = recorder
                .weights
                .values
                .iter()
                .map(|(name, value)| (format!("model/{name}"), value.copy()))
                .collect();
            // Several steps of the generator, so that moments and averages carry over. A data set of eight images has
            // two batches of four, so this is several epochs.
            let steps = 6;
            for index in 0..steps {
                let (epoch, step) = trained.position();
                let mut rng = rng(&SEEDS.at(&format!("step {epoch} {step}")));
                let mut record = |pass: &str, count: usize| {
                    let latents = recorder.latents(&mut rng, count);
                    let mut drawn = Vec::new();
                    let mut numbers = |shape: &[i64]| {
                        drawn.push(uniform(&mut rng, shape, Device::Cpu));
                        drawn[drawn.len() - 1].shallow_clone()
                    };
                    let _ = recorder.generator.forward(&latents, Mode::Training(&mut numbers));
                    inputs.insert(format!("{index}/{pass}/latents"), latents);
                    for (number, numbers) in drawn.into_iter().enumerate() {
                        inputs.insert(format!("{index}/{pass}/uniform/{number}"), numbers);
                    }
                };
                record("discriminator", task.config.batch);
                if index % task.config.discriminator_steps == 0 {
                    record("generator", task.config.generator_batch);
                }
                trained.advance(9).unwrap();
                let Some((_, order)) = &trained.cursor.order else { panic!("no order") };
                let first = step as usize * task.config.batch;
                let real = trained.cursor.images.batch(&order[first..first + task.config.batch], Device::Cpu);
                inputs.insert(format!("{index}/real"), real);
            }
            let mut outputs: OracleTensors = trained
                .weights
                .values
                .iter()
                .map(|(name, value)| (format!("model/{name}"), value.copy()))
                .collect();
            outputs.extend(
                trained.weights.averages.iter().map(|(name, v)| (format!("average/{name}"), v.copy())),
            );
            oracle.add(&case("cycle", &task.config, genotype, &json!({ "steps": steps })), &inputs);
            ours.push(outputs);
        }
    }
    let mut errors: Vec<(f64, f64)> = Vec::new();
    for (number, (ours, theirs)) in ours.iter().zip(&oracle.call()).enumerate() {
        let names = theirs.keys().filter(|name| !name.starts_with("exact/"));
        assert_eq!(ours.keys().collect::<Vec<_>>(), names.collect::<Vec<_>>(), "case {number}");
        let mut worst = (0f64, 0f64);
        for (name, tensor) in ours {
            let what = format!("case {number}: {name}");
            let exact = &theirs[&format!("exact/{name}")];
            worst.0 = worst.0.max(assert_close(&what, tensor, exact, KINK, 1e-2));
            worst.1 = worst.1.max(assert_close(&what, &theirs[name], exact, KINK, 1e-2));
        }
        errors.push(worst);
    }
    // Another order of operations rounds differently, six steps amplify the difference, and sometimes a number falls on
    // the other side of a ReLU's kink. So both are compared with the result of double precision.
    let listed: Vec<String> =
        errors.iter().map(|(ours, theirs)| format!("{ours:.0e} and {theirs:.0e}")).collect();
    println!("largest errors of pbtnas and of PyTorch, network by network: {}", listed.join(", "));
    let sound = errors.iter().filter(|(ours, theirs)| *ours <= SINGLE.max(3.0 * theirs)).count();
    assert!(sound + 2 >= errors.len(), "{listed:?}");
}

#[test]
fn initial_distributions_match_pytorch() {
    let dir = tempfile::tempdir().unwrap();
    let mut oracle = Oracle::new("tests/oracle/gan.py");
    let mut cases = Vec::new();
    let networks = 100;
    for space in SPACES {
        let task = task(dir.path(), space);
        for genotype in &genotypes(&task)[..4] {
            let extra = json!({ "networks": networks });
            oracle.add(&case("first", &task.config, genotype, &extra), &OracleTensors::new());
            cases.push(task.tensors(genotype).unwrap());
        }
    }
    for (specs, theirs) in cases.iter().zip(oracle.call()) {
        assert_eq!(specs.len(), theirs.len());
        for spec in specs {
            let Ok([count, mean, std, low, high]) =
                <[f64; 5]>::try_from(Vec::<f64>::try_from(theirs[&spec.name].to_kind(Kind::Double)).unwrap())
            else {
                panic!("five numbers")
            };
            let address = |run| RngKey { run, generation: 0, member: None, purpose: "first" };
            let ours: Vec<f64> = (0..networks)
                .flat_map(|run| fresh(spec, &address(run)).collect::<Vec<_>>())
                .map(f64::from)
                .collect();
            assert_eq!(ours.len(), count as usize, "{}", spec.name);
            let n = count;
            let our_mean = ours.iter().sum::<f64>() / n;
            let our_std = (ours.iter().map(|x| (x - our_mean).powi(2)).sum::<f64>() / n).sqrt();
            // Five standard errors of the difference, and a little for rounding.
            let bound = 5.0 * std * (2.0 / n).sqrt() + 1e-7;
            assert!((our_mean - mean).abs() <= bound, "{}: mean {our_mean} {mean}", spec.name);
            assert!((our_std - std).abs() <= bound, "{}: deviation {our_std} {std}", spec.name);
            // A narrow range means a uniform distribution: compare its ends.
            if high - low < 3.6 * std {
                let (our_low, our_high) =
                    ours.iter().fold((f64::MAX, f64::MIN), |(l, h), &x| (l.min(x), h.max(x)));
                let slack = (high - low) * 10.0 / n + 1e-7;
                assert!((our_low - low).abs() < slack && (our_high - high).abs() < slack, "{}", spec.name);
            }
        }
    }
}
