"""The official files of MNIST and Fashion-MNIST: where they are stored, how they are downloaded and read.

A file is looked for in ``$ADVLAB_DATA/<name>/``, then in the user's cache (``$XDG_CACHE_HOME/advlab/<name>/``, else
``~/.cache/advlab/<name>/``), gzip-compressed or not; what is in neither is downloaded into the cache. The content is
compared with the official checksum whenever it is read, because the two data sets use the same file names.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from advlab import workspace
from advlab.errors import AdvlabError, InvalidFile
from advlab.progress import Progress

if TYPE_CHECKING:
    import numpy as np

DATASETS = {
    "digits": "1,797 handwritten digits from scikit-learn, 28 x 28, no download",
    "fashion-mnist": "60,000 + 10,000 pictures of clothing, 28 x 28, the official files",
    "mnist": "60,000 + 10,000 handwritten digits, 28 x 28, the official files",
}
WITH_NOISE = "+noise"

_TIMEOUT = 30.0
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Source:
    """Where a data set is published, the names of its classes, and the MD5 of each of its files, uncompressed."""

    url: str
    classes: tuple[str, ...]
    md5: Mapping[str, str]


DIGITS = tuple("0123456789")
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}

SOURCES = {
    "fashion-mnist": Source(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        CLOTHES,
        {
            "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
            "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
            "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
        },
    ),
    "mnist": Source(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        DIGITS,
        {
            "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
            "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
            "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
            "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
        },
    ),
}


def load(name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The images uint8 ``(n, h, w)`` and the labels uint8 ``(n,)`` of an official data set, read-only.

    Downloads what is missing. Raises ``InvalidFile`` for a file that is damaged or not the official one, and
    ``AdvlabError`` where a file is neither on disk nor on the network.
    """
    images, labels = (
        read_idx(path, dimensions, SOURCES[name].md5[file])
        for path, file, dimensions in zip(locate(name, split), FILES[split], (3, 1), strict=True)
    )
    return images, labels


def locate(name: str, split: str) -> list[Path]:
    """The paths of the two files of a split, images first; missing files are downloaded into the cache."""
    data_folder, cache = workspace.data_folder(name), workspace.cache_folder(name)
    folders = [cache] if data_folder is None else [data_folder, cache]
    stored = {file: _find(file, folders) for file in FILES[split]}
    missing = [file for file, path in stored.items() if path is None]
    try:
        downloaded = {
            file: fetch(f"{SOURCES[name].url}{file}.gz", cache / f"{file}.gz", SOURCES[name].md5[file])
            for file in missing
        }
    except AdvlabError as error:
        searched = f"'{cache}' (the cache)"
        searched += " (ADVLAB_DATA is not set)" if data_folder is None else f" or '{data_folder}' (from ADVLAB_DATA)"
        raise type(error)(
            f"Data set '{name}' lacks {' and '.join(f'{file}[.gz]' for file in missing)}: not in {searched}. {error} "
            f"Or put the files into a folder '{name}' and set ADVLAB_DATA to its parent folder. "
            "The data set 'digits' needs no download."
        ) from error
    return [stored[file] or downloaded[file] for file in FILES[split]]


def _find(file: str, folders: list[Path]) -> Path | None:
    paths = (folder / name for folder in folders for name in (file, f"{file}.gz"))
    return next((path for path in paths if path.is_file()), None)


def fetch(url: str, target: Path, md5: str) -> Path:
    """Download ``url`` to ``target``, whole and with the right content or not at all; returns ``target``.

    ``md5`` is the checksum of the uncompressed content. The download is collected in ``<target>.part``, from which the
    next call resumes after an interruption; a part with a wrong checksum is deleted.
    """
    import http.client
    import ssl
    import urllib.error

    part = target.with_name(f"{target.name}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            _transfer(url, part)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 416 or not part.exists():
                raise
            # The file ends where the part does: it is complete, or longer than the file and therefore wrong.
            if not _has_checksum(part, md5):
                part.unlink()
                _transfer(url, part)
        if not _has_checksum(part, md5):
            part.unlink()
            raise InvalidFile(
                f"The content downloaded from '{url}' has the wrong checksum (expected MD5 {md5} after "
                "decompression), so it was deleted. Repeat the command to download it again."
            )
        os.replace(part, target)
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or error
        raise AdvlabError(
            f"The download of '{url}' failed: {reason}. "
            "Connect to the network and repeat the command: it resumes where it stopped."
        ) from error
    except OSError as error:
        raise AdvlabError(
            f"Cannot write '{target}': {error.strerror or error}. "
            "Free some space, or set XDG_CACHE_HOME to a folder that can be written."
        ) from error
    return target


def _transfer(url: str, part: Path) -> None:
    """Request what ``part`` lacks and append it; start again where the server sends the whole file regardless."""
    from urllib.request import Request, urlopen

    size = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"Range": f"bytes={size}-"} if size else {})
    with urlopen(request, timeout=_TIMEOUT) as response:
        if response.status != 206:
            size = 0
        total = None if response.length is None else (size + response.length) // 1024
        name = url.rsplit("/", 1)[-1]
        with part.open("ab" if size else "wb") as file, Progress(total, f"Downloading {name}", "KiB") as bar:
            bar.advance(size // 1024)
            while block := response.read(_BLOCK):
                file.write(block)
                bar.advance(len(block) // 1024)
        # http.client reports no error when the connection ends early; it only knows how many bytes are missing.
        if response.length:
            raise ConnectionError(f"the connection broke {response.length} bytes before the end")


def _has_checksum(path: Path, md5: str) -> bool:
    try:
        return _md5(_content(path)) == md5
    except InvalidFile:
        return False


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _content(path: Path) -> bytes:
    """The bytes of a file, decompressed where they are gzip's, whatever the name of the file."""
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidFile(
            f"Cannot read '{path}': {getattr(error, 'strerror', None) or error}. The file is truncated or damaged: "
            "delete it and repeat the command to download it again, or put a complete copy there."
        ) from error


def read_idx(path: Path, dimensions: int, md5: str | None = None) -> np.ndarray:
    """The array in an IDX file of unsigned bytes, gzip-compressed or not: uint8, read-only.

    Layout: the bytes 0, 0, 8 and the number of dimensions, each dimension as a big-endian uint32, then the data.
    ``md5``, where given, is the checksum of the uncompressed file. Raises ``InvalidFile``.
    """
    import numpy as np

    content = _content(path)
    fix = "Delete it and repeat the command to download it again, or put the official file there."
    header = 4 + 4 * dimensions
    magic = bytes((0, 0, 8, dimensions))
    if not content.startswith(magic) or len(content) < header:
        raise InvalidFile(
            f"'{path}' is not an IDX file of bytes with {dimensions} dimension(s): it begins with "
            f"'{content[:4].hex(' ')}' instead of '{magic.hex(' ')}'. {fix}"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if len(content) - header != math.prod(shape):
        raise InvalidFile(
            f"'{path}' declares {' x '.join(map(str, shape))} bytes of data and holds {len(content) - header}: "
            f"it is truncated or damaged. {fix}"
        )
    if md5 is not None and _md5(content) != md5:
        raise InvalidFile(
            f"'{path}' is an IDX file, but not the official one (MD5 {_md5(content)}, expected {md5}): it belongs to "
            f"another data set or was changed. {fix} Data of your own is read from a .npz file."
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
