//! MPI: the launcher, the start, reductions, exchanges and the clocks of the ranks.
//!
//! The tool itself calls no MPI here: it starts itself as a probe under the launcher, so that a hang or a crash in MPI is
//! one more finding.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::Check;
use crate::cli::show;
use crate::comm::{Communicator, ExactSum, Mpi, install_panic_hook};
use crate::error::{Error, Kind, Result};
use crate::grid::{Grid, Partition, Tiling, Vector};
use crate::halo::{Backend, Exchange, Plan, check_backend};
use crate::supervise::Launcher;

/// A probe that takes longer than this hangs;
const PATIENCE: Duration = Duration::from_secs(60);
/// when it is told to end, its launcher has this long to take the ranks along.
const FAREWELL: Duration = Duration::from_secs(2);
/// What the probe's line on stdout begins with: launchers may print noise around it.
const MARK: &str = "steadfast-probe ";
/// How many barriers are timed.
const BARRIERS: u32 = 200;

/// Whether what launcher and ranks say on stderr is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// It is: it may tell why they fail.
    Heard,
    /// It is not: that they may fail is why they are tried.
    Silent,
}

/// What rank 0 of the probe tells.
#[derive(Serialize, Deserialize)]
struct Findings {
    ranks: usize,
    checks: Vec<Check>,
}

/// Looks at the launcher and, through a probe, at MPI.
pub fn look(launcher: &str, ranks: usize) -> Vec<Check> {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(cause) => return vec![Check::fail("launcher", cause.to_string(), "start the tool by its full path")],
    };
    let launcher = match Launcher::choose(launcher, &program) {
        Ok(launcher) => launcher,
        Err(error) => {
            let hint = "install an MPI (Debian, Ubuntu: apt install openmpi-bin), or name a launcher: --launcher PATH";
            return vec![Check::fail("launcher", error.message(), hint)];
        }
    };
    let mut checks = vec![Check::ok("launcher", launcher.to_string())];
    match start(&launcher, &[], ranks, &program, Voice::Heard) {
        Ok((found, seconds)) => {
            checks.push(Check::ok("start", format!("{ranks} ranks start, talk and end in {seconds:.1} s")));
            checks.extend(found);
        }
        Err(found) => checks.push(Check::fail(
            "start",
            found,
            "see the messages above; does the launcher belong to the MPI that this tool is built with? --launcher PATH",
        )),
    }
    checks
}

/// What ranks that are started with these options of the launcher find, and the seconds that it took.
///
/// # Errors
/// What went wrong, if not as many ranks meet as were asked for.
pub fn start(
    launcher: &Launcher,
    options: &[String],
    ranks: usize,
    program: &Path,
    voice: Voice,
) -> Result<(Vec<Check>, f64), String> {
    let start = Instant::now();
    let findings = launch(launcher, options, ranks, program, voice)?;
    match findings.ranks == ranks {
        true => Ok((findings.checks, start.elapsed().as_secs_f64())),
        false => Err(format!("{ranks} ranks were asked for, {} are there", findings.ranks)),
    }
}

/// Starts the probe and hears what its rank 0 has found.
fn launch(
    launcher: &Launcher,
    options: &[String],
    ranks: usize,
    program: &Path,
    voice: Voice,
) -> Result<Findings, String> {
    let mut command = launcher.start(ranks);
    // In a batch job it runs beside whatever is there already.
    command.env("SLURM_OVERLAP", "1");
    command.args(options).arg(program).args(["doctor", "--probe"]).stdout(Stdio::piped()).process_group(0);
    if voice == Voice::Silent {
        command.stderr(Stdio::null());
    }
    let mut child = command.spawn().map_err(|cause| format!("{launcher} cannot be started: {cause}"))?;
    let mut out = child.stdout.take().expect("stdout is a pipe");
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error still counts.
        let _ = out.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let Some(status) = end_of(&mut child, PATIENCE) else {
        let group = Pid::from_raw(child.id().cast_signed());
        // Both may find nobody any more.
        let _ = killpg(group, Signal::SIGTERM);
        end_of(&mut child, FAREWELL);
        let _ = killpg(group, Signal::SIGKILL);
        let _ = child.wait();
        return Err(format!("the ranks hang: nothing was heard for {} s", PATIENCE.as_secs()));
    };
    let text = reader.join().unwrap_or_default();
    findings(&text).ok_or_else(|| format!("the ranks ended with {status} and said nothing"))
}

/// How a process ended, if it does so in time.
fn end_of(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(10)),
            _ => return None,
        }
    }
}

/// The probe's line among whatever else was printed.
fn findings(text: &str) -> Option<Findings> {
    let line = text.lines().find_map(|line| Some(line.split_once(MARK)?.1))?;
    serde_json::from_str(line).ok()
}

/// What each rank of the probe does.
///
/// # Collective
///
/// # Errors
/// If MPI does not start.
pub fn probe() -> Result<ExitCode> {
    let mpi = Mpi::start()?;
    install_panic_hook();
    let world = mpi.world();
    let mut checks = vec![Check::ok("MPI", mpi.version())];
    let wrong = "this MPI cannot be trusted with a run; update it, or use another";
    type Look = fn(&Communicator) -> Result<Check>;
    let looks: [(&str, Look); 6] = [
        ("reductions", reductions),
        ("shared memory", shared_memory),
        ("neighbours", |world| exchange(world, Backend::Neighbourhood, "neighbours", "MPI_Ineighbor_alltoallv")),
        ("point to point", |world| exchange(world, Backend::PointToPoint, "point to point", "MPI_Isend")),
        ("barrier", barrier),
        ("clocks", clocks),
    ];
    for (name, look) in looks {
        let outcome = look(&world);
        checks.push(world.vote(outcome).unwrap_or_else(|error| Check::fail(name, error.message(), wrong)));
    }
    if world.is_root() {
        let findings = Findings { ranks: world.size(), checks };
        let line = serde_json::to_string(&findings).expect("findings hold nothing that JSON cannot");
        show::data(&format!("{MARK}{line}\n"))?;
    }
    world.barrier()?;
    Ok(ExitCode::SUCCESS)
}

/// Sums and extremes must be exact.
fn reductions(world: &Communicator) -> Result<Check> {
    let (rank, size) = (world.rank() as i64, world.size() as i64);
    let mut sum = [rank + 1, -rank];
    world.sum_i64(&mut sum)?;
    let mut extreme = [rank as f64];
    world.max_f64(&mut extreme)?;
    let mut exact = ExactSum::default();
    // The large numbers cancel on each rank or between two; rounding on the way would lose the small ones.
    exact.add(if rank % 2 == 0 { 1e300 } else { -1e300 });
    exact.add(1.0);
    if size % 2 == 1 && rank == 0 {
        exact.add(-1e300);
    }
    let total = exact.reduce(world)?;
    let right = sum == [size * (size + 1) / 2, -size * (size - 1) / 2] && extreme == [(size - 1) as f64];
    if !right || total != size as f64 {
        let found = format!("sums {sum:?}, maximum {extreme:?} or exact sum {total:e} of {size} ranks is wrong");
        return Err(Error::new(Kind::Mpi, found));
    }
    Ok(Check::ok("reductions", "sums, extremes and exact sums are right"))
}

fn exchange(world: &Communicator, backend: Backend, name: &str, how: &str) -> Result<Check> {
    check_backend(world, backend)?;
    Ok(Check::ok(name, format!("every ghost is right in 1 to 3 dimensions ({how})")))
}

/// Ranks of one node should read each other's messages where they were packed.
fn shared_memory(world: &Communicator) -> Result<Check> {
    check_backend(world, Backend::SharedMemory)?;
    let tiling = Tiling::new(Grid::new([world.size()], Vector([0.0]), Vector([1.0]), [true])?, [1])?;
    let partition = Partition::by_cost(&vec![1.0; tiling.len()], world.size());
    let plan = Plan::new(&tiling, &partition, world.rank(), 1);
    let ring = Exchange::<f64, 1>::new(world, plan, 1, Backend::SharedMemory)?;
    let mut messages = [ring.neighbours_in_shared_memory(), ring.plan().sends().len()].map(|count| count as i64);
    world.sum_i64(&mut messages)?;
    let [shared, all] = messages;
    let found =
        format!("every ghost is right; {shared} of {all} messages round a ring are read where they were packed");
    let hint = "MPI moves messages, which takes longer; do the ranks run in containers of their own?";
    let alone = world.node()?.size == world.size();
    Ok(if alone && shared < all {
        Check::warn("shared memory", found, hint)
    } else {
        Check::ok("shared memory", found)
    })
}

/// Ranks that wait must not take the processor from those that work.
fn barrier(world: &Communicator) -> Result<Check> {
    world.barrier()?;
    let start = Instant::now();
    for _ in 0..BARRIERS {
        world.barrier()?;
    }
    let mut each = [start.elapsed().as_secs_f64() / f64::from(BARRIERS) * 1e6];
    world.max_f64(&mut each)?;
    let found = format!("takes {:.1} µs", each[0]);
    let hint = "are there more ranks than cores? use fewer, or let idle ranks yield (Open MPI: --oversubscribe)";
    Ok(if each[0] > 500.0 { Check::warn("barrier", found, hint) } else { Check::ok("barrier", found) })
}

/// Clocks of nodes that differ make journals hard to read.
fn clocks(world: &Communicator) -> Result<Check> {
    world.barrier()?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let mut ends = [now, -now];
    world.max_f64(&mut ends)?;
    let skew = ends[0] + ends[1];
    let found = format!("of all ranks agree within {:.1} ms", skew * 1e3);
    let hint = "start a time service on every node";
    Ok(if skew > 1.0 { Check::warn("clocks", found, hint) } else { Check::ok("clocks", found) })
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn the_probes_line_is_found_among_noise() {
        let line = serde_json::to_string(&Findings { ranks: 2, checks: vec![Check::ok("MPI", "x")] }).unwrap();
        let text = format!("warning: noise\n[0] {MARK}{line}\nmore noise\n");
        let findings = findings(&text).unwrap();
        assert_eq!((findings.ranks, findings.checks.len()), (2, 1));
        assert!(self::findings("no probe here").is_none());
    }

    #[test]
    fn a_launcher_that_is_missing_fails_with_a_hint() {
        let checks = look("no-such-launcher", 2);
        assert!(matches!(&checks[..], [check] if check.verdict == Verdict::Fail && check.hint.is_some()), "{checks:?}");
    }
}
