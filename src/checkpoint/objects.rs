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
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::error::{Error, Kind, Result};

/// The most bytes of metadata that are looked at; real checkpoints have some thousands, and a thousand for each field.
const BUDGET: u64 = 64 << 20;

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

/// A group with its members.
pub(super) struct Group {
    /// Its name, for people.
    place: &'static str,
    links: BTreeMap<Vec<u8>, Link>,
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

    /// The members of a group.
    pub fn group(&self, object: &Object, place: &'static str) -> Result<Group> {
        let mut links = BTreeMap::new();
        for body in object.all(message::LINK) {
            let (name, link) = read_link(&mut Words(body))?;
            links.insert(name.to_vec(), link);
        }
        if let Some(heap) = object.heap()? {
            self.read_heap(heap, &mut links)?;
        }
        Ok(Group { place, links })
    }

    /// The member of a group that a hard link leads to.
    pub fn member(&self, group: &Group, name: &str) -> Result<Object> {
        match group.links.get(name.as_bytes()) {
            Some(Link::Hard(address)) => self.object(*address),
            Some(Link::Elsewhere) => {
                Err(damaged(format!("{name} is a link that leads elsewhere; only what is in the file itself counts")))
            }
            None => Err(damaged(format!("{} has no member {name}", group.place))),
        }
    }

    /// The links of a group that has too many of them for its header, so that they lie in a heap.
    ///
    /// They lie there one after another as they were made, since nothing is ever removed from a checkpoint's groups.
    fn read_heap(&self, heap: u64, links: &mut BTreeMap<Vec<u8>, Link>) -> Result<()> {
        let bytes = self.bytes(heap, 142)?;
        let mut words = Words(&bytes);
        let marked = *words.take(5)? == *b"FRHP\0";
        let (_id_length, filters, flags) = (words.number(2)?, words.number(2)?, words.byte()?);
        words.take(4 + 12 * 8)?;
        let (width, first, largest) = (words.number(2)?, words.word()?, words.word()?);
        let (bits, _rows, root, rows) = (words.number(2)?, words.number(2)?, words.word()?, words.number(2)?);
        if !marked || filters != 0 || !first.is_power_of_two() || first > largest || largest > BUDGET {
            return Err(damaged(format!("the heap of links at {heap} is none")));
        }
        // A block begins with its mark, its version, the address of the heap, its own offset, and perhaps a checksum.
        let head = 13 + bits.div_ceil(8);
        let mut read_block = |address: u64, size: u64| -> Result<()> {
            let block = self.bytes(address, size)?;
            let mut words = Words(&block);
            if *words.take(5)? != *b"FHDB\0" {
                return Err(damaged(format!("there is no block of links at {address}")));
            }
            words.take(head as usize - 5 + if flags & 2 == 0 { 0 } else { 4 })?;
            // Behind the last link there are zeros.
            while words.0.first() == Some(&1) {
                let (name, link) = read_link(&mut words)?;
                links.insert(name.to_vec(), link);
            }
            Ok(())
        };
        if rows == 0 {
            return read_block(root, first);
        }
        let count = rows * width;
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
            if address != UNDEFINED && size > largest {
                return Err(damaged(format!("the heap of links at {heap} is too large")));
            }
            if address != UNDEFINED {
                read_block(address, size)?;
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of nothing but a superblock and a root group of these messages, and then these bytes.
    fn file(messages: &[(u8, Vec<u8>)], behind: &[u8]) -> (File, u64) {
        let mut bytes =
            [&b"\x89HDF\r\n\x1a\n\x02\x08\x08\0"[..], &0u64.to_le_bytes(), &UNDEFINED.to_le_bytes()].concat();
        bytes.extend([&48u64.to_le_bytes()[..], &48u64.to_le_bytes(), &[0; 4]].concat());
        let body = body(messages);
        bytes.extend(b"OHDR\x02\x02");
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend(body);
        bytes.extend([0; 4]);
        bytes.extend(behind);
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        (file, bytes.len() as u64)
    }

    fn body(messages: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let message =
            |(kind, body): &(u8, Vec<u8>)| [&[*kind][..], &(body.len() as u16).to_le_bytes(), &[0], body].concat();
        messages.iter().flat_map(message).collect()
    }

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// A link of the plainest form.
    fn link(name: &str, address: u64) -> (u8, Vec<u8>) {
        (message::LINK, [&[1, 0, name.len() as u8][..], name.as_bytes(), &address.to_le_bytes()].concat())
    }

    fn explained<T>(outcome: Result<T>, what: &str) {
        let error = outcome.err().expect("it is refused").to_string();
        assert!(error.contains(what), "{error}");
    }

    #[test]
    fn a_link_is_found_by_its_name_alone() {
        let (bytes, length) = file(&[link("a", 1), link("root", 48)], &[]);
        let (metadata, root) = Metadata::open(&bytes, length).unwrap();
        let root = metadata.group(&root, "/").unwrap();
        metadata.member(&root, "root").unwrap();
        explained(metadata.member(&root, "roo"), "/ has no member roo");
        explained(metadata.member(&root, "a"), "no object header at 1");
    }

    #[test]
    fn a_circle_of_parts_ends() {
        // The part that follows the root's header goes on with itself.
        let (_, start) = file(&[(message::CONTINUATION, words(&[0, 0]))], &[]);
        let own = body(&[(message::CONTINUATION, words(&[start, 28 + 4]))]);
        let behind = [&b"OCHK"[..], &own, &[0; 8]].concat();
        let (bytes, length) = file(&[(message::CONTINUATION, words(&[start, 28 + 4]))], &behind);
        explained(Metadata::open(&bytes, length), "its metadata have no");
    }

    #[test]
    fn what_reaches_beyond_the_file_is_refused() {
        for place in [[u64::MAX, 16], [1 << 40, 16], [u64::MAX - 4, u64::MAX - 4]] {
            let (bytes, length) = file(&[(message::CONTINUATION, words(&place))], &[]);
            explained(Metadata::open(&bytes, length), "its metadata have no");
        }
        for address in [u64::MAX, u64::MAX - 3, 1 << 40] {
            let (bytes, length) = file(&[link("a", address)], &[]);
            let (metadata, root) = Metadata::open(&bytes, length).unwrap();
            let root = metadata.group(&root, "/").unwrap();
            explained(metadata.member(&root, "a"), "its metadata have no");
        }
    }

    #[test]
    fn any_bytes_in_the_place_of_a_message_are_read_or_refused() {
        use crate::grid::{Cell, random};
        for seed in 0..2000 {
            let draw = |i: usize| (256.0 * random::uniform(seed, Cell([i as i64]))) as u8;
            let kinds = [message::LINK, message::LINK_INFO, message::ATTRIBUTE, message::CONTINUATION];
            let noise = (0..usize::from(draw(0)) % 48).map(|i| draw(i + 2) & draw(i + 60)).collect();
            let (bytes, length) = file(&[(kinds[usize::from(draw(1)) % 4], noise)], &[0; 64]);
            if let Ok((metadata, root)) = Metadata::open(&bytes, length) {
                let _ = (metadata.group(&root, "/").map(drop), root.attribute_u32("format"));
            }
        }
    }
}
