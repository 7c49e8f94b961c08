//! Which saves can be made whole, and from which pieces: pure, the same on all ranks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::piece::Head;

/// A piece that was found on a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Found {
    /// The node where it lies, by its place among the nodes of today.
    pub node: usize,
    pub path: PathBuf,
    /// Whether it is a partner's copy.
    pub copy: bool,
    pub chunks: Vec<usize>,
    pub costs: Vec<f64>,
}

/// The pieces of one save, wherever they were found.
#[derive(Debug, Clone, PartialEq)]
pub struct Save {
    head: Head,
    pub(super) pieces: Vec<Found>,
}

/// Blocks of pieces that proved to be damaged: the place of the piece, and the block.
pub(super) type Bad = BTreeSet<(usize, usize)>;

impl Save {
    pub(super) fn new(head: Head, mut pieces: Vec<Found>) -> Self {
        // What a rank wrote itself comes before what its partner keeps, and so is preferred.
        pieces.sort_by(|a, b| (a.copy, a.node, &a.path).cmp(&(b.copy, b.node, &b.path)));
        Save { head, pieces }
    }

    /// What the save says about itself.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The piece that each block comes from: the first good one that has it; or else the blocks that no good piece has.
    pub(super) fn sources(&self, bad: &Bad) -> Result<Vec<usize>, Vec<usize>> {
        let mut sources = vec![None; self.head.header.blocks()];
        for (place, piece) in self.pieces.iter().enumerate() {
            for &chunk in piece.chunks.iter().filter(|&&chunk| !bad.contains(&(place, chunk))) {
                sources[chunk].get_or_insert(place);
            }
        }
        let missing: Vec<usize> = (0..sources.len()).filter(|&chunk| sources[chunk].is_none()).collect();
        if missing.is_empty() { Ok(sources.into_iter().flatten().collect()) } else { Err(missing) }
    }

    /// Whether every block is in some piece.
    pub fn is_whole(&self) -> bool {
        self.sources(&Bad::new()).is_ok()
    }

    /// Why it cannot be made whole, given the blocks that no good piece has and the nodes that are here.
    pub(super) fn lack(&self, missing: &[usize], present: &[String]) -> String {
        let absent: Vec<&str> = self.head.nodes.iter().filter(|node| !present.contains(node)).map(|n| &**n).collect();
        let (count, all) = (missing.len(), self.head.header.blocks());
        let nodes = match absent.as_slice() {
            [] => "all of its nodes are here".to_owned(),
            [node] => format!("its node {node} is not here"),
            nodes => format!("its nodes {} are not here", nodes.join(", ")),
        };
        format!("{count} of its {all} blocks are in no good piece; {nodes}")
    }

    /// The measured costs of the blocks by their place in the file, if all are known.
    pub fn costs(&self) -> Option<Vec<f64>> {
        let mut costs = vec![f64::NAN; self.head.header.blocks()];
        for piece in &self.pieces {
            for (&chunk, &cost) in piece.chunks.iter().zip(&piece.costs) {
                costs[chunk] = cost;
            }
        }
        costs.iter().all(|cost| !cost.is_nan()).then_some(costs)
    }
}

/// Puts pieces together to saves by their heads, the newest save first.
pub(super) fn saves_of(pieces: Vec<(Vec<u8>, Found)>) -> Vec<Save> {
    let mut by_head = BTreeMap::<Vec<u8>, Vec<Found>>::new();
    for (head, piece) in pieces {
        by_head.entry(head).or_default().push(piece);
    }
    let mut saves: Vec<Save> = (by_head.into_iter())
        .filter_map(|(head, pieces)| Some(Save::new(serde_json::from_slice(&head).ok()?, pieces)))
        .collect();
    saves.sort_by_key(|save| std::cmp::Reverse((save.head.header.step, save.head.attempt, save.head.save)));
    saves
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::piece::tests::head as head_of;
    use super::*;

    /// A save of six blocks.
    fn head(step: u64, save: u64) -> Head {
        head_of(step, save, &[6], &[1])
    }

    fn piece(node: usize, copy: bool, chunks: &[usize]) -> Found {
        let path = format!("{node}-{copy}-{chunks:?}").into();
        Found { node, path, copy, chunks: chunks.into(), costs: chunks.iter().map(|&c| c as f64).collect() }
    }

    /// Three nodes with two blocks each, and each one's copy on the next.
    fn pieces(nodes: &[usize]) -> Vec<Found> {
        let own = |node: usize| piece(node, false, &[2 * node, 2 * node + 1]);
        let copy = |node: usize| piece(node, true, &[2 * ((node + 2) % 3), 2 * ((node + 2) % 3) + 1]);
        nodes.iter().flat_map(|&node| [own(node), copy(node)]).collect()
    }

    #[test]
    fn a_lost_node_costs_nothing_and_two_neighbours_cost_the_save() {
        for (present, whole) in [
            (vec![0, 1, 2], true),
            (vec![0, 1], true),
            (vec![1, 2], true),
            (vec![0, 2], true),
            (vec![0], false),
            (vec![1], false),
            (vec![], false),
        ] {
            let save = Save::new(head(1, 1), pieces(&present));
            assert_eq!(save.is_whole(), whole, "with nodes {present:?}");
            assert_eq!(save.costs(), whole.then(|| vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
        }
        let save = Save::new(head(1, 1), pieces(&[0]));
        let lack = save.lack(&save.sources(&Bad::new()).unwrap_err(), &["a".to_owned()]);
        assert_eq!(lack, "2 of its 6 blocks are in no good piece; its nodes b, c are not here");
    }

    #[test]
    fn own_pieces_are_preferred_and_a_damaged_block_comes_from_the_copy() {
        let save = Save::new(head(1, 1), pieces(&[0, 1, 2]));
        let sources = save.sources(&Bad::new()).unwrap();
        assert!(sources.iter().all(|&place| !save.pieces[place].copy));
        let sources = save.sources(&Bad::from([(sources[3], 3)])).unwrap();
        let copies: Vec<bool> = sources.iter().map(|&place| save.pieces[place].copy).collect();
        assert_eq!(copies, [false, false, false, true, false, false]);
    }

    #[test]
    fn pieces_of_different_saves_of_one_step_are_never_mixed() {
        let json = |head: &Head| serde_json::to_vec(head).unwrap();
        let (old, new) = (json(&head(7, 1)), json(&head(7, 2)));
        let mut found: Vec<_> = pieces(&[0]).into_iter().map(|piece| (old.clone(), piece)).collect();
        found.extend(pieces(&[1]).into_iter().map(|piece| (new.clone(), piece)));
        found.extend(pieces(&[0, 1, 2]).into_iter().map(|piece| (json(&head(6, 3)), piece)));
        let saves = saves_of(found);
        let seen: Vec<_> = saves.iter().map(|save| (save.head().header.step, save.is_whole())).collect();
        assert_eq!(seen, [(7, false), (7, false), (6, true)]);
    }

    proptest! {
        #[test]
        fn sources_are_good_pieces_that_have_the_block_and_what_is_missing_is_in_none(
            parts in prop::collection::vec((0usize..4, any::<bool>(), prop::collection::btree_set(0usize..6, 0..6)), 0..8),
            bad in prop::collection::btree_set((0usize..8, 0usize..6), 0..12),
        ) {
            let pieces: Vec<_> = parts.iter().map(|(node, copy, chunks)| {
                piece(*node, *copy, &chunks.iter().copied().collect::<Vec<_>>())
            }).collect();
            let save = Save::new(head(1, 1), pieces);
            let has = |place: usize, chunk: usize| {
                save.pieces[place].chunks.contains(&chunk) && !bad.contains(&(place, chunk))
            };
            match save.sources(&bad) {
                Ok(sources) => {
                    prop_assert_eq!(sources.len(), 6);
                    prop_assert!(sources.iter().enumerate().all(|(chunk, &place)| has(place, chunk)));
                }
                Err(missing) => {
                    for chunk in 0..6 {
                        let found = (0..save.pieces.len()).any(|place| has(place, chunk));
                        prop_assert_eq!(found, !missing.contains(&chunk));
                    }
                }
            }
        }
    }
}
