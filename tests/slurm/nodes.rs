//! Stories 2, 3, 4 and 9: nodes die under a job.

use std::collections::BTreeSet;

use steadfast::rundir::Event;

use super::cluster::Cluster;
use super::draw::Draw;
use super::job::Which;
use super::scene::{NEEDED, PER_NODE, Scene};
use super::times::Times;

/// Without spare nodes the job is requeued, and finishes on others.
pub fn lost(cluster: &Cluster, draw: &Draw) -> Times {
    requeued(cluster, draw, 0, Which::Other)
}

/// Slurm ends a job whose script is lost, and puts it into the queue again.
pub fn batch_host_lost(cluster: &Cluster, draw: &Draw) -> Times {
    requeued(cluster, draw, 0, Which::BatchHost)
}

/// Slurm keeps a job that outlives its nodes, even if nobody is left in it who could launch ranks.
pub fn batch_host_lost_with_spare(cluster: &Cluster, draw: &Draw) -> Times {
    requeued(cluster, draw, 1, Which::BatchHost)
}

fn requeued(cluster: &Cluster, draw: &Draw, spare: usize, which: Which) -> Times {
    let scene = Scene::new(cluster);
    let id = scene.submit(spare, &[]);
    scene.see_at_work(1, draw);
    let victim = cluster.job(id).node(which);
    scene.strike(|| cluster.kill(victim));
    let times = scene.finishes(id);
    let after = cluster.job(id);
    assert!(after.restarts == 1 && !after.nodes.contains(&victim), "{after:?}");
    // With the supervisor dies whoever would have written it down.
    let named = if which == Which::BatchHost { BTreeSet::new() } else { [victim].into() };
    assert_eq!(avoided(&scene), named);
    times
}

/// The sentry dies with the batch host: the allocation stands there, and a person is told what to do.
pub fn nobody_left(cluster: &Cluster, draw: &Draw) -> Times {
    let scene = Scene::new(cluster);
    let id = scene.submit(1, &[]);
    scene.see_at_work(1, draw);
    let job = cluster.job(id);
    let host = job.node(Which::BatchHost);
    let has_sentry = |node: &usize| *node != host && cluster.busy(*node).iter().any(|name| name == "steadfast");
    let sentry = *job.nodes.iter().find(|node| has_sentry(node)).expect("a sentry is on one of the other nodes");
    let run = scene.text("run");
    scene.strike(|| [host, sentry].iter().for_each(|&node| cluster.kill(node)));
    scene.see(id, "known by status to be minded by nobody", |job| {
        job.is_running() && scene.tool(&["status", &run]).contains("nobody minds it")
    });
    let told = scene.try_submit(1, &[], &[]).expect_err("the run has a job");
    assert!(told.contains("--revive"), "{told}");
    scene.tool(&["submit", "--revive", "--dir", &run]);
    let times = scene.finishes(id);
    assert_eq!(cluster.job(id).restarts, 1);
    times
}

/// The supervisor notices first: the controller believes in the node for some time yet.
pub fn spare_unnoticed(cluster: &Cluster, draw: &Draw) -> Times {
    replaced(cluster, draw, |victim| cluster.kill(victim))
}

/// The controller knows at once.
pub fn spare_noticed(cluster: &Cluster, draw: &Draw) -> Times {
    replaced(cluster, draw, |victim| {
        cluster.kill(victim);
        cluster.declare_dead(victim);
    })
}

fn replaced(cluster: &Cluster, draw: &Draw, blow: impl Fn(usize)) -> Times {
    let scene = Scene::new(cluster);
    let id = scene.submit(1, &[]);
    let ranks = scene.see_at_work(1, draw);
    let victim = scene.worker(id, &ranks);
    scene.strike(|| blow(victim));
    let times = scene.finishes(id);
    assert_eq!(cluster.job(id).restarts, 0, "the job was requeued");
    assert_eq!(ranks_at_last(&scene), NEEDED * PER_NODE);
    assert_eq!(avoided(&scene), [victim].into());
    times
}

/// With a node that computes dies the one that was to take its place.
pub fn fewer_ranks(cluster: &Cluster, draw: &Draw) -> Times {
    let scene = Scene::new(cluster);
    scene.allow_fewer_ranks(PER_NODE);
    let id = scene.submit(1, &[]);
    scene.see_at_work(1, draw);
    let job = cluster.job(id);
    let victims: Vec<usize> = job.nodes.iter().copied().filter(|&node| Some(node) != job.batch_host).collect();
    scene.strike(|| victims.iter().for_each(|&node| cluster.kill(node)));
    let times = scene.finishes(id);
    assert_eq!(cluster.job(id).restarts, 0, "the job was requeued");
    assert_eq!(ranks_at_last(&scene), PER_NODE);
    assert_eq!(avoided(&scene), victims.into_iter().collect());
    times
}

/// The nodes that the journal says were given up.
fn avoided(scene: &Scene) -> BTreeSet<usize> {
    let node = |event| if let Event::NodeAvoided { node, .. } = event { Some(scene.node_of(&node)) } else { None };
    scene.events().into_iter().filter_map(node).collect()
}

/// How many ranks finished the run.
fn ranks_at_last(scene: &Scene) -> usize {
    let count = |event: &Event| if let Event::Started { ranks, .. } = event { Some(*ranks) } else { None };
    scene.events().iter().rev().find_map(count).expect("it has started")
}
