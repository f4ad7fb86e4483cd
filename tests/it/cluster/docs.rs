//! The commands that pages show for a cluster.

use super::Cluster;
use crate::docs::run_pages;

#[test]
fn commands_shown_for_a_cluster_work() {
    let _cluster = Cluster::get();
    run_pages(true);
}
