//! Story 6: a job is warned before its end.

use steadfast::rundir::Event;

use super::cluster::Cluster;
use super::draw::Draw;
use super::scene::Scene;
use super::times::Times;

/// Twice the warning comes that `--signal=B:USR1@…` asks for: it needs three lives, each going on from the last.
pub fn three_lives(cluster: &Cluster, draw: &Draw) -> Times {
    let scene = Scene::new(cluster);
    let id = scene.submit(0, &[]);
    for life in 0..2 {
        scene.see_at_work(life + 1, draw);
        scene.strike(|| {
            cluster.ask("scancel", &["--batch", "--signal=USR1", &id.to_string()]);
        });
        scene.see(id, "in its next life", |job| job.restarts == life + 1);
    }
    let times = scene.finishes(id);
    assert_eq!(cluster.job(id).restarts, 2);
    let saved = |event: &Event| matches!(event, Event::Stopped { .. });
    assert_eq!(scene.events().iter().filter(|event| saved(event)).count(), 2, "it saved in each life");
    times
}
