//! How a checkpoint becomes the state of a run again: on any number of ranks, with any blocks.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::mpsc::channel;

use super::header::Header;
use super::layout::Layout;
use super::open::Opened;
use super::phases::{LARGEST_PART, parts_to_read};
use crate::comm::Communicator;
use crate::error::{Error, Kind, Result};
use crate::field::{Field, Patch, Scalar};
use crate::grid::{Partition, Region, Tiling};
use crate::sys::direct::DirectFile;
use crate::sys::pages::Pages;

/// Fills the interiors of a field from a checkpoint, and returns its header; every block that is used is checked.
///
/// The checkpoint may have been written by any number of ranks and with any blocks. It must be of the same cells,
/// components and scalar type; whether it is of the same physics is the caller's to compare. Rank 0 reads the metadata, and
/// each rank the blocks that it needs; `tick` is called for each part of them, of eight mebibytes or one block, for whoever
/// watches that it moves.
///
/// # Collective
///
/// # Errors
/// On all ranks alike, if the file is damaged, cannot be read, or is of another grid or record. The field is then
/// neither the old nor the new state.
pub fn restore<T: Scalar, const N: usize>(
    communicator: &Communicator,
    path: impl AsRef<Path>,
    tiling: &Tiling<N>,
    partition: &Partition,
    field: &mut Field<T, N>,
    tick: &dyn Fn(),
) -> Result<Header> {
    let whole = partition.blocks(communicator.rank()).eq(field.blocks());
    let missing = || Error::new(Kind::Internal, "the field has not the blocks of its rank");
    communicator.vote(whole.then_some(()).ok_or_else(missing))?;
    let opened = share(communicator, path.as_ref())?;
    let source = Source::new(&opened, tiling, field).map_err(|error| error.at_path(&opened.path));
    let source = communicator.vote(source)?;
    let checksums = hand_out(communicator, &opened, source.uses.keys())?;
    communicator.vote(source.fill(&checksums, field, tick))?;
    Ok(opened.header)
}

/// Opens a checkpoint on rank 0, which reads the metadata, and on the others as plain bytes.
fn share(communicator: &Communicator, path: &Path) -> Result<Opened> {
    let opened = communicator.is_root().then(|| Opened::open(path));
    let agreed = opened.as_ref().map(|opened| match opened {
        Ok(opened) => Ok((opened.header.clone(), opened.layout.clone())),
        Err(error) => Err(error.clone().on_rank(0)),
    });
    let (header, layout): (Header, Layout) = communicator.broadcast::<Result<_>>(0, agreed)??;
    communicator.vote(match opened {
        Some(opened) => opened,
        None => File::open(path).map_err(|cause| Error::io("open the checkpoint", path, &cause)).map(|file| Opened {
            path: path.to_owned(),
            file: DirectFile::new(file, false),
            header,
            layout,
            checksums: Vec::new(),
            costs: Vec::new(),
        }),
    })
}

/// The most checksums that the ranks are shown at once: a mebibyte.
const SHOWN_AT_ONCE: usize = 1 << 17;

/// The checksums of some blocks, component after component, in the order of the blocks.
///
/// Rank 0, which has all of them, shows them piece by piece, and each rank keeps those that it will need: what a rank holds
/// does not grow with the grid, and the file system is asked once.
fn hand_out<'c>(
    communicator: &Communicator,
    opened: &Opened,
    chunks: impl Iterator<Item = &'c usize> + Clone,
) -> Result<Vec<u64>> {
    let (blocks, mut kept) = (opened.layout.chunks as usize, Vec::new());
    for component in 0..opened.header.components.len() {
        let mut wanted = chunks.clone().peekable();
        for first in (0..blocks).step_by(SHOWN_AT_ONCE) {
            let past = blocks.min(first + SHOWN_AT_ONCE);
            let entries = opened.layout.entry(component, first)..opened.layout.entry(component, past);
            let all = communicator.is_root().then(|| bytemuck::cast_slice(&opened.checksums[entries]).to_vec());
            let mut shown = all.unwrap_or_default();
            communicator.broadcast_bytes(0, &mut shown)?;
            while let Some(&chunk) = wanted.next_if(|&&chunk| chunk < past) {
                kept.push(bytemuck::pod_read_unaligned(&shown[8 * (chunk - first)..][..8]));
            }
        }
    }
    Ok(kept)
}

/// What a rank reads of a checkpoint.
struct Source<'o, const N: usize> {
    opened: &'o Opened,
    /// The blocks of the file.
    stored: Tiling<N>,
    /// For each of its chunks that is read, the places of the patches here that share cells with it: each is read once, in the
    /// order of the file.
    uses: BTreeMap<usize, Vec<usize>>,
    /// Whether no other rank reads any of them: they are the blocks of this run.
    alone: bool,
}

impl<'o, const N: usize> Source<'o, N> {
    fn new<T: Scalar>(opened: &'o Opened, tiling: &Tiling<N>, field: &Field<T, N>) -> Result<Self> {
        check_same_shape(&opened.header, tiling, field)?;
        let stored = opened.header.tiling::<N>()?;
        let mut uses = BTreeMap::<usize, Vec<usize>>::new();
        for (index, patch) in field.patches().iter().enumerate() {
            for id in stored.blocks_overlapping(&patch.interior()) {
                uses.entry(stored.chunk(id)).or_default().push(index);
            }
        }
        let alone = stored.shape() == tiling.shape();
        Ok(Source { opened, stored, uses, alone })
    }

    /// Fills the patches of this rank; needs no other. While some blocks are checked and copied, the next ones are read.
    fn fill<T: Scalar>(&self, checksums: &[u64], field: &mut Field<T, N>, tick: &dyn Fn()) -> Result<()> {
        let Source { opened, stored, uses, alone } = self;
        let shape = stored.shape();
        let size: usize = shape.iter().product();
        let uses: Vec<_> = uses.iter().collect();
        let parts = || {
            let of_field = || parts_to_read(&uses, size * size_of::<T>(), |&(&chunk, _)| chunk);
            (0..opened.header.components.len()).flat_map(move |component| of_field().map(move |part| (component, part)))
        };
        let (read, to_check) = channel::<Result<Pages<T>>>();
        let (checked, to_read) = channel();
        // A block that is larger than a part takes no more memory than it must.
        let buffers = if size * size_of::<T>() > LARGEST_PART { 1 } else { 2 };
        for _ in 0..buffers {
            let _ = checked.send(Pages::default());
        }
        let reader = move || {
            // Whoever hears no more has met an error.
            for ((component, part), mut numbers) in parts().zip(to_read) {
                numbers.make_room(part.len() * size);
                let bytes = bytemuck::cast_slice_mut(&mut numbers);
                let outcome = opened.read_chunks(component, *part[0].0, bytes, *alone);
                if read.send(outcome.map(|()| numbers)).is_err() {
                    return;
                }
            }
        };
        std::thread::scope(move |scope| {
            let reading = std::thread::Builder::new().name("restore".into()).spawn_scoped(scope, reader);
            reading.map_err(|cause| Error::io("start the thread that reads the checkpoint", &opened.path, &cause))?;
            let mut checksums = checksums.iter();
            for ((component, part), numbers) in parts().zip(to_check) {
                tick();
                let numbers = numbers?;
                for ((&(&chunk, indices), block), &checksum) in
                    part.iter().zip(numbers.chunks(size)).zip(&mut checksums)
                {
                    opened.check_chunk(component, chunk, checksum, bytemuck::cast_slice(block))?;
                    let region = stored.region(stored.block_of_chunk(chunk));
                    for &index in indices {
                        copy_common(block, region, shape, component, &mut field.patches_mut()[index]);
                    }
                }
                let _ = checked.send(numbers);
            }
            match checksums.next() {
                None => Ok(()),
                Some(_) => Err(Error::new(Kind::Internal, "the thread that reads the checkpoint ended too early")),
            }
        })
    }
}

/// Copies the cells that a stored block has in common with a patch's interior, row by row.
pub(crate) fn copy_common<T: Scalar, const N: usize>(
    numbers: &[T],
    stored: Region<N>,
    shape: [usize; N],
    component: usize,
    patch: &mut Patch<T, N>,
) {
    let common = stored.intersect(&patch.interior());
    let (length, plane) = (common.extent()[0], patch.plane());
    let rows = patch.rows(&common);
    let target = &mut patch.data_mut()[component * plane..][..plane];
    for (row, cell) in rows.zip(common.rows()) {
        let from = (0..N).rev().fold(0, |at, a| at * shape[a] + (cell.0[a] - stored.lower[a]) as usize);
        target[row].copy_from_slice(&numbers[from..from + length]);
    }
}

/// Refuses a state of other cells, components or numbers than those of a field.
pub(crate) fn check_same_shape<T: Scalar, const N: usize>(
    header: &Header,
    tiling: &Tiling<N>,
    field: &Field<T, N>,
) -> Result<()> {
    let refused = |what: &str, stored: String, here: String| {
        Err(Error::new(Kind::Checkpoint, format!("the checkpoint has {what} {stored}, this run {here}"))
            .hint("continue with the case that the checkpoint was made with, or start afresh with --fresh"))
    };
    let cells = tiling.grid().cells();
    if header.cells != cells {
        return refused("a grid of", format!("{:?} cells", header.cells), format!("{cells:?}"));
    }
    if header.scalar != T::KIND {
        return refused("numbers of type", header.scalar.name().into(), T::KIND.name().into());
    }
    if header.components.len() != field.components() {
        let names: Vec<_> = header.components.iter().map(|component| component.name.as_str()).collect();
        return refused("the fields", names.join(", "), format!("has {} fields", field.components()));
    }
    Ok(())
}
