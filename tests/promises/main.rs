//! The promises to users, kept end to end: the examples run as people run them, alone, under mpirun and under the
//! supervisor, and are judged by what they leave in their run directories.
//!
//! Every test takes its turn ([`stage::Room`]), so that only one job runs at a time whatever the number of test threads.
//!
//! - `MPIEXEC` names the launcher (default `mpirun`); it must belong to the MPI that this was built with.
//!
//! The examples must be there: `cargo test` builds them, `cargo test --test promises` alone does not
//! (`cargo build --examples` does).

mod corruption;
mod damage;
mod full_disk;
mod gallery;
mod gas;
mod guard;
mod interval;
mod killed;
mod learning;
mod nearby;
mod physics;
mod programs;
mod refusals;
mod restarts;
mod same_bits;
mod sea;
mod shapes;
mod stage;
mod stops;
mod tealeaf;
mod times;

#[test]
fn a_new_physics_is_forty_lines_or_fewer() {
    let heat = include_str!("../../examples/heat.rs");
    assert!(heat.lines().count() <= 40, "examples/heat.rs has {} lines", heat.lines().count());
    assert!(heat.contains("fn main()"), "main is counted too");
}
