"""How arrays are put into HDF5: in which type, in which chunks, and onto a disk that may fill up."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from advlab.errors import AdvlabError
from advlab.lazy import Images, LazyImages, as_levels, batches

_CHUNK_BYTES = 1 << 20  # of an array of images: what one of them costs to read


class OnDisk(io.FileIO):
    """A new file that raises an error of the disk when it is closed: HDF5 ends the process where one interrupts it."""

    def __init__(self, path: Path):
        super().__init__(path, "w+b")
        self.error: OSError | None = None

    def write(self, content: Any, /) -> int:
        """Write all of it, as long as nothing failed before."""
        left = memoryview(content).cast("B")
        while len(left) and self.error is None:
            try:
                left = left[super().write(left) or 0 :]
            except OSError as error:
                self.error = error
        return len(memoryview(content).cast("B"))

    def __exit__(self, *exception: Any) -> None:
        self.close()
        if self.error is not None:
            raise self.error


def stored_form(array: Images, as_uint8: bool) -> Images:
    """What is written of an array: uint8 of images that have 256 levels; of many images a batch at a time."""
    if not isinstance(array, LazyImages):
        array = np.asarray(array)
        levels = as_levels(array) if as_uint8 else None
        return array if levels is None else levels
    if not as_uint8 or any(as_levels(array[rows]) is None for rows in batches(array)):
        return array

    def read(rows: np.ndarray) -> np.ndarray:
        levels = as_levels(array[rows])
        if levels is None:
            raise AdvlabError("The images changed while they were written. Nothing was kept; repeat the command.")
        return levels

    return LazyImages(array.shape, read, np.uint8)


def image_chunk(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Whole images, as many as a chunk holds; of a large image as many rows of pixels."""
    n, height, width, channels = (max(size, 1) for size in shape)
    line = width * channels * itemsize
    images, lines = _CHUNK_BYTES // (height * line), max(1, _CHUNK_BYTES // line)
    return (min(n, images), height, width, channels) if images else (1, min(height, lines), width, channels)
