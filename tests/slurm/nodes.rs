//! Stories 2 to 4: nodes die under a job.

use super::cluster::Cluster;
use super::draw::Draw;
use super::job::Which;
use super::scene::{STEPS, Scene};
use super::stories::{Row, row};

/// Without spare nodes the job is requeued, and finishes on others.
pub fn lost(cluster: &Cluster, draw: &Draw) -> Vec<Row> {
    let scene = Scene::new(cluster, "node-lost");
    let id = scene.submit_by_hand(&["--nodes=2", "--requeue"], &["--launcher", "mpirun"]);
    scene.see_at_work(1, draw.between(STEPS / 4, STEPS / 2));
    let victim = cluster.job(id).node(Which::Other);
    scene.strike(|| cluster.kill(victim));
    let times = scene.finishes(id);
    let after = cluster.job(id);
    assert!(after.restarts == 1 && !after.nodes.contains(&victim), "{after:?}");
    vec![row("requeued", times)]
}
