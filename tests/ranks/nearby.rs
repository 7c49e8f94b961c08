//! Node-local checkpoints by real ranks, which play nodes: saved with copies, restored from the nodes that are left.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use steadfast::comm::Communicator;
use steadfast::error::Kind;
use steadfast::field::Scalar;
use steadfast::nearby::{Folder, Level, Nodes, Outcome, Settings, Survey, restore};

use super::Check;
use super::checkpoint::{Part, Shared};

pub const CHECKS: &[Check] = &[
    ("a_node_local_save_is_restored_from_the_nodes_left", a_node_local_save_is_restored_from_the_nodes_left),
    ("a_save_that_one_rank_cannot_write_fails_on_all", a_save_that_one_rank_cannot_write_fails_on_all),
    ("old_saves_go_and_the_state_may_change_meanwhile", old_saves_go_and_the_state_may_change_meanwhile),
];

/// The ranks take turns on so many nodes, of which one may be lost: its ranks then are on the next.
fn nodes(world: &Communicator, count: usize, lost: Option<usize>) -> Nodes {
    let node = |rank: usize| if lost == Some(rank % count) { (rank + 1) % count } else { rank % count };
    Nodes::new(&(0..world.size()).map(|rank| format!("node-{}", node(rank))).collect::<Vec<_>>())
}

fn folder(world: &Communicator, directory: &Path, nodes: &Nodes) -> Folder {
    Folder::new(directory, Path::new("/runs/ranks.run"), nodes.name_of(world.rank()))
}

fn level(world: &Communicator, directory: &Path, nodes: &Nodes) -> Level {
    let folder = folder(world, directory, nodes);
    let settings = Settings { folder, keep: 2, threads: 2, attempt: 1, tick: Arc::new(|| ()) };
    Level::new(world, settings, nodes.clone(), VecDeque::new()).unwrap()
}

fn begin<T: Scalar, const N: usize>(world: &Communicator, level: &mut Level, part: &Part<T, N>, step: u64) {
    let costs = &part.costs[part.partition.range(world.rank())];
    level.begin(world, part.header(step), (&part.tiling, &part.partition), &part.field, costs).unwrap();
}

fn save<T: Scalar, const N: usize>(world: &Communicator, level: &mut Level, part: &Part<T, N>, step: u64) -> Outcome {
    begin(world, level, part, step);
    level.finish(world).unwrap().expect("a save was pending")
}

fn survey(world: &Communicator, directory: &Path, nodes: Nodes) -> Survey {
    let folder = folder(world, directory, &nodes);
    Survey::take(world, nodes, &folder, "run").unwrap()
}

fn check<T: Scalar, const N: usize>(world: &Communicator, cells: [usize; N], block: [usize; N], other: [usize; N]) {
    let count = world.size().min(3);
    let part = Part::<T, N>::new(world, cells, block, 1).filled();
    let shared = Shared::new(world);
    let all = nodes(world, count, None);
    let outcome = save(world, &mut level(world, &shared.path, &all), &part, 7);
    assert!(matches!(outcome, Outcome::Saved { step: 7, .. }), "{outcome:?}");
    for lost in (0..count).map(Some).chain([None]) {
        if lost.is_some() && count == 1 {
            continue;
        }
        let survey = survey(world, &shared.path, nodes(world, count, lost));
        let [newest] = survey.saves.as_slice() else { panic!("{:?}", survey.saves) };
        assert!(
            newest.is_whole() && newest.head().header == part.header(7),
            "without {lost:?}: {:?}",
            survey.lack(newest)
        );
        let costs: Vec<_> = part.tiling.ids().map(|id| newest.costs().unwrap()[part.tiling.chunk(id)]).collect();
        assert_eq!(costs, part.costs);
        let mut back = Part::<T, N>::new(world, cells, other, 5);
        let taken = restore(world, &survey, newest, (&back.tiling, &back.partition), &mut back.field, &|| ()).unwrap();
        assert_eq!((taken.blocks, taken.damaged), (part.tiling.len(), 0));
        assert_eq!(back.fingerprint(world), part.fingerprint(world), "without {lost:?}");
    }
    // Of another grid it is nothing.
    let mut wrong = Part::<T, N>::new(world, cells.map(|n| n + 1), other, 5);
    let survey = survey(world, &shared.path, all);
    let place = (&wrong.tiling, &wrong.partition);
    let error = restore(world, &survey, &survey.saves[0], place, &mut wrong.field, &|| ()).unwrap_err();
    assert_eq!(error.kind(), Kind::Checkpoint);
    world.barrier().unwrap();
}

fn a_node_local_save_is_restored_from_the_nodes_left(world: &Communicator) {
    check::<f64, 1>(world, [101], [10], [7]);
    check::<f32, 2>(world, [23, 17], [5, 4], [3, 9]);
    check::<u8, 3>(world, [13, 11, 9], [4, 3, 5], [4, 4, 4]);
    check::<i64, 2>(world, [9, 9], [9, 9], [2, 2]);
}

fn a_save_that_one_rank_cannot_write_fails_on_all(world: &Communicator) {
    let shared = Shared::new(world);
    let part = Part::<f64, 2>::new(world, [32, 32], [8, 8], 1).filled();
    let last = world.size() - 1;
    let nodes = nodes(world, 2.min(world.size()), None);
    let directory = if world.rank() == last { Path::new("/proc/nowhere") } else { &shared.path };
    let mut level = level(world, directory, &nodes);
    for step in [1, 2] {
        let outcome = save(world, &mut level, &part, step);
        let Outcome::Failed { error, .. } = outcome else { panic!("{outcome:?}") };
        let text = error.to_string();
        assert!(text.contains(&format!("rank {last}")) && text.contains("/proc/nowhere"), "{text}");
    }
    level.discard(world).unwrap();
    assert!(survey(world, &shared.path, nodes).saves.is_empty());
    world.barrier().unwrap();
}

fn old_saves_go_and_the_state_may_change_meanwhile(world: &Communicator) {
    let shared = Shared::new(world);
    let mut part = Part::<f64, 2>::new(world, [64, 64], [8, 8], 1).filled();
    let before = part.fingerprint(world);
    let nodes = nodes(world, 2.min(world.size()), None);
    let mut level = level(world, &shared.path, &nodes);
    for step in 1..=5 {
        part = Part::new(world, [64, 64], [8, 8], 1).filled();
        begin(world, &mut level, &part, step);
        part.field.patches_mut().iter_mut().for_each(|block| block.data_mut().fill(-1.0));
        assert!(matches!(level.finish(world).unwrap(), Some(Outcome::Saved { .. })));
    }
    // Given up, it is as if it had never been begun.
    begin(world, &mut level, &part, 6);
    level.give_up().unwrap();
    drop(level);
    world.barrier().unwrap();
    let survey = survey(world, &shared.path, nodes);
    let steps: Vec<u64> = survey.saves.iter().map(|save| save.head().header.step).collect();
    assert_eq!(steps, [5, 4]);
    let place = (&part.tiling, &part.partition);
    restore(world, &survey, &survey.saves[0], place, &mut part.field, &|| ()).unwrap();
    assert_eq!(part.fingerprint(world), before);
    world.barrier().unwrap();
}
