//! What the targets share: a directory in memory, and a sound checkpoint to start from.

use std::fs;
use std::ops::Range;
use std::path::Path;

use crc_fast::{CrcAlgorithm, Digest};
use steadfast::checkpoint::{Header, Reader, save};
use steadfast::field::{Component, Field, Scalar};
use steadfast::grid::{Grid, Partition, Tiling, Vector};
use tempfile::TempDir;

/// A directory in memory, where there is such a file system.
pub fn room() -> TempDir {
    let memory = Path::new("/dev/shm");
    let room = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    room.expect("a directory can be made")
}

/// The bytes of a small sound checkpoint, and where things lie in it.
pub struct Sample {
    /// The whole file.
    pub bytes: Vec<u8>,
    /// What it says about itself.
    pub header: Header,
    /// Its fingerprint.
    pub fingerprint: u64,
    /// Where its header lies.
    pub text: Range<usize>,
    seal: Range<usize>,
    fields: Vec<Range<usize>>,
}

impl Sample {
    /// A checkpoint of two fields on 12 × 7 cells.
    pub fn new() -> Self {
        let room = room();
        let path = room.path().join("sample.h5");
        let grid = Grid::new([12, 7], Vector([0.0; 2]), Vector([1.0; 2]), [true, false]).expect("it is a grid");
        let tiling = Tiling::new(grid, [4, 4]).expect("it can be cut so");
        let partition = Partition::by_cost(&vec![1.0; tiling.len()], 1);
        let mut field = Field::<f32, 2>::new(&tiling, &partition, 0, 1, 2);
        for (i, number) in field.blocks_mut().iter_mut().flat_map(|block| block.data_mut()).enumerate() {
            *number = i as f32;
        }
        let header = Header {
            program: "sample".into(),
            version: "0.1.0".into(),
            run_id: "run-1".into(),
            epoch: 1,
            step: 42,
            time: 0.5,
            cells: vec![12, 7],
            lower: vec![0.0; 2],
            upper: vec![1.0; 2],
            periodic: vec![true, false],
            block: vec![4, 4],
            components: ["u", "v"].map(|name| Component::scalar(name, "1")).into(),
            scalar: f32::KIND,
            // Room for whatever takes the header's place.
            case: " ".repeat(8000),
            physics: "none".into(),
            replicated: [("clock".to_owned(), serde_json::json!({ "step": 42 }))].into(),
        };
        save(&path, &header, &tiling, &field, &vec![1.0; tiling.len()]).expect("it can be written");
        let file = hdf5::File::open(&path).expect("it can be read");
        let place = |name: &str, bytes: usize| {
            let start = file.dataset(name).expect("it is there").offset().expect("it has a place") as usize;
            start..start + bytes
        };
        let field = |name: &str| {
            let field = file.dataset(name).expect("it is there");
            let first = field.chunk_info(0).expect("it has blocks");
            first.addr as usize..(first.addr + first.size * tiling.len() as u64) as usize
        };
        let length = serde_json::to_vec(&header).expect("it is JSON").len();
        Sample {
            bytes: fs::read(&path).expect("it can be read"),
            fingerprint: Reader::open(&path).and_then(|reader| reader.fingerprint()).expect("it is sound"),
            text: place("checkpoint/header", length),
            seal: place("checkpoint/seal", 8),
            fields: ["fields/u", "fields/v"].map(field).into(),
            header,
        }
    }

    /// Makes the seal of a changed copy fit, as whoever means harm would.
    pub fn seal(&self, bytes: &mut [u8]) {
        let mut holes = self.fields.clone();
        holes.push(self.seal.clone());
        holes.sort_by_key(|hole| hole.start);
        let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
        let mut at = 0;
        for hole in holes {
            digest.update(bytes.get(at..hole.start).unwrap_or_default());
            at = hole.end;
        }
        digest.update(bytes.get(at..).unwrap_or_default());
        if let Some(seal) = bytes.get_mut(self.seal.clone()) {
            seal.copy_from_slice(&digest.finalize().to_ne_bytes());
        }
    }
}

impl Default for Sample {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads all that a restart and the tools would read of a file; an error if any of it is known to be damaged.
pub fn read_all(path: &Path) -> steadfast::Result<(Header, u64)> {
    let reader = Reader::open(path)?;
    let report = reader.verify()?;
    if let Some(fault) = report.faults.into_iter().next() {
        return Err(fault.error);
    }
    Ok((reader.header().clone(), reader.fingerprint()?))
}
