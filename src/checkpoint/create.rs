//! How a checkpoint's file comes to be: HDF5 lays it out and writes the metadata; no block is in it yet.
//!
//! HDF5 works in memory: when a disk is full or fails, HDF5 1.10 has been seen to end the process with a segmentation fault
//! instead of an error. The file in memory has holes where the blocks will be, and so takes a few pages; what it does
//! hold is copied to the disk by calls whose results are checked.
//!
//! What is made here is what HDF5, ParaView, xarray and netCDF read; FORMAT.md describes it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use hdf5::file::{FileCloseDegree, LibraryVersion};
use hdf5::plist::dataset_create::{AllocTime, FillTime};
use hdf5::types::{FloatSize, IntSize, TypeDescriptor, VarLenArray, VarLenUnicode};
use hdf5::{Dataset, Group, H5Type, Location, ObjectReference1};

use super::disk::{Disk, DiskFile};
use super::header::Header;
use super::layout::{FORMAT, Layout};
use super::open::read_layout;
use super::phases::{Job, no_space, refused};
use crate::error::{Error, Kind, Result};
use crate::field::ScalarKind;
use crate::rundir::partial_of;
use crate::sys::files::{directory_of, memory_file, path_of_open};
use crate::sys::hdf5::write_terminated_string;

/// Parts of a file of at least this size start at a multiple of it: a page, so that no two blocks share one.
const ALIGNMENT: u64 = 4096;

const AXES: [&str; 3] = ["x", "y", "z"];

/// One entry of a dimension scale's `REFERENCE_LIST`.
#[derive(H5Type, Clone, Copy)]
#[repr(C)]
struct ScaleUse {
    dataset: ObjectReference1,
    dimension: i32,
}

/// The new file as the rank has it that created it.
pub(super) struct Created {
    /// The file, in which no block is yet.
    pub file: Box<dyn DiskFile>,
    /// What the file should hold besides its blocks, in memory; checksums, costs and seal come in at the commit. The seal is
    /// computed from here, so that what was damaged on its way to the disk does not get a seal that fits.
    pub meant: File,
}

/// Creates the file of the checkpoint that will be at `path`, reserves its space and writes its header.
///
/// The file bears the name of a partial one of its epoch; whatever lay there is gone. It is open for writing and not yet on
/// stable storage. If anything fails, nothing is left.
pub(super) fn create(disk: &dyn Disk, path: PathBuf, header: Header) -> Result<(Job, Created)> {
    header.check()?;
    let partial = partial_of(&path, header.epoch);
    match disk.remove(&partial) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            return Err(refused("remove what an earlier attempt left", &partial)(cause));
        }
        _ => {}
    }
    let (meant, layout) = in_memory(&partial, &header)?;
    check_space(disk, &partial, layout.length)?;
    let file = disk.create(&partial).map_err(refused("create the checkpoint", &partial))?;
    match fill(file.as_ref(), &partial, &meant, &layout) {
        Ok(inode) => Ok((Job { header, layout, partial, path, inode }, Created { file, meant })),
        Err(error) => {
            if let Err(cause) = disk.remove(&partial) {
                log::warn!("cannot remove the discarded checkpoint {}: {cause}", partial.display());
            }
            Err(error)
        }
    }
}

/// Lays the file out in memory, and writes the header there.
fn in_memory(path: &Path, header: &Header) -> Result<(File, Layout)> {
    let json = header.to_json()?;
    let refused = |doing: &str| refused(doing, path);
    let memory = memory_file("checkpoint").map_err(refused("get memory to lay out the checkpoint"))?;
    let mut layout = lay_out(&path_of_open(&memory), header, json.len()).map_err(|cause| {
        // HDF5 keeps the system's cause to itself; the system says it again if it allows no file of this size.
        let size = header.components.len() as u64 * header.blocks() as u64 * header.chunk_bytes();
        match memory.write_all_at(&[0], size) {
            Err(cause) => refused("lay out the checkpoint")(cause),
            Ok(()) => Error::new(Kind::Hdf5, format!("HDF5 cannot lay out a checkpoint: {cause}")).at_path(path),
        }
    })?;
    layout.length = memory.metadata().map_err(refused("find the length of the new checkpoint"))?.len();
    memory.write_all_at(&json, layout.header.start).map_err(refused("write the header in memory"))?;
    // What a restart would refuse must not be written: it would take the place of what it could use.
    let (_, read, _) = read_layout(Path::new(&path_of_open(&memory))).map_err(|error| error.at_path(path))?;
    match read == layout {
        true => Ok((memory, layout)),
        false => Err(Error::new(Kind::Internal, format!("a checkpoint laid out as {layout:?} is read as {read:?}"))),
    }
}

/// Refuses a checkpoint that the file system has no room for, before anything is there. What others write meanwhile and
/// what a quota allows is not known here: the reservation meets that.
fn check_space(disk: &dyn Disk, path: &Path, needed: u64) -> Result<()> {
    let free = disk.free(directory_of(path)).map_err(refused("find out how much space is free", path))?;
    match free.filter(|&free| free < needed) {
        None => Ok(()),
        Some(free) => {
            let message = format!("the checkpoint needs {needed} bytes, and the file system has {free} bytes free");
            Err(no_space(Error::new(Kind::Io, message).at_path(path)))
        }
    }
}

/// Gives the new file its length, its space and everything but the blocks, and returns its inode.
fn fill(file: &dyn DiskFile, path: &Path, meant: &File, layout: &Layout) -> Result<u64> {
    let refused = |doing: &str| refused(doing, path);
    let Some(sealed) = layout.sealed() else {
        return Err(Error::new(Kind::Internal, format!("HDF5 laid the checkpoint out as {layout:?}")).at_path(path));
    };
    file.set_length(layout.length).map_err(refused(&format!("make the checkpoint {} bytes long", layout.length)))?;
    file.reserve(layout.length).map_err(refused(&format!("reserve {} bytes for the checkpoint", layout.length)))?;
    for range in sealed {
        copy(meant, file, range).map_err(refused("write the metadata of the checkpoint"))?;
    }
    file.inode().map_err(refused("look at the new checkpoint"))
}

/// Copies a part of one file to the same place in another, which has zeros there so far.
fn copy(from: &File, to: &dyn DiskFile, range: Range<u64>) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    let mut at = range.start;
    while at < range.end {
        let part = &mut buffer[..(range.end - at).min(1 << 16) as usize];
        from.read_exact_at(part, at)?;
        if part.iter().any(|&byte| byte != 0) {
            to.write_whole(part, at)?;
        }
        at += part.len() as u64;
    }
    Ok(())
}

/// Lets HDF5 write a file in which everything has its place but only HDF5's metadata and the scales are there.
fn lay_out(path: &Path, header: &Header, json: usize) -> hdf5::Result<Layout> {
    let file = hdf5::File::with_options()
        .with_fapl(|access| {
            // The stdio driver, since the usual one insists on a name that leads back to the file.
            access
                .stdio()
                .libver_bounds(LibraryVersion::V110, LibraryVersion::latest())
                .alignment(ALIGNMENT, ALIGNMENT)
                .fclose_degree(FileCloseDegree::Strong)
                .file_locking(false)
        })
        .with_fcpl(|creation| creation.obj_track_times(false))
        .create(path)?;
    write_text(&file, "title", &format!("{}: step {}, time {}", header.program, header.step, header.time))?;
    write_text(&file, "program", &header.program)?;
    write_text(&file, "run_id", &header.run_id)?;
    file.new_attr::<u64>().create("step")?.write_scalar(&header.step)?;
    file.new_attr::<f64>().create("time")?.write_scalar(&header.time)?;

    let own = new_group(&file, "checkpoint")?;
    own.new_attr::<u32>().create("format")?.write_scalar(&FORMAT)?;
    let text = new_dataset(&own, "header", TypeDescriptor::FixedUnicode(json), &[])?;
    let entries = header.components.len() * header.blocks();
    let word = || TypeDescriptor::Unsigned(IntSize::U8);
    let checksums = new_dataset(&own, "checksums", word(), &[header.components.len(), header.blocks()])?;
    let costs = new_dataset(&own, "costs", TypeDescriptor::Float(FloatSize::U8), &[header.blocks()])?;
    let seal = new_dataset(&own, "seal", word(), &[1])?;

    let fields = new_group(&file, "fields")?;
    let scales = write_scales(&file, header)?;
    let mut starts = Vec::with_capacity(header.components.len());
    for component in &header.components {
        let dataset = new_chunked_dataset(&fields, &component.name, header)?;
        write_text(&dataset, "units", &component.unit)?;
        attach_scales(&file, &dataset, header)?;
        let first = dataset.chunk_info(0).ok_or("the first chunk has no place in the file")?;
        starts.push(first.addr);
    }
    write_scale_uses(&fields, &scales, header)?;
    write_vtk(&file, &fields, header)?;

    let place = |dataset: &Dataset, bytes: usize| -> hdf5::Result<_> {
        let start = dataset.offset().ok_or("a dataset has no place in the file")?;
        Ok(start..start + bytes as u64)
    };
    let layout = Layout {
        length: 0,
        chunks: header.blocks() as u64,
        chunk_bytes: header.chunk_bytes(),
        fields: starts,
        header: place(&text, json)?,
        checksums: place(&checksums, 8 * entries)?,
        costs: place(&costs, 8 * header.blocks())?,
        seal: place(&seal, 8)?,
    };
    file.close()?;
    Ok(layout)
}

/// The lengths of the array axes, in their order [z, y, x].
fn shape(header: &Header) -> Vec<usize> {
    header.cells.iter().rev().copied().collect()
}

/// The HDF5 type of the numbers of a field.
pub(super) fn number(scalar: ScalarKind) -> TypeDescriptor {
    match scalar {
        ScalarKind::F64 => TypeDescriptor::Float(FloatSize::U8),
        ScalarKind::F32 => TypeDescriptor::Float(FloatSize::U4),
        ScalarKind::I64 => TypeDescriptor::Integer(IntSize::U8),
        ScalarKind::I32 => TypeDescriptor::Integer(IntSize::U4),
        ScalarKind::U8 => TypeDescriptor::Unsigned(IntSize::U1),
    }
}

fn new_group(parent: &Group, name: &str) -> hdf5::Result<Group> {
    parent.create_group_builder().obj_track_times(false).create(name)
}

/// A dataset in one piece, whose place in the file is fixed from birth.
fn new_dataset(parent: &Group, name: &str, kind: TypeDescriptor, shape: &[usize]) -> hdf5::Result<Dataset> {
    let builder = parent.new_dataset_builder().empty_as(kind).no_chunk();
    let builder = builder.alloc_time(Some(AllocTime::Early)).fill_time(FillTime::Never).obj_track_times(false);
    if shape.is_empty() { builder.create(name) } else { builder.shape(shape).create(name) }
}

/// A field's dataset: a fixed shape, early allocation and no filter make HDF5 keep the chunks in order without an index.
fn new_chunked_dataset(parent: &Group, name: &str, header: &Header) -> hdf5::Result<Dataset> {
    let chunk: Vec<usize> = header.block.iter().rev().copied().collect();
    parent
        .new_dataset_builder()
        .empty_as(number(header.scalar))
        .shape(shape(header))
        .chunk(chunk)
        .alloc_time(Some(AllocTime::Early))
        .fill_time(FillTime::Never)
        .obj_track_times(false)
        .create(name)
}

/// The cell centres along each axis as dimension scales at the root, where netCDF looks for them.
fn write_scales(file: &Group, header: &Header) -> hdf5::Result<Vec<Dataset>> {
    let scales = header.cells.iter().enumerate().map(|(a, &cells)| {
        let spacing = (header.upper[a] - header.lower[a]) / cells as f64;
        let centres: Vec<f64> = (0..cells).map(|i| header.lower[a] + (i as f64 + 0.5) * spacing).collect();
        let scale = new_dataset(file, AXES[a], TypeDescriptor::Float(FloatSize::U8), &[cells])?;
        scale.write_raw(&centres)?;
        for (key, value) in [("CLASS", "DIMENSION_SCALE"), ("NAME", AXES[a])] {
            write_terminated_string(&scale, key, value).map_err(|error| error.message().to_owned())?;
        }
        Ok(scale)
    });
    scales.collect()
}

fn attach_scales(file: &Group, dataset: &Dataset, header: &Header) -> hdf5::Result<()> {
    let lists: Vec<VarLenArray<ObjectReference1>> = (0..header.dimension())
        .rev()
        .map(|a| Ok(VarLenArray::from_slice(&[file.reference(AXES[a])?])))
        .collect::<hdf5::Result<_>>()?;
    dataset.new_attr_builder().with_data(&lists).create("DIMENSION_LIST").map(drop)
}

fn write_scale_uses(fields: &Group, scales: &[Dataset], header: &Header) -> hdf5::Result<()> {
    for (a, scale) in scales.iter().enumerate() {
        let dimension = (header.dimension() - 1 - a) as i32;
        let uses: Vec<ScaleUse> = header
            .components
            .iter()
            .map(|component| Ok(ScaleUse { dataset: fields.reference(&component.name)?, dimension }))
            .collect::<hdf5::Result<_>>()?;
        scale.new_attr_builder().with_data(&uses).create("REFERENCE_LIST")?;
    }
    Ok(())
}

/// The group that ParaView reads: an image whose cell data are hard links to the fields.
fn write_vtk(file: &Group, fields: &Group, header: &Header) -> hdf5::Result<()> {
    let vtk = new_group(file, "VTKHDF")?;
    let (mut extent, mut origin, mut spacing) = ([0i64; 6], [0.0; 3], [1.0; 3]);
    for a in 0..header.dimension() {
        extent[2 * a + 1] = header.cells[a] as i64;
        origin[a] = header.lower[a];
        spacing[a] = (header.upper[a] - header.lower[a]) / header.cells[a] as f64;
    }
    let direction = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    vtk.new_attr_builder().with_data(&[1i64, 0]).create("Version")?;
    write_terminated_string(&vtk, "Type", "ImageData").map_err(|error| error.message().to_owned())?;
    vtk.new_attr_builder().with_data(&extent).create("WholeExtent")?;
    vtk.new_attr_builder().with_data(&origin).create("Origin")?;
    vtk.new_attr_builder().with_data(&spacing).create("Spacing")?;
    vtk.new_attr_builder().with_data(&direction).create("Direction")?;
    let cells = new_group(&vtk, "CellData")?;
    for component in &header.components {
        let target = format!("{}/{}", fields.name(), component.name);
        cells.link_hard(&target, &component.name)?;
    }
    Ok(())
}

/// A variable-length string, which Python reads as `str`.
fn write_text(object: &Location, name: &str, value: &str) -> hdf5::Result<()> {
    let text: VarLenUnicode = value.replace('\0', "").parse().map_err(|_| "a text that is no text")?;
    object.new_attr::<VarLenUnicode>().create(name)?.write_scalar(&text)
}
