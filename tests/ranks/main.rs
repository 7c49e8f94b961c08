//! The promises of `comm`, `halo`, `solve`, `checkpoint` and `sim` between real ranks.
//!
//! Started by `cargo test`, this program runs itself under mpirun, once for each number of ranks; there it runs all
//! checks one after the other. A check that fails panics, and the panic hook ends all ranks.
//!
//! - `MPIEXEC` names the launcher (default `mpirun`); it must belong to the MPI that this was built with.
//! - `STEADFAST_TEST_RANKS` lists the numbers of ranks (default `1 2 3 4 5 6 7 8`).
//! - A word on the command line runs only the checks whose names contain it.

mod agreement;
mod checkpoint;
mod exchange;
mod launch;
mod nearby;
mod programs;
mod solve;
mod sums;

use std::process::ExitCode;

use steadfast::comm::{Communicator, Mpi, install_panic_hook};

/// A promise, by name, that the ranks check together.
type Check = (&'static str, fn(&Communicator));

fn checks() -> Vec<Check> {
    [agreement::CHECKS, sums::CHECKS, exchange::CHECKS, solve::CHECKS, checkpoint::CHECKS, nearby::CHECKS].concat()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((mode, words)) if mode == launch::CHECK => check(words),
        Some((mode, _)) if mode == launch::PANIC => panic_on_the_last_rank(),
        Some((mode, call)) if mode == launch::BROKEN_DISK => checkpoint::write_with_a_broken_disk(call),
        Some((mode, [what])) if mode == launch::PROGRAM => programs::run(what),
        _ => launch::all(&arguments),
    }
}

/// What each rank does under the launcher.
fn check(words: &[String]) -> ExitCode {
    let mpi = match Mpi::start() {
        Ok(mpi) => mpi,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(error.exit_code());
        }
    };
    install_panic_hook();
    let world = mpi.world();
    for (name, check) in checks().into_iter().filter(|(name, _)| launch::selected(name, words)) {
        if world.is_root() {
            println!("{}{name}", launch::BEGUN);
        }
        check(&world);
        world.barrier().expect("MPI works");
        if world.is_root() {
            println!("{}{name}", launch::PASSED);
        }
    }
    ExitCode::SUCCESS
}

/// All ranks but the last wait for it, and it never comes.
fn panic_on_the_last_rank() -> ExitCode {
    let mpi = Mpi::start().expect("MPI starts");
    install_panic_hook();
    let world = mpi.world();
    assert!(world.rank() + 1 < world.size(), "this rank panics on purpose");
    world.barrier().expect("MPI works");
    ExitCode::SUCCESS
}
