//! What a dataset of a checkpoint holds, and where in the file: read from its messages, and refused where it is not plain.

use std::fmt;

use super::objects::{Object, Words, damaged, message, rewritten};
use crate::error::{Error, Kind, Result};
use crate::field::ScalarKind;

/// A dataset that lies in the file in one piece, or in blocks one after another.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// The number of entries along each axis; none for a single value.
    pub shape: Vec<u64>,
    /// The type of an entry.
    pub kind: StoredKind,
    /// Where the first byte lies.
    pub start: u64,
    /// The entries of a block along each axis, if it is stored in blocks.
    pub block: Option<Vec<u64>>,
}

/// The type of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoredKind {
    /// A number of this machine's byte order.
    Number(ScalarKind),
    /// An unsigned word of 8 bytes.
    Word,
    /// A UTF-8 text of so many bytes.
    Text(u64),
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of shape {:?}", self.kind, self.shape)
    }
}

impl fmt::Display for StoredKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoredKind::Number(kind) => f.write_str(kind.name()),
            StoredKind::Word => f.write_str("u64"),
            StoredKind::Text(bytes) => write!(f, "text of {bytes} bytes"),
        }
    }
}

/// Stands for no address.
const UNDEFINED: u64 = u64::MAX;

impl Stored {
    /// Reads what a dataset's messages say.
    ///
    /// # Errors
    /// If its type is none of a checkpoint's, or its numbers lie elsewhere, are filtered, or have an index.
    pub fn of(object: &Object, name: &str) -> Result<Self> {
        let plainly = || rewritten(format!("{name} is not stored plainly"));
        if !object.has(message::LAYOUT) {
            return Err(damaged(format!("{name} is no dataset")));
        }
        if object.has(message::FILTERS) || object.has(message::EXTERNAL_FILES) {
            return Err(plainly());
        }
        let shape = shape(object.one(message::DATASPACE, "the shape")?)
            .ok_or_else(|| damaged(format!("{name} has no fixed shape")))?;
        let kind = kind(object.one(message::DATATYPE, "the type")?, name)?;
        let (start, block) = place(object.one(message::LAYOUT, "the layout")?)?.ok_or_else(plainly)?;
        if start == UNDEFINED {
            return Err(damaged(format!("{name} has no place in the file")));
        }
        Ok(Stored { shape, kind, start, block })
    }
}

/// The shape of a fixed dataspace.
fn shape(body: &[u8]) -> Option<Vec<u64>> {
    let mut words = Words(body);
    let mut read = || Ok::<_, Error>([words.byte()?, words.byte()?, words.byte()?, words.byte()?]);
    let [version, rank, flags, class] = read().ok()?;
    if version != 2 || rank > 3 || class > 1 || (class == 0 && rank != 0) {
        return None;
    }
    let shape: Vec<u64> = (0..rank).map(|_| words.word().ok()).collect::<Option<_>>()?;
    let most: Option<Vec<u64>> = if flags & 1 == 0 { None } else { (0..rank).map(|_| words.word().ok()).collect() };
    // A shape that can grow needs an index.
    (flags & 1 == 0 || most.as_ref() == Some(&shape)).then_some(shape)
}

/// The type of an entry.
fn kind(body: &[u8], name: &str) -> Result<StoredKind> {
    let unknown = || damaged(format!("{name} is of a type that no checkpoint has"));
    let mut words = Words(body);
    let (class, bits, size) = (words.byte()?, words.number(3)?, words.number(4)?);
    let rest = words.0;
    // A float's bits say the byte order and where the sign is; the rest where exponent and fraction are.
    let is_float = |sign: u64, form: &[u8]| bits & !1 == 0x20 | sign << 8 && rest.starts_with(form);
    let number = match (class & 0x0f, size) {
        (0, 8) if bits & !1 == 0 => StoredKind::Word,
        (0, 8) if bits & !1 == 8 => StoredKind::Number(ScalarKind::I64),
        (0, 4) if bits & !1 == 8 => StoredKind::Number(ScalarKind::I32),
        (0, 1) if bits & !1 == 0 => StoredKind::Number(ScalarKind::U8),
        (1, 8) if is_float(63, &[0, 0, 64, 0, 52, 11, 0, 52, 0xff, 3, 0, 0]) => StoredKind::Number(ScalarKind::F64),
        (1, 4) if is_float(31, &[0, 0, 32, 0, 23, 8, 0, 23, 127, 0, 0, 0]) => StoredKind::Number(ScalarKind::F32),
        (3, _) if bits & 0xf0 == 0x10 => return Ok(StoredKind::Text(size)),
        _ => return Err(unknown()),
    };
    if class & 0x0f == 0 && !rest.starts_with(&[0, 0, 8 * size as u8, 0]) {
        return Err(unknown());
    }
    if size > 1 && (bits & 1 == 1) != cfg!(target_endian = "big") {
        // It may be intact: not damage, and not to be set aside.
        return Err(Error::new(Kind::Run, format!("{name} has the byte order of another kind of machine"))
            .hint("restart on the kind of machine that wrote it"));
    }
    Ok(number)
}

/// Where a dataset lies, and its blocks if it has some; `None` if it has an index or lies elsewhere.
fn place(body: &[u8]) -> Result<Option<(u64, Option<Vec<u64>>)>> {
    let mut words = Words(body);
    let (version, class) = (words.byte()?, words.byte()?);
    if !(3..=4).contains(&version) {
        return Ok(None);
    }
    match class {
        1 => Ok(Some((words.word()?, None))),
        2 if version == 4 => {
            let (flags, axes, width) = (words.byte()?, words.byte()?, words.byte()?);
            if !(2..=4).contains(&axes) || !(1..=8).contains(&width) {
                return Ok(None);
            }
            let mut block: Vec<u64> = (0..axes).map(|_| words.number(width.into())).collect::<Result<_>>()?;
            // Behind the axes stands the size of an entry.
            block.pop();
            let index = words.byte()?;
            // One block alone, or blocks in order: neither has an index. Flag 2 says that the one is filtered.
            let plain = index == 2 || (index == 1 && flags & 2 == 0);
            if plain { Ok(Some((words.word()?, Some(block)))) } else { Ok(None) }
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The type of a double as HDF5 describes it on the machines of today.
    const DOUBLE: [u8; 20] = [0x11, 0x20, 63, 0, 8, 0, 0, 0, 0, 0, 64, 0, 52, 11, 0, 52, 0xff, 3, 0, 0];

    #[test]
    fn a_type_is_taken_only_if_every_part_of_it_is_known() {
        assert_eq!(kind(&DOUBLE, "u").unwrap(), StoredKind::Number(ScalarKind::F64));
        for place in 0..DOUBLE.len() {
            let mut other = DOUBLE;
            other[place] ^= 2;
            // The high half of the first byte is the version of the description, which changes nothing here.
            assert!(kind(&other, "u").is_err(), "byte {place}");
        }
    }

    #[test]
    fn numbers_in_the_byte_order_of_other_machines_are_refused_with_the_reason() {
        let mut other = DOUBLE;
        other[1] |= 1;
        let error = kind(&other, "u").unwrap_err().to_string();
        assert!(error.contains("the byte order of another kind of machine"), "{error}");
    }

    #[test]
    fn a_shape_that_can_grow_is_none() {
        let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let body = |flags: u8, axes: &[u64]| [&[2, 2, flags, 1][..], &words(axes)].concat();
        assert_eq!(shape(&body(0, &[3, 4])), Some(vec![3, 4]));
        assert_eq!(shape(&body(1, &[3, 4, 3, 4])), Some(vec![3, 4]));
        assert_eq!(shape(&body(1, &[3, 4, 3, u64::MAX])), None);
        assert_eq!(shape(&body(1, &[3, 4])), None, "it breaks off");
        assert_eq!(shape(&[2, 0, 0, 0]), Some(vec![]));
        assert_eq!(shape(&[2, 0, 0, 2]), None, "an empty one has no value");
    }

    #[test]
    fn a_dataset_with_an_index_has_no_plain_place() {
        let chunked = |flags: u8, index: u8| [&[4, 2, flags, 3, 1, 8, 16, 8, index][..], &96u64.to_le_bytes()].concat();
        assert_eq!(place(&chunked(0, 2)).unwrap(), Some((96, Some(vec![8, 16]))));
        assert_eq!(place(&chunked(0, 1)).unwrap(), Some((96, Some(vec![8, 16]))), "one block alone");
        for (flags, index) in [(2, 1), (0, 3), (0, 4), (0, 5)] {
            assert_eq!(place(&chunked(flags, index)).unwrap(), None);
        }
        assert_eq!(place(&[3, 0, 0, 0]).unwrap(), None, "in the header itself");
        assert!(place(&[4, 2, 0, 3, 8]).is_err(), "it breaks off");
    }
}
