"""CIFAR-10 (Krizhevsky 2009): its official binary archive, or the same pictures re-encoded as JPEG.

The second is ``$ADVLAB_DATA/cifar10-jpeg/images.tar.gz`` with ``<split>/<class>/<number>.jpg``, and read where it is at
hand and the official archive is not. Of all published forms only Python's pickles are never read.
"""

from __future__ import annotations

import contextlib
import io
import re
import struct
from pathlib import Path

import numpy as np

from advlab import workspace, writing
from advlab.data import arrays, official
from advlab.data.archives import files_of
from advlab.data.download import is_official, md5_of, read
from advlab.errors import DAMAGE, AdvlabError, InvalidFile

ARCHIVE = "cifar-10-binary.tar.gz"
JPEG_PROVENANCE = (
    "the pictures were re-encoded as JPEG, so accuracies lie a point or two below those on the official files"
)
_BATCHES = {"train": [f"data_batch_{number}.bin" for number in range(1, 6)], "test": ["test_batch.bin"]}
_SIZE = 32
_JPEG_NAME = re.compile(r"(?:\./)?(train|test)/(\w+)/(\d{1,9})\.jpe?g")
_BATCH_NAME = re.compile(r".*/(\w+\.bin)")
_MOST_JPEG_BYTES, _MOST_BATCH_BYTES = 1 << 16, 1 << 25


def load(split: str) -> tuple[np.ndarray, np.ndarray, str]:
    """The images uint8 ``(n, 32, 32, 3)``, the labels int64 ``(n,)``, and what is to be said of where they come from.

    Downloads the official archive where neither is at hand. Raises ``InvalidFile`` for one that is damaged or not the
    official one, and ``AdvlabError`` where there is none on disk or on the network.
    """
    folder = workspace.data_folder("cifar10-jpeg")
    jpeg = folder and folder / "images.tar.gz"
    if jpeg and jpeg.is_file() and official.find("cifar10", ARCHIVE) is None:
        return (*read_jpeg_archive(jpeg, split), JPEG_PROVENANCE)
    (path,) = official.locate("cifar10", [ARCHIVE])
    return (*_read_official_archive(path, split), "")


def _read_official_archive(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    content, source = read(path, unpack=False), official.SOURCES["cifar10"]
    if not is_official(content, source.md5[ARCHIVE], source.sha256.get(ARCHIVE)):
        raise InvalidFile(
            f"'{path}' is not the official file (expected MD5 {source.md5[ARCHIVE]}): it is truncated or was changed. "
            "Delete it and repeat the command to download it again, or put the official file there."
        )
    batches = {name[1]: batch for name, batch in files_of(io.BytesIO(content), path, _BATCH_NAME, _MOST_BATCH_BYTES)}
    # Each record is a label and the planes of red, green and blue.
    records = np.concatenate([np.frombuffer(batches[name], np.uint8) for name in _BATCHES[split]])
    records = records.reshape(-1, 1 + 3 * _SIZE * _SIZE)
    images = records[:, 1:].reshape(-1, 3, _SIZE, _SIZE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, 0].astype(np.int64)


def read_jpeg_archive(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The images uint8 ``(n, 32, 32, 3)`` and labels int64 ``(n,)`` of one split; the classes alternate.

    Decoding 50,000 files takes some seconds, so the pixels are kept in the user's cache.
    """
    cached = workspace.cache_folder("cifar10-jpeg") / f"{md5_of(read(path, unpack=False))}-{split}.npz"
    if cached.is_file():
        content = arrays.read_arrays(cached, ["x", "y"], "Delete it and repeat the command.")
        return content["x"], content["y"]
    x, y = _decode_jpeg_archive(path, split)
    with contextlib.suppress(AdvlabError), writing.atomic_write(cached) as temporary:
        np.savez(temporary, x=x, y=y)
    return x, y


def _decode_jpeg_archive(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    images: dict[tuple[int, int], np.ndarray] = {}
    with path.open("rb") as raw:
        for name, content in files_of(raw, path, _JPEG_NAME, _MOST_JPEG_BYTES):
            if name[1] == split and name[2] in official.PICTURES:
                key = int(name[3]), official.PICTURES.index(name[2])
                images[key] = _decode(content, f"'{name[0]}' in '{path}'")
    if not images:
        raise InvalidFile(f"'{path}' has no images of the {split} split, such as '{split}/cat/0000.jpg'.")
    keys = sorted(images)
    return np.stack([images[key] for key in keys]), np.array([label for _, label in keys])


def _decode(content: bytes, subject: str) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            if image.size != (_SIZE, _SIZE):
                raise ValueError(f"it has {image.width} x {image.height} pixels, not {_SIZE} x {_SIZE}")
            return np.asarray(image.convert("RGB"))
    except (*DAMAGE, Image.DecompressionBombError, struct.error) as error:
        raise InvalidFile(f"Cannot read the image {subject}: {error}. Fix or remove it.") from error
