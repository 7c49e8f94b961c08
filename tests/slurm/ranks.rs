//! Story 5: a rank is killed, or no longer moves, while its node is well.

use nix::sys::signal::Signal;
use steadfast::rundir::Event;

use super::cluster::Cluster;
use super::draw::Draw;
use super::scene::{NEEDED, PER_NODE, STEPS, Scene};
use super::stories::{Row, row};

/// The rank is named in the journal and relaunched in the same allocation, whichever launcher started it.
pub fn killed_and_stopped(cluster: &Cluster, draw: &Draw) -> Vec<Row> {
    let launchers: [&[&str]; 2] = [&["mpirun"], &["srun", "--launcher-arg=--mpi=pmix"]];
    let blows = [("killed", Signal::SIGKILL), ("stopped", Signal::SIGSTOP)];
    let both = launchers.iter().zip(blows);
    both.map(|(launcher, (what, signal))| {
        let scene = Scene::new(cluster, &format!("rank-{what}"));
        let job = scene.submit_by_hand(&["--nodes=2"], &[&["--launcher"], *launcher].concat());
        let ranks = scene.see_at_work(1, draw.between(STEPS / 4, STEPS / 2));
        let victim = draw.below((NEEDED * PER_NODE) as u64) as usize;
        let record = ranks.iter().find(|record| record.rank == victim).expect("all ranks beat");
        scene.strike(|| cluster.signal(scene.node_of(&record.host), record.pid, signal));
        let times = scene.finishes(job);
        let named = |event: &Event| matches!(event, Event::RankDied { .. } | Event::RankHung { .. });
        assert!(scene.events().iter().any(named), "the journal names no rank: {:?}", scene.events());
        assert_eq!(cluster.job(job).restarts, 0, "the job was requeued");
        row(format!("{what}, by {}", launcher[0]), times)
    })
    .collect()
}
