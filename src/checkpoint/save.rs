//! A checkpoint by a single process that owns all blocks: the three phases one after another, without MPI.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::create::create;
use super::disk::System;
use super::header::Header;
use super::phases::{Verify, Watch};
use super::stage::Staging;
use crate::error::{Error, Kind, Result};
use crate::field::{Field, Scalar};
use crate::grid::Tiling;

/// Writes, verifies and commits a checkpoint of a field whose blocks are all here; returns the length of the file.
///
/// `costs` has the cost of each block along the curve. Whatever lay at `path` is replaced when everything has succeeded.
///
/// # Errors
/// If the header does not describe the field, or anything cannot be written; then `path` is as it was before.
///
/// # Example
/// ```
/// # fn main() -> steadfast::Result<()> {
/// use steadfast::checkpoint::{Header, Reader, save};
/// use steadfast::field::{Component, Field, ScalarKind};
/// use steadfast::grid::{Grid, Partition, Tiling, Vector};
///
/// let grid = Grid::new([8, 4], Vector::ZERO, Vector([2.0, 1.0]), [false; 2])?;
/// let tiling = Tiling::new(grid, [4, 4])?;
/// let partition = Partition::by_cost(&[1.0; 2], 1);
/// let field = Field::<f64, 2>::new(&tiling, &partition, 0, 1, 1);
/// let header = Header {
///     program: "example".into(),
///     version: "1".into(),
///     run_id: "a".into(),
///     epoch: 0,
///     step: 10,
///     time: 0.5,
///     cells: vec![8, 4],
///     lower: vec![0.0, 0.0],
///     upper: vec![2.0, 1.0],
///     periodic: vec![false, false],
///     block: vec![4, 4],
///     components: vec![Component::scalar("u", "K")],
///     scalar: ScalarKind::F64,
///     case: String::new(),
///     physics: String::new(),
///     replicated: Default::default(),
/// };
/// let path = std::env::temp_dir().join(format!("save-{}.h5", std::process::id()));
/// save(&path, &header, &tiling, &field, &[1.0; 2])?;
/// let reader = Reader::open(&path)?;
/// assert_eq!(reader.values(0, &reader.all_cells())?.shape(), [4, 8]);
/// assert_eq!(reader.fingerprint()?, field.fingerprint(&tiling));
/// # std::fs::remove_file(path).unwrap();
/// # Ok(())
/// # }
/// ```
pub fn save<T: Scalar, const N: usize>(
    path: impl AsRef<Path>,
    header: &Header,
    tiling: &Tiling<N>,
    field: &Field<T, N>,
    costs: &[f64],
) -> Result<u64> {
    check_describes(header, tiling, field)?;
    if field.blocks().len() != tiling.len() || costs.len() != tiling.len() {
        return Err(Error::new(
            Kind::Internal,
            format!("{} blocks and {} costs are here of {}", field.blocks().len(), costs.len(), tiling.len()),
        ));
    }
    let (job, created) = create(&System, path.as_ref().to_owned(), header.clone())?;
    let mut staging = Staging::default();
    staging.fill(header, tiling, field, 1);
    let costs: Vec<f64> = (0..tiling.len()).map(|chunk| costs[tiling.block_of_chunk(chunk).index()]).collect();
    let never = AtomicBool::new(false);
    let watch = Watch::new(&never, None);
    let result = job
        .write(created.file.as_ref(), &staging.chunks, bytemuck::cast_slice(&staging.numbers), &watch)
        .and_then(|()| job.verify(created.file.as_ref(), &staging.chunks, &staging.checksums, &watch, Verify::All))
        .and_then(|()| job.commit(&System, &created, &staging.checksums, &costs, None));
    if result.is_err() {
        job.remove(&System);
    }
    result.map(|()| job.layout.length)
}

/// Refuses a header that describes another field than the one that is written.
pub(super) fn check_describes<T: Scalar, const N: usize>(
    header: &Header,
    tiling: &Tiling<N>,
    field: &Field<T, N>,
) -> Result<()> {
    let grid = tiling.grid();
    let fits = header.cells == grid.cells()
        && header.lower == grid.lower().0
        && header.upper == grid.upper().0
        && header.periodic == grid.periodic()
        && header.block == tiling.shape()
        && header.components.len() == field.components()
        && header.scalar == T::KIND;
    if fits {
        return Ok(());
    }
    Err(Error::new(Kind::Internal, "the header of a checkpoint does not describe its field"))
}
