"""The official files of MNIST and Fashion-MNIST: where they are stored, how they are downloaded and read.

A file is looked for in ``$ADVLAB_DATA/<name>/``, then in the user's cache (``$XDG_CACHE_HOME/advlab/<name>/``, else
``~/.cache/advlab/<name>/``), gzip-compressed or not; what is in neither is downloaded into the cache. The content is
compared with the official checksum whenever it is read, because the two data sets use the same file names.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import math
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
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
_MOST_BYTES = 1 << 26  # the largest official file has 47 million, uncompressed


@dataclass(frozen=True)
class Source:
    """Where a data set is published, the names of its classes, and the checksums of each of its files, uncompressed.

    MD5 is what its authors print; SHA-256, of the same files, is what nobody can forge.
    """

    url: str
    classes: tuple[str, ...]
    md5: Mapping[str, str]
    sha256: Mapping[str, str] = field(default_factory=dict)


DIGITS = tuple("0123456789")
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}

SOURCES = {
    "fashion-mnist": Source(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        CLOTHES,
        {
            "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
            "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
            "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
        },
        {
            "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
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
        {
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
}


def load(name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The images uint8 ``(n, h, w)`` and the labels uint8 ``(n,)`` of an official data set, read-only.

    Downloads what is missing. Raises ``InvalidFile`` for a file that is damaged or not the official one, and
    ``AdvlabError`` where a file is neither on disk nor on the network.
    """
    source = SOURCES[name]
    images, labels = (
        read_idx(path, dimensions, source.md5[file], source.sha256.get(file))
        for path, file, dimensions in zip(locate(name, split), FILES[split], (3, 1), strict=True)
    )
    return images, labels


def locate(name: str, split: str) -> list[Path]:
    """The paths of the two files of a split, images first; missing files are downloaded into the cache."""
    data_folder, cache, source = workspace.data_folder(name), workspace.cache_folder(name), SOURCES[name]
    folders = [cache] if data_folder is None else [data_folder, cache]
    stored = {file: _find(file, folders) for file in FILES[split]}
    missing = [file for file, path in stored.items() if path is None]
    try:
        downloaded = {
            file: fetch(f"{source.url}{file}.gz", cache / f"{file}.gz", source.md5[file], source.sha256.get(file))
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


def fetch(url: str, target: Path, md5: str, sha256: str | None = None) -> Path:
    """Download ``url`` to ``target``, whole and with the right content or not at all; returns ``target``.

    The checksums are those of the uncompressed content. An interrupted download leaves ``<target>.part``, from which
    the next call resumes; one with a wrong checksum is deleted. Processes that download the same do not disturb each
    other: each collects its own part.
    """
    import http.client
    import ssl
    import urllib.error

    shared, own = target.with_name(f"{target.name}.part"), workspace.temporary_path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for part in (shared, *_abandoned(target)):
            with contextlib.suppress(FileNotFoundError):
                os.replace(part, own)
                break
        try:
            _transfer(url, own)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 416 or not own.exists():
                raise
            # The file ends where the part does: it is complete, or longer than the file and therefore wrong.
            if not _has_checksum(own, md5, sha256):
                own.unlink()
                _transfer(url, own)
        if not _has_checksum(own, md5, sha256):
            own.unlink()
            raise InvalidFile(
                f"The content downloaded from '{url}' has the wrong checksum (expected MD5 {md5}"
                f"{f' and SHA-256 {sha256}' if sha256 else ''} after decompression), so it was deleted. Repeat the "
                "command to download it again."
            )
        os.replace(own, target)
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
    finally:
        with contextlib.suppress(OSError):
            os.replace(own, shared)
    return target


def _abandoned(target: Path) -> list[Path]:
    """What processes collected that were killed: a living one writes at least every half minute."""
    parts = target.parent.glob(f".{target.stem}-*{target.suffix}")
    return [part for part in parts if workspace.is_older(part, 2 * _TIMEOUT)]


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
                if file.tell() > _MOST_BYTES:
                    raise ConnectionError(f"the server sends more than {_MOST_BYTES:,} bytes")
                file.write(block)
                bar.advance(len(block) // 1024)
        # http.client reports no error when the connection ends early; it only knows how many bytes are missing.
        if response.length:
            raise ConnectionError(f"the connection broke {response.length} bytes before the end")


def _has_checksum(path: Path, md5: str, sha256: str | None) -> bool:
    try:
        return _is_official(_content(path), md5, sha256)
    except InvalidFile:
        return False


def _is_official(content: bytes, md5: str, sha256: str | None) -> bool:
    return _md5(content) == md5 and sha256 in (None, hashlib.sha256(content).hexdigest())


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _content(path: Path) -> bytes:
    """The bytes of a file, decompressed where they are gzip's, whatever the name of the file, up to a limit."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            content = (gzip.GzipFile(fileobj=raw) if packed else raw).read(_MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidFile(
            f"Cannot read '{path}': {getattr(error, 'strerror', None) or error}. The file is truncated or damaged: "
            "delete it and repeat the command to download it again, or put a complete copy there."
        ) from error
    if len(content) > _MOST_BYTES:
        raise InvalidFile(
            f"'{path}' holds more than {_MOST_BYTES:,} bytes, which no official file does. Delete it and repeat the "
            "command to download it again."
        )
    return content


def read_idx(path: Path, dimensions: int, md5: str | None = None, sha256: str | None = None) -> np.ndarray:
    """The array in an IDX file of unsigned bytes, gzip-compressed or not: uint8, read-only.

    Layout: the bytes 0, 0, 8 and the number of dimensions, each dimension as a big-endian uint32, then the data.
    ``md5`` and ``sha256``, where given, are checksums of the uncompressed file. Raises ``InvalidFile``.
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
    if md5 is not None and not _is_official(content, md5, sha256):
        raise InvalidFile(
            f"'{path}' is an IDX file, but not the official one (MD5 {_md5(content)}, expected {md5}): it belongs to "
            f"another data set or was changed. {fix} Data of your own is read from a .npz file."
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
