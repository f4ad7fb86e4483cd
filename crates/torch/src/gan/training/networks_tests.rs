//! Every architecture of both spaces can be built, run forward and backward, and mixed with any other.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Device, Kind, Tensor, no_grad};

use crate::gan::data::tests::write_data_set;
use crate::gan::projection::Mode;
use crate::gan::{GanConfig, GanTask, SpaceKind};
use crate::nn::{Scope, Values, uniform as uniform_numbers};
use crate::oracle::normal;
use pbtnas_core::checkpoint::{TensorSpec, fresh};
use pbtnas_core::search::{Genotype, Initial, RngKey, initial_population, rng};
use pbtnas_engine::task::Task;

const SPACES: [SpaceKind; 2] = [SpaceKind::Gan, SpaceKind::GanHard];

/// A task of small networks.
pub fn task(folder: &Path, space: SpaceKind) -> GanTask {
    write_data_set(folder, 8);
    GanTask::new(GanConfig {
        space,
        data: folder.to_owned(),
        image_size: 16,
        bottom_width: 2,
        generator_width: 4,
        discriminator_width: 4,
        latent: 6,
        batch: 4,
        ..GanConfig::default()
    })
}

/// Fresh weights of an architecture.
pub fn values(task: &GanTask, genotype: &Genotype, run: u64) -> Values {
    let address = RngKey { run, generation: 0, member: None, purpose: "test" };
    let tensor = |spec: &TensorSpec| {
        let numbers: Vec<f32> = fresh(spec, &address).collect();
        let shape: Vec<i64> = spec.shape.iter().map(|&size| size as i64).collect();
        Tensor::from_slice(&numbers).reshape(shape).set_requires_grad(spec.trained)
    };
    task.tensors(genotype).unwrap().iter().map(|spec| (spec.name.clone(), tensor(spec))).collect()
}

/// A genotype in which every variable that has the option takes it, and all others their first one.
fn uniform(task: &GanTask, option: &str) -> Genotype {
    Genotype::new(task.space().variables.iter().map(|variable| {
        let found = variable.options().iter().find(|known| *known == option);
        (variable.name.clone(), found.unwrap_or(&variable.options()[0]).clone())
    }))
}

#[test]
fn random_architectures_run_forward_and_backward() {
    let dir = tempfile::tempdir().unwrap();
    for space in SPACES {
        let task = task(dir.path(), space);
        let mut genotypes = initial_population(task.space(), 60, Initial::Uniform, 11);
        genotypes
            .extend(["none", "skip", "conv_1x1", "yes", "max_start"].map(|option| uniform(&task, option)));
        for genotype in &genotypes {
            let values = values(&task, genotype, 1);
            let (generator, discriminator) = task.networks(genotype, &mut Scope::load(&values)).unwrap();
            // Fixed latents: with others, every ReLU of such a small network may be off.
            let latents = normal(&[8, 6], "latents").to_kind(Kind::Float);
            let mut rng = rng(&RngKey { run: 1, generation: 0, member: None, purpose: "dropout" });
            let mut numbers = |shape: &[i64]| uniform_numbers(&mut rng, shape, Device::Cpu);
            let images = generator.forward(&latents, Mode::Training(&mut numbers));
            assert_eq!(images.size(), [8, 1, 16, 16]);
            let scores = discriminator.forward(&images, true);
            assert_eq!(scores.size(), [8, 1]);
            let trained: Vec<(&String, &Tensor)> = values.iter().filter(|(_, v)| v.requires_grad()).collect();
            let leaves: Vec<&Tensor> = trained.iter().map(|(_, value)| *value).collect();
            let gradients = Tensor::run_backward(&[scores.sum(Kind::Float)], &leaves, false, false);
            let mut moved = BTreeMap::from([("generator", 0), ("discriminator", 0)]);
            for ((name, _), gradient) in trained.iter().zip(&gradients).filter(|(_, g)| g.defined()) {
                assert_eq!(gradient.isfinite().all().int64_value(&[]), 1, "{name} of {genotype:?}");
                if gradient.abs().max().double_value(&[]) > 0.0 {
                    *moved.get_mut(name.split('/').next().unwrap()).unwrap() += 1;
                }
            }
            assert!(moved.values().all(|&count| count > 0), "{moved:?} of {genotype:?}");
        }
    }
}

#[test]
fn tensors_of_a_variable_depend_on_its_value_only() {
    let dir = tempfile::tempdir().unwrap();
    for space in SPACES {
        let task = task(dir.path(), space);
        let mut seen: BTreeMap<(String, String), Vec<TensorSpec>> = BTreeMap::new();
        let mut fixed: Option<Vec<TensorSpec>> = None;
        for genotype in initial_population(task.space(), 60, Initial::Uniform, 12) {
            let mut owned: BTreeMap<String, Vec<TensorSpec>> = BTreeMap::new();
            let mut free = Vec::new();
            for spec in task.tensors(&genotype).unwrap() {
                match task.space().owner(&spec.name) {
                    Some(variable) => {
                        assert!(spec.name.starts_with(&format!("{}/", variable.name)));
                        owned.entry(variable.name.clone()).or_default().push(spec);
                    }
                    None => free.push(spec),
                }
            }
            assert_eq!(fixed.get_or_insert_with(|| free.clone()), &free);
            for variable in &task.space().variables {
                let tensors = owned.remove(&variable.name).unwrap_or_default();
                let option = genotype.get(&variable.name).unwrap().to_owned();
                let without = ["none", "skip", "average_start", "max_start", "average_end", "max_end"];
                let expected = !variable.owns().is_empty() && !without.contains(&option.as_str());
                assert_eq!(!tensors.is_empty(), expected, "{} = {option}", variable.name);
                let first = seen.entry((variable.name.clone(), option)).or_insert_with(|| tensors.clone());
                assert_eq!(first, &tensors);
            }
        }
    }
}

#[test]
fn second_branch_of_a_cell_gets_gradients() {
    let dir = tempfile::tempdir().unwrap();
    let task = task(dir.path(), SpaceKind::GanHard);
    let genotype = uniform(&task, "conv_3x3");
    let values = values(&task, &genotype, 2);
    let (_, discriminator) = task.networks(&genotype, &mut Scope::load(&values)).unwrap();
    let images = Tensor::randn([2, 1, 16, 16], (Kind::Float, Device::Cpu));
    let score = discriminator.forward(&images, false).sum(Kind::Float);
    let leaf = &values["discriminator/cell2/c6/conv/weight"];
    let gradient = &Tensor::run_backward(&[score], &[leaf], false, false)[0];
    assert!(gradient.abs().max().double_value(&[]) > 0.0);
}

/// A generator whose nodes are constant images, each a multiple of the input of the first cell that can be counted by
/// hand: upsampling and the convolutions 1x1 change nothing, and the second and third projection are zero.
pub fn counting_values(task: &GanTask, genotype: &Genotype) -> Values {
    let values = values(task, genotype, 1);
    no_grad(|| {
        for value in values.iter().filter(|(name, _)| name.starts_with("generator/cell")).map(|(_, v)| v) {
            let mut value = value.shallow_clone();
            match value.size().as_slice() {
                &[outputs, inputs, 1, 1] => {
                    let identity = Tensor::eye_m(outputs, inputs, (Kind::Float, Device::Cpu));
                    value.copy_(&identity.reshape(value.size()));
                }
                _ => drop(value.zero_()),
            }
        }
        for (name, number) in [
            ("projection1/linear/weight", 0.0),
            ("projection1/linear/bias", 1.0),
            ("projection2/linear/weight", 0.0),
            ("projection2/linear/bias", 0.0),
            ("projection3/linear/weight", 0.0),
            ("projection3/linear/bias", 0.0),
            ("norm/weight", 1.0),
            ("norm/running_var", 1.0 - 1e-5),
            ("to_image/weight", 0.0),
            ("to_image/bias", 0.0),
        ] {
            let _ = values[&format!("generator/{name}")].shallow_clone().fill_(number);
        }
        let _ =
            values["generator/to_image/weight"].narrow(2, 1, 1).narrow(3, 1, 1).narrow(1, 0, 1).fill_(0.01);
    });
    values
}

/// The multiple that images of [`counting_values`] show.
pub fn count_in(images: &Tensor) -> f64 {
    let multiples = images.atanh() / 0.01;
    let first = multiples.flatten(0, -1).double_value(&[0]);
    assert!((multiples - first).abs().max().double_value(&[]) < 1e-3, "images are constant");
    first
}

/// A genotype of the space Gan with these options of all three cells' edges.
fn cells_of(task: &GanTask, up: &str, edges: [&str; 5]) -> Genotype {
    let option = |name: &str| match name.rsplit('/').next().unwrap_or_default() {
        edge if edge.starts_with("up") => up.to_owned(),
        edge => edges[edge[1..].parse::<usize>().unwrap()].to_owned(),
    };
    Genotype::new(task.space().variables.iter().map(|v| (v.name.clone(), option(&v.name))))
}

/// Options of the five edges of all cells, and the output of the last cell for an input of 1, counted by hand from facts
/// (Generator): nodes 0 and 1 equal the cell's input x.
pub const COUNTED: [([&str; 5], f64); 3] = [
    // Node 2 is 2x plus the skips, and the output: 2; 4 + 2 = 6; 12 + 2 + 6 = 20.
    (["skip", "skip", "none", "none", "skip"], 20.0),
    // Node 2 is x plus the skips, and the output x + node 2: 1 and 2; 2 + 1 = 3 and 5; 5 + 1 + 3 = 9 and 14.
    (["skip", "none", "skip", "none", "skip"], 14.0),
    // The output is 2x and does not depend on node 2: 2, 4, 8.
    (["skip", "none", "skip", "skip", "none"], 8.0),
];

#[test]
fn skip_outputs_contain_the_skips_of_earlier_cells() {
    let dir = tempfile::tempdir().unwrap();
    let task = task(dir.path(), SpaceKind::Gan);
    // No edge leads to node 2, which is then 2x plus the skips, or to node 3, which then equals node 2.
    for (edges, expected) in COUNTED.into_iter().chain([(["none"; 5], 20.0)]) {
        let genotype = cells_of(&task, "nearest", edges);
        let values = counting_values(&task, &genotype);
        let (generator, _) = task.networks(&genotype, &mut Scope::load(&values)).unwrap();
        let images = generator.forward(&Tensor::zeros([2, 6], (Kind::Float, Device::Cpu)), Mode::Evaluation);
        let found = count_in(&images);
        assert!((found - expected).abs() < 1e-2, "{edges:?}: {found}, not {expected}");
    }
}
