//! Story 1: a job is submitted and finishes.

use super::cluster::Cluster;
use super::draw::Draw;
use super::scene::Scene;
use super::times::Times;

pub fn through_mpirun(cluster: &Cluster, draw: &Draw) -> Times {
    finishes(cluster, draw, "mpirun")
}

pub fn through_srun(cluster: &Cluster, draw: &Draw) -> Times {
    finishes(cluster, draw, "srun")
}

fn finishes(cluster: &Cluster, draw: &Draw, launcher: &str) -> Times {
    let scene = Scene::new(cluster);
    let job = scene.submit(0, &["--launcher", launcher]);
    scene.see_at_work(1, draw);
    let told = scene.tool(&["status", &scene.text("run")]);
    assert!(told.contains(&format!("{job} of Slurm: running on node")), "{told}");
    scene.finishes(job)
}
