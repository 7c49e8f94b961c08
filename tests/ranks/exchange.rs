//! Halo exchanges between real ranks, with cells that hold their own coordinates.

use std::fs::File;
use std::process::Command;
use std::time::Duration;

use steadfast::comm::Communicator;
use steadfast::error::Kind;
use steadfast::field::{Field, Scalar};
use steadfast::grid::{Cell, Grid, Partition, Tiling, Vector, random};
use steadfast::halo::{Backend, Exchange, Plan, check_backend, check_exchange};

use super::Check;

pub const CHECKS: &[Check] = &[
    ("ghosts_are_right_in_one_dimension", ghosts_are_right_in_one_dimension),
    ("ghosts_are_right_in_two_dimensions", ghosts_are_right_in_two_dimensions),
    ("ghosts_are_right_in_three_dimensions", ghosts_are_right_in_three_dimensions),
    ("ghosts_of_every_type_are_right", ghosts_of_every_type_are_right),
    ("ghosts_are_right_when_most_ranks_own_nothing", ghosts_are_right_when_most_ranks_own_nothing),
    ("the_check_for_a_machine_passes_here", the_check_for_a_machine_passes_here),
    ("one_exchange_serves_several_fields", one_exchange_serves_several_fields),
    ("blocks_that_do_not_wait_are_complete_at_once", blocks_that_do_not_wait_are_complete_at_once),
    ("an_exchange_allocates_nothing", an_exchange_allocates_nothing),
    ("a_flipped_message_is_noticed_by_its_receiver_alone", a_flipped_message_is_noticed_by_its_receiver_alone),
    ("neighbours_share_memory_but_for_one_that_cannot", neighbours_share_memory_but_for_one_that_cannot),
    ("an_exchange_may_be_dropped_in_flight", an_exchange_may_be_dropped_in_flight),
];

/// Checks all back ends on blocks of random cost, so that ranks own different numbers of them.
fn check<T: Scalar, const N: usize>(
    world: &Communicator,
    cells: [usize; N],
    shape: [usize; N],
    periodic: [bool; N],
    width: usize,
) {
    let tiling = Tiling::new(Grid::new(cells, Vector::ZERO, Vector([1.0; N]), periodic).unwrap(), shape).unwrap();
    let costs: Vec<_> =
        tiling.ids().map(|id| 1.0 + (4.0 * random::uniform(5, Cell([id.index() as i64]))).floor()).collect();
    let partition = Partition::by_cost(&costs, world.size());
    for backend in Backend::ALL {
        let plan = Plan::new(&tiling, &partition, world.rank(), width);
        let mut field = Field::<T, N>::new(&tiling, &partition, world.rank(), width, 2);
        let mut exchange = Exchange::new(world, plan, 2, backend).unwrap();
        let checked = check_exchange(world, &tiling, &mut exchange, &mut field);
        assert_eq!(checked, Ok(()), "{backend:?}, periodic: {periodic:?}, width {width}");
    }
}

/// Every mix of periodic axes, with ghosts from none to deeper than the smaller blocks, and than the larger ones.
fn check_mixes<const N: usize>(world: &Communicator, cells: [usize; N], shape: [usize; N]) {
    for mix in 0..1 << N {
        for width in [0, 1, 2, 5] {
            check::<f64, N>(world, cells, shape, std::array::from_fn(|a| mix >> a & 1 == 1), width);
        }
    }
}

fn ghosts_are_right_in_one_dimension(world: &Communicator) {
    check_mixes(world, [43], [4]);
}

fn ghosts_are_right_in_two_dimensions(world: &Communicator) {
    check_mixes(world, [17, 10], [4, 3]);
}

fn ghosts_are_right_in_three_dimensions(world: &Communicator) {
    check_mixes(world, [9, 8, 7], [4, 3, 3]);
}

fn ghosts_of_every_type_are_right(world: &Communicator) {
    check::<f32, 3>(world, [9, 8, 7], [4, 3, 3], [true, false, true], 2);
    check::<i64, 2>(world, [17, 10], [4, 3], [true, true], 2);
    check::<i32, 2>(world, [17, 10], [4, 3], [false, true], 3);
    check::<u8, 1>(world, [43], [5], [true], 3);
    check::<u8, 2>(world, [13, 12], [5, 4], [true, true], 1);
}

/// Also one block alone, which is its own neighbour all round, and a ring of two.
fn ghosts_are_right_when_most_ranks_own_nothing(world: &Communicator) {
    check::<f64, 2>(world, [4, 5], [4, 5], [true, true], 2);
    check::<f64, 2>(world, [6, 5], [3, 5], [true, true], 1);
    check::<f64, 3>(world, [2, 2, 2], [1, 2, 2], [true, false, true], 3);
}

fn the_check_for_a_machine_passes_here(world: &Communicator) {
    for backend in Backend::ALL {
        assert_eq!(check_backend(world, backend), Ok(()), "{backend:?}");
    }
}

/// A ring of cells, in blocks of four.
fn ring(world: &Communicator, backend: Backend) -> (Field<i64, 1>, Exchange<i64, 1>) {
    let tiling = Tiling::new(Grid::new([64], Vector([0.0]), Vector([1.0]), [true]).unwrap(), [4]).unwrap();
    let partition = Partition::by_cost(&vec![1.0; tiling.len()], world.size());
    let plan = Plan::new(&tiling, &partition, world.rank(), 1);
    let field = Field::new(&tiling, &partition, world.rank(), 1, 1);
    (field, Exchange::new(world, plan, 1, backend).unwrap())
}

/// Sets each cell to its coordinate times a factor.
fn number(field: &mut Field<i64, 1>, factor: i64) {
    for block in field.patches_mut() {
        for cell in block.interior().cells() {
            block.set(cell, factor * (cell.0[0] + 1));
        }
    }
}

/// The two ghosts of a block, and what they should hold.
fn ghosts(field: &Field<i64, 1>, block: usize, factor: i64) -> ([i64; 2], [i64; 2]) {
    let block = &field.patches()[block];
    let cells = [block.interior().lower[0] - 1, block.interior().upper[0]];
    (cells.map(|x| block.get::<i64>(Cell([x]))), cells.map(|x| factor * (x.rem_euclid(64) + 1)))
}

fn one_exchange_serves_several_fields(world: &Communicator) {
    for backend in Backend::ALL {
        let (mut one, mut exchange) = ring(world, backend);
        let mut two = one.clone();
        for round in 1..20 {
            for (field, factor) in [(&mut one, round), (&mut two, -round)] {
                number(field, factor);
                exchange.start(field).unwrap();
                exchange.finish(field).unwrap();
            }
            for block in 0..one.patches().len() {
                let (found, expected) = ghosts(&one, block, round);
                assert_eq!(found, expected);
                let (found, expected) = ghosts(&two, block, -round);
                assert_eq!(found, expected);
            }
        }
        let sent = exchange.plan().sends().len();
        assert_eq!(exchange.bytes_per_exchange(), if world.size() == 1 { 0 } else { 2 * 8 });
        assert!(sent <= 2, "a rank of a ring has two neighbours");
    }
}

fn blocks_that_do_not_wait_are_complete_at_once(world: &Communicator) {
    for backend in Backend::ALL {
        let (mut field, mut exchange) = ring(world, backend);
        number(&mut field, 3);
        exchange.start(&mut field).unwrap();
        for block in (0..field.patches().len()).filter(|&block| !exchange.waits(block)) {
            let (found, expected) = ghosts(&field, block, 3);
            assert_eq!(found, expected);
        }
        // What is changed now is not what the neighbours get.
        let mut next = field.clone();
        number(&mut next, 4);
        exchange.finish(&mut next).unwrap();
        for block in (0..next.patches().len()).filter(|&block| exchange.waits(block)) {
            let (found, expected) = ghosts(&next, block, 3);
            let outer: Vec<_> = found.into_iter().zip(expected).filter(|(found, expected)| found == expected).collect();
            assert!(!outer.is_empty(), "the ghosts hold what was sent");
        }
    }
}

fn an_exchange_allocates_nothing(world: &Communicator) {
    for (backend, guarded) in Backend::ALL.into_iter().flat_map(|backend| [(backend, false), (backend, true)]) {
        let (mut field, mut exchange) = ring(world, backend);
        if guarded {
            exchange = Exchange::guarded(world, exchange.plan().clone(), 1, backend).unwrap();
        }
        let counted = allocation_counter::measure(|| {
            exchange.start(&mut field).unwrap();
            exchange.finish(&mut field).unwrap();
            world.min_f64(&mut [1.0; 8]).unwrap();
            world.vote(Ok(())).unwrap();
        });
        assert_eq!(counted.count_total, 0, "{backend:?}, guarded: {guarded}");
    }
}

fn a_flipped_message_is_noticed_by_its_receiver_alone(world: &Communicator) {
    for backend in Backend::ALL {
        let (mut field, plain) = ring(world, backend);
        let mut exchange = Exchange::guarded(world, plain.plan().clone(), 1, backend).unwrap();
        let mut round = |factor: i64| {
            number(&mut field, factor);
            exchange.start(&mut field).unwrap();
            // The first neighbour of rank 0 is rank 1; alone it has none.
            if factor == 1 && world.is_root() {
                exchange.flip_next_message();
            }
            exchange.finish(&mut field).unwrap();
            let right = (0..field.patches().len()).all(|block| {
                let (found, expected) = ghosts(&field, block, factor);
                found == expected
            });
            (right, exchange.take_fault())
        };
        assert_eq!(round(1), (true, None));
        let (right, fault) = round(2);
        assert_eq!(right, fault.is_none(), "what is not what was sent is not taken");
        match fault {
            Some(fault) => {
                assert_eq!((world.rank(), fault.kind()), (1, Kind::Corruption));
                assert!(fault.message().contains("from rank 0 to rank 1 (exchange 1)"), "{fault}");
            }
            None => assert!(world.size() == 1 || world.rank() != 1),
        }
        assert_eq!(round(3), (true, None), "it is said once");
    }
}

/// Rank 1 has no file descriptor left when the exchange is prepared. That some ranks are late must not change what the others read.
fn neighbours_share_memory_but_for_one_that_cannot(world: &Communicator) {
    for hindered in [None, Some(1)] {
        let handles = (hindered == Some(world.rank())).then(Handles::exhaust);
        let (mut field, mut exchange) = ring(world, Backend::SharedMemory);
        drop(handles);
        let neighbours = || exchange.plan().sends().iter().map(|message| Some(message.rank));
        let expected = match hindered {
            Some(_) if hindered == Some(world.rank()) => 0,
            _ => neighbours().filter(|&neighbour| hindered.is_none() || neighbour != hindered).count(),
        };
        assert_eq!(exchange.neighbours_in_shared_memory(), expected, "{hindered:?}");
        for round in 1..100 {
            let late = random::uniform(round as u64, Cell([world.rank() as i64])) < 0.1;
            number(&mut field, round);
            exchange.start(&mut field).unwrap();
            std::thread::sleep(Duration::from_micros(if late { 500 } else { 0 }));
            exchange.finish(&mut field).unwrap();
            for block in 0..field.patches().len() {
                let (found, expected) = ghosts(&field, block, round);
                assert_eq!(found, expected, "round {round}");
            }
        }
    }
}

/// All file descriptors that this process may have, until it is dropped.
struct Handles {
    files: Vec<File>,
    limit: String,
}

impl Handles {
    fn exhaust() -> Self {
        let numbers = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().file_name());
        let highest: u64 = numbers.map(|number| number.to_str().unwrap().parse().unwrap()).max().unwrap();
        let limit = soft_limit(&["--noheadings", "--output=SOFT", "--nofile"]);
        // Some are left to take the limit back with.
        soft_limit(&[&format!("--nofile={}:", highest + 32)]);
        Handles { files: std::iter::from_fn(|| File::open("/dev/null").ok()).collect(), limit }
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        self.files.clear();
        soft_limit(&[&format!("--nofile={}:", self.limit)]);
    }
}

/// What `prlimit` says of this process.
fn soft_limit(options: &[&str]) -> String {
    let output =
        Command::new("prlimit").args(["--pid", &std::process::id().to_string()]).args(options).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn an_exchange_may_be_dropped_in_flight(world: &Communicator) {
    for backend in Backend::ALL {
        let (mut field, mut exchange) = ring(world, backend);
        exchange.start(&mut field).unwrap();
        drop(exchange);
        world.barrier().unwrap();
    }
}
