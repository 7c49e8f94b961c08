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

/// Each life is warned before it has done a step: after as many in a row as failures are allowed, there is no other.
pub fn lives_in_vain(cluster: &Cluster, _: &Draw) -> Times {
    let scene = Scene::new(cluster).with_plan("slow@attempt=any,phase=starting,ms=2000");
    scene.allow_failures(2);
    let id = scene.submit(0, &[]);
    let is_launched = |life: u32| {
        let launches = scene.events().into_iter().filter(|event| matches!(event, Event::AttemptLaunched { .. }));
        launches.count() > life as usize
    };
    for life in 0.. {
        let job = scene.see(id, "launching ranks, or over", |job| job.is_over() || is_launched(life));
        if job.is_over() {
            assert_eq!((job.state.as_str(), job.exit_code), ("FAILED", 1), "{job:?}");
            break;
        }
        cluster.ask("scancel", &["--batch", "--signal=USR1", &id.to_string()]);
        scene.see(id, "in its next life, or over", |job| job.is_over() || job.restarts > life);
    }
    assert!(scene.log().contains("without a newer checkpoint"), "{}", scene.log());
    scene.leaves_nothing();
    Times::default()
}

/// Nobody warns it: it knows what is left of its time.
pub fn time_limit(cluster: &Cluster, draw: &Draw) -> Times {
    lives_of_a_minute(cluster, draw, &["--time=1"])
}

/// Slurm sends the warning, at one of its ticks of half a minute.
pub fn time_warning(cluster: &Cluster, draw: &Draw) -> Times {
    lives_of_a_minute(cluster, draw, &["--time=1", "--signal-lead=40"])
}

/// The shortest limit that Slurm has is a minute, and the run takes longer.
fn lives_of_a_minute(cluster: &Cluster, draw: &Draw, options: &[&str]) -> Times {
    let scene = Scene::new(cluster).with_plan("slow@attempt=any,phase=sweep,ms=80");
    let id = scene.submit(0, options);
    scene.see_at_work(1, draw);
    scene.strike(|| {});
    scene.see(id, "in its next life", |job| job.restarts == 1);
    let times = scene.finishes(id);
    let saved = |event: &Event| matches!(event, Event::Stopped { .. });
    assert_eq!(scene.events().iter().filter(|event| saved(event)).count(), cluster.job(id).restarts as usize);
    times
}
