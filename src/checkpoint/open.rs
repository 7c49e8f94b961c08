//! How a checkpoint is opened: what the file says about itself is believed only where it is checked.
//!
//! Its metadata say where things lie and of what kind they are; they are read without HDF5 ([`super::objects`]), so that no
//! file can crash it. Nothing is allocated or read before its size is known to fit into the file, and no link is followed
//! that leads elsewhere. Then the seal is checked, and with it every byte that was read; the blocks are checked when they are
//! read.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::checksum;
use super::header::Header;
use super::layout::{FORMAT, Layout};
use super::objects::{Group, Metadata, damaged, rewritten};
use super::stored::{Stored, StoredKind};
use crate::error::{Error, Kind, Result};
use crate::field::{Component, ScalarKind};
use crate::sys::direct::DirectFile;

/// The longest header that is read, in bytes; real ones have some thousands.
const LONGEST_HEADER: u64 = 64 << 20;

/// The most checksums that are read, which must find room in the memory of one rank.
const MOST_ENTRIES: u64 = 1 << 30;

/// The most bytes of metadata and gaps: HDF5's own, and for each field its description and what aligns it.
const MOST_BESIDES: u64 = 1 << 20;
const MOST_BESIDES_A_FIELD: u64 = 16 << 10;

/// A checkpoint whose metadata, header, checksums and costs are known to be sound.
#[derive(Debug)]
pub(super) struct Opened {
    pub path: PathBuf,
    pub file: DirectFile,
    pub header: Header,
    pub layout: Layout,
    /// The checksums of all blocks, component after component; empty where another rank read the metadata.
    pub checksums: Vec<u64>,
    /// The costs of the blocks in the order of the chunks; empty where another rank read the metadata.
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
        let found = checksum::of_file(|bytes, at| file.read_exact_at(bytes, at), &layout)
            .map_err(|cause| Error::io("read the checkpoint", path, &cause))?;
        if seal != found {
            return Err(damaged(format!(
                "the seal does not fit: {seal:016x} is stored, the file gives {found:016x}; something but its blocks was \
                 changed after it was committed, by damage or by a tool that wrote to it"
            )));
        }
        let checksums = read(&layout.checksums)?;
        let costs = read(&layout.costs)?.into_iter().map(f64::from_bits).collect();
        Ok(Opened { path: path.to_owned(), file: DirectFile::new(file, false), header, layout, checksums, costs })
    }

    /// Reads one block of one component and checks it.
    pub fn read_chunk(&self, component: usize, chunk: usize, bytes: &mut [u8]) -> Result<()> {
        self.read_chunks(component, chunk, bytes, false)?;
        self.check_chunk(component, chunk, self.checksums[self.layout.entry(component, chunk)], bytes)
    }

    /// Reads blocks of one component that follow each other in the file, from the first on; those that nobody else reads go
    /// past the page cache where that can be.
    pub fn read_chunks(&self, component: usize, first: usize, bytes: &mut [u8], alone: bool) -> Result<()> {
        let at = self.layout.chunk(component, first).start;
        let read = if alone { self.file.read_exact_at(bytes, at) } else { self.file.cached().read_exact_at(bytes, at) };
        read.map_err(|cause| Error::io("read the checkpoint", &self.path, &cause))
    }

    /// Compares what was read of one block of one component with its checksum.
    pub fn check_chunk(&self, component: usize, chunk: usize, checksum: u64, bytes: &[u8]) -> Result<()> {
        if checksum::of_block(&self.header, component, chunk, bytes) == checksum {
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

fn read_words(file: &File, range: &Range<u64>) -> io::Result<Vec<u64>> {
    let mut words = vec![0u64; (range.end - range.start) as usize / 8];
    file.read_exact_at(bytemuck::cast_slice_mut(&mut words), range.start)?;
    Ok(words)
}

/// Opens a file and finds its parts, without looking at any block.
pub(super) fn read_layout(path: &Path) -> Result<(File, Layout, Header)> {
    let refused = |cause: io::Error| Error::io("open the checkpoint", path, &cause);
    let found = std::fs::metadata(path).map_err(refused)?;
    if !found.is_file() {
        return Err(damaged("it is no regular file".into()));
    }
    let (file, length) = (File::open(path).map_err(refused)?, found.len());
    let (metadata, root) = Metadata::open(&file, length)?;

    let root = metadata.group(&root, "/")?;
    let own = metadata.member(&root, "checkpoint").map_err(|error| {
        error.hint("it may be an HDF5 file of another program; Steadfast's have a group /checkpoint")
    })?;
    let format = own.attribute_u32("format")?;
    if format != FORMAT {
        // It may be intact: not damage, and not to be set aside.
        return Err(Error::new(Kind::Run, format!("it has format {format}; this version reads format {FORMAT}"))
            .hint("use the version of Steadfast that wrote it"));
    }
    let own = metadata.group(&own, "/checkpoint")?;
    let dataset = |group: &Group, name: &str| metadata.member(group, name).and_then(|object| Stored::of(&object, name));
    let within = |start: u64, bytes: u64, what: &str| {
        let end = start.checked_add(bytes).filter(|&end| end <= length);
        let end = end.ok_or_else(|| damaged(format!("{what} reaches beyond the end of the file at {length} bytes")))?;
        Ok(start..end)
    };

    let text = dataset(&own, "header")?;
    let header = match text {
        Stored { kind: StoredKind::Text(size @ ..=LONGEST_HEADER), block: None, start, .. }
            if text.shape.is_empty() =>
        {
            within(start, size, "the header")?
        }
        _ => return Err(damaged(format!("the header is {text}, not one text"))),
    };
    let mut json = vec![0; (header.end - header.start) as usize];
    file.read_exact_at(&mut json, header.start).map_err(refused)?;
    let parsed: Header =
        serde_json::from_slice(&json).map_err(|cause| damaged(format!("the header cannot be understood: {cause}")))?;
    parsed.check()?;

    let (blocks, components) = (parsed.blocks() as u64, parsed.components.len() as u64);
    if components.saturating_mul(blocks) > MOST_ENTRIES {
        let count = format!("{components} times {blocks} checksums; the most is {MOST_ENTRIES}");
        return Err(damaged(format!("the header asks for {count}")));
    }
    let table = |name: &str, kind: StoredKind, shape: &[u64]| {
        let table = dataset(&own, name)?;
        expect(&table, name, kind, shape)?;
        if table.block.is_some() {
            return Err(rewritten(format!("{name} is not stored plainly")));
        }
        within(table.start, shape.iter().fold(8, |bytes: u64, &count| bytes.saturating_mul(count)), name)
    };
    let fields = metadata.group(&metadata.member(&root, "fields")?, "/fields")?;
    let (shape, block) = (array_order(&parsed.cells), array_order(&parsed.block));
    let start = |component: &Component| {
        let name = component.name.as_str();
        let field = dataset(&fields, name)?;
        expect(&field, name, StoredKind::Number(parsed.scalar), &shape)?;
        match field.block {
            Some(own) if own == block => Ok(field.start),
            _ => Err(rewritten(format!("the chunks of field {name} do not lie one after another, each a block"))),
        }
    };
    let layout = Layout {
        length,
        chunks: blocks,
        chunk_bytes: parsed.chunk_bytes(),
        checksums: table("checksums", StoredKind::Word, &[components, blocks])?,
        costs: table("costs", StoredKind::Number(ScalarKind::F64), &[blocks])?,
        seal: table("seal", StoredKind::Word, &[1])?,
        fields: parsed.components.iter().map(start).collect::<Result<_>>()?,
        header,
    };
    let Some(sealed) = layout.sealed() else {
        return Err(damaged(format!("its parts overlap or reach beyond the end of the file at {length} bytes")));
    };
    // All of it is read to find the seal, and a file can be longer than any disk.
    let known =
        [&layout.header, &layout.checksums, &layout.costs].map(|range| range.end - range.start).iter().sum::<u64>();
    let scales: u64 = parsed.cells.iter().map(|&cells| 8 * cells as u64).sum();
    let most = known + scales + MOST_BESIDES + components * MOST_BESIDES_A_FIELD;
    let found: u64 = sealed.iter().map(|range| range.end - range.start).sum();
    if found > most {
        return Err(damaged(format!(
            "{found} of its bytes are neither blocks nor tables; there can be {most} at most"
        )));
    }
    Ok((file, layout, parsed))
}

/// A number for each axis in the order of arrays, [z, y, x].
fn array_order(numbers: &[usize]) -> Vec<u64> {
    numbers.iter().rev().map(|&number| number as u64).collect()
}

fn expect(dataset: &Stored, name: &str, kind: StoredKind, shape: &[u64]) -> Result<()> {
    if dataset.kind == kind && dataset.shape == shape {
        return Ok(());
    }
    Err(damaged(format!("{name} has {dataset}, not {kind} of shape {shape:?}")))
}
