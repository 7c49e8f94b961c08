//! Checkpoints by real ranks: written together, restored in any other division, agreed on when they fail.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use steadfast::checkpoint::{Header, Outcome, Reader, Settings, Verify, Writer, restore};
use steadfast::comm::{Communicator, Mpi, install_panic_hook};
use steadfast::error::{Error, Kind};
use steadfast::field::{Component, Field, Scalar};
use steadfast::grid::{Cell, Grid, Partition, Tiling, Vector, random};
use steadfast::rundir::checkpoints_in;

use super::Check;

pub const CHECKS: &[Check] = &[
    ("a_checkpoint_restores_with_any_blocks_and_partition", a_checkpoint_restores_with_any_blocks_and_partition),
    ("a_checkpoint_is_written_beside_the_sweeps", a_checkpoint_is_written_beside_the_sweeps),
    ("old_checkpoints_go_and_the_last_stay", old_checkpoints_go_and_the_last_stay),
    ("a_file_that_cannot_be_created_discards_on_all_ranks", a_file_that_cannot_be_created_discards_on_all_ranks),
    ("a_bit_flipped_before_the_commit_discards_on_all_ranks", a_bit_flipped_before_the_commit_discards_on_all_ranks),
    ("a_file_that_another_attempt_replaced_is_not_committed", a_file_that_another_attempt_replaced_is_not_committed),
    ("a_closed_fence_discards_on_all_ranks", a_closed_fence_discards_on_all_ranks),
    ("a_damaged_checkpoint_is_the_same_error_on_all_ranks", a_damaged_checkpoint_is_the_same_error_on_all_ranks),
    ("a_checkpoint_of_another_grid_is_refused", a_checkpoint_of_another_grid_is_refused),
    (
        "an_unfinished_checkpoint_leaves_nothing_when_it_is_dropped",
        an_unfinished_checkpoint_leaves_nothing_when_it_is_dropped,
    ),
];

/// A directory that all ranks see, gone at the end of the check.
pub struct Shared {
    pub path: PathBuf,
    _owner: Option<tempfile::TempDir>,
}

impl Shared {
    pub fn new(world: &Communicator) -> Self {
        let owner = world.is_root().then(|| tempfile::tempdir().unwrap());
        let path = world.broadcast(0, owner.as_ref().map(|owner| owner.path().to_owned())).unwrap();
        Shared { path, _owner: owner }
    }

    fn writer<T: Scalar>(&self, verify: Verify) -> Writer<T> {
        Writer::new(Settings { directory: self.path.clone(), keep: 2, verify, threads: 2, fence: None, tick: None })
    }
}

/// One rank's part of a field on a grid that does not divide evenly, owned unevenly.
pub struct Part<T, const N: usize> {
    pub tiling: Tiling<N>,
    pub partition: Partition,
    pub field: Field<T, N>,
    pub costs: Vec<f64>,
}

impl<T: Scalar, const N: usize> Part<T, N> {
    pub fn new(world: &Communicator, cells: [usize; N], block: [usize; N], seed: u64) -> Self {
        let grid = Grid::new(cells, Vector::ZERO, Vector([1.0; N]), [true; N]).unwrap();
        let tiling = Tiling::new(grid, block).unwrap();
        let costs: Vec<_> = tiling.ids().map(|id| 1.0 + random::uniform(seed, Cell([id.index() as i64]))).collect();
        let partition = Partition::by_cost(&costs, world.size());
        let field = Field::new(&tiling, &partition, world.rank(), 1, 2);
        Part { tiling, partition, field, costs }
    }

    /// Gives every cell and component a value of its own.
    pub fn filled(mut self) -> Self {
        for block in self.field.patches_mut() {
            for cell in block.interior().cells() {
                let at = block.position(cell);
                let (plane, place) = (block.plane(), Vector::<N>::from_fn(|a| cell.0[a.index()] as f64));
                let value = place.0.iter().fold(0.5, |value, x| value * 31.0 + x);
                block.data_mut()[at] = T::from_f64(value % 250.0);
                block.data_mut()[at + plane] = T::from_f64((value * 7.0) % 250.0);
            }
        }
        self
    }

    pub fn header(&self, step: u64) -> Header {
        let grid = self.tiling.grid();
        Header {
            program: "ranks".into(),
            version: "0".into(),
            run_id: "run".into(),
            epoch: 1,
            step,
            time: step as f64 / 3.0,
            cells: grid.cells().into(),
            lower: grid.lower().0.into(),
            upper: grid.upper().0.into(),
            periodic: grid.periodic().into(),
            block: self.tiling.shape().into(),
            components: vec![Component::scalar("u", "1"), Component::scalar("v", "m")],
            scalar: T::KIND,
            case: String::new(),
            physics: String::new(),
            replicated: BTreeMap::new(),
        }
    }

    fn begin(&self, world: &Communicator, writer: &mut Writer<T>, step: u64) {
        let costs = &self.costs[self.partition.range(world.rank())];
        let header = self.header(step);
        writer.begin(world, header, &self.tiling, &self.partition, &self.field, costs).unwrap();
    }

    fn write(&self, world: &Communicator, writer: &mut Writer<T>, step: u64) -> Outcome {
        self.begin(world, writer, step);
        let outcome = writer.finish(world).unwrap().expect("a checkpoint was pending");
        assert_eq!(writer.report(), f64::INFINITY);
        outcome
    }

    pub fn fingerprint(&self, world: &Communicator) -> u64 {
        let mut sum = [self.field.fingerprint(&self.tiling)];
        world.sum_u64_wrapping(&mut sum).unwrap();
        sum[0]
    }
}

fn committed(outcome: Outcome) -> PathBuf {
    match outcome {
        Outcome::Committed { path, bytes, .. } => {
            assert_eq!(std::fs::metadata(&path).unwrap().len(), bytes);
            path
        }
        Outcome::Discarded { error, .. } => panic!("{error}"),
    }
}

/// Why a checkpoint was discarded; every rank must know the same, and nothing may be left of it.
fn discarded(world: &Communicator, shared: &Shared, outcome: Outcome) -> String {
    let Outcome::Discarded { error, .. } = outcome else { panic!("{outcome:?}") };
    let text = error.to_string();
    let all = world.all_gather_bytes(text.as_bytes()).unwrap();
    assert!(all.iter().all(|other| other == text.as_bytes()), "{all:?}");
    world.barrier().unwrap();
    let left = std::fs::read_dir(&shared.path).map_or(0, Iterator::count);
    assert_eq!(left, 0, "something is left in {}", shared.path.display());
    world.barrier().unwrap();
    text
}

fn check_restore<T: Scalar, const N: usize>(
    world: &Communicator,
    cells: [usize; N],
    block: [usize; N],
    others: &[[usize; N]],
) {
    let shared = Shared::new(world);
    let part = Part::<T, N>::new(world, cells, block, 1).filled();
    let path = committed(part.write(world, &mut shared.writer(Verify::All), 5));
    for (seed, &other) in others.iter().chain([&block]).enumerate() {
        let mut back = Part::<T, N>::new(world, cells, other, 2 + seed as u64);
        let ticks = AtomicUsize::new(0);
        let tick = || _ = ticks.fetch_add(1, Relaxed);
        let restored = restore(world, &path, &back.tiling, &back.partition, &mut back.field, &tick).unwrap();
        assert_eq!(ticks.into_inner() > 0, !back.field.patches().is_empty(), "whoever watches sees it move");
        assert_eq!(back.fingerprint(world), part.fingerprint(world));
        assert_eq!(restored, part.header(5));
    }
    if world.is_root() {
        let reader = Reader::open(&path).unwrap();
        assert_eq!(reader.verify().unwrap().faults, []);
        let costs: Vec<_> = part.tiling.ids().map(|id| reader.costs()[part.tiling.chunk(id)]).collect();
        assert_eq!(costs, part.costs);
    }
    let mut sum = [part.field.fingerprint(&part.tiling)];
    world.sum_u64_wrapping(&mut sum).unwrap();
    assert_eq!(Reader::open(&path).unwrap().fingerprint().unwrap(), sum[0]);
    world.barrier().unwrap();
}

fn a_checkpoint_restores_with_any_blocks_and_partition(world: &Communicator) {
    check_restore::<f64, 1>(world, [101], [10], &[[7], [101], [1]]);
    check_restore::<f32, 2>(world, [23, 17], [5, 4], &[[23, 17], [3, 9]]);
    check_restore::<f64, 3>(world, [13, 11, 9], [4, 3, 5], &[[13, 1, 1], [5, 5, 5]]);
    // So large that it goes past the page cache.
    check_restore::<f64, 3>(world, [320, 64, 64], [64, 64, 64], &[[50, 64, 40]]);
    check_restore::<i64, 2>(world, [9, 9], [9, 9], &[[2, 2]]);
    check_restore::<i32, 2>(world, [9, 9], [2, 3], &[[4, 4]]);
    check_restore::<u8, 3>(world, [13, 11, 9], [4, 3, 5], &[[4, 4, 4]]);
}

fn a_checkpoint_is_written_beside_the_sweeps(world: &Communicator) {
    let shared = Shared::new(world);
    let mut part = Part::<f64, 2>::new(world, [64, 64], [8, 8], 1).filled();
    let before = part.fingerprint(world);
    for (step, verify) in [(1, Verify::All), (2, Verify::Sample), (3, Verify::None)] {
        let mut writer = shared.writer(verify);
        part.begin(world, &mut writer, step);
        let mut field = part.field.clone();
        let outcome = loop {
            // The state goes on changing; the checkpoint must not.
            part.field.patches_mut().iter_mut().for_each(|block| block.data_mut().fill(-1.0));
            let mut agreed = [writer.report()];
            world.min_f64(&mut agreed).unwrap();
            if let Some(outcome) = writer.advance(world, agreed[0]).unwrap() {
                break outcome;
            }
            std::thread::yield_now();
        };
        std::mem::swap(&mut part.field, &mut field);
        assert_eq!(Reader::open(committed(outcome)).unwrap().fingerprint().unwrap(), before);
        assert_eq!(writer.finish(world), Ok(None));
    }
    world.barrier().unwrap();
}

fn old_checkpoints_go_and_the_last_stay(world: &Communicator) {
    let shared = Shared::new(world);
    let part = Part::<u8, 1>::new(world, [100], [10], 1).filled();
    let mut writer = shared.writer(Verify::All);
    for step in [10, 20, 30, 40] {
        committed(part.write(world, &mut writer, step));
    }
    // Rank 0 has removed them when its own wait is over.
    world.barrier().unwrap();
    let left: Vec<_> = checkpoints_in(&shared.path).unwrap().into_iter().map(|entry| entry.step).collect();
    assert_eq!(left, [40, 30]);
    world.barrier().unwrap();
}

fn a_file_that_cannot_be_created_discards_on_all_ranks(world: &Communicator) {
    let mut shared = Shared::new(world);
    shared.path.push("missing");
    let part = Part::<f64, 1>::new(world, [100], [10], 1).filled();
    let mut writer = shared.writer(Verify::All);
    let why = discarded(world, &shared, part.write(world, &mut writer, 7));
    assert!(why.contains("rank 0") && why.contains("step 7") && why.contains("missing"), "{why}");
    assert!(!writer.is_pending());
}

/// Waits until all ranks have written, without letting any of them go on.
fn wait_until_written<T: Scalar>(world: &Communicator, writer: &Writer<T>) {
    let mut agreed = [0.0];
    while agreed[0] < 1.0 {
        agreed[0] = writer.report();
        world.min_f64(&mut agreed).unwrap();
        assert!(agreed[0] >= 0.0, "the checkpoint failed too early");
    }
}

fn flip(path: &Path, at: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

fn a_bit_flipped_before_the_commit_discards_on_all_ranks(world: &Communicator) {
    let shared = Shared::new(world);
    let part = Part::<f64, 2>::new(world, [32, 32], [32, 16], 1).filled();
    let mut writer = shared.writer(Verify::All);
    part.begin(world, &mut writer, 8);
    wait_until_written(world, &writer);
    if world.is_root() {
        let partial = std::fs::read_dir(&shared.path).unwrap().next().unwrap().unwrap().path();
        // The fields are by far the largest part of the file and start at a page.
        let middle = std::fs::metadata(&partial).unwrap().len() / 2;
        flip(&partial, middle);
    }
    world.barrier().unwrap();
    let outcome = writer.finish(world).unwrap().unwrap();
    let why = discarded(world, &shared, outcome);
    assert!(why.contains("reads back other than it was written") && why.contains("of field"), "{why}");
    committed(part.write(world, &mut writer, 9));
    world.barrier().unwrap();
}

fn a_file_that_another_attempt_replaced_is_not_committed(world: &Communicator) {
    let shared = Shared::new(world);
    let part = Part::<f64, 2>::new(world, [32, 32], [32, 16], 1).filled();
    let mut writer = shared.writer(Verify::All);
    part.begin(world, &mut writer, 8);
    wait_until_written(world, &writer);
    let partial = shared.path.join(steadfast::rundir::checkpoint_name(8) + ".1.partial");
    if world.is_root() {
        std::fs::rename(&partial, shared.path.join("moved")).unwrap();
        std::fs::write(&partial, "of another attempt").unwrap();
    }
    world.barrier().unwrap();
    let Some(Outcome::Discarded { error, .. }) = writer.finish(world).unwrap() else { panic!("it was committed") };
    assert!(error.message().contains("another attempt"), "{error}");
    assert_eq!(std::fs::read_to_string(&partial).unwrap(), "of another attempt");
    world.barrier().unwrap();
}

fn a_closed_fence_discards_on_all_ranks(world: &Communicator) {
    let shared = Shared::new(world);
    let part = Part::<f64, 1>::new(world, [100], [10], 1).filled();
    let ticks = Arc::new(AtomicUsize::new(0));
    let counted = ticks.clone();
    let mut writer = Writer::new(Settings {
        directory: shared.path.clone(),
        keep: 2,
        verify: Verify::None,
        threads: 1,
        fence: Some(Arc::new(|| Err(Error::new(Kind::Run, "the lease is lost")))),
        tick: Some(Arc::new(move || _ = counted.fetch_add(1, Relaxed))),
    });
    let why = discarded(world, &shared, part.write(world, &mut writer, 9));
    assert!(why.contains("the lease is lost") && why.contains("rank 0"), "{why}");
    assert_eq!(ticks.load(Relaxed) > 0, !part.field.patches().is_empty(), "whoever watches saw it move");
}

fn a_damaged_checkpoint_is_the_same_error_on_all_ranks(world: &Communicator) {
    let shared = Shared::new(world);
    let mut part = Part::<f64, 2>::new(world, [32, 32], [8, 8], 1).filled();
    let path = committed(part.write(world, &mut shared.writer(Verify::All), 5));
    let length = std::fs::metadata(&path).unwrap().len();
    for at in [0, 100, length / 2, length - 1] {
        for twice in 0..2 {
            world.barrier().unwrap();
            if world.is_root() {
                flip(&path, at);
            }
            world.barrier().unwrap();
            let result = restore(world, &path, &part.tiling, &part.partition, &mut part.field, &|| ());
            let text = result.map_or_else(|error| error.to_string(), |_| "sound".into());
            let all = world.all_gather_bytes(text.as_bytes()).unwrap();
            assert!(all.iter().all(|other| other == text.as_bytes()), "byte {at}: {all:?}");
            assert_eq!(text == "sound", twice == 1, "byte {at} of {length}: {text}");
        }
    }
}

fn a_checkpoint_of_another_grid_is_refused(world: &Communicator) {
    let shared = Shared::new(world);
    let path =
        committed(Part::<f64, 2>::new(world, [32, 32], [8, 8], 1).write(world, &mut shared.writer(Verify::All), 5));
    let mut larger = Part::<f64, 2>::new(world, [33, 32], [8, 8], 1);
    let error = restore(world, &path, &larger.tiling, &larger.partition, &mut larger.field, &|| ()).unwrap_err();
    assert!(error.to_string().contains("[32, 32]") && error.to_string().contains("[33, 32]"), "{error}");
    let mut flat = Part::<f64, 1>::new(world, [1024], [8], 1);
    assert!(restore(world, &path, &flat.tiling, &flat.partition, &mut flat.field, &|| ()).is_err());
    let mut narrow = Part::<f32, 2>::new(world, [32, 32], [8, 8], 1);
    assert!(restore(world, &path, &narrow.tiling, &narrow.partition, &mut narrow.field, &|| ()).is_err());
}

fn an_unfinished_checkpoint_leaves_nothing_when_it_is_dropped(world: &Communicator) {
    let shared = Shared::new(world);
    let part = Part::<f64, 2>::new(world, [32, 32], [8, 8], 1).filled();
    let mut writer = shared.writer(Verify::All);
    part.begin(world, &mut writer, 5);
    drop(writer);
    world.barrier().unwrap();
    assert_eq!(std::fs::read_dir(&shared.path).unwrap().count(), 0);
    world.barrier().unwrap();
}

/// Set for the process that strace already watches.
const WATCHED: &str = "STEADFAST_TEST_WATCHED";

/// Writes a checkpoint while a call of rank 1 that concerns its file fails, as strace arranges.
pub fn write_with_a_broken_disk(fault: &[String]) -> ExitCode {
    let rank = ["OMPI_COMM_WORLD_RANK", "PMI_RANK"].iter().find_map(|name| std::env::var(name).ok());
    let path = std::env::temp_dir().join(format!("steadfast-broken-disk-{}", std::os::unix::process::parent_id()));
    if rank.as_deref() == Some("1") && std::env::var_os(WATCHED).is_none() {
        let partial = path.join(steadfast::rundir::checkpoint_name(3) + ".1.partial");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-P"]).arg(partial).args(["-e", &format!("inject={}", fault[0])]);
        strace.arg(std::env::current_exe().unwrap()).args(std::env::args_os().skip(1)).env(WATCHED, &path);
        panic!("strace cannot be started: {}", strace.exec());
    }
    let mpi = Mpi::start().expect("MPI starts");
    install_panic_hook();
    let world = mpi.world();
    let path = world.broadcast(0, Some(path)).unwrap();
    if world.is_root() {
        std::fs::create_dir_all(&path).unwrap();
    }
    world.barrier().unwrap();
    let shared = Shared { path, _owner: None };
    let part = Part::<f64, 2>::new(&world, [64, 64], [8, 8], 1).filled();
    let why = discarded(&world, &shared, part.write(&world, &mut shared.writer(Verify::All), 3));
    assert!(why.contains("rank 1") && why.contains("step 3") && why.contains(".partial"), "{why}");
    if world.is_root() {
        std::fs::remove_dir(&shared.path).unwrap();
    }
    ExitCode::SUCCESS
}
