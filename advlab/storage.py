"""HDF5 files: one guarded reader of all of them, and the layout of those that hold a JSON header and arrays.

Archives of attacks, unfinished attacks and checkpoints of training runs have a header in the root attribute ``advlab``,
which can be read without the arrays, and one data set for each array. Every HDF5 file may come from a stranger: the
reader opens nothing outside of the file (no links but hard ones, no external or virtual storage), reads only numbers
that the file really holds, and only arrays that were declared.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import h5py
import numpy as np

from advlab import workspace
from advlab.errors import DAMAGE, AdvlabError, InvalidFile
from advlab.validation import json_object, largest_content

FORMAT = 2
READABLE = (1, FORMAT)

_MAX_ATTRIBUTE = 1 << 24  # bytes; the configuration of a network of a thousand layers takes a tenth
_MAX_OBJECTS = 100_000
_MAX_STORED_CHUNK = 1 << 21  # bytes; gzip makes at most a thousand times as many of them
_FILTERS = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)


class Array(NamedTuple):
    """What an array of a file must be.

    ``kinds`` are those of NumPy's dtypes. ``axes`` names each axis, ``"nhwc"``; axes of one name have one length, and
    None allows any shape. All values lie in [``low``, ``high``], which excludes NaN, where these are given.
    """

    kinds: str
    axes: str | None = None
    low: float = -math.inf
    high: float = math.inf
    required: bool = True


@dataclass(frozen=True)
class Layout:
    """What a kind of file holds. ``arrays``: name -> ``Array``; a name that ends in ``/`` declares all of that group.

    ``kind`` is what the header states, ``header`` the type of each of its other fields, and ``fix`` what to do where a
    file is not one of these. A ``signed`` one is refused without the digests that ``write`` leaves.
    """

    noun: str
    kind: str
    fix: str
    header: Mapping[str, type | tuple[type, ...]]
    arrays: Mapping[str, Array] = field(default_factory=dict)
    signed: bool = False


def write(path: Path, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray], compress: bool = True) -> None:
    """Write a header and arrays as HDF5, whole or not at all, with a digest of each."""
    # In memory first: HDF5 ends the process where a disk fills up under an open file.
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        digests = {}
        for name, array in arrays.items():
            array = np.asarray(array)
            options = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
            file.create_dataset(name, data=array, **(options if compress and array.nbytes > 4096 else {}))
            digests[name] = _digest(array)
        # As it will be read: tuples come back as lists.
        text = json.dumps({"format": FORMAT, **header})
        file.attrs["advlab"] = json.dumps(json.loads(text) | {"digests": digests | {"": _header_digest(text)}})
    with workspace.atomic_write(path) as temporary:
        temporary.write_bytes(memory.getbuffer())


def read_header(path: Path, layout: Layout) -> dict[str, Any]:
    """The header of a file without its arrays; raises ``InvalidFile``."""
    with _opened(path, layout) as file:
        return _header(file, path, layout)[0]


def read(path: Path, layout: Layout) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and the declared arrays; what is not declared is not read. Raises ``InvalidFile``."""
    with _opened(path, layout) as file:
        header, digests = _header(file, path, layout)
        names = _declared_names(file, layout)
        missing = [n for n, a in layout.arrays.items() if a.required and not n.endswith("/") and n not in names]
        if missing:
            raise InvalidFile(f"'{path}' is not a complete {layout.noun}: it lacks {', '.join(missing)}. {layout.fix}")
        arrays = {}
        allowance = largest_content(path.stat().st_size)
        lengths: dict[str, int] = {}
        for name, declared in names.items():
            dataset = file[name]
            if not _is_array(dataset):
                raise ValueError(f"'{name}' is not an array")
            allowance -= dataset.nbytes
            if allowance < 0:
                raise ValueError("it announces more data than a file of its size can hold")
            arrays[name] = _checked(name, dataset, declared, lengths, digests)
        if layout.signed and {"", *arrays} != digests.keys():
            raise ValueError("it does not hold what was written: the file is damaged or was altered")
    return header, arrays


def read_array(dataset: h5py.Dataset, kinds: str = "biuf") -> np.ndarray:
    """The values of an array that the file holds in full; raises ``ValueError`` for one that only announces them."""
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
    return np.asarray(dataset[()])


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
        with h5py.File(content or path, "r") as file:
            _refuse_indirection(file)
            yield file
    except PermissionError as error:
        raise InvalidFile(f"'{path}' cannot be read: {error.strerror}. Change its permissions.") from error
    except AdvlabError:
        raise
    except DAMAGE as error:
        raise InvalidFile(f"'{path}' is {_describe(path, error)}. Copy, download or train it again.") from error


class _Indirection(ValueError):
    """A place in a file that stands for data elsewhere."""


def _refuse_indirection(file: h5py.File) -> None:
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


@contextlib.contextmanager
def _opened(path: Path, layout: Layout) -> Iterator[h5py.File]:
    """The open file; whatever is wrong with it is said in the words of its layout."""
    article = "an" if layout.noun[0] in "aeiou" else "a"
    if not path.is_file():
        raise InvalidFile(f"No {layout.noun} at '{path}'. {layout.fix}")
    try:
        with h5py.File(path, "r") as file:
            _refuse_indirection(file)
            if "model_config" in file.attrs or "advlab" not in file.attrs:
                actual = "a saved model" if "model_config" in file.attrs else "an HDF5 file of something else"
                raise InvalidFile(f"'{path}' is {actual}, not {article} {layout.noun}. {layout.fix}")
            yield file
    except AdvlabError:
        raise
    except DAMAGE as error:
        raise InvalidFile(f"'{path}' cannot be read as {article} {layout.noun} ({error}). {layout.fix}") from error


def _header(file: h5py.File, path: Path, layout: Layout) -> tuple[dict[str, Any], dict[str, str]]:
    header = json_object(attribute(file, "advlab") or "", "its header")
    if header.get("format") not in READABLE:
        formats = " and ".join(map(str, READABLE))
        raise InvalidFile(
            f"'{path}' has format {header.get('format')!r:.40}; this advlab reads formats {formats}. Update advlab."
        )
    digests = header.pop("digests", {})
    if header.get("kind", layout.kind) != layout.kind:
        other = {
            "archive": "an archive of an attack",
            "certificate": "a certificate",
            "partial": "an unfinished attack",
        }
        raise InvalidFile(
            f"'{path}' is {other.get(str(header['kind']), 'a file of another kind')}, not a complete "
            f"{layout.noun}. {layout.fix}"
        )
    wrong = [n for n, types in layout.header.items() if not _is_of_type(header.get(n), types)]
    if wrong or not isinstance(digests, dict):
        raise ValueError(f"its header lacks, or has another type of: {', '.join(wrong or ['digests'])}")
    if "" in digests and digests[""] != _header_digest(json.dumps(header)):
        raise ValueError("its header is not the one that was written: the file is damaged or was altered")
    return header, digests


def _is_of_type(value: Any, types: type | tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return types is bool
    return isinstance(value, types) and (not isinstance(value, float) or math.isfinite(value))


def _declared_names(file: h5py.File, layout: Layout) -> dict[str, Array]:
    names = {}
    for name, declared in layout.arrays.items():
        if not name.endswith("/"):
            if name in file:
                names[name] = declared
        elif isinstance(file.get(name), h5py.Group):
            inside: list[str] = []
            file[name].visititems(lambda inner, node, found=inside: found.append(inner) if _is_array(node) else None)
            names |= {f"{name}{inner}": declared for inner in inside}
    return names


def _is_array(node: Any) -> bool:
    return isinstance(node, h5py.Dataset)


def _checked(
    name: str, dataset: h5py.Dataset, declared: Array, lengths: dict[str, int], digests: Mapping[str, str]
) -> np.ndarray:
    shape, axes = dataset.shape, declared.axes
    if axes is not None and (shape is None or len(shape) != len(axes)):
        raise ValueError(f"its arrays do not fit together: '{name}' has the shape {shape}")
    for axis, length in zip(axes or "", shape or (), strict=bool(axes)):
        if lengths.setdefault(axis, length) != length:
            raise ValueError(
                f"its arrays do not fit together: '{name}' has the shape {shape}, where others have {lengths[axis]:,}"
            )
    array = read_array(dataset, declared.kinds)
    if name in digests and digests[name] != _digest(array):
        raise ValueError(f"'{name}' is not what was written: the file is damaged or was altered")
    if (declared.low, declared.high) != (-math.inf, math.inf) and array.size:
        low, high = array.min(), array.max()
        if not (low >= declared.low and high <= declared.high):
            raise ValueError(f"'{name}' has values from {low:g} to {high:g}, outside its range")
    return array


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


def _digest(array: np.ndarray) -> str:
    """32 hexadecimal digits that any change of values, type or shape changes."""
    contiguous = np.ascontiguousarray(array)
    sha = hashlib.sha256(f"{array.dtype.newbyteorder('<').str}{array.shape}".encode())
    sha.update(contiguous.reshape(-1).view(np.uint8).data)
    return sha.hexdigest()[:32]


def _header_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
