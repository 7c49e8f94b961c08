//! What the safe HDF5 crate cannot do: open a file without loading code for it, and write a string that ends with a zero
//! byte.

use std::ffi::CString;
use std::path::Path;

use hdf5::{Group, LinkType, Location};
use hdf5_sys::h5a::{H5Aclose, H5Acreate2, H5Awrite};
use hdf5_sys::h5i::hid_t;
use hdf5_sys::h5p::H5P_DEFAULT;
use hdf5_sys::h5pl::H5PLset_loading_state;
use hdf5_sys::h5s::{H5S_class_t, H5Sclose, H5Screate};
use hdf5_sys::h5t::{H5T_C_S1, H5T_str_t, H5Tclose, H5Tcopy, H5Tset_size, H5Tset_strpad};

use crate::error::{Error, Kind, Result};

/// Opens a file that may come from anywhere, for reading, without a lock; from then on this process loads no plugins.
///
/// A file names the filters that its data need, and HDF5 would load what the environment offers under that name.
pub(crate) fn open_for_reading(path: &Path) -> hdf5::Result<hdf5::File> {
    hdf5::sync::sync(|| {
        // SAFETY: the library is initialised and locked by `sync`. C takes the flags by value, which the crate declares as a
        // pointer: null is 0 in either form, and stands for no plugins.
        let forbidden = unsafe { H5PLset_loading_state(std::ptr::null_mut()) };
        if forbidden < 0 { Err(hdf5::Error::query().unwrap_or("plugins cannot be forbidden".into())) } else { Ok(()) }
    })?;
    hdf5::File::with_options().with_fapl(|access| access.file_locking(false)).open(path)
}

/// What kind of link a member of a group is, without following it; none if there is no such member.
pub(crate) fn link_type(parent: &Group, name: &str) -> hdf5::Result<Option<LinkType>> {
    let mut link = None;
    parent.iter_visit_default(|found, info| {
        if found == name {
            link = Some(info.link_type);
        }
        Ok(())
    })?;
    Ok(link)
}

/// Writes a zero-terminated ASCII string of exactly its length as a scalar attribute.
///
/// The dimension scale specification asks for such strings in `CLASS` and `NAME`, and `H5DSis_scale` refuses others.
pub(crate) fn write_terminated_string(object: &Location, name: &str, value: &str) -> Result<()> {
    let refused = || Error::new(Kind::Hdf5, format!("HDF5 cannot write the attribute {name} = {value:?}"));
    let (Ok(key), Ok(text)) = (CString::new(name), CString::new(value)) else { return Err(refused()) };
    let bytes = text.as_bytes_with_nul();
    hdf5::sync::sync(|| {
        // SAFETY: the library is initialised and locked by `sync`, and H5T_C_S1 is one of its own types.
        let kind = Owned::new(unsafe { H5Tcopy(*H5T_C_S1) }, H5Tclose).ok_or_else(refused)?;
        // SAFETY: `kind` is a copy that this function owns, so that it may be changed.
        let sized = unsafe { H5Tset_size(kind.id, bytes.len()) };
        // SAFETY: as above.
        let padded = unsafe { H5Tset_strpad(kind.id, H5T_str_t::H5T_STR_NULLTERM) };
        // SAFETY: creates a new object from a constant.
        let space = Owned::new(unsafe { H5Screate(H5S_class_t::H5S_SCALAR) }, H5Sclose).ok_or_else(refused)?;
        // SAFETY: all identifiers are open (`object` by its borrow) and `key` ends with a zero byte.
        let attribute = unsafe { H5Acreate2(object.id(), key.as_ptr(), kind.id, space.id, H5P_DEFAULT, H5P_DEFAULT) };
        let attribute = Owned::new(attribute, H5Aclose).ok_or_else(refused)?;
        // SAFETY: one value of `bytes.len()` bytes is read from `bytes`, which has that many.
        let written = unsafe { H5Awrite(attribute.id, kind.id, bytes.as_ptr().cast()) };
        if sized < 0 || padded < 0 || written < 0 { Err(refused()) } else { Ok(()) }
    })
}

/// An HDF5 identifier that is closed when it is dropped.
struct Owned {
    id: hid_t,
    close: unsafe extern "C" fn(hid_t) -> i32,
}

impl Owned {
    fn new(id: hid_t, close: unsafe extern "C" fn(hid_t) -> i32) -> Option<Self> {
        (id >= 0).then_some(Owned { id, close })
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: `id` is open and owned by this value alone; it is dropped inside of `sync`.
        unsafe { (self.close)(self.id) };
    }
}
