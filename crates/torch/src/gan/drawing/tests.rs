use std::collections::BTreeSet;

use tch::{Kind as TensorKind, Tensor};

use super::*;
use crate::gan::SpaceKind;
use crate::gan::projection::Mode;
use crate::gan::training::networks_tests::{task, values};
use crate::nn::Scope;
use crate::oracle::normal;
use pbtnas_core::search::{Initial, initial_population};
use pbtnas_engine::task::Task;

/// The variables whose layers take part in a forward pass of both networks: those that get gradients.
fn flowing(task: &crate::gan::GanTask, genotype: &Genotype) -> BTreeSet<String> {
    let values = values(task, genotype, 1);
    let (generator, discriminator) = task.networks(genotype, &mut Scope::load(&values)).unwrap();
    let images = generator.forward(&normal(&[2, 6], "latents").to_kind(TensorKind::Float), Mode::Evaluation);
    let score = discriminator.forward(&images, false).sum(TensorKind::Float);
    let trained: Vec<(&String, &Tensor)> = values.iter().filter(|(_, value)| value.requires_grad()).collect();
    let leaves: Vec<&Tensor> = trained.iter().map(|(_, value)| *value).collect();
    let gradients = Tensor::run_backward(&[score], &leaves, false, false);
    let reached = trained.iter().zip(&gradients).filter(|(_, gradient)| gradient.defined());
    let owners = reached.filter_map(|((name, _), _)| task.space().owner(name));
    owners.map(|variable| variable.name.clone()).collect()
}

/// The variables with weights that the boxes of layers in use name.
fn drawn(task: &crate::gan::GanTask, diagram: &Diagram) -> BTreeSet<String> {
    let layers = diagram.nodes.iter().filter(|node| node.kind == NodeKind::Layer && !node.unused);
    let named = layers.flat_map(|node| &node.lines).flat_map(|line| &line.variables);
    let owns = |name: &&String| task.space().owner(&format!("{name}/")).is_some();
    named.filter(owns).cloned().collect()
}

#[test]
fn diagram_shows_the_layers_of_the_forward_pass() {
    let dir = tempfile::tempdir().unwrap();
    for space in [SpaceKind::Gan, SpaceKind::GanHard] {
        let task = task(dir.path(), space);
        let mut unused = 0;
        for genotype in initial_population(task.space(), 25, Initial::Uniform, 21) {
            let diagram = task.diagram(&genotype).unwrap();
            assert_eq!(drawn(&task, &diagram), flowing(&task, &genotype), "{genotype:?}");
            unused += diagram.nodes.iter().filter(|node| node.unused).count();
        }
        assert!(unused > 0, "some layers are unused");
    }
}

#[test]
fn every_option_can_be_drawn() {
    let dir = tempfile::tempdir().unwrap();
    for space in [SpaceKind::Gan, SpaceKind::GanHard] {
        let task = task(dir.path(), space);
        let mut genotypes = initial_population(task.space(), 1, Initial::Uniform, 3);
        for variable in &task.space().variables {
            for option in variable.options() {
                let mut genotype = genotypes[0].clone();
                genotype.set(&variable.name, option);
                genotypes.push(genotype);
            }
        }
        for genotype in &genotypes {
            let diagram = task.diagram(genotype).unwrap();
            let names: Vec<&str> = diagram.nodes.iter().map(|node| node.lines[0].text.as_str()).collect();
            assert!(names.contains(&"generated image") && names.contains(&"score"), "{names:?}");
        }
        // All edges none: each node falls back on those before it.
        let mut empty = genotypes.swap_remove(0);
        for variable in task.space().variables.iter().filter(|v| v.options().contains(&"none".to_owned())) {
            empty.set(&variable.name, "none");
        }
        assert_eq!(drawn(&task, &task.diagram(&empty).unwrap()), flowing(&task, &empty));
    }
}
