//! Story 7: nodes that are not dead, but out of reach, and come back.

use super::cluster::Cluster;
use super::draw::Draw;
use super::job::Which;
use super::scene::{LIMIT, Scene};
use super::times::Times;

/// How a node goes and comes back.
struct Trouble {
    blow: fn(&Cluster, usize),
    back: fn(&Cluster, usize),
}

const CUT: Trouble = Trouble { blow: Cluster::cut, back: Cluster::join };
const FROZEN: Trouble = Trouble { blow: Cluster::freeze, back: Cluster::wake };

pub fn cable_cut(cluster: &Cluster, draw: &Draw) -> Times {
    out_of_reach(cluster, draw, &CUT, draw.one_of(&[Which::BatchHost, Which::Other]))
}

pub fn node_frozen(cluster: &Cluster, draw: &Draw) -> Times {
    out_of_reach(cluster, draw, &FROZEN, Which::Other)
}

pub fn batch_host_frozen(cluster: &Cluster, draw: &Draw) -> Times {
    out_of_reach(cluster, draw, &FROZEN, Which::BatchHost)
}

pub fn cable_cut_with_spare(cluster: &Cluster, draw: &Draw) -> Times {
    replaced(cluster, draw, &CUT)
}

pub fn node_frozen_with_spare(cluster: &Cluster, draw: &Draw) -> Times {
    replaced(cluster, draw, &FROZEN)
}

/// One of the job's nodes goes out of reach, and is back while the next life computes: whoever is late is not heard.
fn out_of_reach(cluster: &Cluster, draw: &Draw, trouble: &Trouble, which: Which) -> Times {
    let scene = Scene::new(cluster);
    let id = scene.submit(0, &[]);
    scene.see_at_work(1, draw);
    let victim = cluster.job(id).node(which);
    scene.strike(|| (trouble.blow)(cluster, victim));
    scene.see(id, "running again, elsewhere", |job| job.is_running() && !job.nodes.contains(&victim));
    comes_back(&scene, draw, trouble, id, victim)
}

/// A node goes out of reach, and is back while others compute in its place: in the same allocation, of which it may still be
/// a part.
fn replaced(cluster: &Cluster, draw: &Draw, trouble: &Trouble) -> Times {
    let scene = Scene::new(cluster);
    let id = scene.submit(1, &[]);
    let ranks = scene.see_at_work(1, draw);
    let victim = scene.worker(id, &ranks);
    scene.strike(|| (trouble.blow)(cluster, victim));
    let times = comes_back(&scene, draw, trouble, id, victim);
    assert_eq!(cluster.job(id).restarts, 0, "the job was requeued");
    times
}

fn comes_back(scene: &Scene, draw: &Draw, trouble: &Trouble, id: u32, victim: usize) -> Times {
    let cluster = scene.cluster;
    let attempt = scene.next_attempt(id, victim);
    scene.see_at_work(attempt, draw);
    (trouble.back)(cluster, victim);
    let times = scene.finishes(id);
    // What is late has come by now, if it ever does: nothing of the job is left on its node.
    cluster.see("the node back with nothing of the job", LIMIT, || cluster.busy(victim).is_empty());
    scene.has_the_same_bits();
    times
}
