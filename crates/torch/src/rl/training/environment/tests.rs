//! Compares the environments with dm-control (`tests/oracle/control.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use super::physics::Physics;
use super::reward::{Falloff, tolerance};
use super::{EPISODE, Environment, EnvironmentKind, PICTURE, SIDE, model};
use crate::oracle;

/// Sizes and elements of tensors, by name.
type Numbers = BTreeMap<String, (Vec<i64>, Vec<f64>)>;

/// The results of dm-control for all environments, computed once.
static ORACLE: LazyLock<Numbers> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("control.safetensors");
    oracle::run("tests/oracle/control.py", &[file.as_path()]);
    let numbers = |tensor: Tensor| Vec::try_from(tensor.to_kind(Kind::Double).flatten(0, -1)).unwrap();
    oracle::tensors(&file)
        .into_iter()
        .map(|(name, tensor)| (name, (tensor.size(), numbers(tensor))))
        .collect()
});

/// The rows of one of the oracle's tensors.
fn rows(kind: EnvironmentKind, name: &str) -> Vec<&'static [f64]> {
    let domain = match kind {
        EnvironmentKind::WalkerRun => "walker",
        EnvironmentKind::QuadrupedRun => "quadruped",
        EnvironmentKind::HumanoidRun => "humanoid",
    };
    let (size, numbers) = &ORACLE[&format!("{domain}/{name}")];
    numbers.chunks(size[1..].iter().product::<i64>() as usize).collect()
}

fn models() -> PathBuf {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.deps/data/dm-control");
    assert!(models.exists(), "{} is missing: call scripts/setup rl", models.display());
    models
}

fn physics(kind: EnvironmentKind) -> Physics {
    Physics::new(kind, model::load(kind, &models()).unwrap()).unwrap()
}

fn environment(kind: EnvironmentKind) -> Environment {
    Environment::new(kind, &models(), EPISODE).unwrap()
}

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A random action.
fn action(kind: EnvironmentKind, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..kind.action_size()).map(|_| rand::Rng::random_range(rng, -1.0..=1.0)).collect()
}

fn pixels(environment: &mut Environment) -> Vec<u8> {
    let mut pixels = vec![0; PICTURE];
    environment.pixels(&mut pixels).unwrap();
    pixels
}

/// The largest difference.
fn apart(ours: &[f64], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Replays the first 200 agent steps of dm-control's episode, and returns our states and rewards.
fn replay(kind: EnvironmentKind, mut see: impl FnMut(usize, &mut Environment)) -> (Vec<Vec<f64>>, Vec<f64>) {
    let mut environment = environment(kind);
    let mut first = rows(kind, "states")[0].to_vec();
    first.push(0.0);
    environment.restore(&first).unwrap();
    let (mut states, mut rewards) = (vec![first], Vec::new());
    for (step, action) in rows(kind, "actions").into_iter().enumerate() {
        let action: Vec<_> = action.iter().map(|&x| x as f32).collect();
        rewards.push(environment.step(&action).unwrap());
        states.push(environment.state());
        see(step + 1, &mut environment);
    }
    (states, rewards)
}

#[test]
fn states_rewards_and_images_match_dm_control() {
    for kind in EnvironmentKind::ALL {
        let pictures = rows(kind, "pictures");
        let (mut differing, mut largest) = (0, 0.0f64);
        let (states, rewards) = replay(kind, |step, environment| {
            if step.is_multiple_of(20) {
                let ours: Vec<_> = pixels(environment).into_iter().map(f64::from).collect();
                let theirs = pictures[step / 20 - 1];
                differing += ours.iter().zip(theirs).filter(|(a, b)| a != b).count();
                largest = largest.max(apart(&ours, theirs));
            }
        });
        let of_states = states
            .iter()
            .zip(rows(kind, "states"))
            .map(|(ours, theirs)| apart(&ours[..ours.len() - 1], theirs))
            .fold(0.0, f64::max);
        let theirs: Vec<_> = rows(kind, "rewards").concat();
        assert_eq!(states.len(), 201);
        let of_rewards = apart(&rewards, &theirs);
        let of_bytes = f64::from(differing as u32) / (pictures.len() * PICTURE) as f64;
        println!(
            "{kind:?}: states differ by {of_states:e}, rewards by {of_rewards:e}, {:.4} % of bytes by up to {largest}",
            100.0 * of_bytes
        );
        assert!(of_states <= 1e-9 && of_rewards <= 1e-9, "{kind:?}: {of_states:e} {of_rewards:e}");
        assert!(theirs.iter().any(|&reward| reward > 0.01), "{kind:?}: all rewards are about 0");
        // The same driver renders both, and no difference was observed. A different rounding of an edge would change
        // single bytes.
        assert!(of_bytes <= 1e-3 && largest <= 8.0, "{kind:?}: {of_bytes} of the bytes, by up to {largest}");
        let mean = pictures.concat().iter().sum::<f64>() / (pictures.len() * PICTURE) as f64;
        assert!((10.0..245.0).contains(&mean), "{kind:?}: the images are almost black or white");
    }
}

#[test]
fn episodes_have_the_length_of_dm_control() {
    for kind in EnvironmentKind::ALL {
        let mut physics = environment(kind);
        physics.reset(&mut rng(1)).unwrap();
        let mut steps = 0;
        while !physics.is_over() {
            physics.step(&vec![0.0; kind.action_size()]).unwrap();
            steps += 1;
        }
        assert_eq!(f64::from(steps), rows(kind, "length")[0][0], "{kind:?}");
        assert!(physics.step(&vec![0.0; kind.action_size()]).is_err());
    }
}

#[test]
fn first_states_are_distributed_as_in_dm_control() {
    for kind in EnvironmentKind::ALL {
        let theirs = rows(kind, "first");
        let mut physics = physics(kind);
        let mut rng = rng(7);
        let ours: Vec<Vec<f64>> = (0..theirs.len())
            .map(|_| {
                physics.reset(&mut rng).unwrap();
                assert!(kind == EnvironmentKind::WalkerRun || physics.data().ncon() == 0);
                physics.state()
            })
            .collect();
        // For each number, the means must agree within the standard errors, and the standard deviations roughly.
        let moments = |rows: &[&[f64]], at: usize| {
            let mean = rows.iter().map(|row| row[at]).sum::<f64>() / rows.len() as f64;
            let variance = rows.iter().map(|row| (row[at] - mean).powi(2)).sum::<f64>() / rows.len() as f64;
            (mean, variance.sqrt())
        };
        let ours: Vec<&[f64]> = ours.iter().map(Vec::as_slice).collect();
        assert_eq!(ours[0].len(), theirs[0].len());
        let mut random = 0;
        for at in 0..ours[0].len() {
            let ((mean, spread), (their_mean, their_spread)) = (moments(&ours, at), moments(&theirs, at));
            let error = (spread.max(their_spread) / (theirs.len() as f64).sqrt()).max(1e-9);
            assert!((mean - their_mean).abs() < 6.0 * error, "{kind:?} {at}: {mean} {their_mean} ± {error}");
            let ratio = (spread + 1e-9) / (their_spread + 1e-9);
            assert!((0.7..1.4).contains(&ratio), "{kind:?} {at}: {spread} {their_spread}");
            random += usize::from(spread > 1e-6);
        }
        assert!(random >= kind.action_size().min(5), "{kind:?}: {random} numbers are random");
    }
}

#[test]
fn quadruped_stands_at_the_height_of_dm_control() {
    let mut physics = physics(EnvironmentKind::QuadrupedRun);
    for first in rows(EnvironmentKind::QuadrupedRun, "first").into_iter().take(50) {
        // The state begins with the time.
        let (height, orientation) = (first[3], &first[4..8]);
        physics.stand(orientation.try_into().unwrap()).unwrap();
        assert!((physics.data().qpos()[2] - height).abs() < 1e-9, "{height}");
    }
}

#[test]
fn restored_environment_continues_bit_for_bit() {
    for kind in EnvironmentKind::ALL {
        let mut whole = environment(kind);
        let mut rng = rng(3);
        whole.reset(&mut rng).unwrap();
        for _ in 0..15 {
            whole.step(&action(kind, &mut rng)).unwrap();
        }
        let mut restored = environment(kind);
        restored.restore(&whole.state()).unwrap();
        assert!(pixels(&mut whole) == pixels(&mut restored));
        for _ in 0..15 {
            let action = action(kind, &mut rng);
            assert_eq!(whole.step(&action).unwrap(), restored.step(&action).unwrap());
            assert_eq!(whole.state(), restored.state());
        }
        assert!(pixels(&mut whole) == pixels(&mut restored));
        let state = whole.state();
        assert!(restored.restore(&state[1..]).is_err());
        assert!(restored.restore(&[]).is_err());
    }
}

#[test]
fn environments_do_not_depend_on_other_threads() {
    let kind = EnvironmentKind::WalkerRun;
    let episode = |seed| {
        let mut environment = environment(kind);
        let mut rng = rng(seed);
        environment.reset(&mut rng).unwrap();
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push((environment.step(&action(kind, &mut rng)).unwrap(), pixels(&mut environment)));
        }
        seen
    };
    let alone: Vec<_> = (0..4).map(episode).collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|seed| scope.spawn(move || episode(seed))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(alone == together);
    assert!(alone[0] != alone[1]);
}

#[test]
fn large_image_shows_the_view_of_the_agent() {
    let mut environment = environment(EnvironmentKind::QuadrupedRun);
    environment.reset(&mut rng(5)).unwrap();
    let before = pixels(&mut environment);
    let large = environment.image(252).unwrap();
    assert_eq!(large.len(), 252 * 252 * 3);
    assert!(pixels(&mut environment) == before);
    // Each pixel of the agent's image corresponds to nine of the large one.
    let mut apart = 0.0;
    for channel in 0..3 {
        for row in 0..SIDE {
            for column in 0..SIDE {
                let nine = (0..9).map(|k| (3 * row + k / 3, 3 * column + k % 3));
                let mean =
                    nine.map(|(y, x)| f64::from(large[(252 * y + x) * 3 + channel])).sum::<f64>() / 9.0;
                apart += (mean - f64::from(before[(channel * SIDE + row) * SIDE + column])).abs();
            }
        }
    }
    assert!(apart / (PICTURE as f64) < 6.0, "{}", apart / PICTURE as f64);
    assert!(environment.image(0).is_err() && environment.image(1 << 20).is_err());
}

#[test]
fn rewards_match_dm_control() {
    let (size, numbers) = &ORACLE["tolerance"];
    let mut worst = 0.0f64;
    for row in numbers.chunks(size[1] as usize) {
        let &[x, low, high, margin, code, expected] = row else { panic!("six numbers") };
        let falloff = match code {
            -1.0 => Falloff::Gaussian,
            -2.0 => Falloff::Quadratic,
            value => Falloff::Linear(value),
        };
        worst = worst.max((tolerance(x, low, high, margin, falloff) - expected).abs());
    }
    assert!(size[0] > 1000 && worst < 1e-12, "{worst:e} over {} values", size[0]);
}

#[test]
fn error_describes_a_missing_or_invalid_model() {
    let message_for = |folder: &Path| {
        let error = Environment::new(EnvironmentKind::HumanoidRun, folder, EPISODE).err().unwrap();
        format!("{error:#}")
    };
    let folder = tempfile::tempdir().unwrap();
    let message = message_for(folder.path());
    assert!(message.contains("humanoid.xml") && message.contains("scripts/setup rl"), "{message}");
    std::fs::write(folder.path().join("humanoid.xml"), "<mujoco><nonsense/></mujoco>").unwrap();
    assert!(message_for(folder.path()).contains("not a valid MuJoCo model"));
    std::fs::write(folder.path().join("humanoid.xml"), "<mujoco/>").unwrap();
    assert!(message_for(folder.path()).contains("it is not the model of the DeepMind Control suite"));
}
