//! Nothing allocates inside a step: a run of many steps allocates no more than one of few.

use std::process::Command;

use serde::Deserialize;
use steadfast::comm::{Communicator, Mpi};
use steadfast::config::{Source, check};
use steadfast::field::{Component, Record, Stencil};
use steadfast::grid::{Axis, Vector};
use steadfast::rundir::{Event, Heartbeat, Orders, RunDirectory, Status};
use steadfast::sim::{Beginning, Model, Monitor, Outcome, Run, Simulation, Start, Stops};

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
        Axis::all().map(|a: Axis<N>| (u.at(-a) - 2.0 * u.here() + u.at(a)) * u.spacing(a).powi(-2)).sum()
    }

    fn timescale(&self, _u: f64, spacing: Vector<N>) -> f64 {
        0.5 / spacing.0.iter().map(|h| h.powi(-2)).sum::<f64>()
    }
}

struct Silence;

impl Monitor for Silence {
    fn started(&mut self, _: &Beginning) {}
    fn moved(&mut self, _: &Status) {}
    fn happened(&mut self, _: &Event) {}
}

/// The allocations of this thread in the steps of a run; the writer and the heartbeat have threads of their own.
fn count(comm: &Communicator, integrator: &str, sweeps: &str, steps: u64) -> u64 {
    let text = format!(
        r#"
grid = {{ cells = [20, 24], block = [10, 8] }}
boundary.x = "periodic"
run.sweeps_per_exchange = {sweeps}
checkpoint.every = "never"
[time]
end = 1e9
cfl = 0.8
max_steps = {steps}
integrator = "{integrator}"
[model]
"#
    );
    let source = Source::from_text("heat.toml", text).unwrap();
    let (case, model) = check::<Heat>(&source, &<Heat as Model<2>>::components(), f64::kind()).unwrap();
    let room = tempfile::tempdir().unwrap();
    let directory = RunDirectory::new(room.path());
    directory.create().unwrap();
    let orders = Orders::from_environment(&directory).unwrap();
    let run = Run {
        program: "heat".into(),
        case_directory: room.path().into(),
        heartbeat: Heartbeat::start(&directory, 0, &orders).unwrap(),
        directory,
        start: Start::Continue,
        orders,
        epoch: 1,
        lease: None,
        stops: Stops::never(),
    };
    let mut monitor = Silence;
    let simulation = Simulation::<_, 2>::new(comm, case, model, run, &mut monitor).unwrap();
    let mut outcome = None;
    let counted = allocation_counter::measure(|| outcome = Some(simulation.run().unwrap()));
    assert!(matches!(outcome, Some(Outcome::Finished { at, .. }) if at.step == steps));
    counted.count_total
}

/// Not a test: what the test below calls in a process of its own, since MPI starts once in a process.
#[test]
#[ignore = "called by the test below"]
fn one_run() {
    let asked = std::env::var(ASKED).unwrap();
    let [integrator, sweeps, steps] = asked.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let mpi = Mpi::start().unwrap();
    println!("\n{COUNTED}{}", count(&mpi.world(), integrator, sweeps, steps.parse().unwrap()));
}

/// Says what is to be run: integrator, sweeps and steps.
const ASKED: &str = "STEADFAST_TEST_RUN";
/// Starts the line that tells what was counted.
const COUNTED: &str = "allocations: ";

fn allocations(integrator: &str, sweeps: usize, steps: u64) -> u64 {
    let again = Command::new(std::env::current_exe().unwrap())
        .args(["one_run", "--exact", "--ignored", "--nocapture"])
        .env(ASKED, format!("{integrator} {sweeps} {steps}"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&again.stdout);
    let counted = told.lines().find_map(|line| line.strip_prefix(COUNTED));
    counted.unwrap_or_else(|| panic!("{told}{}", String::from_utf8_lossy(&again.stderr))).parse().unwrap()
}

#[test]
fn a_run_of_many_steps_allocates_no_more_than_one_of_few() {
    for (integrator, sweeps) in [("forward_euler", 1), ("ssp_rk2", 4), ("ssp_rk3", 1), ("rk4", 4)] {
        let [few, many] = [100, 2100].map(|steps| allocations(integrator, sweeps, steps));
        // The status is posted a few times a second, however many steps that are: a machine that is slow today may
        // post a few more. One allocation a step would be 2000.
        assert!(many < few + 1000, "{integrator}, {sweeps} sweeps: {few} in 100 steps, {many} in 2100");
    }
}
