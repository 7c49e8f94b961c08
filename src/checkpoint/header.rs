//! What a checkpoint says about itself: all that a restart needs besides the numbers of the cells.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::field::{Component, ScalarKind};
use crate::grid::random::mix;
use crate::grid::{Grid, Tiling, Vector};

/// What a checkpoint says about itself; stored as JSON in `/checkpoint/header`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The program that wrote it.
    pub program: String,
    /// The version of Steadfast that wrote it.
    pub version: String,
    /// The run that it belongs to; one name from the first step to the last, over all attempts.
    pub run_id: String,
    /// The epoch of the lease that it was written under: how many holders the run has had, which a count of attempts is not.
    pub epoch: u64,
    /// The number of steps done.
    pub step: u64,
    /// The simulated time, s.
    pub time: f64,
    /// The number of cells along x, y, z.
    pub cells: Vec<usize>,
    /// The lower corner of the domain.
    pub lower: Vec<f64>,
    /// The upper corner of the domain.
    pub upper: Vec<f64>,
    /// Along which axes the domain is a ring.
    pub periodic: Vec<bool>,
    /// The cells of a block along x, y, z; a block is a chunk of the datasets.
    pub block: Vec<usize>,
    /// The components of a cell, in the order of the planes; a component is a dataset.
    pub components: Vec<Component>,
    /// The type of all numbers.
    pub scalar: ScalarKind,
    /// The case as checked, with every default filled in.
    pub case: String,
    /// What of the case determines the bits of the result.
    pub physics: String,
    /// What every rank holds alike: the clock, schedules, random state.
    pub replicated: BTreeMap<String, serde_json::Value>,
}

/// The most fields of a checkpoint; HDF5 keeps the links of more in a form that is not read back.
const MOST_COMPONENTS: usize = 4096;

impl Header {
    /// The key of [`replicated`](Self::replicated) under which a program has what its ranks hold alike: part of its state.
    pub const SHARED: &str = "shared";

    /// The fingerprint of what a program's ranks hold alike; 0 if that is nothing.
    pub fn shared_fingerprint(&self) -> u64 {
        self.replicated.get(Self::SHARED).map_or(0, fingerprint_of_shared)
    }

    /// The number of axes: 1, 2 or 3.
    pub fn dimension(&self) -> usize {
        self.cells.len()
    }

    /// The cells of a stored block along x, y, z.
    pub(super) fn chunk_cells(&self, chunk: usize) -> Vec<Range<usize>> {
        let mut rest = chunk;
        let axis = |a: usize| {
            let count = self.cells[a].div_ceil(self.block[a]);
            let start = rest % count * self.block[a];
            rest /= count;
            start..(start + self.block[a]).min(self.cells[a])
        };
        (0..self.dimension()).map(axis).collect()
    }

    /// The cells of a stored block in words, as in `x 0..32, y 64..96`.
    pub(crate) fn cells_of_chunk(&self, chunk: usize) -> String {
        let axes = self.chunk_cells(chunk).into_iter().zip(["x", "y", "z"]);
        axes.map(|(cells, axis)| format!("{axis} {cells:?}")).collect::<Vec<_>>().join(", ")
    }

    /// The number of all blocks.
    pub fn blocks(&self) -> usize {
        (0..self.dimension()).map(|a| self.cells[a].div_ceil(self.block[a])).product()
    }

    /// The blocks that the numbers are stored in.
    ///
    /// # Errors
    /// If the grid is not of dimension `N`, or is no grid at all.
    pub fn tiling<const N: usize>(&self) -> Result<Tiling<N>> {
        let block = <[usize; N]>::try_from(self.block.as_slice());
        let block = block.map_err(|_| damaged(format!("blocks of {:?} cells have not {N} dimensions", self.block)))?;
        Tiling::new(self.grid()?, block).map_err(|error| damaged(error.message().to_owned()))
    }

    fn grid<const N: usize>(&self) -> Result<Grid<N>> {
        let place = |list: &[f64]| <[f64; N]>::try_from(list).ok().map(Vector);
        let cells = <[usize; N]>::try_from(self.cells.as_slice()).ok();
        let periodic = <[bool; N]>::try_from(self.periodic.as_slice()).ok();
        let (Some(cells), Some(lower), Some(upper), Some(periodic)) =
            (cells, place(&self.lower), place(&self.upper), periodic)
        else {
            return Err(damaged(format!("a grid of {:?} cells has not {N} dimensions", self.cells)));
        };
        Grid::new(cells, lower, upper, periodic).map_err(|error| damaged(error.message().to_owned()))
    }

    /// The bytes of `/checkpoint/header`.
    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|cause| Error::new(Kind::Internal, format!("the header cannot be written as JSON: {cause}")))
    }

    /// Checks that the header describes a grid and components that can be.
    ///
    /// # Errors
    /// If it does not.
    pub(crate) fn check(&self) -> Result<()> {
        match self.dimension() {
            1 => drop(self.grid::<1>()?),
            2 => drop(self.grid::<2>()?),
            3 => drop(self.grid::<3>()?),
            dimension => return Err(damaged(format!("the grid has {dimension} dimensions; 1, 2 or 3 can be"))),
        }
        if self.block.len() != self.dimension() || self.block.contains(&0) {
            return Err(damaged(format!("blocks of {:?} cells cannot tile a grid of {:?}", self.block, self.cells)));
        }
        if (0..self.dimension()).any(|a| self.block[a] > self.cells[a]) {
            return Err(damaged(format!("blocks of {:?} cells exceed the grid of {:?}", self.block, self.cells)));
        }
        let mut names: Vec<_> = self.components.iter().map(|component| component.name.as_str()).collect();
        if let Some(name) = names.iter().find(|name| !is_sound_name(name)) {
            return Err(damaged(format!("the component name {name:?} is not made of letters, digits and _ . -")));
        }
        names.sort_unstable();
        names.dedup();
        if names.is_empty() || names.len() != self.components.len() {
            return Err(damaged("the components are none, or two have one name".into()));
        }
        if names.len() > MOST_COMPONENTS {
            let count = names.len();
            return Err(Error::case(format!("a checkpoint of {count} fields; there can be {MOST_COMPONENTS} at most")));
        }
        let bytes = self.chunk_bytes();
        if bytes >= 1 << 32 {
            return Err(Error::case(format!(
                "a block of {:?} cells takes {bytes} bytes a component; a chunk in HDF5 must have less than 4 GiB",
                self.block
            ))
            .hint("choose a smaller grid.block"));
        }
        Ok(())
    }

    /// The size of one block of one component, in bytes; blocks at an upper boundary are stored whole.
    pub(crate) fn chunk_bytes(&self) -> u64 {
        self.block.iter().map(|&n| n as u64).product::<u64>() * self.scalar.size() as u64
    }
}

/// The fingerprint of what a program's ranks hold alike; 0 if that is nothing.
pub fn fingerprint_of_shared(value: &serde_json::Value) -> u64 {
    if value.is_null() {
        return 0;
    }
    value.to_string().bytes().fold(1, |hash, byte| mix(hash ^ u64::from(byte)))
}

/// Whether a name can be that of a dataset and of a key alike.
fn is_sound_name(name: &str) -> bool {
    let sound = |c: char| c.is_alphanumeric() || "_.-".contains(c);
    !name.is_empty() && name.chars().all(sound) && !name.starts_with('.')
}

fn damaged(message: String) -> Error {
    Error::new(Kind::Checkpoint, message).hint("use the checkpoint before it")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A header for a grid of the given cells and blocks, with components `u`, `v`, ….
    pub(crate) fn header(cells: &[usize], block: &[usize], scalar: ScalarKind, components: usize) -> Header {
        Header {
            program: "test".into(),
            version: "0.1.0".into(),
            run_id: "run-1".into(),
            epoch: 3,
            step: 42,
            time: 0.1 + 0.2,
            cells: cells.into(),
            lower: vec![-1.0; cells.len()],
            upper: (0..cells.len()).map(|a| 1.0 + a as f64).collect(),
            periodic: vec![false; cells.len()],
            block: block.into(),
            components: ["u", "v", "w"][..components].iter().map(|name| Component::scalar(*name, "m/s")).collect(),
            scalar,
            case: "name = \"test\"\n".into(),
            physics: "none".into(),
            replicated: BTreeMap::from([("clock".to_owned(), serde_json::json!({"step": 42, "dt": 0.1}))]),
        }
    }

    #[test]
    fn a_header_survives_json_bit_for_bit() {
        let mut before = header(&[7, 5], &[3, 2], ScalarKind::F64, 2);
        for bits in 0..5000u64 {
            before.time = f64::from_bits(crate::grid::random::mix(bits) >> 2);
            let after: Header = serde_json::from_str(&serde_json::to_string(&before).unwrap()).unwrap();
            assert_eq!(after.time.to_bits(), before.time.to_bits());
            assert_eq!(after, before);
        }
    }

    #[test]
    fn impossible_headers_are_refused() {
        let good = header(&[7, 5], &[3, 2], ScalarKind::F64, 2);
        good.check().unwrap();
        let spoil: [fn(&mut Header); 9] = [
            |h| h.cells.push(1),
            |h| h.cells = vec![1 << 40, 1 << 40],
            |h| h.cells.clear(),
            |h| h.block[0] = 0,
            |h| h.block[0] = 8,
            |h| h.upper[1] = f64::NAN,
            |h| h.components[0].name = "../u".into(),
            |h| h.components[1].name = "u".into(),
            |h| h.components.clear(),
        ];
        for (case, spoil) in spoil.iter().enumerate() {
            let mut bad = good.clone();
            spoil(&mut bad);
            assert!(bad.check().is_err(), "case {case}: {bad:?}");
        }
    }
}
