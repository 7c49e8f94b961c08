//! How a checkpoint is opened: what HDF5 says about the file is believed only where it is checked.
//!
//! HDF5 is asked where things lie and of what kind they are. Nothing is allocated or read before its size is known to fit
//! into the file, and no link is followed that leads elsewhere. Then the seal is checked, and with it every byte that HDF5
//! read; the blocks are checked when they are read.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use hdf5::dataset::Layout as Storage;
use hdf5::datatype::Datatype;
use hdf5::types::{FloatSize, IntSize, TypeDescriptor};
use hdf5::{Dataset, Group, LinkType};

use super::checksum;
use super::create::number;
use super::header::Header;
use super::layout::{FORMAT, Layout};
use crate::error::{Error, Kind, Result};
use crate::sys::hdf5::{link_type, open_for_reading};

/// The longest header that is read, in bytes; real ones have some thousands.
const LONGEST_HEADER: u64 = 64 << 20;

/// A checkpoint whose metadata, header, checksums and costs are known to be sound.
#[derive(Debug)]
pub(super) struct Opened {
    pub path: PathBuf,
    pub file: File,
    pub header: Header,
    pub layout: Layout,
    /// The checksums of all blocks, component after component.
    pub checksums: Vec<u64>,
    /// The costs of the blocks in the order of the chunks; empty where another rank opened it with HDF5.
    pub costs: Vec<f64>,
}

impl Opened {
    /// Opens a checkpoint and checks everything but the blocks.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_or_explain(path).map_err(|error| error.at_path(path))
    }

    fn open_or_explain(path: &Path) -> Result<Self> {
        let (file, layout, header) = read_layout(path)?;
        let read = |range| read_words(&file, range).map_err(|cause| Error::io("read the checkpoint", path, &cause));
        let seal = read(&layout.seal)?[0];
        let found =
            checksum::of_file(&file, &layout).map_err(|cause| Error::io("read the checkpoint", path, &cause))?;
        if seal != found {
            return Err(damaged(format!(
                "the seal does not fit: {seal:016x} is stored, the file gives {found:016x}; something but its blocks was \
                 changed after it was committed, by damage or by a tool that wrote to it"
            )));
        }
        let checksums = read(&layout.checksums)?;
        let costs = read(&layout.costs)?.into_iter().map(f64::from_bits).collect();
        Ok(Opened { path: path.to_owned(), file, header, layout, checksums, costs })
    }

    /// Reads one block of one component and checks it.
    pub fn read_chunk(&self, component: usize, chunk: usize, bytes: &mut [u8]) -> Result<()> {
        read_chunk(&self.file, &self.layout, component, chunk, bytes)
            .map_err(|cause| Error::io("read the checkpoint", &self.path, &cause))?;
        let found = checksum::of_block(&self.header, component, chunk, bytes);
        if found == self.checksums[self.layout.entry(component, chunk)] {
            return Ok(());
        }
        let cells = self.header.cells_of_chunk(chunk);
        let name = &self.header.components[component].name;
        Err(damaged(format!("block {chunk} of field {name} (cells {cells}) is damaged: its checksum does not fit"))
            .at_path(&self.path)
            .in_step(self.header.step))
    }
}

/// Reads the header of a checkpoint; its seal is checked, its blocks are not.
///
/// # Errors
/// If it is no checkpoint, or anything but its blocks is damaged.
pub fn read_header(path: impl AsRef<Path>) -> Result<Header> {
    Opened::open(path.as_ref()).map(|opened| opened.header)
}

/// Reads the bytes of one block of one component as they stand in the file.
pub(super) fn read_chunk(
    file: &File,
    layout: &Layout,
    component: usize,
    chunk: usize,
    bytes: &mut [u8],
) -> io::Result<()> {
    file.read_exact_at(bytes, layout.chunk(component, chunk).start)
}

fn read_words(file: &File, range: &Range<u64>) -> io::Result<Vec<u64>> {
    let mut words = vec![0u64; (range.end - range.start) as usize / 8];
    file.read_exact_at(bytemuck::cast_slice_mut(&mut words), range.start)?;
    Ok(words)
}

fn read_layout(path: &Path) -> Result<(File, Layout, Header)> {
    let refused = |cause: io::Error| Error::io("open the checkpoint", path, &cause);
    let metadata = std::fs::metadata(path).map_err(refused)?;
    if !metadata.is_file() {
        return Err(damaged("it is no regular file".into()));
    }
    let (file, length) = (File::open(path).map_err(refused)?, metadata.len());
    let library = open_for_reading(path)
        .map_err(|cause| damaged(format!("it is no HDF5 file, or its metadata is damaged: {}", first_line(&cause))))?;

    let own = group(&library, "checkpoint").map_err(|error| {
        error.hint("it may be an HDF5 file of another program; Steadfast's have a group /checkpoint")
    })?;
    let format = own.attr("format").and_then(|format| format.read_scalar::<u32>()).map_err(unreadable("format"))?;
    if format != FORMAT {
        return Err(Error::new(
            Kind::Checkpoint,
            format!("it has format {format}; this version reads format {FORMAT}"),
        )
        .hint("use the version of Steadfast that wrote it"));
    }
    let within = |start: Option<u64>, bytes: u64, what: &str| {
        let start = start.ok_or_else(|| damaged(format!("{what} has no place in the file")))?;
        let end = start.checked_add(bytes).filter(|&end| end <= length);
        let end = end.ok_or_else(|| damaged(format!("{what} reaches beyond the end of the file at {length} bytes")))?;
        Ok(start..end)
    };

    let text = dataset(&own, "header", Storage::Contiguous)?;
    let header = match kind(&text)? {
        TypeDescriptor::FixedUnicode(size) if text.is_scalar() && size as u64 <= LONGEST_HEADER => {
            within(text.offset(), size as u64, "the header")?
        }
        other => return Err(damaged(format!("the header is of type {other}, not one string"))),
    };
    let mut json = vec![0; (header.end - header.start) as usize];
    file.read_exact_at(&mut json, header.start).map_err(refused)?;
    let parsed: Header =
        serde_json::from_slice(&json).map_err(|cause| damaged(format!("the header cannot be understood: {cause}")))?;
    parsed.check()?;

    let (blocks, components) = (parsed.blocks(), parsed.components.len());
    let table = |name: &str, scalar: TypeDescriptor, shape: &[usize]| {
        let table = dataset(&own, name, Storage::Contiguous)?;
        expect(&table, name, &scalar, shape)?;
        within(table.offset(), shape.iter().map(|&n| n as u64).product::<u64>().saturating_mul(8), name)
    };
    let layout = Layout {
        length,
        chunks: blocks as u64,
        chunk_bytes: parsed.chunk_bytes(),
        checksums: table("checksums", TypeDescriptor::Unsigned(IntSize::U8), &[components, blocks])?,
        costs: table("costs", TypeDescriptor::Float(FloatSize::U8), &[blocks])?,
        seal: table("seal", TypeDescriptor::Unsigned(IntSize::U8), &[1])?,
        fields: read_field_starts(&library, &parsed)?,
        header,
    };
    if layout.sealed().is_none() {
        return Err(damaged(format!("its parts overlap or reach beyond the end of the file at {length} bytes")));
    }
    Ok((file, layout, parsed))
}

fn read_field_starts(library: &hdf5::File, header: &Header) -> Result<Vec<u64>> {
    let fields = group(library, "fields")?;
    let shape: Vec<usize> = header.cells.iter().rev().copied().collect();
    let block: Vec<usize> = header.block.iter().rev().copied().collect();
    let last = header.blocks() - 1;
    let starts = header.components.iter().map(|component| {
        let (name, bytes) = (component.name.as_str(), header.chunk_bytes());
        let field = dataset(&fields, name, Storage::Chunked)?;
        expect(&field, name, &number(header.scalar), &shape)?;
        let chunk = |index| field.chunk_info(index).filter(|info| info.size == bytes && info.filter_mask == 0);
        match (chunk(0), chunk(last)) {
            (Some(first), Some(end))
                if field.chunk().as_ref() == Some(&block)
                    && Some(end.addr) == first.addr.checked_add(last as u64 * bytes) =>
            {
                Ok(first.addr)
            }
            _ => Err(rewritten(format!("the chunks of field {name} do not lie one after another, each a block"))),
        }
    });
    starts.collect()
}

/// A group that a hard link leads to.
fn group(parent: &Group, name: &str) -> Result<Group> {
    hard(parent, name)?;
    parent.group(name).map_err(unreadable(name))
}

/// A dataset that a hard link leads to, stored within this file and without filters.
fn dataset(parent: &Group, name: &str, storage: Storage) -> Result<Dataset> {
    hard(parent, name)?;
    let dataset = parent.dataset(name).map_err(unreadable(name))?;
    let creation = dataset.dcpl().map_err(unreadable(name))?;
    if dataset.layout() != storage || !dataset.filters().is_empty() || !creation.external().is_empty() {
        return Err(rewritten(format!("{name} is not stored plainly")));
    }
    Ok(dataset)
}

fn hard(parent: &Group, name: &str) -> Result<()> {
    match link_type(parent, name).map_err(unreadable(name))? {
        Some(LinkType::Hard) => Ok(()),
        Some(_) => {
            Err(damaged(format!("{name} is a link that leads elsewhere; only what is in the file itself counts")))
        }
        None => Err(damaged(format!("{} has no member {name}", parent.name()))),
    }
}

fn kind(dataset: &Dataset) -> Result<TypeDescriptor> {
    dataset.dtype().and_then(|dtype| dtype.to_descriptor()).map_err(unreadable("a type"))
}

fn expect(dataset: &Dataset, name: &str, scalar: &TypeDescriptor, shape: &[usize]) -> Result<()> {
    let found = kind(dataset)?;
    if &found != scalar || dataset.shape() != shape {
        let found = (found, dataset.shape());
        return Err(damaged(format!("{name} has {} of shape {:?}, not {scalar} of {shape:?}", found.0, found.1)));
    }
    let native = Datatype::from_descriptor(scalar).map_err(unreadable(name))?.byte_order();
    let order = dataset.dtype().map_err(unreadable(name))?.byte_order();
    if order != native {
        return Err(Error::new(Kind::Checkpoint, format!("{name} has the byte order of another kind of machine"))
            .hint("restart on the kind of machine that wrote it"));
    }
    Ok(())
}

fn unreadable(what: &str) -> impl Fn(hdf5::Error) -> Error {
    let what = what.to_owned();
    move |cause| damaged(format!("HDF5 cannot read {what}: {}", first_line(&cause)))
}

/// HDF5 repeats what it says once for each of its layers; the first line tells enough.
fn first_line(cause: &hdf5::Error) -> String {
    cause.to_string().lines().next().unwrap_or_default().to_owned()
}

fn damaged(message: String) -> Error {
    Error::new(Kind::Checkpoint, message).hint("use the checkpoint before it")
}

fn rewritten(message: String) -> Error {
    Error::new(Kind::Checkpoint, message)
        .hint("a tool such as h5repack has rewritten the file; only the original restarts a run")
}
