//! The job scripts in `slurm/`, as people copy them: with nothing changed but sizes and names.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::cluster::Cluster;
use super::draw::Draw;
use super::job::{Job, Which};
use super::scene::Scene;
use super::stage;
use super::times::Times;

/// What is adapted: the sizes to this cluster, the names to this case. Each template has some of these words.
const CHANGES: [(&str, &str); 9] = [
    ("--nodes=4\n", "--nodes=2\n"),
    ("--nodes=5\n", "--nodes=3\n"),
    ("--ntasks-per-node=16\n", "--ntasks-per-node=2\n"),
    ("--array=0-4%4\n", "--array=0-1\n"),
    ("-n 64 ", "-n 4 "),
    ("recovery.fewest_ranks=32", "recovery.fewest_ranks=2"),
    ("model.diffusivity=", "model.feed="),
    ("/heat.run", "/run"),
    ("heat.toml", "case.toml"),
];

/// Submits a template, in the directory of the case, where `heat` is the program.
fn submit(scene: &Scene, template: &str) -> u32 {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("slurm").join(template));
    let text = CHANGES.iter().fold(text.expect("the template is there"), |text, (from, to)| text.replace(from, to));
    fs::write(scene.path(template), text).expect("the disk has room for a script");
    if !scene.path("heat").exists() {
        symlink(stage::find("gray_scott"), scene.path("heat")).expect("the directory takes links");
    }
    scene.submit_script(template)
}

/// One run in one job, spare nodes, variable time: each finishes with the bits of a local run; of a sweep all runs finish.
pub fn finish(cluster: &Cluster, _: &Draw) -> Times {
    for template in ["single.sh", "spares.sh", "variable-time.sh"] {
        let scene = Scene::new(cluster);
        let _ = fs::remove_dir_all(scene.path("run"));
        let id = submit(&scene, template);
        scene.finishes(id);
    }
    let scene = Scene::new(cluster);
    let id = submit(&scene, "sweep.sh");
    scene.see(id, "over", Job::is_over);
    scene.leaves_nothing();
    let runs = fs::read_dir(scene.path("sweep.run")).expect("the sweep has a directory");
    let finished = runs.filter(|run| run.as_ref().is_ok_and(|run| run.path().join("finished.json").exists()));
    assert_eq!(finished.count(), 2);
    Times::default()
}

/// A link loses a node; others follow, until the run is finished and the last takes the next out of the queue.
pub fn chain(cluster: &Cluster, draw: &Draw) -> Times {
    let scene = Scene::new(cluster);
    let first = submit(&scene, "chain.sh");
    scene.see_at_work(1, draw);
    let victim = cluster.job(first).node(Which::Other);
    scene.strike(|| cluster.kill(victim));
    scene.see(first, "over", Job::is_over);
    scene.see(first, "followed to the end of the run", |_| scene.run().finished().exists());
    scene.leaves_nothing();
    scene.has_the_same_bits();
    scene.times()
}
