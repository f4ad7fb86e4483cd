//! Compares the supernet with an independent version in PyTorch (`tests/oracle/supernet.py`), and tests its session.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use super::SupernetSession;
use crate::gan::projection::Mode;
use crate::gan::space::{EDGES, UPS};
use crate::gan::supernet::mixed::Relax;
use crate::gan::supernet::{SupernetConfig, derive, networks};
use crate::gan::training::networks_tests::{COUNTED, count_in, counting_values, task, values};
use crate::gan::{GanConfig, GanTask, SpaceKind, space};
use crate::nn::{Scope, Values, names, normal as random_normal, uniform};
use crate::oracle::{Oracle, OracleTensors, assert_close, normal};
use pbtnas_core::checkpoint::{Reader, write};
use pbtnas_core::search::{Genotype, MemberId, OptionWeights, rng};
use pbtnas_engine::task::{Measure, MemberContext, Seeds, Session, Start, Task};

const SCRIPT: &str = "tests/oracle/supernet.py";
const SEEDS: Seeds = Seeds { run: 4, generation: 1, member: MemberId(2) };

fn small(folder: &Path) -> GanTask {
    let supernet = SupernetConfig {
        epochs: 4,
        generator_width: 4,
        discriminator_width: 4,
        batch: 4,
        generator_batch: 3,
        weight_decay: 0.01,
        ..SupernetConfig::default()
    };
    let config = task(folder, SpaceKind::Gan).config;
    GanTask::new(GanConfig {
        supernet,
        discriminator_steps: 2,
        evaluation_images: 70,
        feature_epochs: 1,
        ..config
    })
}

fn everything() -> Genotype {
    Genotype::supernet(&space(SpaceKind::Gan))
}

fn case(kind: &str, config: &GanConfig, extra: &Value) -> Value {
    let mut case = serde_json::to_value(config.supernet_sizes()).unwrap();
    case["kind"] = kind.into();
    case["channels"] = 1.into();
    for (key, value) in extra.as_object().unwrap() {
        case[key] = value.clone();
    }
    case
}

#[test]
fn mixed_edges_and_their_gradients_match_pytorch() {
    let dir = tempfile::tempdir().unwrap();
    let mut oracle = Oracle::new(SCRIPT);
    let mut ours: Vec<OracleTensors> = Vec::new();
    for (number, temperature) in [5.0, 0.7, 0.1].into_iter().enumerate() {
        let mut task = small(dir.path());
        task.config.projections = 2 + number % 2;
        let config = task.config.supernet_sizes();
        let mut doubles = Values::new();
        for (name, value) in values(&task, &everything(), number as u64) {
            // Architecture parameters as large as they may become in training.
            let scale = if name.contains("_architecture/") { 500.0 } else { 1.0 };
            let double =
                (value.detach().to_kind(Kind::Double) * scale).set_requires_grad(value.requires_grad());
            doubles.insert(name, double);
        }
        let mut inputs: OracleTensors =
            doubles.iter().map(|(name, value)| (format!("model/{name}"), value.detach().copy())).collect();
        inputs.insert("latents".into(), normal(&[5, 6], &format!("latents {number}")));
        inputs.insert("image_weights".into(), normal(&[5, 1, 16, 16], "images"));
        inputs.insert("score_weights".into(), normal(&[5, 1], "scores"));

        let (generator, discriminator) =
            networks(&config, 1, &everything(), &mut Scope::load(&doubles)).unwrap();
        let mut drawn = Vec::new();
        let mut draw = |shape: &[i64]| {
            drawn.push(normal(shape, &format!("gumbel {number} {}", drawn.len())));
            drawn[drawn.len() - 1].shallow_clone()
        };
        let relax = Relax::new(temperature, &mut draw);
        let mut none = |shape: &[i64]| panic!("the space has no dropout {shape:?}");
        let images = generator.forward(&inputs["latents"], Mode::Training(&mut none), &relax);
        let scores = discriminator.forward(&images, &relax);
        assert_eq!(drawn.len(), 21 + 28);
        for (index, numbers) in drawn.into_iter().enumerate() {
            inputs.insert(format!("gumbel/{index}"), numbers);
        }
        let loss = (&images * &inputs["image_weights"]).sum(Kind::Double)
            + (&scores * &inputs["score_weights"]).sum(Kind::Double);
        let trained: Vec<(&String, &Tensor)> = doubles.iter().filter(|(_, v)| v.requires_grad()).collect();
        let leaves: Vec<&Tensor> = trained.iter().map(|(_, value)| *value).collect();
        let gradients = Tensor::run_backward(&[loss], &leaves, false, false);
        let mut outputs = OracleTensors::from([("images".into(), images), ("scores".into(), scores)]);
        for ((name, _), gradient) in trained.iter().zip(gradients) {
            assert!(gradient.defined(), "{name}");
            outputs.insert(format!("gradient/{name}"), gradient);
        }
        outputs.extend(doubles.iter().map(|(name, value)| (format!("after/{name}"), value.detach().copy())));
        oracle.add(&case("forward", &task.config, &json!({ "temperature": temperature })), &inputs);
        ours.push(outputs);
    }
    for (number, (ours, theirs)) in ours.iter().zip(&oracle.call()).enumerate() {
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "case {number}");
        let gradients = theirs.iter().filter(|(name, _)| name.starts_with("gradient/"));
        let largest = gradients.map(|(_, g)| g.abs().max().double_value(&[])).fold(0.0, f64::max);
        for (name, tensor) in ours {
            let scale = if name.starts_with("gradient/") { 1e-4 * largest } else { 0.0 };
            assert_close(&format!("case {number}: {name}"), tensor, &theirs[name], 1e-8, scale);
        }
        let architectures =
            ours.keys().filter(|name| name.starts_with("gradient/") && name.contains("_architecture/"));
        assert_eq!(architectures.count(), 21 + 28);
    }
}

#[test]
fn skip_outputs_of_a_supernet_contain_the_skips_of_earlier_cells() {
    let dir = tempfile::tempdir().unwrap();
    let task = small(dir.path());
    let values = counting_values(&task, &everything());
    let config = task.config.supernet_sizes();
    let (generator, _) = networks(&config, 1, &everything(), &mut Scope::load(&values)).unwrap();
    for (edges, expected) in COUNTED {
        // The order in which a cell's forward pass uses its edges; large numbers leave one option of each.
        let chosen: Vec<usize> = ["nearest", "nearest"]
            .iter()
            .map(|up| names(&UPS).iter().position(|name| name == up).unwrap())
            .chain(edges.iter().map(|edge| names(&EDGES).iter().position(|name| name == edge).unwrap()))
            .collect();
        let mut drawn = 0;
        let mut draw = |shape: &[i64]| {
            let numbers = Tensor::zeros(shape, (Kind::Float, Device::Cpu));
            let _ = numbers.get(chosen[drawn % chosen.len()] as i64).fill_(1e4);
            drawn += 1;
            numbers
        };
        let relax = Relax::new(1.0, &mut draw);
        let latents = Tensor::zeros([2, 6], (Kind::Float, Device::Cpu));
        let found = count_in(&generator.forward(&latents, Mode::Evaluation, &relax));
        assert!((found - expected).abs() < 1e-2, "{edges:?}: {found}, not {expected}");
    }
}

#[test]
fn training_ends_in_the_weights_and_architectures_of_pytorch() {
    let dir = tempfile::tempdir().unwrap();
    let mut oracle = Oracle::new(SCRIPT);
    let mut task = small(dir.path());
    // Large enough to have an effect within a few steps.
    task.config.average_decay = 0.5;
    task.config.supernet.weight_decay = 100.0;
    let everything = everything();
    let start = || SupernetSession::new(&task, Start::Fresh(&everything, 0), SEEDS, PathBuf::new()).unwrap();
    let mut session = start();
    let named = |values: &Values, prefix: &str| -> OracleTensors {
        values.iter().map(|(name, value)| (format!("{prefix}/{name}"), value.detach().copy())).collect()
    };
    let mut inputs = named(&session.weights.values, "model");
    let config = task.config.supernet_sizes();
    // Two steps of an epoch each, of both networks; the temperature falls between them.
    let (steps, mut temperatures) = (6, Vec::new());
    for index in 0..steps {
        let (epoch, step) = session.position();
        temperatures.push(config.supernet.temperature(epoch));
        // The session draws the latents of a pass first, then the numbers of the edges.
        let mut rng = rng(&SEEDS.at(&format!("step {epoch} {step}")));
        let (mut latents, mut edges) = (0, 0);
        let mut pass = |rng: &mut _, count: usize, of_discriminator: usize| {
            inputs.insert(
                format!("{index}/latents/{latents}"),
                random_normal(rng, &[count as i64, config.latent as i64], Device::Cpu),
            );
            latents += 1;
            for options in
                generator_edges().into_iter().chain((0..of_discriminator).flat_map(|_| discriminator_edges()))
            {
                let numbers = -(-uniform(rng, &[options], Device::Cpu).log()).log();
                inputs.insert(format!("{index}/gumbel/{edges}"), numbers);
                edges += 1;
            }
        };
        for _ in 0..2 {
            pass(&mut rng, config.batch / 2, 2);
        }
        if index % 2 == 0 {
            for _ in 0..2 {
                pass(&mut rng, config.generator_batch, 1);
            }
        }
        session.advance(9).unwrap();
        let Some((_, order)) = &session.cursor.order else { panic!("no order") };
        let first = step as usize * config.batch;
        let real = session.cursor.images.batch(&order[first..first + config.batch], Device::Cpu);
        inputs.insert(format!("{index}/real"), real);
    }
    let mut ours = named(&session.weights.values, "model");
    ours.extend(named(&session.weights.averages, "average"));
    let extra = json!({ "steps": steps, "temperatures": temperatures });
    oracle.add(&case("training", &task.config, &extra), &inputs);
    let theirs = oracle.call().remove(0);
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    let mut worst = 0f64;
    for (name, tensor) in &ours {
        worst = worst.max(assert_close(name, tensor, &theirs[name], 1e-3, 1e-2));
    }
    println!("{steps} steps in single precision are {worst:.0e} from PyTorch's in double precision");
    let before = &inputs["model/generator_architecture/cell1/c0"];
    assert!(!before.allclose(&ours["model/generator_architecture/cell1/c0"], 1e-9, 1e-9, false));
}

/// The number of options of each edge, in the order of a forward pass.
fn generator_edges() -> Vec<i64> {
    [3, 3, 7, 7, 7, 7, 7].repeat(3)
}

fn discriminator_edges() -> Vec<i64> {
    // c0, c1, c3, c2, c4, down0, down1.
    [vec![5, 5, 7, 5, 7, 6, 6], [7, 7, 7, 7, 7, 6, 6].repeat(3)].concat()
}

#[test]
fn temperature_falls_as_in_the_published_code() {
    let mut oracle = Oracle::new(SCRIPT);
    let schedules = [(5.0, 0.1, 25), (3.0, 3.0, 2), (1.0, 0.01, 7)];
    for (first, last, epochs) in schedules {
        oracle.add(
            &json!({ "kind": "temperatures", "first": first, "last": last, "epochs": epochs }),
            &OracleTensors::new(),
        );
    }
    for ((first, last, epochs), theirs) in schedules.into_iter().zip(oracle.call()) {
        let config = SupernetConfig {
            first_temperature: first,
            last_temperature: last,
            epochs,
            ..SupernetConfig::default()
        };
        let ours: Vec<f64> = (0..epochs + 3).map(|epoch| config.temperature(epoch)).collect();
        assert_close("temperatures", &Tensor::from_slice(&ours), &theirs["temperatures"], 1e-12, 0.0);
        assert!((ours[0] - first).abs() < 1e-12 && (ours[epochs as usize] - last).abs() < 1e-12);
    }
}

/// Weights by variable, from those of all cells `(3, 5, 7)` and `(3, 2, 3)`.
fn option_weights(edges: &Tensor, ups: &Tensor) -> OptionWeights {
    let mut weights = OptionWeights::new();
    for cell in 0..3 {
        for (name, of) in [("c", edges.get(cell)), ("up", ups.get(cell))] {
            for index in 0..of.size()[0] {
                let numbers = Vec::<f64>::try_from(of.get(index)).unwrap();
                weights.insert(format!("generator/cell{}/{name}{index}", cell + 1), numbers);
            }
        }
    }
    weights
}

#[test]
fn architectures_are_derived_as_in_the_published_code() {
    let mut oracle = Oracle::new(SCRIPT);
    let count = 300;
    let edges = normal(&[count, 3, 5, 7], "derived edges");
    // "none" is likely to win, so that nodes lose all their edges.
    let _ = edges.narrow(3, 0, 1).f_add_scalar_(2.0).unwrap();
    let ups = normal(&[count, 3, 2, 3], "derived ups");
    let inputs = OracleTensors::from([("edges".into(), edges.shallow_clone()), ("ups".into(), ups)]);
    oracle.add(&json!({ "kind": "derivations" }), &inputs);
    let theirs = oracle.call().remove(0);
    let mut repaired = 0;
    for n in 0..count {
        let genotype = derive(&option_weights(&theirs["edges"].get(n), &theirs["ups"].get(n))).unwrap();
        assert_eq!(space(SpaceKind::Gan).check_genotype(&genotype), Ok(()));
        for cell in 0..3 {
            let expected = Vec::<i64>::try_from(theirs["genotypes"].get(n).get(cell)).unwrap();
            let value = |name: String| {
                genotype.get(&format!("generator/cell{}/{name}", cell + 1)).unwrap().to_owned()
            };
            let ours: Vec<String> = (0..2)
                .map(|up| value(format!("up{up}")))
                .chain((0..5).map(|edge| value(format!("c{edge}"))))
                .collect();
            let expected: Vec<String> = expected
                .iter()
                .enumerate()
                .map(|(at, &option)| {
                    (if at < 2 { names(&UPS) } else { names(&EDGES) })[option as usize].clone()
                })
                .collect();
            assert_eq!(ours, expected, "{n}, cell {cell}");
            let nones = |from: i64, to: i64| {
                (from..to).all(|edge| edges.get(n).get(cell).get(edge).argmax(0, false).int64_value(&[]) == 0)
            };
            repaired += i32::from(nones(0, 2)) + i32::from(nones(2, 5));
        }
    }
    assert!(repaired > 100, "{repaired}");
}

#[test]
fn node_without_edges_gets_the_one_with_the_smallest_none() {
    let mut weights = option_weights(
        &Tensor::zeros([3, 5, 7], (Kind::Double, Device::Cpu)),
        &Tensor::zeros([3, 2, 3], (Kind::Double, Device::Cpu)),
    );
    let set = |weights: &mut OptionWeights, variable: &str, of: &[(usize, f64)]| {
        for (option, weight) in of {
            weights.get_mut(variable).unwrap()[*option] = *weight;
        }
    };
    set(&mut weights, "generator/cell1/c0", &[(0, 0.6), (3, 0.3)]);
    set(&mut weights, "generator/cell1/c1", &[(0, 0.5), (4, 0.2), (6, 0.2)]);
    set(&mut weights, "generator/cell1/c2", &[(0, 0.9)]);
    set(&mut weights, "generator/cell1/c3", &[(5, 0.4)]);
    set(&mut weights, "generator/cell1/up1", &[(2, 0.4)]);
    let genotype = derive(&weights).unwrap();
    let value = |name: &str| genotype.get(&format!("generator/cell1/{name}")).unwrap();
    // All edges of node 2 were none, but not all of node 3. Of equal weights the first option is taken.
    assert_eq!(
        ["c0", "c1", "c2", "c3", "c4"].map(value),
        ["none", "conv_5x5", "none", "dilated_3x3", "none"]
    );
    assert_eq!(["up0", "up1"].map(value), ["nearest", "transposed"]);
    // Weights that are not finite, or missing, are errors.
    set(&mut weights, "generator/cell1/c4", &[(1, f64::NAN)]);
    assert!(derive(&weights).unwrap_err().to_string().contains("cell1/c4"));
    weights.remove("generator/cell1/c4");
    assert!(derive(&weights).unwrap_err().to_string().contains("no option weights of generator/cell1/c4"));
}

#[test]
fn supernet_is_trained_saved_evaluated_and_restored_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let task = small(dir.path());
    task.prepare(dir.path()).unwrap();
    let everything = everything();
    let place = || MemberContext::outside(SEEDS, dir.path());
    let saved = |session: &dyn Session| {
        let (meta, entries) = session.describe().unwrap();
        let mut bytes = Vec::new();
        write(&mut bytes, &meta, entries, |entry, out| out.write_all(&session.tensor(entry).unwrap()))
            .unwrap();
        bytes
    };
    let mut whole = task.session(Start::Fresh(&everything, 0), place()).unwrap();
    whole.advance(9).unwrap();
    let path = dir.path().join("snapshot");
    std::fs::write(&path, saved(whole.as_ref())).unwrap();
    let reader = Reader::open(&path).unwrap();
    assert!(reader.meta().genotype.is_supernet());
    let mut restored = task.session(Start::Checkpoint(&reader), place()).unwrap();
    for _ in 0..3 {
        whole.advance(9).unwrap();
        restored.advance(9).unwrap();
    }
    assert!(saved(whole.as_ref()) == saved(restored.as_ref()));
    let evaluation = whole.evaluate(Measure::Search).unwrap();
    assert!(evaluation.fitness.is_finite() && evaluation == restored.evaluate(Measure::Search).unwrap());
    assert!(whole.preview().unwrap().is_some());
    let weights = whole.option_weights();
    assert_eq!(weights.len(), 21);
    assert!(weights.values().all(|of| (of.iter().sum::<f64>() - 1.0).abs() < 1e-12));
    assert!(derive(&weights).is_ok());
}
