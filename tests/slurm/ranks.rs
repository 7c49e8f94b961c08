//! Story 5: a rank is killed, or no longer moves, while its node is well.

use nix::sys::signal::Signal;
use steadfast::rundir::Event;

use super::cluster::Cluster;
use super::draw::Draw;
use super::scene::{NEEDED, PER_NODE, Scene};
use super::times::Times;

pub fn killed(cluster: &Cluster, draw: &Draw) -> Times {
    hurt(cluster, draw, Signal::SIGKILL)
}

pub fn stopped(cluster: &Cluster, draw: &Draw) -> Times {
    hurt(cluster, draw, Signal::SIGSTOP)
}

/// Any rank on any node, under either launcher.
fn hurt(cluster: &Cluster, draw: &Draw, signal: Signal) -> Times {
    let scene = Scene::new(cluster);
    let job = scene.submit(0, &["--launcher", draw.one_of(&["mpirun", "srun"])]);
    let ranks = scene.see_at_work(1, draw);
    let victim = draw.below((NEEDED * PER_NODE) as u64) as usize;
    let record = ranks.iter().find(|record| record.rank == victim).expect("all ranks beat");
    scene.strike(|| cluster.signal(scene.node_of(&record.host), record.pid, signal));
    let times = scene.finishes(job);
    let named = |event: Event| match event {
        Event::RankDied { rank, .. } | Event::RankHung { rank, .. } => Some(rank),
        _ => None,
    };
    let named: Vec<usize> = scene.events().into_iter().filter_map(named).collect();
    // Who was killed first on several nodes only the launcher knows; it says so in the job's log.
    let told =
        || [format!("process rank {victim} "), format!("task {victim}:")].iter().any(|word| scene.log().contains(word));
    let is_named = named == [victim] || signal == Signal::SIGKILL && named.is_empty() && told();
    assert!(is_named, "rank {victim} was hurt, and {named:?} are named\n{}", scene.log());
    assert_eq!(cluster.job(job).restarts, 0, "the job was requeued");
    times
}
