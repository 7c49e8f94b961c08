//! `PROGRAM run`: runs a case, alone or under mpirun or srun.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::monitor::{Account, ScreenMonitor};
use super::program::{Make, program_name};
use crate::comm::{Communicator, Mpi, install_panic_hook};
use crate::config::{Case, Source, StopSignal, parse_duration};
use crate::error::{Error, Kind, Result};
use crate::rundir::{Event, Heartbeat, Journal, Lease, Orders, RunDirectory};
use crate::sim::{Bandwidth, Outcome, Program, Run, Simulation, Start, Stops};

/// Exit code of a run that was asked to stop and has saved: run me again.
pub const INTERRUPTED: u8 = 75;

/// Run a case, going on from the newest good checkpoint of its run directory.
///
/// Alone, or on several ranks: `mpirun -n 4 heat run heat.toml`. Under `steadfast launch -n 4 -- heat run heat.toml` a
/// supervisor brings the run back after failures. Exit codes: 0 finished, 1 failed, 2 bad command or case, 75
/// interrupted: the state is saved, and the same command goes on from it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The case file.
    #[arg(value_name = "CASE.toml")]
    case: PathBuf,

    /// Set a key of the case, as in --set time.end=2.0; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// The run directory [default: CASE.run in the current directory, or what STEADFAST_DIR says].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Start over, and discard the checkpoints of the run directory.
    #[arg(long)]
    fresh: bool,

    /// Save as late as is safe before this wall time is over, and stop with code 75, as in --time-limit "50 min"
    /// [default: what the supervisor or Slurm's SLURM_JOB_END_TIME says].
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    time_limit: Option<Duration>,

    /// Show no progress, and no table of where the time went.
    #[arg(long, short)]
    quiet: bool,

    /// Print where the time of this attempt went as JSON, in the form of times.json in the run directory, when it ends well.
    #[arg(long)]
    json: bool,

    /// Measure the memory's bandwidth at the end, which takes some tenths of a second and at most 1 GiB of a node, to compare
    /// the sweeps with it; it is measured without being asked for after 10 s or more, and never when the run is interrupted or
    /// memory is short.
    #[arg(long)]
    measure_bandwidth: bool,
}

/// What is common to all models: MPI is started, the case is known to all ranks, the run directory is not touched yet.
pub(super) struct Launch<'a> {
    args: &'a Args,
    comm: &'a Communicator,
    source: Source,
}

/// Starts MPI, hands the case to `simulate`, and turns what all ranks agree on into an exit code.
pub(super) fn run(args: &Args, simulate: impl FnOnce(&Launch<'_>) -> Result<Outcome>) -> Result<ExitCode> {
    let directory = RunDirectory::choose(args.dir.as_deref(), &args.case);
    Orders::from_environment(&directory)?.bind_to_supervisor();
    let mpi = Mpi::start()?;
    install_panic_hook();
    let comm = mpi.world();
    let outcome = read(args, &comm).and_then(|source| simulate(&Launch { args, comm: &comm, source }));
    let code = match outcome {
        Ok(Outcome::Finished { .. }) => ExitCode::SUCCESS,
        Ok(Outcome::Interrupted { .. }) => ExitCode::from(INTERRUPTED),
        // The ranks no longer agree: nobody must wait for the others.
        Err(error) if error.kind() == Kind::Mpi => {
            super::report(&error);
            comm.abort(1)
        }
        Err(error) => {
            let code = ExitCode::from(error.exit_code());
            if comm.is_root() { super::report(&error) } else { code }
        }
    };
    // Some launchers end the others when the first leaves with an error: rank 0 speaks before anybody leaves.
    comm.barrier()?;
    Ok(code)
}

/// The case as written, read by rank 0 and known to all.
fn read(args: &Args, comm: &Communicator) -> Result<Source> {
    let text =
        if comm.is_root() { Source::read(&args.case).map(|source| Some(source.text().to_owned())) } else { Ok(None) };
    let text: String = comm.broadcast(0, comm.vote(text)?)?;
    Source::from_text(&args.case, text)?.set(&args.set)
}

impl Launch<'_> {
    /// The case as written.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Checks the case for a program and runs it to its end.
    ///
    /// # Collective
    /// All ranks must call it.
    pub fn simulate<P: Program<N>, const N: usize>(&self, make: Make<P>) -> Result<Outcome> {
        let Launch { args, comm, .. } = self;
        let directory = RunDirectory::choose(args.dir.as_deref(), &args.case);
        let mut orders = comm.vote(Orders::from_environment(&directory))?;
        orders.attempt = comm.broadcast(0, comm.is_root().then_some(orders.attempt))?;
        let (journal, copy) = (Journal::new(&directory, orders.attempt), directory.case());
        let taken = self.check(make).and_then(|(case, program)| {
            let lease = if comm.is_root() { self.take(&directory, &orders).map(Some) } else { Ok(None) };
            Ok((case, program, comm.vote(lease)?.map(Arc::new)))
        });
        // A run in other hands keeps its own journal, unless this attempt is one of its supervisor's.
        let journals = comm.is_root() && (taken.is_ok() || orders.supervised());
        let account = match args.quiet {
            _ if args.json => Account::Json,
            true => Account::Untold,
            false => Account::Table,
        };
        let is_quiet = args.quiet || !comm.is_root();
        let mut monitor = if is_quiet { ScreenMonitor::quiet(account) } else { ScreenMonitor::new(account) };
        let begun = taken.and_then(|(case, program, lease)| {
            let run = self.begin(directory, orders, lease, &case.recovery.stop_signals)?;
            Simulation::<P, N>::new(comm, case, program, run, &mut monitor)
        });
        let simulation = begun.inspect_err(|error| {
            // The supervisor reads from it whether another attempt can help; once it runs, the simulation tells itself.
            if journals {
                journal.append(Event::Failed { error: error.clone() });
            }
        })?;
        // Only now is it known that the run directory is this case's.
        comm.vote(if comm.is_root() { self.keep_case(&copy) } else { Ok(()) })?;
        simulation.run()
    }

    /// The case for a program, and the program, both found good.
    fn check<P: Program<N>, const N: usize>(&self, make: Make<P>) -> Result<(Case, P)> {
        // The program may look at files that not every node has.
        let checked = make(&self.source).and_then(|(case, program)| program.check().map(|()| (case, program)));
        self.comm.vote(checked)
    }

    /// Shows this rank alive, and gathers what the simulation must know of its surroundings.
    fn begin(
        &self,
        directory: RunDirectory,
        orders: Orders,
        lease: Option<Arc<Lease>>,
        signals: &[StopSignal],
    ) -> Result<Run> {
        let Launch { args, comm, source } = self;
        let epoch = comm.broadcast(0, lease.as_ref().map(|lease| lease.epoch()))?;
        let heartbeat = comm.vote(Heartbeat::start(&directory, comm.rank(), &orders))?;
        let left =
            orders.deadline.map(|at| Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default());
        // Of many clocks one is the first to tell that time is up, and only rank 0 can say why the run ended.
        let limit = args.time_limit.into_iter().chain(left).min().filter(|_| comm.rank() == 0);
        let stops = comm.vote(Stops::listen(signals, heartbeat.stop_flag(), limit))?;
        let measures = comm.broadcast(0, comm.is_root().then_some(args.measure_bandwidth))?;
        let start = if args.fresh { Start::Fresh } else { Start::Continue };
        Ok(Run {
            program: program_name(),
            case_directory: source.resolve(Path::new("")),
            directory,
            start,
            orders,
            epoch,
            lease,
            heartbeat,
            stops,
            bandwidth: if measures { Bandwidth::Always } else { Bandwidth::AfterLongRuns },
        })
    }

    /// Keeps the case as submitted beside what comes of it.
    fn keep_case(&self, copy: &Path) -> Result<()> {
        std::fs::write(copy, self.source.text()).map_err(|cause| Error::io("keep a copy of the case", copy, &cause))
    }

    /// Takes the run directory for this attempt; only rank 0 does.
    fn take(&self, directory: &RunDirectory, orders: &Orders) -> Result<Lease> {
        directory.create()?;
        let lease = match orders.supervised() {
            true => Lease::of_supervised_attempt(directory, orders.condemned)?,
            false => Lease::of_attempt(directory)?,
        };
        directory.begin(orders)?;
        // Whoever holds the lease knows that nobody writes to what an earlier attempt left half done.
        directory.sweep()?;
        Ok(lease)
    }
}

/// Speaks on one rank of a launch, before any of them leaves: some launchers end all ranks when the first one fails.
pub(super) fn with_one_voice(speak: impl FnOnce()) {
    let launched =
        ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"].iter().any(|name| std::env::var_os(name).is_some());
    match launched.then(Mpi::start) {
        Some(Ok(mpi)) => {
            let comm = mpi.world();
            if comm.is_root() {
                speak();
            }
            // Without it the worst is that a launcher cuts the message short.
            let _ = comm.barrier();
        }
        _ => speak(),
    }
}
