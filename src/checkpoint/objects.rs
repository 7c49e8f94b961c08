//! How the groups and datasets of a checkpoint are found, without HDF5.
//!
//! A file may come from anywhere, and libraries that read everything crash on files that were made for it (1.10.8 does, on
//! one in a hundred whose metadata was changed with its checksums made to fit). A checkpoint needs only the few forms of
//! metadata that its writer has HDF5 write: those are read here, in safe Rust, within a budget of bytes; whatever else a file
//! has is passed over, or refused where it matters.
//!
//! # Sources
//! HDF5 File Format Specification Version 3.0: II.A superblock, III.G fractal heap, IV.A object headers and messages.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::error::{Error, Kind, Result};

/// The most bytes of metadata that are looked at; real checkpoints have some thousands, and some hundred for each field.
const BUDGET: u64 = 16 << 20;

/// Stands for no address.
const UNDEFINED: u64 = u64::MAX;

/// The kinds of message that matter.
pub(super) mod message {
    pub const DATASPACE: u8 = 0x01;
    pub const LINK_INFO: u8 = 0x02;
    pub const DATATYPE: u8 = 0x03;
    pub const LINK: u8 = 0x06;
    pub const EXTERNAL_FILES: u8 = 0x07;
    pub const LAYOUT: u8 = 0x08;
    pub const FILTERS: u8 = 0x0b;
    pub const ATTRIBUTE: u8 = 0x0c;
    pub const CONTINUATION: u8 = 0x10;
    pub const SYMBOL_TABLE: u8 = 0x11;
}

/// A file whose metadata are read.
pub(super) struct Metadata<'f> {
    file: &'f File,
    length: u64,
    budget: Cell<u64>,
}

/// A group or a dataset: its messages.
pub(super) struct Object {
    messages: Vec<(u8, Vec<u8>)>,
}

/// Where a member of a group lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Hard(u64),
    Elsewhere,
}

impl<'f> Metadata<'f> {
    /// The metadata of a file of this length, and its root group.
    ///
    /// # Errors
    /// If it is no HDF5 file of the kind that checkpoints are.
    pub fn open(file: &'f File, length: u64) -> Result<(Self, Object)> {
        let metadata = Metadata { file, length, budget: Cell::new(BUDGET) };
        let superblock = metadata.bytes(0, 48).ok().filter(|start| start.starts_with(b"\x89HDF\r\n\x1a\n"));
        let superblock = superblock.ok_or_else(|| damaged("it is no HDF5 file".into()))?;
        if !(2..=3).contains(&superblock[8]) {
            return Err(rewritten("its metadata are of a kind that checkpoints do not have".into()));
        }
        let mut words = Words(&superblock[9..44]);
        let (sizes, _flags) = ([words.byte()?, words.byte()?], words.byte()?);
        let [base, _extension, end, root] = [words.word()?, words.word()?, words.word()?, words.word()?];
        if sizes != [8, 8] || base != 0 || end > length {
            return Err(damaged(format!("the superblock tells of {end} bytes from {base}, the file has {length}")));
        }
        let root = metadata.object(root)?;
        Ok((metadata, root))
    }

    /// The group or dataset at an address.
    pub fn object(&self, address: u64) -> Result<Object> {
        let prefix = self.bytes(address, 6)?;
        if prefix[..5] != *b"OHDR\x02" {
            return Err(damaged(format!("there is no object header at {address}")));
        }
        let flags = prefix[5];
        let skipped = if flags & 0x20 == 0 { 0 } else { 16 } + if flags & 0x10 == 0 { 0 } else { 4 };
        let at = address + 6 + skipped;
        let width = 1 << (flags & 3);
        let size = Words(&self.bytes(at, width)?).number(width as usize)?;
        let mut object = Object { messages: Vec::new() };
        let mut parts = vec![self.bytes(at + width, size)?];
        while let Some(part) = parts.pop() {
            let mut words = Words(&part);
            // What is too short for a message is a gap.
            let head = if flags & 4 == 0 { 4 } else { 6 };
            while words.0.len() >= head {
                let (kind, size) = (words.byte()?, words.number(2)? as usize);
                words.take(head - 3)?;
                let body = words.take(size)?;
                if kind == message::CONTINUATION {
                    let mut place = Words(body);
                    let (at, length) = (place.word()?, place.word()?);
                    let inner = length.checked_sub(8).ok_or_else(|| damaged("an object header is cut off".into()))?;
                    if *self.bytes(at, 4)? != *b"OCHK" {
                        return Err(damaged(format!("there is no object header to go on with at {at}")));
                    }
                    parts.push(self.bytes(at + 4, inner)?);
                } else if kind != 0 {
                    object.messages.push((kind, body.to_vec()));
                }
            }
        }
        Ok(object)
    }

    /// The member of a group that a hard link leads to.
    pub fn member(&self, group: &Object, place: &str, name: &str) -> Result<Object> {
        let mut found = None;
        for body in group.all(message::LINK) {
            let (own, link) = read_link(&mut Words(body))?;
            if own == name.as_bytes() {
                found = Some(link);
            }
        }
        if found.is_none()
            && let Some(heap) = group.heap()?
        {
            found = self.look_up(heap, name)?;
        }
        match found {
            Some(Link::Hard(address)) => self.object(address),
            Some(Link::Elsewhere) => {
                Err(damaged(format!("{name} is a link that leads elsewhere; only what is in the file itself counts")))
            }
            None => Err(damaged(format!("{place} has no member {name}"))),
        }
    }

    /// A link of a group that has too many of them for its header, so that they lie in a heap.
    ///
    /// They lie there one after another as they were made, since nothing is ever removed from a checkpoint's groups.
    fn look_up(&self, heap: u64, name: &str) -> Result<Option<Link>> {
        let bytes = self.bytes(heap, 142)?;
        let mut words = Words(&bytes);
        let sound = *words.take(5)? == *b"FRHP\0";
        let (_id_length, filters, flags) = (words.number(2)?, words.number(2)?, words.byte()?);
        words.take(4 + 12 * 8)?;
        let (width, first, largest) = (words.number(2)?, words.word()?, words.word()?);
        let (bits, _rows, root, rows) = (words.number(2)?, words.number(2)?, words.word()?, words.number(2)?);
        if !sound || filters != 0 || !first.is_power_of_two() || first > largest || largest > BUDGET {
            return Err(damaged(format!("the heap of links at {heap} is none")));
        }
        // A block begins with its mark, its version, the address of the heap, its own offset, and perhaps a checksum.
        let head = 13 + bits.div_ceil(8);
        let direct = |address: u64, size: u64| -> Result<Option<Link>> {
            let block = self.bytes(address, size)?;
            let mut words = Words(&block);
            let marked = *words.take(5)? == *b"FHDB\0";
            words.take(head as usize - 5 + if flags & 2 == 0 { 0 } else { 4 })?;
            // Behind the last link there are zeros.
            while marked && words.0.first() == Some(&1) {
                let (own, link) = read_link(&mut words)?;
                if own == name.as_bytes() {
                    return Ok(Some(link));
                }
            }
            Ok(None)
        };
        if rows == 0 {
            return direct(root, first);
        }
        let count = rows.checked_mul(width).filter(|&count| count <= BUDGET / 8);
        let count = count.ok_or_else(|| damaged(format!("the heap of links at {heap} is too large")))?;
        let table = self.bytes(root, head + 8 * count)?;
        let mut words = Words(&table);
        if *words.take(5)? != *b"FHIB\0" {
            return Err(damaged(format!("the heap of links at {heap} has no table")));
        }
        words.take(head as usize - 5)?;
        for place in 0..count {
            // The first two rows have blocks of the first size, each row after them of twice that of the one before.
            let size = first.checked_shl((place / width).saturating_sub(1) as u32).unwrap_or(u64::MAX);
            let address = words.word()?;
            if address != UNDEFINED
                && size <= largest
                && let Some(link) = direct(address, size)?
            {
                return Ok(Some(link));
            }
        }
        Ok(None)
    }

    /// Bytes of the file, if they are there and the budget has them.
    fn bytes(&self, at: u64, length: u64) -> Result<Vec<u8>> {
        let within = at.checked_add(length).is_some_and(|end| end <= self.length);
        // Each look costs something, so that no circle of empty parts goes on for ever.
        let left = self.budget.get().checked_sub(length.saturating_add(8));
        let (true, Some(left)) = (within, left) else {
            return Err(damaged(format!("its metadata have no {length} bytes at {at}")));
        };
        self.budget.set(left);
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, at).map_err(|cause| damaged(format!("it cannot be read: {cause}")))?;
        Ok(bytes)
    }
}

impl Object {
    /// The bodies of all messages of a kind.
    pub fn all(&self, kind: u8) -> impl Iterator<Item = &[u8]> {
        self.messages.iter().filter(move |(own, _)| *own == kind).map(|(_, body)| &body[..])
    }

    /// The body of the one message of a kind.
    pub fn one(&self, kind: u8, what: &str) -> Result<&[u8]> {
        let mut all = self.all(kind);
        match (all.next(), all.next()) {
            (Some(body), None) => Ok(body),
            _ => Err(damaged(format!("{what} is not said once"))),
        }
    }

    /// Whether there is a message of a kind.
    pub fn has(&self, kind: u8) -> bool {
        self.all(kind).next().is_some()
    }

    /// An attribute that is one u32.
    pub fn attribute_u32(&self, name: &str) -> Result<u32> {
        let missing = || damaged(format!("it has no attribute {name} that is a number"));
        let read = |body: &[u8]| -> Result<Option<u32>> {
            let mut words = Words(body);
            let (version, _flags) = (words.byte()?, words.byte()?);
            let [length, datatype, dataspace] = [words.number(2)?, words.number(2)?, words.number(2)?];
            words.take(1)?;
            let own = words.take(length as usize)?;
            let kind = words.take(datatype as usize)?;
            words.take(dataspace as usize)?;
            let own = own.strip_suffix(b"\0").unwrap_or(own);
            // An unsigned little-endian integer of four bytes.
            let fits = version == 3 && own == name.as_bytes() && kind.starts_with(&[0x10, 0, 0, 0, 4, 0, 0, 0]);
            if fits { Ok(Some(words.number(4)? as u32)) } else { Ok(None) }
        };
        self.all(message::ATTRIBUTE).find_map(|body| read(body).ok().flatten()).ok_or_else(missing)
    }

    /// Where the heap of the group's links lies, if it has one.
    fn heap(&self) -> Result<Option<u64>> {
        if self.has(message::SYMBOL_TABLE) {
            return Err(damaged("its groups are of the old kind".into()));
        }
        let Some(body) = self.all(message::LINK_INFO).next() else { return Ok(None) };
        let mut words = Words(body);
        let (_version, flags) = (words.byte()?, words.byte()?);
        words.take(if flags & 1 == 0 { 0 } else { 8 })?;
        Ok(Some(words.word()?).filter(|&heap| heap != UNDEFINED))
    }
}

/// The name and the target of a link.
fn read_link<'b>(words: &mut Words<'b>) -> Result<(&'b [u8], Link)> {
    let (version, flags) = (words.byte()?, words.byte()?);
    let kind = if flags & 8 == 0 { 0 } else { words.byte()? };
    words.take(if flags & 4 == 0 { 0 } else { 8 } + if flags & 0x10 == 0 { 0 } else { 1 })?;
    let length = words.number(1 << (flags & 3))?;
    let name = words.take(usize::try_from(length).unwrap_or(usize::MAX))?;
    match (version, kind) {
        (1, 0) => Ok((name, Link::Hard(words.word()?))),
        (1, _) => {
            let length = words.number(2)?;
            words.take(length as usize)?;
            Ok((name, Link::Elsewhere))
        }
        _ => Err(damaged(format!("a link is of version {version}"))),
    }
}

/// Little-endian numbers one after another.
pub(super) struct Words<'b>(pub &'b [u8]);

impl<'b> Words<'b> {
    /// The next bytes.
    pub fn take(&mut self, count: usize) -> Result<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(|| damaged("its metadata break off".into()))?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next number, of so many bytes, 8 at most.
    pub fn number(&mut self, width: usize) -> Result<u64> {
        Ok(self.take(width)?.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// The next 8 bytes.
    pub fn word(&mut self) -> Result<u64> {
        self.number(8)
    }
}

/// The error that a tool has written the file anew.
pub(super) fn rewritten(message: String) -> Error {
    Error::new(Kind::Checkpoint, message)
        .hint("a tool such as h5repack has rewritten the file; only the original restarts a run")
}

/// The error that the metadata are not as Steadfast has HDF5 write them.
pub(super) fn damaged(message: String) -> Error {
    Error::new(Kind::Checkpoint, message).hint("use the checkpoint before it")
}
