//! What becomes of the other ranks when one panics.

use std::io::Write;

use crate::sys::mpi;

/// The exit code of a program that panicked, as Rust has it.
const PANICKED: i32 = 101;

/// From now on, a panic on any thread is reported with its rank and ends all ranks.
///
/// Without it, a rank that unwinds would wait in MPI's finalize for ranks that wait for it. Outside of MPI the process
/// ends alone.
pub fn install_panic_hook() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if let Some(rank) = mpi::world_rank() {
            // Nobody is left to tell if standard error is gone.
            let _ = writeln!(std::io::stderr(), "rank {rank} stops all ranks, because it broke a promise of its own:");
        }
        report(panic);
        mpi::abort(PANICKED);
    }));
}
