//! Runs of a model that only this file has, through the library: nothing allocates inside a step, and a rate that depends
//! on the place and on the cell gives the same bits however many sweeps share an exchange.
//!
//! The latter was once wrong: ghosts beyond a periodic boundary were computed at a place outside of the domain.

use std::process::Command;

use serde::Deserialize;
use steadfast::comm::{Communicator, Mpi};
use steadfast::config::{Source, Subject, check};
use steadfast::field::{Component, Record, Stencil};
use steadfast::grid::{Axis, Vector, random};
use steadfast::rundir::RunDirectory;
use steadfast::sim::{Evolution, Model, Outcome, Pointwise, Run, Simulation, Unwatched};

#[derive(Deserialize)]
struct Heat {}

impl<const N: usize> Model<N> for Heat {
    type State = f64;
    const REACH: usize = 1;

    fn components() -> Vec<Component> {
        vec![Component::scalar("temperature", "K")]
    }

    fn initial(&self, x: Vector<N>) -> f64 {
        x.0.iter().sum()
    }

    fn rate(&self, u: Stencil<'_, f64, N>, _time: f64) -> f64 {
        let source = u.position().0.iter().map(|x| x.sin()).sum::<f64>() + random::uniform(7, u.cell());
        source
            + Axis::all().map(|a: Axis<N>| (u.at(-a) - 2.0 * u.here() + u.at(a)) * u.spacing(a).powi(-2)).sum::<f64>()
    }

    fn timescale(&self, _u: f64, spacing: Vector<N>) -> f64 {
        0.5 / spacing.0.iter().map(|h| h.powi(-2)).sum::<f64>()
    }
}

/// The allocations of this thread in the steps of a run, and the hash of its result; the writer and the heartbeat have
/// threads of their own.
fn measure(comm: &Communicator, integrator: &str, sweeps: &str, block: &str, size: &str, steps: u64) -> (u64, u64) {
    let text = format!(
        r#"
grid = {{ cells = [20, 24], block = {block} }}
boundary.x = "periodic"
run.sweeps_per_exchange = {sweeps}
checkpoint.every = "never"
[time]
end = 1e9
{size}
max_steps = {steps}
integrator = "{integrator}"
[model]
"#
    );
    let source = Source::from_text("heat.toml", text).unwrap();
    let (case, model) =
        check::<Heat>(&source, &Subject::model(&<Heat as Model<2>>::components(), f64::kind())).unwrap();
    let room = tempfile::tempdir().unwrap();
    let directory = RunDirectory::new(room.path());
    directory.create().unwrap();
    let run = Run::unsupervised("heat", directory, 0).unwrap();
    let mut monitor = Unwatched;
    let evolution = Evolution::<_, 2>::new(Pointwise(model), &case);
    let simulation = Simulation::new(comm, case, evolution, run, &mut monitor).unwrap();
    let mut outcome = None;
    let counted = allocation_counter::measure(|| outcome = Some(simulation.run().unwrap()));
    match outcome {
        Some(Outcome::Finished { at, hash }) if at.step == steps => (counted.count_total, hash),
        other => panic!("the run did not finish: {other:?}"),
    }
}

/// Not a test: what the tests below call in a process of its own, since MPI starts once in a process.
#[test]
#[ignore = "called by the tests below"]
fn one_run() {
    let asked = std::env::var(ASKED).unwrap();
    let [integrator, sweeps, block, size, steps] = asked.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let mpi = Mpi::start().unwrap();
    let (allocations, hash) = measure(&mpi.world(), integrator, sweeps, block, size, steps.parse().unwrap());
    println!("\n{TOLD}{allocations} {hash}");
}

/// Says what is to be run: integrator, sweeps, block, the size of a step and steps.
const ASKED: &str = "STEADFAST_TEST_RUN";
/// Starts the line that tells allocations and hash.
const TOLD: &str = "measured: ";

fn run(integrator: &str, sweeps: usize, block: &str, size: &str, steps: u64) -> (u64, u64) {
    let again = Command::new(std::env::current_exe().unwrap())
        .args(["one_run", "--exact", "--ignored", "--nocapture"])
        .env(ASKED, format!("{integrator} {sweeps} {block} {size} {steps}"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&again.stdout);
    let measured = told.lines().find_map(|line| line.strip_prefix(TOLD)?.split_once(' '));
    let (allocations, hash) = measured.unwrap_or_else(|| panic!("{told}{}", String::from_utf8_lossy(&again.stderr)));
    (allocations.parse().unwrap(), hash.parse().unwrap())
}

#[test]
fn a_run_of_many_steps_allocates_no_more_than_one_of_few() {
    let ways = [
        ("forward_euler", 1, "cfl=0.8"),
        ("forward_euler", 4, "step=4e-4"),
        ("ssp_rk2", 4, "cfl=0.8"),
        ("ssp_rk2", 8, "step=4e-4"),
        ("ssp_rk3", 1, "cfl=0.8"),
        ("rk4", 4, "cfl=0.8"),
    ];
    for (integrator, sweeps, size) in ways {
        let [few, many] = [100, 2100].map(|steps| run(integrator, sweeps, "[10,8]", size, steps).0);
        // The status is posted a few times a second, however many steps that are: a machine that is slow today may
        // post a few more. One allocation a step would be 2000.
        assert!(many < few + 1000, "{integrator}, {sweeps} sweeps, {size}: {few} in 100 steps, {many} in 2100");
    }
}

#[test]
fn a_rate_that_depends_on_the_place_gives_the_same_bits_with_any_sweeps_and_blocks() {
    for (integrator, size) in [("forward_euler", "cfl=0.8"), ("forward_euler", "step=4e-4"), ("ssp_rk3", "cfl=0.8")] {
        let hash = |(sweeps, block)| run(integrator, sweeps, block, size, 20).1;
        let expected = hash((1, "[20,24]"));
        for way in [(4, "[20,24]"), (4, "[10,8]"), (3, "[7,5]"), (2, "[4,24]")] {
            assert_eq!(hash(way), expected, "{integrator}, {size}: {way:?}");
        }
    }
}
