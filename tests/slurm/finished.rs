//! Story 1: a job is submitted and finishes.

use super::cluster::Cluster;
use super::draw::Draw;
use super::scene::Scene;
use super::stories::{Row, row};

/// Through mpirun and through srun, the result is that of a run on one machine.
pub fn submitted(cluster: &Cluster, _: &Draw) -> Vec<Row> {
    let launchers: [&[&str]; 2] = [&["mpirun"], &["srun", "--launcher-arg=--mpi=pmix"]];
    launchers
        .map(|launcher| {
            let scene = Scene::new(cluster, &format!("submitted-{}", launcher[0]));
            let job = scene.submit_by_hand(&["--nodes=2"], &[&["--launcher"], launcher].concat());
            let launcher = launcher[0];
            row(format!("through {launcher}"), scene.finishes(job))
        })
        .into()
}
