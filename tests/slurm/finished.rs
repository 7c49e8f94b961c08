//! Story 1: a job is submitted and finishes.

use super::cluster::Cluster;
use super::draw::Draw;
use super::scene::Scene;
use super::times::Times;

pub fn through_mpirun(cluster: &Cluster, _: &Draw) -> Times {
    finishes(cluster, "mpirun")
}

pub fn through_srun(cluster: &Cluster, _: &Draw) -> Times {
    finishes(cluster, "srun")
}

fn finishes(cluster: &Cluster, launcher: &str) -> Times {
    let scene = Scene::new(cluster);
    let job = scene.submit(0, &["--launcher", launcher]);
    scene.finishes(job)
}
