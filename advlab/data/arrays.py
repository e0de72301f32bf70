"""Arrays in files of unknown origin, NumPy's and HDF5: what a file announces is compared with what it holds first."""

from __future__ import annotations

import contextlib
import lzma
import math
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from advlab.errors import DAMAGE, AdvlabError, InvalidFile
from advlab.lazy import LazyImages, Spool, batches, fits_in_memory
from advlab.validation import largest_content

_DAMAGE = (*DAMAGE, lzma.LZMAError, tokenize.TokenError, zipfile.BadZipFile, zlib.error)


def read_npy(path: Path, fix: str) -> np.ndarray:
    """The array in an ``.npy`` file; raises ``InvalidFile``, which ends with ``fix``."""
    with _border(path, fix), path.open("rb") as file:
        return _read(file, path.stat().st_size, "the file")


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 files do."""
    with path.open("rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"


def array_names(path: Path, fix: str) -> list[str]:
    """The names of the arrays in an ``.npz`` or HDF5 file; raises ``InvalidFile``, of ``.npz`` ending with ``fix``."""
    if is_hdf5(path):
        from advlab.hdf5 import attribute_list, open_hdf5

        with open_hdf5(path) as file:
            return [*file, *(["classes"] if attribute_list(file, "classes") else [])]
    with _border(path, fix), zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def read_arrays(path: Path, names: Iterable[str], fix: str, images: str | None = None) -> dict[str, Any]:
    """Some arrays of an ``.npz`` or HDF5 file by name; raises ``InvalidFile``, of ``.npz`` ending with ``fix``.

    The one called ``images`` is read lazily where it is too large for memory, in its own type as ``(n, h, w, c)``. An
    array of HDF5 that is no array there is taken from the attribute of that name, which holds texts.
    """
    return _read_hdf5(path, names, images) if is_hdf5(path) else _read_npz(path, names, fix, images)


def _read_hdf5(path: Path, names: Iterable[str], images: str | None) -> dict[str, Any]:
    from advlab.hdf5 import attribute_list, open_hdf5, open_rows, read_array

    arrays: dict[str, Any] = {}
    with open_hdf5(path) as file:
        allowance = largest_content(path.stat().st_size)
        for name in names:
            if name not in file:
                arrays[name] = np.array(attribute_list(file, name))
                continue
            shape = file[name].shape
            shape = (*shape, 1) if len(shape) == 3 else shape
            if name == images and len(shape) == 4 and not fits_in_memory(shape):
                read = open_rows(path, name, "biuf")
                arrays[name] = LazyImages(shape, partial(_reshaped, read, shape[1:]), file[name].dtype)
                continue
            allowance -= file[name].nbytes
            if allowance < 0:
                raise ValueError("it announces more data than a file of its size can hold")
            arrays[name] = read_array(file[name])
    return arrays


def _reshaped(read: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...], rows: np.ndarray) -> np.ndarray:
    return read(rows).reshape(len(rows), *shape)


def _read_npz(path: Path, names: Iterable[str], fix: str, images: str | None) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    with _border(path, fix), zipfile.ZipFile(path) as archive:
        allowance = largest_content(path.stat().st_size)
        for name in names:
            entry = archive.getinfo(f"{name}.npy" if f"{name}.npy" in archive.namelist() else name)
            allowance -= entry.file_size
            if allowance < 0:
                raise ValueError(f"it would unpack to more than {largest_content(path.stat().st_size):,} bytes")
            with archive.open(entry) as file:
                arrays[name] = _read(file, entry.file_size, f"'{name}'", lazily=name == images)
    return arrays


@contextlib.contextmanager
def _border(path: Path, fix: str) -> Iterator[None]:
    try:
        yield
    except AdvlabError:
        raise
    except _DAMAGE as error:
        # NumPy's own message may advise to load pickles, which cannot be trusted.
        cause = "it holds objects, not numbers" if "allow_pickle" in str(error) else f"{error}"[:200]
        raise InvalidFile(f"Cannot read '{path}': {cause or 'it is damaged'}. {fix}") from error


def _read(file: IO[bytes], size: int, subject: str, lazily: bool = False) -> Any:
    """The array that begins at the start of ``file``, which holds ``size`` bytes."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"{subject} is in version {version[0]}.{version[1]} of NumPy's format, of which 1.0 is read")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, columns_first, dtype = read_header(file)
    announced, held = math.prod(shape) * dtype.itemsize, size - file.tell()
    if min(shape, default=0) < 0 or (announced > held and not dtype.hasobject):
        raise ValueError(f"{subject} announces {announced:,} bytes and holds {held:,}")
    shape = (*shape, 1) if len(shape) == 3 else shape
    if lazily and len(shape) == 4 and dtype.kind in "biuf" and not columns_first and not fits_in_memory(shape):
        return _spooled(file, shape, dtype)
    file.seek(0)
    return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def _spooled(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype) -> LazyImages:
    """The images that follow in ``file``, which may be packed, copied to a temporary file in batches."""
    spool = Spool(shape[0], shape[1:], dtype)
    images = spool.images(shape[0], np.asarray)
    for rows in batches(images):
        count = min(rows.stop, shape[0]) - rows.start
        content = file.read(count * math.prod(shape[1:]) * dtype.itemsize)
        spool.append(np.frombuffer(content, dtype).reshape(count, *shape[1:]))
    images.dtype = dtype
    return images
