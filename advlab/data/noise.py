"""Images without meaning: noise of several distributions, and real images whose pixels were shuffled.

``uniform``          each value anywhere in [0, 1].
``gaussian``         each value normal, of mean 0.5 and standard deviation 0.25 (a wider one would be mostly black and
                     white), clipped.
``salt-and-pepper``  each position black or white, even odds.
``constant``         one grey level for the whole image.
``smooth``           light and shade without edges: 4 x 4 uniform values, linear in between.
``shuffled``         a real image with its positions permuted: the same histogram, no structure.

The first three words mean what they mean to the attack method ``noise``, which adds such noise to an image.
"""

from __future__ import annotations

import zlib

import numpy as np

from advlab.errors import unknown
from advlab.validation import require_int

SHUFFLED = "shuffled"
TAUGHT = ("uniform", "gaussian", "salt-and-pepper")  # what a data set with the class UNKNOWN is made of
DRAWN = (*TAUGHT, "constant", "smooth")
DISTRIBUTIONS = (*DRAWN, SHUFFLED)
UNKNOWN = "unknown"

_DEVIATION = 0.25
_GRID = 4


def noise_images(n: int, shape: tuple[int, int, int], distribution: str = "uniform", seed: int = 0) -> np.ndarray:
    """float32 ``(n, h, w, c)`` in [0, 1] of 256 levels, as image files have them; ``shape`` is ``(h, w, c)``.

    Row i depends on nothing but distribution, shape, seed and i. ``distribution`` is any but ``shuffled``. Raises
    ``InvalidValue`` and ``UnknownName``.
    """
    require_int("The number of noise images", n, 1)
    require_int("The seed", seed, 0)
    if distribution not in DRAWN:
        raise unknown("distribution of noise", distribution, DRAWN)
    x = np.stack([_drawn(distribution, shape, _generator(seed, distribution, row)) for row in range(n)])
    return np.round(x * 255).astype(np.float32) / np.float32(255)


def shuffled(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """The images ``(n, h, w, c)`` with the positions of each permuted; the channels of a position stay together.

    Row i depends on nothing but image i, seed and i.
    """
    flat = images.reshape(len(images), -1, images.shape[-1])
    rows = [pixels[_generator(seed, SHUFFLED, row).permutation(len(pixels))] for row, pixels in enumerate(flat)]
    return np.stack(rows).reshape(images.shape)


def _generator(seed: int, distribution: str, row: int) -> np.random.Generator:
    # With the distribution in it, so that the grey of a constant image is not the first pixel of a uniform one.
    return np.random.default_rng([seed, zlib.crc32(distribution.encode()), row])


def _drawn(distribution: str, shape: tuple[int, int, int], draw: np.random.Generator) -> np.ndarray:
    height, width, channels = shape
    if distribution == "uniform":
        return draw.random(shape)
    if distribution == "gaussian":
        return np.clip(draw.normal(0.5, _DEVIATION, shape), 0, 1)
    if distribution == "salt-and-pepper":
        return np.broadcast_to(draw.integers(0, 2, (height, width, 1)).astype(float), shape)
    if distribution == "constant":
        return np.full(shape, draw.random())
    grid = draw.random((_GRID, _GRID, channels))
    return np.einsum("hi,wj,ijc->hwc", _between(height), _between(width), grid)


def _between(size: int) -> np.ndarray:
    """The weights ``(size, grid)`` with which each of ``size`` positions lies between the points of the grid."""
    places = np.linspace(0, _GRID - 1, size)[:, None]
    return np.maximum(1 - np.abs(places - np.arange(_GRID)), 0)
