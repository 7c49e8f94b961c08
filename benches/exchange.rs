//! Steadfast's side of `benches/halo.c`: the exchange of one layer of ghosts of four components between two ranks, each with
//! 64³ cells, in a periodic domain of 128 × 64 × 64. One JSON line with the seconds of an exchange.
//!
//! `mpirun -n 2 target/release/deps/exchange-… 1000 [block's cells]`; `scripts/bench --row halo` builds and runs both sides.
use std::process::ExitCode;
use std::time::Instant;

use steadfast::Result;
use steadfast::comm::Mpi;
use steadfast::field::Field;
use steadfast::grid::{Grid, Partition, Tiling, Vector};
use steadfast::halo::{Backend, Exchange, Plan};

const COMPONENTS: usize = 4;

fn main() -> ExitCode {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let (repetitions, block) = (numbers.first().copied().unwrap_or(1000), numbers.get(1).copied().unwrap_or(64));
    match exchange(repetitions.max(1), block) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn exchange(repetitions: usize, block: usize) -> Result<()> {
    let mpi = Mpi::start()?;
    let comm = mpi.world();
    let grid = Grid::new([128, 64, 64], Vector::ZERO, Vector([2.0, 1.0, 1.0]), [true; 3])?;
    let tiling = Tiling::new(grid, [block; 3])?;
    let partition = Partition::by_cost(&vec![1.0; tiling.len()], comm.size());
    let mut field: Field<f64, 3> = Field::new(&tiling, &partition, comm.rank(), 1, COMPONENTS);
    let plan = Plan::new(&tiling, &partition, comm.rank(), 1);
    let mut exchange = Exchange::new(&comm, plan, COMPONENTS, Backend::Neighbourhood)?;

    let mut once = || exchange.start(&mut field).and_then(|()| exchange.finish(&mut field));
    for _ in 0..repetitions / 10 {
        once()?;
    }
    comm.barrier()?;
    let begin = Instant::now();
    for _ in 0..repetitions {
        once()?;
    }
    let mut slowest = [-begin.elapsed().as_secs_f64() / repetitions as f64];
    comm.min_f64(&mut slowest)?;
    if comm.is_root() {
        let (bytes, seconds) = (exchange.bytes_per_exchange(), -slowest[0]);
        println!("{{\"program\": \"exchange\", \"block\": {block}, \"bytes\": {bytes}, \"seconds\": {seconds:.4e}}}");
    }
    Ok(())
}
