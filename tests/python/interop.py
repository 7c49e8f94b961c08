"""Reads checkpoints with h5py, xarray and VTK's own reader, and compares what they give with what was written.

Usage: interop.py DIRECTORY, with the files that `cargo test --test checkpoint` leaves there (see `leave_for_python`).
The value of a cell is the same formula here and there; nothing of Steadfast is used to read.
"""

import json
import pathlib
import sys

import h5py
import numpy as np
import xarray
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkIOHDF import vtkHDFReader


def expected(shape, component):
    """The array [z, y, x] whose numbers tell their cell and component."""
    place = np.zeros(shape, dtype=np.int64) + 7 * component
    for axis in range(len(shape)):  # z first, x last
        index = np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(len(shape))])
        place = place * 5 + index
    return place % 251


def check_h5py(path):
    with h5py.File(path) as file:
        header = json.loads(file["checkpoint/header"][()])
        assert file.attrs["step"] == header["step"] and file.attrs["title"].startswith("test: step 42")
        names = [component["name"] for component in header["components"]]
        for component, name in enumerate(names):
            field = file["fields"][name]
            assert field.shape == tuple(reversed(header["cells"]))
            assert field.chunks == tuple(reversed(header["block"]))
            assert field.attrs["units"] == "m/s²"
            assert np.array_equal(field[:], expected(field.shape, component)), name
            for axis, letter in enumerate("zyx"[-field.ndim:]):
                scale = field.dims[axis][0]
                assert scale.name == "/" + letter and field.dims[axis].keys() == [letter]
                assert h5py.h5ds.is_scale(scale.id) and h5py.h5ds.is_attached(field.id, scale.id, axis)
        return header, names


def check_xarray(path, header, names):
    with xarray.open_dataset(path, engine="h5netcdf") as root:
        for a, letter in enumerate("xyz"[: len(header["cells"])]):
            lower, upper, cells = header["lower"][a], header["upper"][a], header["cells"][a]
            centres = lower + (np.arange(cells) + 0.5) * ((upper - lower) / cells)
            assert np.array_equal(root[letter].values, centres)
    with xarray.open_dataset(path, engine="h5netcdf", group="fields") as fields:
        for component, name in enumerate(names):
            field = fields[name]
            assert field.dims == tuple("zyx"[-field.ndim:]), field.dims
            assert np.array_equal(field.values, expected(field.shape, component)), name


def check_netcdf4(path, names):
    """The netCDF C library is stricter about dimension scales than h5netcdf is."""
    import netCDF4

    with netCDF4.Dataset(path) as file:
        fields = file["fields"]
        for component, name in enumerate(names):
            field = fields[name]
            assert field.dimensions == tuple("zyx"[-field.ndim:]), field.dimensions
            assert np.array_equal(field[:], expected(field.shape, component)), name


def check_vtk(path, header, names):
    reader = vtkHDFReader()
    reader.SetFileName(str(path))
    reader.Update()
    image = reader.GetOutput()
    cells = header["cells"]
    dimensions = tuple(n + 1 for n in cells) + (1,) * (3 - len(cells))
    assert image.GetDimensions() == dimensions, image.GetDimensions()
    for a, n in enumerate(cells):
        assert image.GetOrigin()[a] == header["lower"][a]
        assert np.isclose(image.GetSpacing()[a], (header["upper"][a] - header["lower"][a]) / n)
    for component, name in enumerate(names):
        array = image.GetCellData().GetArray(name)
        assert array is not None, f"no cell array {name}"
        shape = tuple(reversed(cells))
        assert np.array_equal(vtk_to_numpy(array).reshape(shape), expected(shape, component)), name


def main():
    paths = sorted(pathlib.Path(sys.argv[1]).glob("*.h5"))
    if not paths:
        sys.exit(f"no checkpoints in {sys.argv[1]}")
    for path in paths:
        header, names = check_h5py(path)
        check_xarray(path, header, names)
        check_netcdf4(path, names)
        check_vtk(path, header, names)
        print(f"{path.name}: h5py, xarray, netCDF4 and VTK read what was written")


if __name__ == "__main__":
    main()
