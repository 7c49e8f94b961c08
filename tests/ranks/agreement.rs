//! Broadcasts, gathers, exchanges of all with all, and votes.

use serde::{Deserialize, Serialize};
use steadfast::comm::Communicator;
use steadfast::error::{Error, Kind};

use super::Check;

pub const CHECKS: &[Check] = &[
    ("every_rank_knows_itself_and_its_node", every_rank_knows_itself_and_its_node),
    ("a_broadcast_brings_every_bit_from_any_root", a_broadcast_brings_every_bit_from_any_root),
    ("a_broadcast_of_nothing_fails_everywhere", a_broadcast_of_nothing_fails_everywhere),
    ("bytes_of_any_length_are_broadcast", bytes_of_any_length_are_broadcast),
    ("gathered_bytes_come_in_the_order_of_the_ranks", gathered_bytes_come_in_the_order_of_the_ranks),
    ("every_rank_gets_the_lists_that_are_meant_for_it", every_rank_gets_the_lists_that_are_meant_for_it),
    ("a_vote_without_errors_keeps_each_rank_its_own", a_vote_without_errors_keeps_each_rank_its_own),
    ("an_error_on_one_rank_is_the_error_of_all", an_error_on_one_rank_is_the_error_of_all),
];

/// Longer than one call moves, and no multiple of it.
const LONG: usize = (1 << 24) + 4321;

fn every_rank_knows_itself_and_its_node(world: &Communicator) {
    let ranks = world.all_gather_bytes(&world.rank().to_le_bytes()).unwrap();
    assert_eq!(ranks, (0..world.size()).map(|rank| rank.to_le_bytes().to_vec()).collect::<Vec<_>>());
    let node = world.node().unwrap();
    assert!(node.rank < node.size && node.size <= world.size() && !node.name.is_empty(), "{node:?}");
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Value {
    name: String,
    time: f64,
    limits: Vec<f64>,
    next: Option<u64>,
    free: serde_json::Value,
}

fn a_broadcast_brings_every_bit_from_any_root(world: &Communicator) {
    for root in 0..world.size() {
        let time = 0.1 + root as f64 * 1e-17 + 2.0 / 3.0;
        let limits = vec![f64::INFINITY, f64::NAN, -0.0, 5e-324];
        let free = serde_json::json!({ "seed": [1, 2.5, null] });
        let value = Value { name: format!("root {root}"), time, limits, next: Some(u64::MAX), free };
        let given = world.broadcast(root, (world.rank() == root).then(|| value.clone())).unwrap();
        let bits = |value: &Value| value.limits.iter().chain([&value.time]).map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&given), bits(&value));
        assert_eq!((given.name, given.next, given.free), (value.name, value.next, value.free));
    }
}

fn a_broadcast_of_nothing_fails_everywhere(world: &Communicator) {
    let root = world.size() - 1;
    let error = world.broadcast::<u8>(root, (world.rank() != root).then_some(1)).unwrap_err();
    assert!(error.to_string().contains(&format!("rank {root}")), "{error}");
}

fn bytes_of_any_length_are_broadcast(world: &Communicator) {
    for (root, length) in [0, 1, 1000, LONG].into_iter().enumerate() {
        let root = root % world.size();
        let mut bytes = if world.rank() == root { pattern(root, length) } else { vec![7; 3] };
        world.broadcast_bytes(root, &mut bytes).unwrap();
        assert!(bytes == pattern(root, length), "{length} bytes from rank {root}");
    }
}

fn gathered_bytes_come_in_the_order_of_the_ranks(world: &Communicator) {
    let lengths: [fn(usize, usize) -> usize; 4] =
        [|_, _| 0, |rank, _| rank, |rank, _| 1000 - rank, |rank, size| if rank + 1 == size { LONG } else { rank }];
    for length in lengths {
        let own = pattern(world.rank(), length(world.rank(), world.size()));
        let expected: Vec<_> = (0..world.size()).map(|rank| pattern(rank, length(rank, world.size()))).collect();
        assert!(world.all_gather_bytes(&own).unwrap() == expected, "all gather alike");
        let root = world.size() / 2;
        let gathered = world.gather_bytes(root, &own).unwrap();
        assert!(gathered == (world.rank() == root).then_some(expected), "only the root gathers");
    }
}

fn every_rank_gets_the_lists_that_are_meant_for_it(world: &Communicator) {
    let lengths: [fn(usize, usize, usize) -> usize; 4] = [
        |_, _, _| 0,
        |from, to, _| (3 * from + 5 * to) % 7,
        |from, to, _| if (from, to) == (0, 0) { 1 } else { 0 },
        |from, to, size| if from + 1 == size && to == 0 { LONG } else { to },
    ];
    for length in lengths {
        let list = |from: usize, to: usize| -> Vec<[u16; 3]> {
            (0..length(from, to, world.size())).map(|i| [from as u16, to as u16, i as u16]).collect()
        };
        let parts: Vec<_> = (0..world.size()).map(|to| list(world.rank(), to)).collect();
        let expected: Vec<_> = (0..world.size()).map(|from| list(from, world.rank())).collect();
        assert!(world.all_to_all(&parts).unwrap() == expected);
    }
}

fn a_vote_without_errors_keeps_each_rank_its_own(world: &Communicator) {
    assert_eq!(world.vote(Ok(world.rank())), Ok(world.rank()));
}

fn an_error_on_one_rank_is_the_error_of_all(world: &Communicator) {
    for failing in 0..world.size() {
        // All ranks from this one on fail: the lowest is heard.
        let full = || Error::new(Kind::Io, format!("disk full after {failing}")).in_step(9).at_path("a/b").hint("h");
        let outcome = if world.rank() >= failing { Err(full()) } else { Ok(()) };
        let outcome = if world.rank() > failing { Err(Error::case("another")) } else { outcome };
        assert_eq!(world.vote(outcome), Err(full().on_rank(failing)));
    }
    let elsewhere = Error::case("seen by one about another").on_rank(77);
    assert_eq!(world.vote::<()>(Err(elsewhere.clone())), Err(elsewhere), "the rank known first stays");
}

fn pattern(rank: usize, length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 + i / 251 + rank * 7) as u8).collect()
}
