"""HDF5 files that hold a JSON header and arrays: what they must hold, how they are written and read.

Archives of attacks, unfinished attacks, certificates and checkpoints of training runs have a header in the root
attribute ``advlab``, which can be read without the arrays, and one data set for each array. Only arrays that were
declared are read.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from advlab import writing
from advlab.errors import DAMAGE, AdvlabError, InvalidFile
from advlab.hdf5 import attribute, open_rows, read_array, refuse_endless_heap, refuse_indirection
from advlab.hdf5_output import OnDisk, image_chunk, stored_form
from advlab.lazy import Images, LazyImages, as_float, batches, fits_in_memory
from advlab.validation import json_object, largest_content

FORMAT = 3
READABLE = (1, 2, FORMAT)


class Array(NamedTuple):
    """What an array of a file must be.

    ``kinds`` are those of NumPy's dtypes. ``axes`` names each axis, ``"nhwc"``; axes of one name have one length, and
    None allows any shape. All values lie in [``low``, ``high``], which excludes NaN, where these are given. Of
    ``images`` those of uint8 are the 256 levels of image files; all are read as float32, and many of them lazily.
    """

    kinds: str
    axes: str | None = None
    low: float = -math.inf
    high: float = math.inf
    required: bool = True
    images: bool = False


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


def write(
    path: Path,
    header: Mapping[str, Any],
    arrays: Mapping[str, Images],
    compress: bool = True,
    levels: Sequence[str] = (),
) -> None:
    """Write a header and arrays as HDF5, whole or not at all, with a digest of each.

    The images named in ``levels`` are stored as uint8 where that loses nothing. Many images go to the disk in batches.
    """
    stored = {name: stored_form(array, name in levels) for name, array in arrays.items()}
    in_memory = all(isinstance(array, np.ndarray) for array in stored.values())
    with writing.atomic_write(path) as temporary:
        if in_memory:
            buffer = io.BytesIO()
            _write_into(buffer, header, stored, compress)
            temporary.write_bytes(buffer.getbuffer())
        else:
            with OnDisk(temporary) as target:
                _write_into(target, header, stored, compress)


def _write_into(target: Any, header: Mapping[str, Any], arrays: Mapping[str, Images], compress: bool) -> None:
    with h5py.File(target, "w") as file:
        digests = {}
        for name, array in arrays.items():
            options: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
            if not compress or array.nbytes <= 4096:
                options = {}
            elif array.ndim == 4:
                options["chunks"] = image_chunk(array.shape, array.dtype.itemsize)
            dataset = file.create_dataset(name, array.shape, array.dtype, **options)
            sha = _started_digest(array.shape, array.dtype)
            for rows in batches(array) if array.ndim == 4 else [...]:
                content = np.ascontiguousarray(array[rows])
                dataset[rows] = content
                sha.update(content.reshape(-1).view(np.uint8).data)
            digests[name] = sha.hexdigest()[:32]
        # As it will be read: tuples come back as lists.
        text = json.dumps({"format": FORMAT, **header})
        file.attrs["advlab"] = json.dumps(json.loads(text) | {"digests": digests | {"": _header_digest(text)}})


def read_header(path: Path, layout: Layout) -> dict[str, Any]:
    """The header of a file without its arrays; raises ``InvalidFile``."""
    with _opened(path, layout) as file:
        return _header(file, path, layout)[0]


def holds(path: Path, layout: Layout) -> bool:
    """Whether a file is one of that layout, as far as its header says."""
    try:
        read_header(path, layout)
    except InvalidFile:
        return False
    return True


def read(path: Path, layout: Layout) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and the declared arrays, many images as ``LazyImages``; what is not declared is not read.

    Raises ``InvalidFile``.
    """
    with _opened(path, layout) as file:
        header, digests = _header(file, path, layout)
        names = _declared_names(file, layout)
        missing = [n for n, a in layout.arrays.items() if a.required and not n.endswith("/") and n not in names]
        if missing:
            raise InvalidFile(f"'{path}' is not a complete {layout.noun}: it lacks {', '.join(missing)}. {layout.fix}")
        arrays: dict[str, Images] = {}
        allowance = largest_content(path.stat().st_size)
        lengths: dict[str, int] = {}
        for name, declared in names.items():
            dataset = file[name]
            if not _is_array(dataset):
                raise ValueError(f"'{name}' is not an array")
            allowance -= dataset.nbytes
            if allowance < 0:
                raise ValueError("it announces more data than a file of its size can hold")
            _require_axes(name, dataset.shape, declared, lengths)
            is_lazy = declared.images and not fits_in_memory(dataset.shape)
            stored = (
                LazyImages(dataset.shape, open_rows(path, name, declared.kinds), dataset.dtype)
                if is_lazy
                else read_array(dataset, declared.kinds)
            )
            arrays[name] = _checked(name, stored, declared, digests)
        if layout.signed and {"", *arrays} != digests.keys():
            raise ValueError("it does not hold what was written: the file is damaged or was altered")
    return header, arrays


@contextlib.contextmanager
def _opened(path: Path, layout: Layout) -> Iterator[h5py.File]:
    """The open file; whatever is wrong with it is said in the words of its layout."""
    article = "an" if layout.noun[0] in "aeiou" else "a"
    if not path.is_file():
        raise InvalidFile(f"No {layout.noun} at '{path}'. {layout.fix}")
    try:
        refuse_endless_heap(path)
        with h5py.File(path, "r") as file:
            refuse_indirection(file)
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
            "unfinished certificate": "an unfinished certificate",
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


def _require_axes(name: str, shape: tuple[int, ...] | None, declared: Array, lengths: dict[str, int]) -> None:
    axes = declared.axes
    if axes is not None and (shape is None or len(shape) != len(axes)):
        raise ValueError(f"its arrays do not fit together: '{name}' has the shape {shape}")
    for axis, length in zip(axes or "", shape or (), strict=bool(axes)):
        if lengths.setdefault(axis, length) != length:
            raise ValueError(
                f"its arrays do not fit together: '{name}' has the shape {shape}, where others have {lengths[axis]:,}"
            )


def _checked(name: str, stored: Images, declared: Array, digests: Mapping[str, str]) -> Images:
    """An array as it is used, after going through its values once."""
    convert = as_float if declared.images else np.asarray
    sha = _started_digest(stored.shape, stored.dtype)
    for rows in batches(stored) if isinstance(stored, LazyImages) else [...]:
        content = np.ascontiguousarray(stored[rows])
        sha.update(content.reshape(-1).view(np.uint8).data)
        if (declared.low, declared.high) != (-math.inf, math.inf) and content.size:
            values = convert(content)
            low, high = values.min(), values.max()
            if not (low >= declared.low and high <= declared.high):
                raise ValueError(f"'{name}' has values from {low:g} to {high:g}, outside its range")
    if name in digests and digests[name] != sha.hexdigest()[:32]:
        raise ValueError(f"'{name}' is not what was written: the file is damaged or was altered")
    if isinstance(stored, LazyImages):
        return LazyImages(stored.shape, lambda rows: convert(stored[rows]))
    return convert(stored)


def _started_digest(shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """SHA-256 of type and shape, to which the values are added: any change of them changes it."""
    return hashlib.sha256(f"{dtype.newbyteorder('<').str}{shape}".encode())


def _header_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
