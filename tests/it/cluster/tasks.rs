//! Tasks other than the synthetic one: jobs train the same networks as this machine.

use super::Cluster;
use crate::command::toy::{assert_calm, slow, toy};
use crate::support::Search;
#[cfg(feature = "torch")]
use crate::{adversarial, gan};

#[cfg(feature = "torch")]
#[test]
fn gans_trained_on_the_cluster_equal_the_local_ones() {
    let cluster = Cluster::get();
    let gan = "subset = 200\nbatch = 20\ngenerator_batch = 20\nevaluation_images = 100\nfeature_epochs = 1";
    let (here, there) = (Search::init(&gan::config(2, gan)), Search::init(&gan::config(2, gan)));
    here.ok(&["run"]);
    cluster.step(&there);
    cluster.wait(&there);
    here.assert_same(&there);
}

#[cfg(feature = "torch")]
#[test]
fn supernets_trained_on_the_cluster_equal_the_local_ones() {
    let cluster = Cluster::get();
    let (here, there) = (Search::init(&adversarial::config("")), Search::init(&adversarial::config("")));
    here.ok(&["run"]);
    cluster.step(&there);
    cluster.wait(&there);
    here.assert_same(&there);
}

#[test]
fn preempted_scripts_save_and_are_requeued() {
    let cluster = Cluster::get();
    let slurm = "[slurm]\npartition = \"low\"\n[slurm.controller]\npartition = \"main\"";
    let search = Search::init(&toy(&slow(0.6), slurm));
    cluster.step(&search);
    cluster.pid(&search, 0, 0, 1);
    std::thread::sleep(std::time::Duration::from_secs(3));
    cluster.preempt();
    cluster.wait(&search);
    let endings: Vec<String> = (0..3).flat_map(|generation| search.endings(generation)).collect();
    let stopped = endings.iter().filter(|ending| *ending == "stopped SIGTERM").count();
    assert!(stopped >= 4, "{endings:?}");
    assert_calm(&search);
}
