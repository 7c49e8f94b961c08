//! Programs that do something wrong, on one rank or on all: every rank gets the same error, and none waits for ever.

use std::process::ExitCode;

use serde::Deserialize;
use steadfast::Result;
use steadfast::comm::{Communicator, Mpi, install_panic_hook};
use steadfast::config::{Family, Source, Subject, check};
use steadfast::error::{Error, Kind};
use steadfast::farm::{Farm, Tasks};
use steadfast::field::Record;
use steadfast::grid::{Cell, Vector};
use steadfast::rundir::RunDirectory;
use steadfast::sim::{Domain, Outcome, Program, Progress, Run, Simulation, Step, Unwatched};

/// What can be wrong.
pub const WRONGS: [&str; 9] = [
    "nothing",
    "fails in prepare",
    "fails in begin",
    "fails in a step",
    "is not finite",
    "differs",
    "is infinite",
    "task fails",
    "task is not finite",
];

/// Counts steps; the last rank does something wrong in step 2.
#[derive(Deserialize)]
struct Counter {
    wrong: String,
}

impl Counter {
    fn fails(&self, when: &str, comm: &Communicator) -> Result<()> {
        let wrong = self.wrong == when && comm.rank() + 1 == comm.size();
        if wrong { Err(Error::case(format!("the last rank {when}"))) } else { Ok(()) }
    }
}

impl Program<1> for Counter {
    type State = f64;
    type Shared = f64;

    fn prepare(&mut self, data: &Domain<f64, 1>, _: &std::path::Path) -> Result<()> {
        self.fails("fails in prepare", data.comm())
    }

    fn begin(&mut self, data: &mut Domain<f64, 1>) -> Result<f64> {
        self.fails("fails in begin", data.comm()).map(|()| 0.0)
    }

    fn step(&mut self, data: &mut Domain<f64, 1>, shared: &mut f64, step: &Step<'_>) -> Result<()> {
        *shared += 1.0;
        data.set_each(|cell, _| cell.0[0] as f64 + step.number as f64);
        if step.number == 2 {
            let last = data.comm().rank() + 1 == data.comm().size();
            match self.wrong.as_str() {
                "is not finite" if last => {
                    let cell = Cell([data.state().patches()[0].interior().lower[0]]);
                    data.set(cell, f64::NAN);
                }
                "differs" if last => *shared += 1.0,
                "is infinite" if last => *shared = f64::INFINITY,
                _ => self.fails("fails in a step", data.comm())?,
            }
        }
        Ok(())
    }

    fn progress(&self, data: &Domain<f64, 1>, shared: &f64) -> Progress {
        // Only one rank knows that all is done.
        let finished = *shared >= 7.0 && data.comm().is_root();
        Progress { sound: data.is_finite(), finished, ..Progress::GOING_ON }
    }
}

/// Squares; one of them goes wrong.
#[derive(Deserialize)]
struct Squares {
    wrong: String,
}

impl Tasks<1> for Squares {
    type Outcome = f64;

    fn run(&self, Cell([n]): Cell<1>, _: Vector<1>) -> Result<f64> {
        match (n, self.wrong.as_str()) {
            (13, "task fails") => Err(Error::new(Kind::State, "there is no square of thirteen")),
            (13, "task is not finite") => Ok(f64::NAN),
            _ => Ok((n * n) as f64),
        }
    }
}

/// Runs a program with something wrong in it, and looks at what becomes of it.
pub fn run(wrong: &str) -> ExitCode {
    let mpi = Mpi::start().expect("MPI starts");
    install_panic_hook();
    let world = mpi.world();
    let room = world.is_root().then(|| tempfile::tempdir().unwrap());
    let path = world.broadcast(0, room.as_ref().map(|room| room.path().to_owned())).unwrap();
    let directory = RunDirectory::new(path);
    if world.is_root() {
        directory.create().unwrap();
    }
    world.barrier().unwrap();
    let outcome = match wrong {
        "task fails" | "task is not finite" => simulate::<Farm<Squares, 1>>(&world, directory, wrong),
        _ => simulate::<Counter>(&world, directory, wrong),
    };
    let last = format!("rank {}", world.size() - 1);
    let parts: &[&str] = match wrong {
        "nothing" => &[],
        "fails in prepare" | "fails in begin" => &[wrong, &last],
        "fails in a step" => &[wrong, &last, "step 3"],
        "is not finite" => &["field u is NaN", &last, "step 3"],
        "differs" => &["differs from that of rank 0", "step 4"],
        "is infinite" => &["would not be the same after a restart", &last],
        "task fails" => &["task 13: there is no square of thirteen"],
        _ => &["task 13: its outcome [NaN] is not finite"],
    };
    match outcome {
        Ok(Outcome::Finished { at, .. }) => assert!(parts.is_empty() && at.step == 7, "{wrong}: finished at {at:?}"),
        Ok(other) => panic!("{wrong}: {other:?}"),
        Err(error) => {
            let told = error.to_string();
            assert!(!parts.is_empty() && parts.iter().all(|part| told.contains(part)), "{wrong}: {told}");
        }
    }
    world.barrier().unwrap();
    ExitCode::SUCCESS
}

fn simulate<P>(world: &Communicator, directory: RunDirectory, wrong: &str) -> Result<Outcome>
where
    P: Program<1, State: Record> + serde::de::DeserializeOwned,
{
    let text = format!(
        "grid = {{ cells = [20], block = 3 }}\nboundary.x = \"outflow\"\nmodel.wrong = {wrong:?}\n{}",
        if P::COUNTS_STEPS { "checkpoint.every = { steps = 4 }\n" } else { "" }
    );
    let source = Source::from_text("case.toml", text)?;
    let subject = Subject {
        family: Family::Program { counts_steps: P::COUNTS_STEPS },
        components: &P::components(),
        derived: &P::derived(),
        kind: P::State::kind(),
    };
    let (case, program) = check::<P>(&source, &subject)?;
    let run = Run::unsupervised("program", directory, world.rank())?;
    let mut monitor = Unwatched;
    Simulation::new(world, case, program, run, &mut monitor)?.run()
}
