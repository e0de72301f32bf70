"""The official files of the known data sets, where they are stored, and how those of MNIST and its kin are read.

A file is looked for in ``$ADVLAB_DATA/<name>/``, then in the user's cache (``$XDG_CACHE_HOME/advlab/<name>/``, else
``~/.cache/advlab/<name>/``), gzip-compressed or not; what is in neither is downloaded into the cache. The content is
compared with the official checksum whenever it is read, because two of the data sets use the same file names.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from advlab import workspace
from advlab.data.download import fetch, is_official, md5_of, read
from advlab.errors import AdvlabError, InvalidFile

if TYPE_CHECKING:
    import numpy as np

DATASETS = {
    "cifar10": "50,000 + 10,000 colour pictures in ten classes, 32 x 32, the official files",
    "digits": "1,797 handwritten digits from scikit-learn, 28 x 28, no download",
    "fashion-mnist": "60,000 + 10,000 pictures of clothing, 28 x 28, the official files",
    "imdb": "25,000 + 25,000 reviews of films, the last 200 words, the official files",
    "mnist": "60,000 + 10,000 handwritten digits, 28 x 28, the official files",
    "sentences": "48 + 24 sentences about films, 16 words, no download",
}
WITH_NOISE = "+noise"


@dataclass(frozen=True)
class Source:
    """Where a data set is published, the names of its classes, and the checksums of each of its files.

    MD5 is what its authors print; SHA-256, of the same files, is what nobody can forge. ``packed`` files are published
    with the suffix ``.gz``, and the checksums are those of their content.
    """

    url: str
    classes: tuple[str, ...]
    md5: Mapping[str, str]
    sha256: Mapping[str, str] = field(default_factory=dict)
    packed: bool = True


DIGITS = tuple("0123456789")
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
PICTURES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}

SOURCES = {
    "cifar10": Source(
        "https://www.cs.toronto.edu/~kriz/",
        PICTURES,
        {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
        {"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
        packed=False,
    ),
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
    "imdb": Source(
        "https://ai.stanford.edu/~amaas/data/sentiment/",
        ("negative", "positive"),
        {"aclImdb_v1.tar.gz": "7c2ac02c03563afcf9b574c7e56c153a"},
        packed=False,
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
    """The images uint8 ``(n, h, w)`` and the labels uint8 ``(n,)`` of MNIST or Fashion-MNIST, read-only.

    Downloads what is missing. Raises ``InvalidFile`` for a file that is damaged or not the official one, and
    ``AdvlabError`` where a file is neither on disk nor on the network.
    """
    source, files = SOURCES[name], FILES[split]
    images, labels = (
        read_idx(path, dimensions, source.md5[file], source.sha256.get(file))
        for path, file, dimensions in zip(locate(name, files), files, (3, 1), strict=True)
    )
    return images, labels


def locate(name: str, files: Sequence[str]) -> list[Path]:
    """The paths of some files of a data set; missing ones are downloaded into the cache."""
    data_folder, cache, source = workspace.data_folder(name), workspace.cache_folder(name), SOURCES[name]
    stored = {file: find(name, file) for file in files}
    missing = [file for file, path in stored.items() if path is None]
    suffix, other_suffix = (".gz", "[.gz]") if source.packed else ("", "")
    try:
        downloaded = {
            file: fetch(
                f"{source.url}{file}{suffix}",
                cache / f"{file}{suffix}",
                source.md5[file],
                source.sha256.get(file),
                unpack=source.packed,
            )
            for file in missing
        }
    except AdvlabError as error:
        searched = f"'{cache}' (the cache)"
        searched += " (ADVLAB_DATA is not set)" if data_folder is None else f" or '{data_folder}' (from ADVLAB_DATA)"
        raise type(error)(
            f"Data set '{name}' lacks {' and '.join(f'{file}{other_suffix}' for file in missing)}: not in {searched}. "
            f"{error} Or put the files into a folder '{name}' and set ADVLAB_DATA to its parent folder. "
            "The data set 'digits' needs no download."
        ) from error
    return [stored[file] or downloaded[file] for file in files]


def find(name: str, file: str) -> Path | None:
    """The path of a file of a data set below ``ADVLAB_DATA`` or in the cache, gzip-compressed or not; None without."""
    folders = filter(None, (workspace.data_folder(name), workspace.cache_folder(name)))
    paths = (folder / stored for folder in folders for stored in (file, f"{file}.gz"))
    return next((path for path in paths if path.is_file()), None)


def read_idx(path: Path, dimensions: int, md5: str | None = None, sha256: str | None = None) -> np.ndarray:
    """The array in an IDX file of unsigned bytes, gzip-compressed or not: uint8, read-only.

    Layout: the bytes 0, 0, 8 and the number of dimensions, each dimension as a big-endian uint32, then the data.
    ``md5`` and ``sha256``, where given, are checksums of the uncompressed file. Raises ``InvalidFile``.
    """
    import numpy as np

    content = read(path)
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
    if md5 is not None and not is_official(content, md5, sha256):
        raise InvalidFile(
            f"'{path}' is an IDX file, but not the official one (MD5 {md5_of(content)}, expected {md5}): it belongs to "
            f"another data set or was changed. {fix} Data of your own is read from a .npz file."
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
