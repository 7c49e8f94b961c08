//! The numbers of one dataset of somebody's HDF5 file: what such a file may be, and what is refused before it is read.
//!
//! The file may come from anywhere. It is opened for reading alone, no code is loaded for it, and nothing is read but what
//! lies in it: no link and no storage leads to another file. How much is allocated is known beforehand, but for a compressed chunk, which
//! HDF5 inflates without a bound of its own.

use std::path::Path;

use hdf5::dataset::Layout;
use hdf5::filters::Filter;
use hdf5::types::TypeDescriptor;
use hdf5::{Dataset, Group, LinkType};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::sys::hdf5::{link_type, open_for_reading};

/// The numbers of a dataset, the last axis contiguous.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Samples {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

/// The most numbers that a dataset may have: every rank holds all of them for a moment.
const MOST_SAMPLES: usize = 1 << 27;

/// The most bytes of a chunk, which HDF5 holds as a whole.
const MOST_CHUNK_BYTES: usize = 1 << 30;

/// The most names that a hint has room for.
const MOST_NAMES: usize = 20;

/// Reads a dataset that must have so many axes.
///
/// # Errors
/// If it is not there, is not stored plainly in this very file, has the wrong shape, or holds anything but finite numbers.
pub(super) fn read(path: &Path, dataset: &str, dimensions: usize) -> Result<Samples> {
    read_plain(path, dataset, dimensions).map_err(|error| error.at_path(path))
}

fn read_plain(path: &Path, name: &str, dimensions: usize) -> Result<Samples> {
    if !path.is_file() {
        return Err(Error::case(format!("initial.file = {path:?} does not exist or is no file"))
            .hint("relative paths start at the case file's directory"));
    }
    let file = open_for_reading(path)
        .map_err(|cause| Error::case(format!("cannot open initial.file as HDF5: {}", first_line(&cause))))?;
    let dataset = find(&file, name)?;
    let wrong = |what: String| Error::case(format!("initial.dataset = {name:?} {what}"));
    let shape = dataset.shape();
    let count = shape.iter().try_fold(1usize, |count, &n| count.checked_mul(n));
    if shape.len() != dimensions || !count.is_some_and(|count| (1..=MOST_SAMPLES).contains(&count)) {
        return Err(wrong(format!(
            "has shape {shape:?}; a {dimensions}-dimensional grid needs {dimensions} axes with 1 to {MOST_SAMPLES} numbers in all"
        )));
    }
    check_plain(&dataset, name)?;
    let values = dataset
        .read_raw::<f64>()
        .map_err(|cause| Error::case(format!("cannot read initial.dataset = {name:?}: {}", first_line(&cause))))?;
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(wrong(format!("has {} at position {at}; every value must be finite", values[at]))),
        None => Ok(Samples { shape, values }),
    }
}

/// The dataset at the end of a path of hard links, so that it lies in this file.
fn find(file: &hdf5::File, path: &str) -> Result<Dataset> {
    let missing = |group: &Group| {
        let mut names = group.member_names().unwrap_or_default();
        let more = names.len().saturating_sub(MOST_NAMES);
        names.truncate(MOST_NAMES);
        let place = if group.name() == "/" { "it".into() } else { group.name() };
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        Error::case(format!("initial.dataset = {path:?} is not in the file"))
            .hint(format!("{place} has: {}{more}", names.join(", ")))
    };
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let last = parts.pop().ok_or_else(|| missing(file))?;
    let check = |group: &Group, part: &str| match link_type(group, part) {
        Ok(Some(LinkType::Hard)) => Ok(()),
        Ok(Some(_)) => Err(Error::case(format!("initial.dataset = {path:?} leads through {part:?}, which is a link"))
            .hint("only what lies in the file itself is read: give the path of the dataset itself, and its own file")),
        Ok(None) | Err(_) => Err(missing(group)),
    };
    let mut group: Group = file.group("/").map_err(|_| missing(file))?;
    for part in parts {
        check(&group, part)?;
        group = group.group(part).map_err(|_| missing(&group))?;
    }
    check(&group, last)?;
    group.dataset(last).map_err(|_| missing(&group))
}

/// Sees that a dataset holds numbers, which lie in this file in a way that HDF5 reads by itself.
fn check_plain(dataset: &Dataset, name: &str) -> Result<()> {
    let wrong = |what: &str, hint: &str| Err(Error::case(format!("initial.dataset = {name:?} {what}")).hint(hint));
    let unreadable = |cause| Error::case(format!("cannot read initial.dataset = {name:?}: {}", first_line(&cause)));
    let dtype = dataset.dtype().map_err(unreadable)?;
    if !matches!(
        dtype.to_descriptor(),
        Ok(TypeDescriptor::Integer(_) | TypeDescriptor::Unsigned(_) | TypeDescriptor::Float(_))
    ) {
        return wrong("holds something other than numbers", "it must be of integers or floating-point numbers");
    }
    let elsewhere = dataset.layout() == Layout::Virtual || !dataset.dcpl().map_err(unreadable)?.external().is_empty();
    if elsewhere {
        return wrong("has its numbers in other files", "copy them into one dataset, as h5repack does");
    }
    if dataset.filters().iter().any(|filter| matches!(filter, Filter::User(..))) {
        return wrong("needs a filter that is no part of HDF5", "decompress it, as with h5repack -f NONE");
    }
    let chunk = dataset.chunk().unwrap_or_default();
    let bytes = chunk.iter().try_fold(dtype.size(), |bytes, &n| bytes.checked_mul(n));
    if bytes.is_none_or(|bytes| bytes > MOST_CHUNK_BYTES) {
        return wrong(
            &format!("has chunks of {chunk:?} numbers, which is too large"),
            "a chunk may have 1 GiB at most",
        );
    }
    Ok(())
}

/// HDF5 repeats what it says once for each of its layers; the first line tells enough.
fn first_line(cause: &hdf5::Error) -> String {
    cause.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::error::Kind;

    /// What becomes of a file that is made so, when `dataset` is asked for.
    fn outcome(dataset: &str, fill: impl Fn(&hdf5::File)) -> Result<Samples, String> {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("a.h5");
        let file = hdf5::File::create(&path).unwrap();
        fill(&file);
        file.close().unwrap();
        let before = (fs::read(&path).unwrap(), fs::read_dir(room.path()).unwrap().count());
        let read = read(&path, dataset, 1);
        let after = (fs::read(&path).unwrap(), fs::read_dir(room.path()).unwrap().count());
        assert!(before == after, "nothing is written");
        read.map_err(|error| {
            assert_eq!(error.kind(), Kind::Case);
            error.to_string()
        })
    }

    fn refused(dataset: &str, what: &str, fill: impl Fn(&hdf5::File)) {
        let error = outcome(dataset, fill).unwrap_err();
        assert!(error.contains(what) && error.contains("a.h5"), "{error}\nshould say {what:?}");
    }

    fn numbers(group: &Group, name: &str) {
        group.new_dataset_builder().with_data(&[1.0f64, 2.0, 3.0]).create(name).unwrap();
    }

    #[test]
    fn a_dataset_is_read_from_any_group_and_of_any_kind_of_number() {
        let expected = Ok(Samples { shape: vec![3], values: vec![1.0, 2.0, 3.0] });
        assert_eq!(outcome("u", |file| numbers(file, "u")), expected);
        assert_eq!(outcome("/a/b/u", |file| numbers(&file.create_group("a/b").unwrap(), "u")), expected);
        let squeezed = |file: &hdf5::File| {
            let builder = file.new_dataset_builder().chunk([2]).shuffle().deflate(6).with_data(&[1u8, 2, 3]);
            builder.create("u").unwrap();
        };
        assert_eq!(outcome("u", squeezed), expected);
    }

    #[test]
    fn what_is_not_there_is_refused_with_what_is() {
        refused("v", "hint: it has: u", |file| numbers(file, "u"));
        refused("a/v", "hint: /a has: u", |file| numbers(&file.create_group("a").unwrap(), "u"));
        refused("u/v", "is not in the file", |file| numbers(file, "u"));
        refused("", "is not in the file", |file| numbers(file, "u"));
        refused("v", "and 5 more", |file| (0..25).for_each(|i| numbers(file, &format!("u{i:02}"))));
    }

    #[test]
    fn no_link_leads_anywhere() {
        let room = tempfile::tempdir().unwrap();
        let other = room.path().join("other.h5");
        numbers(&hdf5::File::create(&other).unwrap(), "u");
        let other = other.to_str().unwrap();
        refused("u", "which is a link", |file| file.link_external(other, "/u", "u").unwrap());
        refused("g/u", "\"g\", which is a link", |file| file.link_external(other, "/", "g").unwrap());
        refused("u", "which is a link", |file| file.link_soft("/v", "u").unwrap());
        refused("u", "which is a link", |file| file.link_soft("/u", "u").unwrap());
        refused("g/g/g/u", "is not in the file", |file| {
            file.create_group("g").unwrap();
            file.link_hard("/g", "g/g").unwrap();
        });
    }

    #[test]
    fn numbers_in_other_files_are_refused() {
        let room = tempfile::tempdir().unwrap();
        let secret = room.path().join("secret");
        fs::write(&secret, [7u8; 24]).unwrap();
        let secret = secret.to_str().unwrap();
        refused("u", "other files", |file| {
            file.new_dataset::<f64>().external(secret, 0, 24).shape([3]).create("u").unwrap();
        });
        refused("u", "other files", |file| {
            let builder = file.new_dataset::<f64>().shape([3]);
            builder.virtual_map(secret, "u", [3], .., [3], ..).create("u").unwrap();
        });
    }

    /// The error for a file that is made so and in which bytes are then replaced by others, which HDF5 would not write.
    fn refused_after_surgery(fill: impl Fn(&hdf5::File), from: &[u8], to: &[u8]) -> String {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("a.h5");
        let file = hdf5::File::create(&path).unwrap();
        fill(&file);
        file.close().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(from.len()).position(|window| window == from).expect("it is there");
        bytes[at..at + to.len()].copy_from_slice(to);
        fs::write(&path, bytes).unwrap();
        read(&path, "u", 1).unwrap_err().to_string()
    }

    #[test]
    fn a_filter_that_hdf5_does_not_have_is_refused() {
        let fletcher =
            |file: &hdf5::File| drop(file.new_dataset::<f64>().chunk([3]).fletcher32().shape([3]).create("u").unwrap());
        // A filter's number stands before the length of its name, its flags, the count of its values, and the name.
        let filter = |number: u16| [&number.to_le_bytes()[..], &[16, 0, 0, 0, 0, 0], b"fletcher32"].concat();
        let error = refused_after_surgery(fletcher, &filter(3), &filter(32001));
        assert!(error.contains("no part of HDF5"), "{error}");
    }

    #[test]
    fn a_shape_beyond_all_counting_is_refused() {
        let plane =
            |file: &hdf5::File| drop(file.new_dataset::<f64>().chunk([8, 8]).shape([7777, 9999]).create("u").unwrap());
        let shape = |shape: [u64; 2]| shape.map(u64::to_le_bytes).concat();
        let error = refused_after_surgery(plane, &shape([7777, 9999]), &shape([1 << 40; 2]));
        assert!(error.contains("has shape [1099511627776, 1099511627776]"), "{error}");
    }

    #[test]
    fn sizes_are_refused_before_anything_is_allocated() {
        let shape =
            |n: usize| move |file: &hdf5::File| drop(file.new_dataset::<f64>().shape([n]).chunk([64]).create("u"));
        refused("u", "needs 1 axes with 1 to", shape(1 << 40));
        refused("u", "needs 1 axes with 1 to", shape((1 << 27) + 1));
        refused("u", "needs 1 axes with 1 to", |file| {
            file.new_dataset::<f64>().shape([0]).create("u").unwrap();
        });
        refused("u", "which is too large", |file| {
            file.new_dataset::<f64>().shape(3..).chunk([1 << 28]).create("u").unwrap();
        });
    }

    #[test]
    fn what_is_not_finite_or_no_number_is_refused() {
        refused("u", "has NaN at position 1", |file| {
            file.new_dataset_builder().with_data(&[1.0, f64::NAN]).create("u").unwrap();
        });
        refused("u", "other than numbers", |file| {
            file.new_dataset::<hdf5::types::VarLenUnicode>().shape([3]).create("u").unwrap();
        });
        refused("u", "other than numbers", |file| {
            file.new_dataset::<[f64; 4]>().shape([3]).create("u").unwrap();
        });
    }

    #[test]
    fn what_is_no_hdf5_is_refused() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("a.h5");
        for bytes in [&b""[..], b"a poem", b"\x89HDF\r\n\x1a\n", &[0xff; 4096]] {
            fs::write(&path, bytes).unwrap();
            assert!(read(&path, "u", 1).unwrap_err().message().contains("cannot open initial.file as HDF5"));
        }
        assert!(read(room.path(), "u", 1).unwrap_err().message().contains("is no file"));
    }
}
