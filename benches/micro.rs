//! The parts that a step and a checkpoint are made of, each alone: `cargo bench --bench micro [FILTER]`.
//!
//! Times are for reading side by side on one quiet machine, before and after a change; `scripts/bench` compares whole runs
//! with the same work written by hand.
use std::collections::BTreeMap;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use steadfast::checkpoint::{Header, save};
use steadfast::comm::Mpi;
use steadfast::field::{Component, Field, Old, Record, ScalarKind, Stencil, sweep};
use steadfast::grid::{Axis, Grid, Partition, Patches, Tiling, Vector};
use steadfast::halo::{Backend, Exchange, Plan};

fn main() {
    divan::main();
}

steadfast::record! {
    /// Two species.
    struct Species: f64 {
        /// The food.
        u: f64 = "1",
        /// What feeds on it.
        v: f64 = "1",
    }
}

/// A periodic cube of n³ cells in blocks of `block`³.
fn tiling(n: usize, block: usize) -> Tiling<3> {
    let grid = Grid::new([n; 3], Vector::ZERO, Vector([1.0; 3]), [true; 3]).expect("a cube is a grid");
    Tiling::new(grid, [block; 3]).expect("blocks tile it")
}

/// A field of one rank with numbers that are no trouble to a processor.
fn field(tiling: &Tiling<3>, partition: &Partition, components: usize) -> Field<f64, 3> {
    let mut field = Field::new(tiling, partition, 0, 1, components);
    for (i, number) in field.patches_mut().iter_mut().flat_map(|patch| patch.data_mut()).enumerate() {
        *number = 0.25 + (i % 97) as f64 * 1e-3;
    }
    field
}

/// One sweep over a cube, in tiles of 32 rows.
fn swept<S: Record<Scalar = f64>>(
    bencher: Bencher<'_, '_>,
    n: usize,
    kernel: impl Fn(S, Stencil<'_, S, 3>) -> S + Sync,
) {
    let tiling = tiling(n, n.min(64));
    let u = field(&tiling, &Partition::even(tiling.len(), 1), S::COMPONENTS);
    let mut next = u.clone();
    bencher.counter(ItemsCount::new(n * n * n)).bench_local(|| {
        for (from, to) in u.patches().iter().zip(next.patches_mut()) {
            let mut tile = from.interior();
            for first in (0..n as i64).step_by(32) {
                (tile.lower[1], tile.upper[1]) = (first, (first + 32).min(n as i64));
                sweep(tiling.grid(), from, Old::Source, to, &tile, 1, &kernel, &mut ());
            }
        }
    });
}

#[divan::bench(args = [32, 64, 128, 256])]
fn sweep_heat(bencher: Bencher<'_, '_>, n: usize) {
    let by = divan::black_box(1e-6);
    swept(bencher, n, move |before: f64, u| {
        let curvature = |a: Axis<3>| (u.at(-a) - 2.0 * u.here() + u.at(a)) * u.spacing(a).powi(-2);
        before + by * Axis::all().map(curvature).sum::<f64>()
    });
}

#[divan::bench(args = [32, 64, 128])]
fn sweep_gray_scott(bencher: Bencher<'_, '_>, n: usize) {
    let (by, feed, kill) = divan::black_box((1e-6, 0.037, 0.06));
    swept(bencher, n, move |before: Species, s| {
        let Species { u, v } = s.here();
        let bend = |a: Axis<3>| (s.at(-a) - 2.0 * s.here() + s.at(a)) * s.spacing(a).powi(-2);
        let laplacian = Axis::all().map(bend).fold(Species { u: 0.0, v: 0.0 }, |sum, part| sum + part);
        let eaten = u * v * v;
        before + by * Species { u: laplacian.u - eaten + feed * (1.0 - u), v: laplacian.v + eaten - (feed + kill) * v }
    });
}

/// The ghosts of a rank alone: in one patch, and in 64.
#[divan::bench(args = [1, 64])]
fn ghosts_within_a_rank(bencher: Bencher<'_, '_>, patches: usize) {
    thread_local! {
        static MPI: Mpi = Mpi::start().expect("MPI starts");
    }
    let comm = MPI.with(Mpi::world);
    let tiling = tiling(128, 32);
    let partition = Partition::even(tiling.len(), 1).for_threads(patches);
    let mut field = field(&tiling, &partition, 4);
    let plan = Plan::new(&tiling, &partition, 0, 1);
    let mut exchange = Exchange::new(&comm, plan, 4, Backend::default()).expect("an exchange can be prepared");
    bencher.bench_local(|| {
        exchange.start(&mut field).expect("the field fits");
        exchange.finish(&mut field).expect("the field fits");
    });
}

/// A periodic box of two ranks with 64³ cells of four components each, cut across x, y or z; and the messages of rank 0.
fn two_ranks(axis: usize) -> (Field<f64, 3>, Plan<3>, Vec<f64>) {
    let mut cells = [64; 3];
    cells[axis] = 128;
    let grid = Grid::new(cells, Vector::ZERO, Vector([1.0; 3]), [true; 3]).expect("a box is a grid");
    let tiling = Tiling::new(grid, [64; 3]).expect("blocks tile it");
    let partition = Partition::even(tiling.len(), 2);
    let plan = Plan::new(&tiling, &partition, 0, 1);
    let numbers = plan.sends().iter().map(|message| 4 * message.cells()).sum();
    (field(&tiling, &partition, 4), plan, vec![0.5; numbers])
}

/// From the cells next to the other rank into the messages for it; the argument is the axis across which the box is cut.
#[divan::bench(args = [0, 1, 2])]
fn pack(bencher: Bencher<'_, '_>, axis: usize) {
    let (field, plan, mut buffer) = two_ranks(axis);
    bencher.counter(BytesCount::new(8 * buffer.len())).bench_local(|| {
        let mut rest = &mut buffer[..];
        for message in plan.sends() {
            let (packed, after) = rest.split_at_mut(4 * message.cells());
            message.pack(field.patches(), packed);
            rest = after;
        }
    });
}

/// From messages into the ghosts.
#[divan::bench(args = [0, 1, 2])]
fn unpack(bencher: Bencher<'_, '_>, axis: usize) {
    let (mut field, plan, buffer) = two_ranks(axis);
    bencher.counter(BytesCount::new(8 * buffer.len())).bench_local(|| {
        let mut rest = &buffer[..];
        for message in plan.receives() {
            let (packed, after) = rest.split_at(4 * message.cells());
            message.unpack(field.patches_mut(), packed);
            rest = after;
        }
    });
}

/// What a block, a message or a seal is checked by.
#[divan::bench(args = [512, 1 << 15, 1 << 21])]
fn checksum(bencher: Bencher<'_, '_>, bytes: usize) {
    let content: Vec<u8> = (0..bytes).map(|i| (i * 31) as u8).collect();
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(|| crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, divan::black_box(&content)));
}

/// Staging with checksums, writing to memory, reading back and comparing: what a checkpoint costs where a disk costs nothing.
#[divan::bench]
fn checkpoint_to_memory(bencher: Bencher<'_, '_>) {
    let tiling = tiling(128, 32);
    let field = field(&tiling, &Partition::even(tiling.len(), 1), 1);
    let grid = tiling.grid();
    let header = Header {
        program: "micro".into(),
        version: "0".into(),
        run_id: "micro".into(),
        epoch: 0,
        step: 0,
        time: 0.0,
        cells: grid.cells().into(),
        lower: grid.lower().0.into(),
        upper: grid.upper().0.into(),
        periodic: grid.periodic().into(),
        block: tiling.shape().into(),
        components: vec![Component::scalar("u", "1")],
        scalar: ScalarKind::F64,
        case: String::new(),
        physics: String::new(),
        replicated: BTreeMap::new(),
    };
    let shm = std::path::Path::new("/dev/shm");
    let room =
        tempfile::tempdir_in(if shm.is_dir() { shm } else { std::path::Path::new("/tmp") }).expect("a directory");
    let path = room.path().join("micro.h5");
    let costs = vec![1.0; tiling.len()];
    bencher
        .counter(BytesCount::new(grid.volume() * 8))
        .bench_local(|| save(&path, &header, &tiling, &field, &costs).expect("it is written"));
}

#[divan::bench]
fn fingerprint(bencher: Bencher<'_, '_>) {
    let tiling = tiling(128, 32);
    let field = field(&tiling, &Partition::even(tiling.len(), 1), 1);
    bencher.counter(BytesCount::new(tiling.grid().volume() * 8)).bench_local(|| field.fingerprint(&tiling));
}

/// The curve of a million blocks cut by cost for many ranks.
#[divan::bench(args = [64, 100_000])]
fn partition_by_cost(bencher: Bencher<'_, '_>, ranks: usize) {
    let costs: Vec<f64> = (0..1_000_000).map(|i| 1.0 + (i % 13) as f64).collect();
    bencher.counter(ItemsCount::new(costs.len())).bench_local(|| Partition::by_cost(&costs, ranks));
}

/// The patches of one rank, of as many blocks as the argument says.
#[divan::bench(args = [8, 512, 32_768])]
fn patches_of_a_rank(bencher: Bencher<'_, '_>, blocks: usize) {
    let tiling = tiling(512, 8);
    let partition = Partition::even(tiling.len(), tiling.len() / blocks);
    bencher.counter(ItemsCount::new(blocks)).bench_local(|| Patches::new(&tiling, &partition, 1));
}

/// The plan of one rank's exchange.
#[divan::bench(args = [8, 512, 32_768])]
fn plan_of_a_rank(bencher: Bencher<'_, '_>, blocks: usize) {
    let tiling = tiling(512, 8);
    let partition = Partition::even(tiling.len(), tiling.len() / blocks);
    bencher.counter(ItemsCount::new(blocks)).bench_local(|| Plan::new(&tiling, &partition, 1, 1));
}
