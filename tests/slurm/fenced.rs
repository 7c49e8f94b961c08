//! Story 7: nodes that are not dead, but out of reach, and come back.

use super::cluster::Cluster;
use super::draw::Draw;
use super::job::Which;
use super::scene::{LIMIT, STEPS, Scene};
use super::stories::{Row, row};

/// What happens to a node, in words, and how it comes and goes.
type Trouble = (&'static str, fn(&Cluster, usize), fn(&Cluster, usize));

const CUT: Trouble = ("cable cut", Cluster::cut, Cluster::join);
const FROZEN: Trouble = ("node frozen", Cluster::freeze, Cluster::wake);

/// A cable is cut, a node stands still: the job goes on elsewhere, and whoever comes back late is not heard.
pub fn late_writers(cluster: &Cluster, draw: &Draw) -> Vec<Row> {
    [(CUT, Which::BatchHost), (FROZEN, Which::Other)]
        .map(|(trouble, which)| out_of_reach(cluster, draw, trouble, which))
        .into()
}

/// One of the job's nodes goes out of reach, and is back while the next life computes.
fn out_of_reach(cluster: &Cluster, draw: &Draw, (what, blow, back): Trouble, which: Which) -> Row {
    let scene = Scene::new(cluster, &what.replace(' ', "-"));
    let id = scene.submit_by_hand(&["--nodes=2", "--requeue"], &["--launcher", "mpirun"]);
    let step = draw.between(STEPS / 4, STEPS / 2);
    scene.see_at_work(1, step);
    let victim = cluster.job(id).node(which);
    scene.strike(|| blow(cluster, victim));
    scene.see(id, "running again, elsewhere", |job| job.is_running() && !job.nodes.contains(&victim));
    let attempt = scene.next_attempt(id, victim);
    scene.see_at_work(attempt, step + 1);
    back(cluster, victim);
    let times = scene.finishes(id);
    // What is late has come by now, if it ever does: nothing of the job is left on its node.
    cluster.see("the node back with nothing of the job", LIMIT, || cluster.busy(victim).is_empty());
    scene.has_the_same_bits();
    row(what, times)
}
