//! A piece: the blocks of one rank at one step, as they travel to a partner and lie in a file.
//!
//! ```text
//!   words of 64 bits, in the byte order of the machine
//!   MAGIC │ bytes of the head │ the head as JSON │ node │ blocks n │ n chunks │ n costs │ n·c checksums │ sum │ n·c blocks
//!         └──────────────────────────── under the sum, a CRC-64/NVME ──────────────────────────┘
//! ```
//!
//! The head is the same in all pieces of one save, to the last byte: pieces of different saves can never be mixed, not even
//! those of a forgotten attempt that has come to the same step. Blocks have the checksums that they would have in a shared
//! checkpoint, computed from the memory that they were copied from.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crc_fast::{CrcAlgorithm, checksum};
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Header, copy_blocks, in_order_of_file, of_block};
use crate::error::{Error, Kind, Result};
use crate::field::{Field, Scalar};
use crate::grid::{BlockId, Tiling};

/// The first word of a piece; the digit is the version of the format.
const MAGIC: u64 = u64::from_le_bytes(*b"SFpiece1");

/// The longest head that is believed, in bytes.
const LONGEST_HEAD: u64 = 1 << 28;

/// What all pieces of one save say alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The number of the save, drawn anew for each.
    pub save: u64,
    /// The attempt that took it.
    pub attempt: u32,
    /// The nodes that it was taken on.
    pub nodes: Vec<String>,
    /// What a shared checkpoint would say about itself.
    pub header: Header,
}

/// Where everything lies in a piece, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    head_bytes: usize,
    blocks: usize,
    components: usize,
    block_bytes: usize,
}

impl Plan {
    /// The plan of a piece with so many blocks, of a save with this head.
    pub fn new(head_json: &[u8], header: &Header, blocks: usize) -> Self {
        let (components, block_bytes) = (header.components.len(), header.chunk_bytes() as usize);
        Plan { head_bytes: head_json.len(), blocks, components, block_bytes }
    }

    fn table(&self) -> usize {
        2 + self.head_bytes.div_ceil(8)
    }

    fn sum(&self) -> usize {
        self.table() + 2 + self.blocks * (2 + self.components)
    }

    /// All words of the piece.
    pub fn words(&self) -> usize {
        let numbers = self.blocks.saturating_mul(self.components).saturating_mul(self.block_bytes);
        self.sum() + 1 + numbers.div_ceil(8)
    }

    /// Where a block of a component begins, in bytes; `place` counts the blocks of the piece.
    fn block(&self, component: usize, place: usize) -> u64 {
        8 * (self.sum() as u64 + 1) + ((component * self.blocks + place) * self.block_bytes) as u64
    }
}

/// Fills a buffer with the piece of one rank; its length must be that of the plan.
pub(super) fn fill<T: Scalar, const N: usize>(
    words: &mut [u64],
    (head_json, header): (&[u8], &Header),
    node: usize,
    (tiling, field, threads): (&Tiling<N>, &Field<T, N>, usize),
    costs: &[f64],
) {
    let blocks = in_order_of_file(tiling, field);
    let plan = Plan::new(head_json, header, blocks.len());
    let (front, rest) = words.split_at_mut(plan.sum());
    let (head, table) = front.split_at_mut(plan.table());
    (head[0], head[1]) = (MAGIC, head_json.len() as u64);
    head[2..].fill(0);
    bytemuck::cast_slice_mut(&mut head[2..])[..head_json.len()].copy_from_slice(head_json);
    (table[0], table[1]) = (node as u64, blocks.len() as u64);
    let (chunks, table) = table[2..].split_at_mut(blocks.len());
    let (stored_costs, checksums) = table.split_at_mut(blocks.len());
    let first = field.blocks().next().map_or(0, BlockId::index);
    for (i, block) in blocks.iter().enumerate() {
        chunks[i] = block.chunk as u64;
        stored_costs[i] = costs[block.id.index() - first].to_bits();
    }
    if let Some(last) = rest[1..].last_mut() {
        // What the numbers do not fill of it.
        *last = 0;
    }
    let numbers = bytemuck::cast_slice_mut::<u64, T>(&mut rest[1..]);
    let count = plan.blocks * plan.components * plan.block_bytes / size_of::<T>();
    copy_blocks(header, tiling, &blocks, threads, &mut numbers[..count], checksums);
    words[plan.sum()] = sum_of(&words[..plan.sum()]);
}

/// What a piece in a file says, without its blocks.
#[derive(Debug)]
pub(super) struct Piece {
    file: File,
    plan: Plan,
    /// The head's bytes: pieces of one save have the same.
    pub head_json: Vec<u8>,
    pub head: Head,
    /// The node whose blocks they were, by its place in the head's list.
    pub node: usize,
    pub chunks: Vec<usize>,
    pub costs: Vec<f64>,
    checksums: Vec<u64>,
}

impl Piece {
    /// Opens a piece and checks all but its blocks.
    ///
    /// # Errors
    /// If it cannot be read, or is not what it should be.
    pub fn open(path: &Path) -> Result<Self> {
        let damaged = |what: &str| Error::new(Kind::Checkpoint, format!("the piece {what}")).at_path(path);
        let refused = |cause: io::Error| Error::io("read the piece", path, &cause);
        let file = File::open(path).map_err(refused)?;
        let length = file.metadata().map_err(refused)?.len();
        let read = |at: usize, count: usize| {
            let end = at.checked_add(count).and_then(|end| end.checked_mul(8));
            if end.is_none_or(|end| end as u64 > length) {
                return Err(damaged("is cut off"));
            }
            let mut words = vec![0u64; count];
            let bytes = bytemuck::cast_slice_mut(&mut words);
            file.read_exact_at(bytes, 8 * at as u64).map(|()| words).map_err(refused)
        };
        let start = read(0, 2)?;
        if start[0] != MAGIC || start[1] > LONGEST_HEAD {
            return Err(damaged("is none of this version and machine"));
        }
        let head_bytes = start[1] as usize;
        let table = 2 + head_bytes.div_ceil(8);
        let count = read(table, 2)?;
        // The smallest thing that each block has.
        if count[1] > length / 16 {
            return Err(damaged("has an impossible number of blocks"));
        }
        // How many checksums there are is in the head, which is not proved yet: the sum is looked for where it says.
        let head_json = bytemuck::cast_slice::<u64, u8>(&read(2, head_bytes.div_ceil(8))?)[..head_bytes].to_vec();
        let head: Head = serde_json::from_slice(&head_json).map_err(|_| damaged("has a damaged head"))?;
        head.header.check().map_err(|error| error.at_path(path))?;
        let plan = Plan::new(&head_json, &head.header, count[1] as usize);
        let front = read(0, plan.sum() + 1)?;
        if front[plan.sum()] != sum_of(&front[..plan.sum()]) {
            return Err(damaged("has a front that does not fit its checksum"));
        }
        if !length.is_multiple_of(8) || plan.words() as u64 != length / 8 {
            return Err(damaged("has not the length that it should have"));
        }
        let (chunks, rest) = front[table + 2..plan.sum()].split_at(plan.blocks);
        let (costs, checksums) = rest.split_at(plan.blocks);
        let sound = count[0] < head.nodes.len() as u64
            && chunks.is_sorted_by(|a, b| a < b)
            && chunks.last().is_none_or(|&c| c < head.header.blocks() as u64);
        if !sound {
            return Err(damaged("has blocks that cannot be"));
        }
        Ok(Piece {
            plan,
            node: count[0] as usize,
            chunks: chunks.iter().map(|&chunk| chunk as usize).collect(),
            costs: costs.iter().map(|&bits| f64::from_bits(bits)).collect(),
            checksums: checksums.to_vec(),
            file,
            head_json,
            head,
        })
    }

    /// Reads all components of one block, one after another, and compares them with their checksums.
    ///
    /// # Errors
    /// If it cannot be read, is damaged, or is not in this piece.
    pub fn read_block(&self, chunk: usize, bytes: &mut [u8]) -> Result<()> {
        let place = self.chunks.binary_search(&chunk);
        let place = place.map_err(|_| Error::new(Kind::Internal, format!("block {chunk} is in another piece")))?;
        let header = &self.head.header;
        for (component, bytes) in bytes.chunks_exact_mut(self.plan.block_bytes).enumerate() {
            let read = self.file.read_exact_at(bytes, self.plan.block(component, place));
            read.map_err(|cause| Error::new(Kind::Io, format!("cannot read the piece: {cause}")))?;
            let expected = self.checksums[component * self.plan.blocks + place];
            if of_block(header, component, chunk, bytes) != expected {
                let (name, cells) = (&header.components[component].name, header.cells_of_chunk(chunk));
                let message = format!("block {chunk} of field {name} (cells {cells}) is damaged");
                return Err(Error::new(Kind::Checkpoint, message));
            }
        }
        Ok(())
    }
}

fn sum_of(words: &[u64]) -> u64 {
    checksum(CrcAlgorithm::Crc64Nvme, bytemuck::cast_slice(words))
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::field::{Component, ScalarKind};
    use crate::grid::{Grid, Partition, Vector};

    /// The head of a save of so many cells in blocks, on nodes a, b and c.
    pub(in super::super) fn head(step: u64, save: u64, cells: &[usize], block: &[usize]) -> Head {
        let header = Header {
            program: "p".into(),
            version: "1".into(),
            run_id: "r".into(),
            epoch: 1,
            step,
            time: 0.5,
            cells: cells.into(),
            lower: vec![0.0; cells.len()],
            upper: vec![1.0; cells.len()],
            periodic: vec![false; cells.len()],
            block: block.into(),
            components: vec![Component::scalar("u", "1"), Component::scalar("v", "1")],
            scalar: ScalarKind::U8,
            case: String::new(),
            physics: String::new(),
            replicated: BTreeMap::new(),
        };
        Head { save, attempt: 1, nodes: ["a", "b", "c"].map(str::to_owned).into(), header }
    }

    /// The piece of the second of two ranks in a file, and its blocks' bytes by their chunks.
    fn written(path: &Path) -> (Head, BTreeMap<usize, Vec<u8>>) {
        let head = head(7, 3, &[7, 5], &[3, 2]);
        let tiling = head.header.tiling::<2>().unwrap();
        let partition = Partition::by_cost(&[1.0; 9], 2);
        let mut field = Field::<u8, 2>::new(&tiling, &partition, 1, 1, 2);
        for (place, patch) in field.patches_mut().iter_mut().enumerate() {
            patch.data_mut().iter_mut().enumerate().for_each(|(i, number)| *number = (17 * place + i) as u8);
        }
        let json = serde_json::to_vec(&head).unwrap();
        let mut words = vec![!0; Plan::new(&json, &head.header, field.blocks().len()).words()];
        let costs: Vec<f64> = field.blocks().map(|id| id.index() as f64).collect();
        fill(&mut words, (&json, &head.header), 2, (&tiling, &field, 2), &costs);
        std::fs::write(path, bytemuck::cast_slice::<u64, u8>(&words)).unwrap();
        let piece = Piece::open(path).unwrap();
        assert_eq!((&piece.head, piece.node, piece.chunks.len()), (&head, 2, field.blocks().len()));
        let ids = piece.chunks.iter().map(|&chunk| tiling.block_of_chunk(chunk).index() as f64);
        assert!(ids.eq(piece.costs.iter().copied()), "each block has its own cost");
        let mut numbers = vec![0u8; piece.chunks.len() * 2 * 6];
        let mut checksums = vec![0; 2 * piece.chunks.len()];
        copy_blocks(&head.header, &tiling, &in_order_of_file(&tiling, &field), 1, &mut numbers, &mut checksums);
        let bytes = |place: usize| {
            let component = |c: usize| &numbers[(c * piece.chunks.len() + place) * 6..][..6];
            [component(0), component(1)].concat()
        };
        (head, piece.chunks.iter().enumerate().map(|(place, &chunk)| (chunk, bytes(place))).collect())
    }

    /// What a piece gives, if nothing is found wrong with it.
    fn read(path: &Path) -> Result<(Head, BTreeMap<usize, Vec<u8>>)> {
        let piece = Piece::open(path)?;
        let block = |&chunk: &usize| {
            let mut bytes = vec![0; 12];
            piece.read_block(chunk, &mut bytes).map(|()| (chunk, bytes))
        };
        let blocks = piece.chunks.iter().map(block).collect::<Result<_>>()?;
        Ok((piece.head.clone(), blocks))
    }

    #[test]
    fn a_piece_is_read_as_it_was_written_and_no_flipped_bit_changes_what_is_read() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("a.piece");
        let expected = written(&path);
        assert_eq!(read(&path).unwrap(), expected);
        let sound = std::fs::read(&path).unwrap();
        let mut noticed = 0;
        for byte in 0..sound.len() {
            let mut bytes = sound.clone();
            bytes[byte] ^= 1 << (byte % 8);
            std::fs::write(&path, bytes).unwrap();
            match read(&path) {
                Ok(got) => assert_eq!(got, expected, "byte {byte}"),
                Err(_) => noticed += 1,
            }
        }
        // The last word is not full.
        assert!(noticed + 8 > sound.len(), "{noticed} of {} flips are noticed", sound.len());
    }

    #[test]
    fn a_piece_that_is_cut_off_anywhere_or_too_long_is_refused() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("a.piece");
        written(&path);
        let sound = std::fs::read(&path).unwrap();
        for length in (0..sound.len()).chain([sound.len() + 8]) {
            let mut bytes = sound.clone();
            bytes.resize(length, 0);
            std::fs::write(&path, bytes).unwrap();
            assert!(Piece::open(&path).is_err(), "{length} of {} bytes", sound.len());
        }
    }

    #[test]
    fn a_rank_without_blocks_has_an_empty_piece() {
        let room = tempfile::tempdir().unwrap();
        let head = head(1, 1, &[4], &[4]);
        let tiling = Tiling::new(Grid::new([4], Vector([0.0]), Vector([1.0]), [false]).unwrap(), [4]).unwrap();
        let field = Field::<u8, 1>::new(&tiling, &Partition::by_cost(&[1.0], 2), 1, 1, 2);
        let json = serde_json::to_vec(&head).unwrap();
        let mut words = vec![0; Plan::new(&json, &head.header, 0).words()];
        fill(&mut words, (&json, &head.header), 0, (&tiling, &field, 1), &[]);
        let path = room.path().join("a.piece");
        std::fs::write(&path, bytemuck::cast_slice::<u64, u8>(&words)).unwrap();
        assert!(Piece::open(&path).unwrap().chunks.is_empty());
    }
}
