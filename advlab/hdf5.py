"""The one guarded reader of HDF5 files, any of which may come from a stranger.

It opens nothing outside of the file (no links but hard ones, no external or virtual storage), and reads only numbers
that the file really holds.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from advlab.errors import DAMAGE, AdvlabError, InvalidFile
from advlab.lazy import runs
from advlab.validation import largest_content

_MAX_ATTRIBUTE = 1 << 24  # bytes; the configuration of a network of a thousand layers takes a tenth
_MAX_OBJECTS = 100_000
_MAX_STORED_CHUNK = 1 << 21  # bytes; gzip makes at most a thousand times as many of them
_HEAP = b"GCOL\x01"
_FILTERS = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)


@contextlib.contextmanager
def open_hdf5(path: Path, content: BinaryIO | None = None) -> Iterator[h5py.File]:
    """Open an HDF5 file of unknown origin for reading.

    ``content``, where given, is the file in memory. ``InvalidFile`` where it is missing, not HDF5, truncated, damaged
    inside, or leads out of itself.
    """
    if content is None and not path.is_file():
        reason = "is a folder, not an HDF5 file" if path.is_dir() else "does not exist, or is not a file"
        raise InvalidFile(f"'{path}' {reason}. Give the path of a saved .h5 file.")
    try:
        refuse_endless_heap(path, content)
        with h5py.File(content or path, "r") as file:
            refuse_indirection(file)
            yield file
    except PermissionError as error:
        raise InvalidFile(f"'{path}' cannot be read: {error.strerror}. Change its permissions.") from error
    except AdvlabError:
        raise
    except DAMAGE as error:
        raise InvalidFile(f"'{path}' is {_describe(path, error)}. Copy, download or train it again.") from error


def read_array(dataset: h5py.Dataset, kinds: str = "biuf") -> np.ndarray:
    """The values of an array that the file holds in full; raises ``ValueError`` for one that only announces them."""
    _require_held(dataset, kinds)
    return np.asarray(dataset[()])


def open_rows(path: Path, name: str, kinds: str) -> Callable[[np.ndarray], np.ndarray]:
    """A function that reads rows, by their ascending or arbitrary numbers, of an array that the file holds in full.

    It keeps the file open, so that what it reads stays the same when the file is replaced. ``path`` has passed
    ``refuse_indirection``. Raises ``ValueError`` as ``read_array`` does.
    """
    file = h5py.File(path, "r")
    dataset = file[name]
    _require_held(dataset, kinds)

    def read(rows: np.ndarray) -> np.ndarray:
        ascending, places = np.unique(rows, return_inverse=True)
        parts = [file[name][int(ascending[a]) : int(ascending[b - 1]) + 1] for a, b in runs(ascending)]
        found = np.concatenate(parts) if parts else file[name][:0]
        return found if np.array_equal(ascending, rows) else found[places]

    return read


def _require_held(dataset: h5py.Dataset, kinds: str) -> None:
    name, plist = dataset.name, dataset.id.get_create_plist()
    if dataset.id.get_type().get_class() not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.ENUM):
        raise ValueError(f"'{name}' does not hold numbers")
    if dataset.shape is None or dataset.dtype.kind not in kinds:
        raise ValueError(f"'{name}' holds values of another type ({dataset.dtype})")
    stored = dataset.id.get_storage_size()
    if plist.get_layout() == h5py.h5d.CHUNKED:
        _require_all_chunks(dataset, plist)
    elif stored != dataset.nbytes or (dataset.id.get_offset() or 0) + stored > dataset.file.id.get_filesize():
        raise ValueError(f"'{name}' announces {dataset.nbytes:,} bytes and holds {stored:,}")


def attribute(node: h5py.Group | h5py.Dataset, name: str) -> str | None:
    """The text in an attribute; None where there is none, or something else than one text."""
    values = attribute_list(node, name)
    return values[0] if values is not None and len(values) == 1 else None


def attribute_list(node: h5py.Group | h5py.Dataset, name: str) -> list[str] | None:
    """The texts in an attribute, whose size is looked at before it is read; None where it is none, or no text."""
    key = name.encode()
    if not h5py.h5a.exists(node.id, key):
        return None
    handle = h5py.h5a.open(node.id, key)
    if handle.get_type().get_class() != h5py.h5t.STRING or handle.get_storage_size() > _MAX_ATTRIBUTE:
        return None
    values = node.attrs[name]
    if isinstance(values, h5py.Empty):
        return []
    texts = [v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in np.ravel(values).tolist()]
    if sum(map(len, texts)) > _MAX_ATTRIBUTE:
        raise ValueError(f"the attribute '{name}' has more than {_MAX_ATTRIBUTE:,} characters")
    return texts


def refuse_endless_heap(path: Path, content: BinaryIO | None = None) -> None:
    """Raise ``ValueError`` where a heap of texts in the file has an object of no length.

    HDF5 1.14 goes through the objects of a heap in a loop that such a one never leaves. ``content`` is the file in
    memory, where it was read already.
    """
    if content is not None:
        start = content.tell()
        _walk_heaps(content.read())
        content.seek(start)
    elif path.stat().st_size:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            _walk_heaps(mapped)


def _walk_heaps(content: bytes | mmap.mmap) -> None:
    """Go through each global heap as HDF5 does: a header of 16 bytes, then objects, each with one of its own."""
    heap = content.find(_HEAP)
    while heap >= 0:
        position, end = heap + 16, heap + int.from_bytes(content[heap + 8 : heap + 16], "little")
        while position + 16 <= min(end, len(content)):
            index, length = struct.unpack("<H6xQ", content[position : position + 16])
            step = (length if index == 0 else 16 + (length + 7) // 8 * 8) % 2**64
            if step == 0:
                raise ValueError("a heap in it has an object of no length: the file is damaged or was altered")
            position += step
        heap = content.find(_HEAP, heap + 1)


class _Indirection(ValueError):
    """A place in a file that stands for data elsewhere."""


def refuse_indirection(file: h5py.File) -> None:
    """Raise where any link or array of the file leads elsewhere: reading it could read any file of the user."""
    count = 0

    # What h5py calls must not raise: it stops at the first value returned.
    def look_at_link(name: bytes, link: Any) -> bytes | None:
        nonlocal count
        count += 1
        return name if link.type != h5py.h5l.TYPE_HARD or count > _MAX_OBJECTS else None

    def look_at_object(name: bytes, info: Any) -> bytes | None:
        # A name at a time, since h5py's own objects are no help: asking a virtual data set for its shape opens the
        # files that it names.
        if info.type != h5py.h5o.TYPE_DATASET:
            return None
        try:
            plist = h5py.h5d.open(file.id, name).get_create_plist()
            inside = plist.get_layout() != h5py.h5d.VIRTUAL and not plist.get_external_count()
        except DAMAGE:
            inside = False
        return None if inside else name

    found = file.id.links.visit(look_at_link, info=True)
    if found is None:
        found = h5py.h5o.visit(file.id, look_at_object, info=True)
    if count > _MAX_OBJECTS:
        raise ValueError(f"it has more than {_MAX_OBJECTS:,} objects")
    if found is not None:
        raise _Indirection(f"'{_text(found)}' in it is a link to another place, or damaged; links are not followed")


def _text(name: bytes | str) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


def _describe(path: Path, error: BaseException) -> str:
    if isinstance(error, _Indirection):
        return f"not read: {error}"
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
    except OSError:
        return "unreadable"
    if not start:
        return "empty"
    return "a truncated or damaged HDF5 file" if start == b"\x89HDF\r\n\x1a\n" else "not an HDF5 file"


def _require_all_chunks(dataset: h5py.Dataset, plist: Any) -> None:
    """Raise unless the file holds each chunk, and none unpacks to more than a chunk can reasonably hold."""
    filters = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
    if len(set(filters)) < len(filters) or not set(filters) <= set(_FILTERS):
        raise ValueError(f"'{dataset.name}' is packed in a way that is not read")
    stored: list[int] = []
    end = dataset.file.id.get_filesize()

    def look_at(chunk: Any) -> bool | None:
        is_held = chunk.byte_offset + chunk.size <= end and (not filters or chunk.size <= _MAX_STORED_CHUNK)
        if is_held:
            stored.append(chunk.size)
        return None if is_held else True

    dataset.id.chunk_iter(look_at)
    counts = [-(-length // chunk) for length, chunk in zip(dataset.shape, dataset.chunks, strict=True)]
    if len(stored) != math.prod(counts) or math.prod(dataset.chunks) * dataset.dtype.itemsize > largest_content(end):
        raise ValueError(f"'{dataset.name}' announces {dataset.nbytes:,} bytes, which the file does not hold")


def stored_values(group: h5py.Group) -> int:
    """How many values the arrays of a group announce, none of which is read."""
    sizes: list[int] = []

    def look_at(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and node.size is not None:
            sizes.append(node.size)

    group.visititems(look_at)
    return sum(sizes)
