//! How the pieces that lie on the nodes become the state of a run again, on any number of ranks and with any blocks.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::folder::Folder;
use super::nodes::Nodes;
use super::piece::Piece;
use super::whole::{Bad, Found, Save, saves_of};
use crate::checkpoint::{check_same_shape, copy_common};
use crate::comm::Communicator;
use crate::error::{Error, Kind, Result};
use crate::field::{Field, Scalar};
use crate::grid::{Partition, Tiling};

/// What lies on the nodes of a run.
#[derive(Debug, Clone)]
pub struct Survey {
    /// The nodes of today.
    pub nodes: Nodes,
    /// The saves of this run, the newest first, whether or not they can be made whole.
    pub saves: Vec<Save>,
}

/// What the first rank of a node finds in its folder.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Inventory {
    heads: Vec<Vec<u8>>,
    /// Each with the place of its head.
    pieces: Vec<(usize, Found)>,
}

impl Survey {
    /// Looks through the folders of all nodes for the pieces of a run; what cannot be read is passed over.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If MPI fails.
    pub fn take(communicator: &Communicator, nodes: Nodes, folder: &Folder, run_id: &str) -> Result<Self> {
        let rank = communicator.rank();
        let node = nodes.of_rank(rank);
        let mut inventory = Inventory::default();
        if nodes.is_first(rank) {
            let pieces = folder.pieces().unwrap_or_else(|error| {
                log::warn!("{error}");
                Vec::new()
            });
            for path in pieces {
                match Piece::open(&path) {
                    Ok(piece) if piece.head.header.run_id == run_id => inventory.add(node, nodes.names(), path, piece),
                    Ok(_) => log::debug!("{} is of another run", path.display()),
                    Err(error) => log::warn!("{error}"),
                }
            }
        }
        let packed = rmp_serde::to_vec(&inventory);
        let packed = packed.map_err(|e| Error::new(Kind::Internal, format!("an inventory cannot be packed: {e}")));
        let mut pieces = Vec::new();
        for bytes in communicator.all_gather_bytes(&communicator.vote(packed)?)? {
            let Inventory { heads, pieces: here } = unpack(&bytes)?;
            pieces.extend(here.into_iter().map(|(head, piece)| (heads[head].clone(), piece)));
        }
        Ok(Survey { nodes, saves: saves_of(pieces) })
    }

    /// The files of a save on the node of a rank.
    pub fn files(&self, save: &Save, rank: usize) -> Vec<PathBuf> {
        let here = save.pieces.iter().filter(|piece| piece.node == self.nodes.of_rank(rank));
        here.map(|piece| piece.path.clone()).collect()
    }

    /// Why a save cannot be made whole; `None` if it can, as far as is known before its blocks are read.
    pub fn lack(&self, save: &Save) -> Option<String> {
        save.sources(&Bad::new()).err().map(|missing| save.lack(&missing, self.nodes.names()))
    }

    /// The rank that reads a piece: those of its node take turns.
    fn reader(&self, save: &Save, place: usize) -> usize {
        let ranks = self.nodes.ranks(save.pieces[place].node);
        ranks[place % ranks.len()]
    }
}

impl Inventory {
    fn add(&mut self, node: usize, names: &[String], path: PathBuf, piece: Piece) {
        let Piece { head_json, head, chunks, costs, node: origin, .. } = piece;
        let known = self.heads.iter().position(|known| *known == head_json);
        let place = known.unwrap_or_else(|| {
            self.heads.push(head_json);
            self.heads.len() - 1
        });
        let copy = head.nodes[origin] != names[node];
        self.pieces.push((place, Found { node, path, copy, chunks, costs }));
    }
}

/// What a restore took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// The blocks of the state.
    pub blocks: usize,
    /// How many of them came from a partner's copy.
    pub copies: usize,
    /// How many blocks of pieces were damaged, and taken from another piece.
    pub damaged: usize,
}

/// Fills the interiors of a field from a save; every block that is used is checked.
///
/// The save may have been taken by any number of ranks on any nodes, and with any blocks. `tick` is called for each block.
///
/// # Collective
///
/// # Errors
/// On all ranks alike, if some block is in no good piece, or the save is of another grid or record; the field is then as it
/// was.
pub fn restore<T: Scalar, const N: usize>(
    communicator: &Communicator,
    survey: &Survey,
    save: &Save,
    (tiling, partition): (&Tiling<N>, &Partition),
    field: &mut Field<T, N>,
    tick: &dyn Fn(),
) -> Result<Restored> {
    let header = &save.head().header;
    communicator.vote(check_same_shape(header, tiling, field))?;
    let stored = communicator.vote(header.tiling::<N>())?;
    let mut shelf = Shelf::new(save, header.chunk_bytes() as usize / size_of::<T>() * field.components());
    let mut bad = Bad::new();
    let sources = loop {
        let sources = save.sources(&bad).map_err(|missing| {
            let lack = save.lack(&missing, survey.nodes.names());
            Error::new(Kind::Checkpoint, lack).in_step(header.step)
        })?;
        let own = sources.iter().enumerate().filter(|(_, place)| survey.reader(save, **place) == communicator.rank());
        let failed = shelf.read(own.map(|(chunk, &place)| (place, chunk)), tick);
        let failed: Vec<u64> = failed.into_iter().flat_map(|(place, chunk)| [place as u64, chunk as u64]).collect();
        let all = communicator.all_gather_bytes(bytemuck::cast_slice(&failed))?;
        let before = bad.len();
        for words in all.iter().map(|bytes| bytemuck::pod_collect_to_vec::<u8, u64>(bytes)) {
            bad.extend(words.chunks_exact(2).map(|pair| (pair[0] as usize, pair[1] as usize)));
        }
        if bad.len() == before {
            break sources;
        }
    };
    let readers: Vec<usize> = sources.iter().map(|&place| survey.reader(save, place)).collect();
    distribute(communicator, &shelf.blocks, &readers, &stored, (tiling, partition), field)?;
    let copies = sources.iter().filter(|&&place| save.pieces[place].copy).count();
    Ok(Restored { blocks: sources.len(), copies, damaged: bad.len() })
}

/// The blocks that this rank has read, by their place in the file; all components one after another.
struct Shelf<'s, T> {
    save: &'s Save,
    numbers: usize,
    blocks: BTreeMap<usize, Vec<T>>,
}

impl<'s, T: Scalar> Shelf<'s, T> {
    fn new(save: &'s Save, numbers: usize) -> Self {
        Shelf { save, numbers, blocks: BTreeMap::new() }
    }

    /// Reads blocks from their pieces, unless they are here already; returns those that are damaged.
    fn read(&mut self, wanted: impl Iterator<Item = (usize, usize)>, tick: &dyn Fn()) -> Vec<(usize, usize)> {
        let mut by_piece = BTreeMap::<usize, Vec<usize>>::new();
        for (place, chunk) in wanted.filter(|(_, chunk)| !self.blocks.contains_key(chunk)) {
            by_piece.entry(place).or_default().push(chunk);
        }
        let mut failed = Vec::new();
        for (place, chunks) in by_piece {
            let path = &self.save.pieces[place].path;
            let piece = Piece::open(path);
            for chunk in chunks {
                tick();
                let mut block = vec![T::default(); self.numbers];
                let bytes = bytemuck::cast_slice_mut(&mut block);
                match piece.as_ref().map_err(Clone::clone).and_then(|piece| piece.read_block(chunk, bytes)) {
                    Ok(()) => _ = self.blocks.insert(chunk, block),
                    Err(error) => {
                        log::warn!("{}", error.at_path(path));
                        failed.push((place, chunk));
                    }
                }
            }
        }
        failed
    }
}

/// Sends each stored block to the ranks that have cells of it, component by component so that memory stays bounded, and
/// copies what arrives.
fn distribute<T: Scalar, const N: usize>(
    communicator: &Communicator,
    shelf: &BTreeMap<usize, Vec<T>>,
    readers: &[usize],
    stored: &Tiling<N>,
    (tiling, partition): (&Tiling<N>, &Partition),
    field: &mut Field<T, N>,
) -> Result<()> {
    let size: usize = stored.shape().iter().product();
    let owners = |chunk: usize| {
        let region = stored.region(stored.block_of_chunk(chunk));
        let mut owners: Vec<_> = tiling.blocks_overlapping(&region).iter().map(|&id| partition.owner(id)).collect();
        owners.sort_unstable();
        owners.dedup();
        owners
    };
    let mut uses = BTreeMap::<usize, Vec<usize>>::new();
    for (index, patch) in field.patches().iter().enumerate() {
        for id in stored.blocks_overlapping(&patch.interior()) {
            uses.entry(stored.chunk(id)).or_default().push(index);
        }
    }
    for component in 0..field.components() {
        let mut parts = vec![Vec::new(); communicator.size()];
        for (&chunk, numbers) in shelf {
            for owner in owners(chunk) {
                parts[owner].extend_from_slice(&numbers[component * size..][..size]);
            }
        }
        let received = communicator.all_to_all::<T>(&parts)?;
        // Each rank sends its blocks in ascending order, and both ends know which.
        let mut rests: Vec<&[T]> = received.iter().map(Vec::as_slice).collect();
        for (&chunk, indices) in &uses {
            let (numbers, rest) = rests[readers[chunk]].split_at(size);
            rests[readers[chunk]] = rest;
            let region = stored.region(stored.block_of_chunk(chunk));
            for &index in indices {
                copy_common(numbers, region, stored.shape(), component, &mut field.patches_mut()[index]);
            }
        }
    }
    Ok(())
}

fn unpack(bytes: &[u8]) -> Result<Inventory> {
    rmp_serde::from_slice(bytes)
        .map_err(|e| Error::new(Kind::Internal, format!("an inventory cannot be unpacked: {e}")))
}
