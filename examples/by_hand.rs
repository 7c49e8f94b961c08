//! The lower rooms alone: a grid, its patches, their halos, and a loop of one's own.
//!
//! Heat conduction on a periodic square, without case file, driver, checkpoints or recovery: what [`steadfast::main`] does
//! for a model, in the plainest form. Run it alone or as `mpirun -n 4 target/release/examples/by_hand`; the result is the
//! same, bit for bit.
use std::f64::consts::TAU;
use std::process::ExitCode;

use steadfast::Result;
use steadfast::comm::{ExactSum, Mpi, install_panic_hook};
use steadfast::field::{Field, Old, Stencil, sweep};
use steadfast::grid::{Axis, Grid, Partition, Tiling, Vector};
use steadfast::halo::{Backend, Exchange, Plan};

const CELLS: usize = 128;
const STEPS: usize = 200;

fn main() -> ExitCode {
    match heat() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn heat() -> Result<()> {
    let mpi = Mpi::start()?;
    install_panic_hook();
    let comm = mpi.world();

    // The unit square, closed to a torus, in blocks of 32 × 32 cells, shared out along a space-filling curve.
    let grid = Grid::new([CELLS; 2], Vector::ZERO, Vector([1.0; 2]), [true; 2])?;
    let tiling = Tiling::new(grid, [32, 32])?;
    let partition = Partition::by_cost(&vec![1.0; tiling.len()], comm.size());

    // Two buffers with one ghost on every side, and the exchange that fills the ghosts.
    let mut u: Field<f64, 2> = Field::new(&tiling, &partition, comm.rank(), 1, 1);
    let mut next = u.clone();
    let mut exchange = Exchange::new(&comm, Plan::new(&tiling, &partition, comm.rank(), 1), 1, Backend::default())?;

    for patch in u.patches_mut() {
        for cell in patch.interior().cells() {
            let [x, y] = grid.centre(cell).0;
            patch.set(cell, (TAU * x).sin() * (TAU * y).sin());
        }
    }

    let h = grid.spacing()[0];
    let dt = 0.2 * h * h;
    let step = |before: f64, u: Stencil<'_, f64, 2>| {
        let curvature = |a: Axis<2>| (u.at(-a) - 2.0 * u.here() + u.at(a)) * h.powi(-2);
        before + dt * Axis::all().map(curvature).sum::<f64>()
    };
    for _ in 0..STEPS {
        exchange.start(&mut u)?;
        exchange.finish(&mut u)?;
        for (from, to) in u.patches().iter().zip(next.patches_mut()) {
            sweep(&grid, from, Old::Source, to, &from.interior(), 1, step, &mut ());
        }
        std::mem::swap(&mut u, &mut next);
    }

    // The mean square is an exact sum, rounded once: the same bits on any number of ranks. The mode decays by the factor
    // 1 − 8 dt/h² sin²(π h) in each step, and the mean square of the product of two sines is a quarter.
    let mut sum = ExactSum::new();
    for patch in u.patches() {
        patch.interior_array(0).iter().for_each(|u| sum.add(u * u));
    }
    let mean_square = sum.reduce(&comm)? / grid.volume() as f64;
    let factor = 1.0 - 8.0 * dt / (h * h) * (TAU / 2.0 * h).sin().powi(2);
    let exact = 0.25 * factor.powi(2 * STEPS as i32);
    if comm.is_root() {
        println!("mean square {mean_square:.17}, exact {exact:.17}, bits {:016x}", mean_square.to_bits());
    }
    assert!((mean_square / exact - 1.0).abs() < 1e-10, "the mode decays as it must");
    Ok(())
}
