//! Compares the agent with an independent version in PyTorch (`tests/oracle/rl.py`): the same weights, batches and
//! random numbers must give the same outputs, gradients, losses and trained weights.

use serde_json::{Value, json};
use tch::{Device, Kind, Tensor, no_grad};

use crate::nn::{Values, Weights};
use crate::oracle::{Oracle, OracleTensors, assert_close, normal};
use crate::rl::environment::{EnvironmentKind, PICTURE as FRAME, SIDE};
use crate::rl::training::agent::{Agent, Noise, Transitions};
use crate::rl::training::replay::shifted;
use crate::rl::{RlConfig, RlTask};
use pbtnas_core::checkpoint::{Init, TensorSpec, fresh};
use pbtnas_core::search::{Genotype, Initial, RngKey, initial_population};
use pbtnas_engine::task::{Hyperparameter, Task};

/// Rounding errors of double precision after a dozen layers are far below 1e-4.
const DOUBLE: f64 = 1e-9;
/// Tolerance after three updates: Adam divides small numbers by small ones.
const UPDATED: f64 = 1e-6;
/// Tolerance in single precision.
const SINGLE: f64 = 1e-4;
const BATCH: i64 = 3;

/// A small walker, with unusual values of all settings that an update depends on.
fn task() -> RlTask {
    RlTask::new(RlConfig {
        environment: EnvironmentKind::WalkerRun,
        hidden: 12,
        batch: BATCH as usize,
        learning_rate: Hyperparameter::Fixed(2e-3),
        beta1: 0.8,
        beta2: 0.95,
        epsilon: 1e-5,
        weight_decay: 0.1,
        target_tau: 0.2,
        exploration_clip: 0.25,
        ..RlConfig::default()
    })
}

/// Architectures that contain every option. To save time only two have wide representations.
fn genotypes(task: &RlTask) -> Vec<Genotype> {
    let mut genotypes = initial_population(task.space(), 10, Initial::Balanced, 3);
    for genotype in genotypes.iter_mut().skip(2) {
        genotype.set("actor/representation", "25");
        genotype.set("critic/representation", "25");
    }
    genotypes
}

fn address(purpose: &str) -> RngKey<'_> {
    RngKey { run: 5, generation: 0, member: None, purpose }
}

/// Weights like those of a trained network: none is zero, and the target differs from the critic.
fn weights(specs: &[TensorSpec], kind: Kind) -> (Values, Values) {
    let value = |spec: &TensorSpec, purpose: &str| {
        let shape: Vec<i64> = spec.shape.iter().map(|&size| size as i64).collect();
        let numbers = normal(&shape, &format!("{purpose} {}", spec.name));
        let value = match spec.init {
            Init::Constant(value) => numbers * 0.05 + f64::from(value),
            Init::Direction => &numbers / numbers.norm(),
            _ => numbers / (shape[1..].iter().product::<i64>() as f64).sqrt(),
        };
        value.to_kind(kind)
    };
    let values =
        specs.iter().map(|spec| (spec.name.clone(), value(spec, "model").set_requires_grad(spec.trained)));
    let averaged = specs.iter().filter(|spec| spec.average.is_some());
    (values.collect(), averaged.map(|spec| (spec.name.clone(), value(spec, "average"))).collect())
}

/// An agent, and its weights as inputs of the oracle.
fn agent(task: &RlTask, genotype: &Genotype, kind: Kind) -> (Agent, OracleTensors) {
    let specs = task.tensors(genotype).unwrap();
    let (values, averages) = weights(&specs, kind);
    let named = |prefix: &str, values: &Values| -> OracleTensors {
        values.iter().map(|(name, value)| (format!("{prefix}{name}"), value.detach().copy())).collect()
    };
    let mut inputs = named("model/", &values);
    inputs.extend(named("average/", &averages));
    let weights = Weights::of(specs, values, averages);
    (Agent::with(task, genotype, weights, Device::Cpu).unwrap(), inputs)
}

/// All tensors of an agent under their names in a checkpoint.
fn named(agent: &Agent) -> OracleTensors {
    let values =
        agent.weights.values.iter().map(|(name, value)| (format!("model/{name}"), value.detach().copy()));
    let averages =
        agent.weights.averages.iter().map(|(name, value)| (format!("average/{name}"), value.copy()));
    values.chain(averages).collect()
}

fn case(kind: &str, task: &RlTask, genotype: &Genotype, extra: &Value) -> Value {
    let mut case = serde_json::to_value(&task.config).unwrap();
    case["kind"] = kind.into();
    case["genotype"] = serde_json::to_value(genotype).unwrap();
    case["action_size"] = task.actions().into();
    case["double"] = true.into();
    for (key, value) in extra.as_object().unwrap() {
        case[key] = value.clone();
    }
    case
}

/// Pixels of 0 to 255.
fn pixels(name: &str, kind: Kind) -> Tensor {
    ((normal(&[BATCH, 9, 84, 84], name) * 40.0 + 128.0).clamp(0.0, 255.0)).round().to_kind(kind)
}

#[test]
fn outputs_gradients_and_power_iterations_match_pytorch() {
    let task = task();
    let mut oracle = Oracle::new("tests/oracle/rl.py");
    let mut ours = Vec::new();
    for (kind, genotype) in genotypes(&task)
        .iter()
        .map(|genotype| (Kind::Double, genotype.clone()))
        .chain(genotypes(&task).into_iter().take(3).map(|genotype| (Kind::Float, genotype)))
    {
        let (agent, mut inputs) = agent(&task, &genotype, kind);
        let observations = pixels("pixels", kind);
        let actions = (normal(&[BATCH, task.actions()], "actions") * 0.3).to_kind(kind);
        let forward = |train: bool| {
            let encoding = agent.encoder.forward(&observations, train);
            let mean = agent.actor.forward(&encoding, train);
            let (q1, q2) = agent.critic.forward(&encoding, &actions, train);
            let (target1, target2) = no_grad(|| agent.target.forward(&encoding, &actions, train));
            let mode = if train { "training" } else { "evaluation" };
            [
                ("encoding", encoding),
                ("mean", mean),
                ("q1", q1),
                ("q2", q2),
                ("target1", target1),
                ("target2", target2),
            ]
            .map(|(name, tensor)| (format!("{mode}/{name}"), tensor))
        };
        let mut outputs: OracleTensors = forward(true).into_iter().collect();
        let mut loss = Tensor::zeros([], (kind, Device::Cpu));
        for name in ["encoding", "mean", "q1", "q2"] {
            let output = &outputs[&format!("training/{name}")];
            let scale = if name == "encoding" { 1e-3 } else { 1.0 };
            let weight = (normal(&output.size(), name) * scale).to_kind(kind);
            loss += (&weight * output).sum(kind);
            inputs.insert(format!("weights/{name}"), weight);
        }
        let trained: Vec<_> =
            agent.weights.values.iter().filter(|(_, value)| value.requires_grad()).collect();
        let leaves: Vec<_> = trained.iter().map(|(_, value)| *value).collect();
        let gradients = Tensor::run_backward(&[&loss], &leaves, false, false);
        outputs.extend(
            trained.iter().zip(gradients).map(|((name, _), value)| (format!("gradient/{name}"), value)),
        );
        let vectors =
            named(&agent).into_iter().filter(|(name, _)| name.ends_with("/u") || name.ends_with("/v"));
        outputs.extend(vectors.map(|(name, value)| (format!("after/{name}"), value)));
        outputs.extend(forward(false));
        inputs.extend([("pixels".to_owned(), observations.copy()), ("action".to_owned(), actions.copy())]);
        oracle.add(&case("forward", &task, &genotype, &json!({ "double": kind == Kind::Double })), &inputs);
        ours.push((kind, genotype, outputs));
    }
    let mut moved = 0;
    for ((kind, genotype, ours), theirs) in ours.iter().zip(oracle.call()) {
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        let tolerance = if *kind == Kind::Double { DOUBLE } else { SINGLE };
        for (name, value) in ours {
            assert_close(&format!("{name} of {genotype:?}"), value, &theirs[name], tolerance, 0.0);
        }
        // The vectors of an enabled spectral norm have changed.
        let start = &weights(&task.tensors(genotype).unwrap(), *kind).0["encoder/layer0/u"];
        let on = genotype.get("encoder/spectral_norm") == Some("yes");
        assert_eq!(ours["after/model/encoder/layer0/u"].equal(start), !on);
        moved += usize::from(on);
    }
    assert!((1..ours.len()).contains(&moved));
}

#[test]
fn losses_weights_and_moments_after_updates_match_pytorch() {
    const UPDATES: usize = 3;
    let task = task();
    let deviation = 0.4;
    let mut oracle = Oracle::new("tests/oracle/rl.py");
    let mut ours = Vec::new();
    for genotype in genotypes(&task).into_iter().skip(1).step_by(2) {
        let (mut agent, mut inputs) = agent(&task, &genotype, Kind::Double);
        let mut outputs = OracleTensors::new();
        for update in 0..UPDATES {
            let numbers = |shape: &[i64], name: &str| normal(shape, &format!("{update} {name}"));
            let batch = Transitions {
                observations: pixels(&format!("{update} observations"), Kind::Double),
                actions: numbers(&[BATCH, task.actions()], "actions") * 0.3,
                rewards: numbers(&[BATCH, 1], "rewards"),
                discounts: numbers(&[BATCH, 1], "discounts").sigmoid(),
                next_observations: pixels(&format!("{update} next"), Kind::Double),
            };
            let noise = |name| numbers(&[BATCH, task.actions()], name);
            let noise = Noise { next: noise("next noise"), own: noise("own noise") };
            for (name, tensor) in [
                ("observation", &batch.observations),
                ("next_observation", &batch.next_observations),
                ("action", &batch.actions),
                ("reward", &batch.rewards),
                ("discount", &batch.discounts),
                ("target_noise", &noise.next),
                ("actor_noise", &noise.own),
            ] {
                inputs.insert(format!("{update}/{name}"), tensor.copy());
            }
            let losses = agent.update(&batch, deviation, &noise);
            outputs.insert(format!("{update}/critic_loss"), losses.critic);
            outputs.insert(format!("{update}/actor_loss"), losses.actor);
        }
        outputs.extend(named(&agent));
        for network in ["encoder", "actor", "critic"] {
            for (name, moments) in agent.weights.moments(network).unwrap() {
                let mut insert = |moment: &str, value| {
                    outputs.insert(format!("optimizer/{network}/{moment}/{name}"), value);
                };
                insert("exp_avg", moments.exp_avg.copy());
                insert("exp_avg_sq", moments.exp_avg_sq.copy());
                insert("step", Tensor::from_slice(&[moments.step as f32]).reshape([0i64; 0]));
            }
        }
        oracle.add(
            &case("update", &task, &genotype, &json!({ "updates": UPDATES, "deviation": deviation })),
            &inputs,
        );
        ours.push((genotype, inputs, outputs));
    }
    for ((genotype, inputs, ours), theirs) in ours.iter().zip(oracle.call()) {
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        for (name, value) in ours {
            // A moment is as small as its gradient, whose rounding errors are those of larger numbers.
            let scale = if name.starts_with("optimizer/") { 1e-6 } else { 0.0 };
            assert_close(&format!("{name} of {genotype:?}"), value, &theirs[name], UPDATED, scale);
        }
        for name in ["model/encoder/layer0/weight", "model/actor/head/bias", "average/critic/q2/head/weight"]
        {
            assert!(!ours[name].equal(&inputs[name]), "{name} has not changed");
        }
    }
}

#[test]
fn shifted_observation_matches_bilinear_sampling() {
    let observations = pixels("shifted", Kind::Uint8);
    let shifts: [(usize, usize); BATCH as usize] = [(0, 8), (5, 2), (4, 4)];
    let bytes: Vec<u8> = Vec::try_from(observations.flatten(0, -1)).unwrap();
    let mut ours = vec![0; bytes.len()];
    let frames = bytes.chunks_exact(FRAME).zip(ours.chunks_exact_mut(FRAME));
    for (number, (frame, out)) in frames.enumerate() {
        shifted(frame, shifts[number / 3], 4, out);
    }
    let ours = Tensor::from_slice(&ours).reshape([BATCH, 9, SIDE as i64, SIDE as i64]).to_kind(Kind::Float);
    let columns_and_rows: Vec<i64> =
        shifts.iter().flat_map(|&(top, left)| [left as i64, top as i64]).collect();
    let inputs = OracleTensors::from([
        ("pixels".to_owned(), observations),
        ("shift".to_owned(), Tensor::from_slice(&columns_and_rows).reshape([BATCH, 2])),
    ]);
    let mut oracle = Oracle::new("tests/oracle/rl.py");
    oracle.add(&json!({ "kind": "augmentation" }), &inputs);
    let theirs = oracle.call().remove(0);
    // Pixels are 0 to 255. The reference rounds interpolated positions, and shifts here are whole pixels.
    let apart = (ours - &theirs["pixels"]).abs().max().double_value(&[]);
    assert!(apart < 0.01 && apart > 0.0, "{apart}");
}

#[test]
fn truncated_noise_and_its_gradient_match_pytorch() {
    let task = task();
    let (agent, _) = agent(&task, &genotypes(&task)[0], Kind::Double);
    // Some exceed the limits of actions, some the clip.
    let mean = (normal(&[40, 6], "mean") * 0.9).set_requires_grad(true);
    let (noise, weights) = (normal(&[40, 6], "noise"), normal(&[40, 6], "weights"));
    let sample = agent.explore(&mean, 0.5, &noise);
    let gradient =
        Tensor::run_backward(&[(&sample * &weights).sum(Kind::Double)], &[&mean], false, false).remove(0);
    let inputs = [("mean", &mean), ("noise", &noise), ("weights", &weights)];
    let inputs: OracleTensors =
        inputs.into_iter().map(|(name, value)| (name.to_owned(), value.detach().copy())).collect();
    let mut oracle = Oracle::new("tests/oracle/rl.py");
    oracle.add(&json!({ "kind": "truncated", "deviation": 0.5, "exploration_clip": 0.25 }), &inputs);
    let theirs = oracle.call().remove(0);
    assert_close("sample", &sample.detach(), &theirs["sample"], 1e-12, 0.0);
    assert_close("gradient", &gradient, &theirs["gradient"], 1e-12, 0.0);
    assert!(sample.abs().max().double_value(&[]) < 1.0);
}

#[test]
fn fresh_matrices_are_distributed_as_in_pytorch() {
    const DRAWS: usize = 2000;
    let shapes: [(&str, &[i64], f64); 4] = [
        ("wide", &[3, 7], 1.0),
        ("tall", &[7, 3], 1.0),
        ("square", &[4, 4], 1.0),
        ("conv", &[4, 2, 3, 3], 2f64.sqrt()),
    ];
    let tensors: Value =
        shapes.iter().map(|(name, shape, gain)| (*name, json!([shape, gain, DRAWS]))).collect();
    let mut oracle = Oracle::new("tests/oracle/rl.py");
    oracle.add(&json!({ "kind": "initial", "tensors": tensors }), &OracleTensors::new());
    let theirs = oracle.call().remove(0);
    for (name, shape, gain) in shapes {
        let spec = TensorSpec {
            name: name.into(),
            shape: shape.iter().map(|&size| size as usize).collect(),
            dtype: safetensors::Dtype::F32,
            init: Init::Orthogonal(gain as f32),
            trained: true,
            average: None,
        };
        let drawn: Vec<f32> = (0..DRAWS as u64)
            .flat_map(|run| fresh(&spec, &RngKey { run, ..address("fresh") }).collect::<Vec<_>>())
            .collect();
        let drawn = Tensor::from_slice(&drawn).reshape([&[DRAWS as i64], shape].concat()).flatten(2, -1);
        let traces = drawn.diagonal(0, 1, 2).sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
        let first = drawn.select(1, 0).select(1, 0);
        let ours =
            [&traces, &first].map(|x| (x.mean(Kind::Float).double_value(&[]), x.std(true).double_value(&[])));
        let theirs: Vec<f64> = Vec::try_from(theirs[name].to_kind(Kind::Double)).unwrap();
        let theirs = [(theirs[2], theirs[3]), (theirs[4], theirs[5])];
        for ((mean, spread), (their_mean, their_spread)) in ours.into_iter().zip(theirs) {
            // Both are estimates from the same number of samples.
            let error = their_spread / (DRAWS as f64).sqrt();
            assert!((mean - their_mean).abs() < 7.0 * error, "{name}: {mean} {their_mean} ± {error}");
            assert!((spread / their_spread - 1.0).abs() < 0.12, "{name}: {spread} {their_spread}");
        }
    }
}
