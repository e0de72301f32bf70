"""Images that do not lie in memory: more than ``MOST_IN_MEMORY`` bytes of them are read a batch at a time.

``LazyImages`` have the shape of an array ``(n, h, w, c)`` and are indexed like one along the first axis, which reads
the rows asked for as float32. Whatever handles many images goes through them by ``batches`` or ``by_batches``, and what
selects or joins them (``select``, ``choose``) reads nothing. Small arrays stay NumPy's everywhere.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import Any, TypeAlias

import numpy as np

from advlab.errors import AdvlabError

MOST_IN_MEMORY = 1 << 27  # bytes of images as float32: 43,000 of 28 x 28, or 220 of 224 x 224 in colour
_PART_BYTES = 1 << 25  # of what is attacked at a time, which takes some ten times as much
_BATCH_BYTES = 1 << 24

Images: TypeAlias = "np.ndarray | LazyImages"


class LazyImages(np.lib.mixins.NDArrayOperatorsMixin):
    """Images ``(n, h, w, c)``, float32 unless said otherwise, of which ``read`` returns those of an int array of rows.

    A row number reads one image; a slice, a mask or a list of rows reads an array. ``numpy.asarray`` reads all, and so
    does arithmetic.
    """

    ndim = 4

    def __init__(self, shape: tuple[int, ...], read: Callable[[np.ndarray], np.ndarray], dtype: Any = np.float32):
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._read = read

    @property
    def size(self) -> int:
        """The number of pixels of all images."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """The bytes that all images would take in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"LazyImages {'x'.join(map(str, self.shape))}: numpy.asarray reads all, x[:100] the first hundred"

    def __getitem__(self, key: Any) -> np.ndarray:
        rows = np.arange(len(self))[key]
        return self._read(rows[None])[0] if np.ndim(rows) == 0 else self._read(rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        arrays = (np.asarray(value) if isinstance(value, LazyImages) else value for value in inputs)
        return getattr(ufunc, method)(*arrays, **options)

    def select(self, rows: np.ndarray | slice) -> LazyImages:
        """Some of the images, none of which is read yet."""
        positions = np.arange(len(self))[rows].copy()  # a view of them would keep the numbers of all images
        return LazyImages((len(positions), *self.shape[1:]), lambda rows: self._read(positions[rows]), self.dtype)


def fits_in_memory(shape: Sequence[int]) -> bool:
    """Whether images of this shape, ``(n, h, w, c)``, are few enough for an array."""
    return 4 * int(np.prod(shape, dtype=np.int64)) <= MOST_IN_MEMORY


def select(x: Images, rows: np.ndarray | slice) -> Images:
    """Some rows of images; of lazy ones none is read."""
    return x.select(rows) if isinstance(x, LazyImages) else x[rows]


def choose(sources: Sequence[Images], numbers: np.ndarray) -> Images:
    """Of each row the image of one of several sources of the same shape: row i that of ``sources[numbers[i]]``."""

    def read(rows: np.ndarray) -> np.ndarray:
        images = np.empty((len(rows), *shape[1:]), np.float32)
        for number, source in enumerate(sources):
            places = np.flatnonzero(numbers[rows] == number)
            if len(places):
                images[places] = source[rows[places]]
        return images

    shape, numbers = sources[0].shape, np.asarray(numbers).astype(int)
    is_lazy = any(isinstance(source, LazyImages) for source in sources)
    return LazyImages(shape, read) if is_lazy else read(np.arange(shape[0]))


def join(first: Images, second: Images) -> Images:
    """The images of both, one after the other; lazy where one is, or where together they are too many for an array."""
    shape, count = (len(first) + len(second), *first.shape[1:]), len(first)
    if fits_in_memory(shape) and not any(isinstance(images, LazyImages) for images in (first, second)):
        return np.concatenate([first, second])

    def read(rows: np.ndarray) -> np.ndarray:
        images = np.empty((len(rows), *shape[1:]), np.float32)
        for source, places, offset in ((first, rows < count, 0), (second, rows >= count, count)):
            if places.any():
                images[places] = source[rows[places] - offset]
        return images

    return LazyImages(shape, read)


def batches(x: Images) -> Iterator[slice]:
    """Slices that go through all images, each of some megabytes."""
    return _slices(x, _BATCH_BYTES)


def _slices(x: Images, most: int) -> Iterator[slice]:
    count = max(1, most // max(4 * int(np.prod(x.shape[1:], dtype=np.int64)), 1))
    for start in range(0, len(x), count):
        yield slice(start, start + count)


def parts(x: Images) -> Iterator[slice]:
    """Slices that go through all images, each of as many as are attacked at a time."""
    return _slices(x, _PART_BYTES)


def by_batches(function: Callable[..., np.ndarray], *arrays: Images) -> np.ndarray:
    """What a function of the rows of some arrays returns for all rows, a value or more for each."""
    parts = [function(*(array[rows] for array in arrays)) for rows in batches(arrays[0])]
    return np.concatenate(parts) if parts else function(*(array[:0] for array in arrays))


def equal(x: Images, other: Images) -> np.ndarray:
    """bool ``(n,)``: the images that are the same in both, pixel by pixel."""
    return by_batches(lambda one, two: np.all(one == two, axis=(1, 2, 3)), x, other)


def as_float(pixels: np.ndarray) -> np.ndarray:
    """Stored pixels as float32: of uint8, the 256 levels of image files, 255 becomes 1."""
    if pixels.dtype == np.uint8:
        return np.divide(pixels, np.float32(255), dtype=np.float32)
    return pixels.astype(np.float32, copy=False)


def as_levels(x: np.ndarray) -> np.ndarray | None:
    """Images as uint8, where ``as_float`` of that is exactly the same again; None where it is not."""
    with np.errstate(invalid="ignore"):
        levels = np.rint(255 * x).astype(np.uint8)
    return levels if np.array_equal(as_float(levels), x) else None


class Spool:
    """Rows of one shape and type in a temporary file that has no name and vanishes with its last reader.

    Raises ``AdvlabError`` where the disk has no room for ``count`` of them.
    """

    def __init__(self, count: int, shape: tuple[int, ...], dtype: Any):
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._row_bytes = int(np.prod(shape, dtype=np.int64)) * self._dtype.itemsize
        folder, needed = tempfile.gettempdir(), count * self._row_bytes
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise AdvlabError(
                f"{count:,} images need {needed / 1e9:.1f} GB in '{folder}', which has {free / 1e9:.1f} GB free. Free "
                "some space, choose another folder with TMPDIR, or take fewer images."
            )
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._lock = Lock()

    def append(self, rows: np.ndarray) -> None:
        """Write more rows at the end."""
        content = np.ascontiguousarray(rows, self._dtype)
        try:
            self._file.seek(0, 2)
            self._file.write(content.reshape(-1).view(np.uint8).data)
            self._file.flush()
        except OSError as error:
            raise AdvlabError(
                f"Cannot write to '{tempfile.gettempdir()}': {error.strerror or error}. Free some space, or choose "
                "another folder with TMPDIR."
            ) from error

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The rows of these numbers, in this order."""
        content = np.empty((len(rows), *self._shape), self._dtype)
        flat = content.reshape(len(rows), -1).view(np.uint8)
        with self._lock:
            for start, stop in runs(rows):
                self._file.seek(int(rows[start]) * self._row_bytes)
                self._file.readinto(flat[start:stop].reshape(-1).data)
        return content

    def images(self, count: int, convert: Callable[[np.ndarray], np.ndarray] = as_float) -> LazyImages:
        """The first ``count`` rows, of shape ``(h, w, c)``, as images."""
        return LazyImages((count, *self._shape), lambda rows: convert(self.read(rows)))


def runs(rows: np.ndarray) -> Iterator[tuple[int, int]]:
    """Where rows that follow each other begin and end in a list of row numbers."""
    ends = [*(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
    start = 0
    for end in ends:
        if end > start:
            yield start, end
        start = end
