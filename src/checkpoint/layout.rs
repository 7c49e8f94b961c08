//! Where everything lies in the file; plain numbers, so that ranks can share it and tests need no file.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The version of the layout that this crate writes; see FORMAT.md.
pub(super) const FORMAT: u32 = 1;

/// The file offsets of everything that is written or read without HDF5.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layout {
    /// The length of the whole file in bytes.
    pub length: u64,
    /// The number of blocks: chunks of each component.
    pub chunks: u64,
    /// The bytes of one chunk.
    pub chunk_bytes: u64,
    /// Where the first chunk of each component lies; the others follow without a gap.
    pub fields: Vec<u64>,
    /// The header's JSON.
    pub header: Range<u64>,
    /// The checksums, u64, component after component.
    pub checksums: Range<u64>,
    /// The costs of the blocks, f64.
    pub costs: Range<u64>,
    /// The seal, one u64.
    pub seal: Range<u64>,
}

impl Layout {
    /// Where the bytes of one block of one component lie.
    pub fn chunk(&self, component: usize, chunk: usize) -> Range<u64> {
        let start = self.fields[component] + chunk as u64 * self.chunk_bytes;
        start..start + self.chunk_bytes
    }

    /// Where a block's checksum stands in the table of checksums.
    pub fn entry(&self, component: usize, chunk: usize) -> usize {
        component * self.chunks as usize + chunk
    }

    /// The number of checksums: blocks times components.
    pub fn entries(&self) -> usize {
        self.fields.len() * self.chunks as usize
    }

    /// The bytes of all blocks of all components.
    pub fn data_bytes(&self) -> u64 {
        self.fields.len() as u64 * self.chunks * self.chunk_bytes
    }

    /// Every byte of the file that belongs to no block, except for the seal: what the seal is computed from.
    ///
    /// With the blocks and the seal itself, these ranges cover the file exactly once. `None` if the parts overlap or
    /// reach beyond the end of the file, so that this cannot be.
    pub fn sealed(&self) -> Option<Vec<Range<u64>>> {
        let size = self.chunks.checked_mul(self.chunk_bytes)?;
        let mut holes = vec![self.seal.clone()];
        for &start in &self.fields {
            holes.push(start..start.checked_add(size)?);
        }
        holes.sort_by_key(|hole| hole.start);
        let mut ranges = Vec::with_capacity(holes.len() + 1);
        let mut at = 0;
        for hole in &holes {
            if hole.start < at || hole.end < hole.start || hole.end > self.length {
                return None;
            }
            ranges.push(at..hole.start);
            at = hole.end;
        }
        ranges.push(at..self.length);
        let covered = |part: &Range<u64>| {
            part.is_empty() || ranges.iter().any(|range| range.start <= part.start && part.end <= range.end)
        };
        [&self.header, &self.checksums, &self.costs].into_iter().all(covered).then(|| {
            ranges.retain(|range| !range.is_empty());
            ranges
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout {
            length: 1000,
            chunks: 3,
            chunk_bytes: 100,
            fields: vec![600, 200],
            header: 10..50,
            checksums: 520..568,
            costs: 568..592,
            seal: 100..108,
        }
    }

    #[test]
    fn blocks_seal_and_sealed_bytes_cover_the_file_exactly_once() {
        let layout = layout();
        let mut times = vec![0; layout.length as usize];
        let chunks = (0..2).flat_map(|component| (0..3).map(move |chunk| (component, chunk)));
        let parts = chunks.map(|(component, chunk)| layout.chunk(component, chunk)).chain([layout.seal.clone()]);
        for part in parts.chain(layout.sealed().unwrap()) {
            times[part.start as usize..part.end as usize].iter_mut().for_each(|times| *times += 1);
        }
        assert!(times.iter().all(|&times| times == 1));
    }

    #[test]
    fn parts_that_overlap_or_reach_beyond_the_end_are_refused() {
        let spoil: [fn(&mut Layout); 8] = [
            |l| l.fields[1] = 301,
            |l| l.fields[0] = 701,
            |l| l.fields[0] = u64::MAX - 10,
            |l| l.chunks = u64::MAX / 2,
            |l| l.seal = 250..258,
            |l| l.header = 190..210,
            |l| l.checksums = 990..1010,
            |l| l.costs = 200..300,
        ];
        for (case, spoil) in spoil.iter().enumerate() {
            let mut bad = layout();
            spoil(&mut bad);
            assert_eq!(bad.sealed(), None, "case {case}: {bad:?}");
        }
    }
}
