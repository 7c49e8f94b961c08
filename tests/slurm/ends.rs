//! Story 8: ends that are final.

use std::fs;

use steadfast::rundir::Event;

use super::cluster::Cluster;
use super::draw::Draw;
use super::job::Job;
use super::scene::Scene;
use super::times::Times;

/// A cancelled job stays cancelled; what it saved is good, and another job goes on from it.
pub fn cancelled(cluster: &Cluster, draw: &Draw) -> Times {
    let scene = Scene::new(cluster);
    let id = scene.submit(0, &[]);
    scene.see_at_work(1, draw);
    scene.strike(|| {
        cluster.ask("scancel", &[&id.to_string()]);
    });
    let job = scene.see(id, "over", Job::is_over);
    assert_eq!((job.state.as_str(), job.restarts), ("CANCELLED", 0), "{job:?}");
    scene.leaves_nothing();
    scene.is_resumable();
    let again = scene.submit(0, &[]);
    scene.finishes(again)
}

/// A bad case is refused before it is submitted; one that turns bad in the queue ends with its own code, once.
pub fn bad_case(cluster: &Cluster, _: &Draw) -> Times {
    let scene = Scene::new(cluster);
    let id = scene.submit_with(0, &[], &["--hold"]);
    scene.spoil_the_case();
    cluster.ask("scontrol", &["release", &id.to_string()]);
    let job = scene.see(id, "over", Job::is_over);
    assert_eq!((job.state.as_str(), job.exit_code, job.restarts), ("FAILED", 2, 0), "{job:?}");
    let refused = scene.try_submit(0, &[], &[]).expect_err("the case is bad");
    assert!(refused.contains("exit status: 2") && refused.contains("cells"), "{refused}");
    scene.leaves_nothing();
    Times::default()
}

/// A run that dies before its first checkpoint, each time, is given up by its supervisor, and not put into the queue again.
pub fn no_progress(cluster: &Cluster, _: &Draw) -> Times {
    let scene = Scene::new(cluster).with_plan("kill@attempt=any,rank=1,step=3");
    let id = scene.submit(0, &[]);
    let job = scene.see(id, "over", Job::is_over);
    assert_eq!((job.state.as_str(), job.exit_code, job.restarts), ("FAILED", 1, 0), "{job:?}");
    assert!(scene.log().contains("3 failures in a row without a newer checkpoint"), "{}", scene.log());
    scene.leaves_nothing();
    Times::default()
}

/// Whoever asks the run to stop, and not the job, wants no other life of it.
pub fn stopped(cluster: &Cluster, draw: &Draw) -> Times {
    let scene = Scene::new(cluster);
    let id = scene.submit(0, &[]);
    scene.see_at_work(1, draw);
    scene.strike(|| {
        scene.tool(&["stop", "--wait", &scene.text("run")]);
    });
    let job = scene.see(id, "over", Job::is_over);
    assert_eq!((job.exit_code, job.restarts), (75, 0), "{job:?}");
    scene.leaves_nothing();
    scene.is_resumable();
    let again = scene.submit(0, &[]);
    scene.finishes(again)
}

/// A job that still waits for its nodes has nobody who could be asked.
pub fn stopped_in_the_queue(cluster: &Cluster, _: &Draw) -> Times {
    let scene = Scene::new(cluster);
    let id = scene.submit_with(0, &[], &["--hold"]);
    scene.tool(&["stop", "--wait", &scene.text("run")]);
    let job = cluster.job(id);
    assert_eq!((job.state.as_str(), job.restarts), ("CANCELLED", 0), "{job:?}");
    scene.leaves_nothing();
    let again = scene.submit(0, &[]);
    scene.finishes(again)
}

/// A second job on the same run directory is refused; one that comes by another way waits, and touches nothing.
pub fn second_job(cluster: &Cluster, draw: &Draw) -> Times {
    let scene = Scene::new(cluster).with_plan("slow@attempt=any,phase=sweep,ms=10");
    let first = scene.submit_with(0, &[], &["--hold"]);
    let refused = || scene.try_submit(0, &[], &[]).expect_err("the run has a job");
    let while_pending = refused();
    cluster.ask("scontrol", &["release", &first.to_string()]);
    scene.see_at_work(1, draw);
    for told in [while_pending, refused()] {
        assert!(told.contains("exit status: 1") && told.contains(&format!("job {first}")), "{told}");
    }
    let script = fs::read_to_string(scene.path("run/job.sh")).expect("submit keeps its script");
    fs::write(scene.path("second.sh"), script.replace("#SBATCH --hold", "")).expect("the disk has room for a script");
    let second = scene.submit_script("second.sh");
    let has_begun =
        || fs::read_to_string(scene.path(&format!("run/job-{second}.log"))).is_ok_and(|log| !log.is_empty());
    scene.see(second, "with a supervisor", |_| has_begun());
    cluster.ask("scancel", &[&second.to_string()]);
    let times = scene.finishes(first);
    let job = scene.see(second, "over", Job::is_over);
    assert_eq!((job.state.as_str(), job.restarts), ("CANCELLED", 0), "{job:?}");
    let launches = scene.events().into_iter().filter(|event| matches!(event, Event::AttemptLaunched { .. }));
    assert_eq!(launches.count(), 1);
    times
}
