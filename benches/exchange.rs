//! Steadfast's side of `benches/halo.c`: the exchange of one layer of ghosts of four components between two ranks, each with
//! 64³ cells side by side along one axis, in a domain that is periodic along all axes, or along that one alone. One JSON line with
//! the seconds of an exchange.
//!
//! `mpirun -n 2 target/release/deps/exchange-… 1000 [cut: x, y or z] [periodic: all or cut] [backend:
//! shared_memory, neighbourhood or point_to_point] [block's cells]`; `scripts/bench --row halo` builds and runs both sides.
use std::process::ExitCode;
use std::time::Instant;

use steadfast::Result;
use steadfast::comm::Mpi;
use steadfast::field::Field;
use steadfast::grid::{Grid, Partition, Tiling, Vector};
use steadfast::halo::{Backend, Exchange, Plan};

const COMPONENTS: usize = 4;

/// What is measured.
struct What {
    repetitions: usize,
    /// The axis that is cut between the ranks.
    cut: usize,
    periodic: [bool; 3],
    backend: Backend,
    block: usize,
}

impl What {
    fn asked() -> Self {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let word = |place: usize| words.get(place).map_or("", String::as_str);
        let number = |place: usize, default: usize| word(place).parse().unwrap_or(default);
        let cut = ["x", "y", "z"].iter().position(|&axis| axis == word(1)).unwrap_or(0);
        let periodic = std::array::from_fn(|axis| axis == cut || word(2) != "cut");
        let backend = Backend::ALL.into_iter().find(|backend| backend.name() == word(3)).unwrap_or_default();
        What { repetitions: number(0, 1000).max(1), cut, periodic, backend, block: number(4, 64) }
    }
}

fn main() -> ExitCode {
    match exchange(&What::asked()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn exchange(what: &What) -> Result<()> {
    let &What { repetitions, cut, periodic, backend, block } = what;
    let mpi = Mpi::start()?;
    let comm = mpi.world();
    let cells = std::array::from_fn(|axis| if axis == cut { 128 } else { 64 });
    let grid = Grid::new(cells, Vector::ZERO, Vector(cells.map(|n| n as f64)), periodic)?;
    let tiling = Tiling::new(grid, [block; 3])?;
    let partition = Partition::by_cost(&vec![1.0; tiling.len()], comm.size());
    let mut field: Field<f64, 3> = Field::new(&tiling, &partition, comm.rank(), 1, COMPONENTS);
    let plan = Plan::new(&tiling, &partition, comm.rank(), 1);
    let mut exchange = Exchange::new(&comm, plan, COMPONENTS, backend)?;

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
