"""Images without meaning: noise of several distributions, and real images with shuffled pixels.

``uniform``          each value anywhere in [0, 1].
``gaussian``         each value normal, of mean 0.5 and standard deviation 0.25 (a wider one would be mostly black and
                     white), clipped.
``salt-and-pepper``  each position black or white, even odds.
``constant``         one grey level for the whole image.
``smooth``           light and shade without edges: 4 x 4 uniform values, linear in between.
``shuffled``         a real image with its positions permuted: the same histogram, no structure.

The first three names mean the same as in the attack method ``noise``, which adds such noise to an image.
"""

from __future__ import annotations

import math
import zlib

import numpy as np

from advlab.errors import unknown
from advlab.validation import invalid, require_int

SHUFFLED = "shuffled"
TRAINING_DISTRIBUTIONS = ("uniform", "gaussian", "salt-and-pepper")  # of the class UNKNOWN
SYNTHETIC_DISTRIBUTIONS = (*TRAINING_DISTRIBUTIONS, "constant", "smooth")
DISTRIBUTIONS = (*SYNTHETIC_DISTRIBUTIONS, SHUFFLED)
UNKNOWN = "unknown"

_DEVIATION = 0.25
_MOST_VALUES = 2**28  # a gigabyte
_GRID = 4


def noise_images(n: int, shape: tuple[int, int, int], distribution: str = "uniform", seed: int = 0) -> np.ndarray:
    """float32 ``(n, h, w, c)`` in [0, 1] of 256 levels, as image files have them; ``shape`` is ``(h, w, c)``.

    Row i depends on nothing but distribution, shape, seed and i. ``distribution`` is any but ``shuffled``. Raises
    ``InvalidValue`` and ``UnknownName``.
    """
    require_int("The number of noise images", n, 1)
    require_int("The seed", seed, 0, 2**64 - 1)
    if distribution not in SYNTHETIC_DISTRIBUTIONS:
        raise unknown("distribution of noise", distribution, SYNTHETIC_DISTRIBUTIONS)
    if n * math.prod(shape) > _MOST_VALUES:
        raise invalid(
            "The number of noise images", n, f"at most {_MOST_VALUES // math.prod(shape)} of the shape {shape}"
        )
    x = np.empty((n, *shape), np.float32)
    for row in range(n):
        x[row] = np.round(_draw(distribution, shape, _generator(seed, distribution, row)) * 255)
    return x / np.float32(255)


def shuffled(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """The images ``(n, h, w, c)`` with the positions of each permuted; the channels of a position stay together.

    Row i depends on nothing but image i, seed and i.
    """
    flat = images.reshape(len(images), -1, images.shape[-1])
    rows = [pixels[_generator(seed, SHUFFLED, row).permutation(len(pixels))] for row, pixels in enumerate(flat)]
    return np.stack(rows).reshape(images.shape)


def _generator(seed: int, distribution: str, row: int) -> np.random.Generator:
    # Seeded by the distribution too, so that the grey of a constant image is not the first pixel of a uniform one.
    return np.random.default_rng([seed, zlib.crc32(distribution.encode()), row])


def _draw(distribution: str, shape: tuple[int, int, int], generator: np.random.Generator) -> np.ndarray:
    height, width, channels = shape
    if distribution == "uniform":
        return generator.random(shape)
    if distribution == "gaussian":
        return np.clip(generator.normal(0.5, _DEVIATION, shape), 0, 1)
    if distribution == "salt-and-pepper":
        return np.broadcast_to(generator.integers(0, 2, (height, width, 1)).astype(float), shape)
    if distribution == "constant":
        return np.full(shape, generator.random())
    grid = generator.random((_GRID, _GRID, channels))
    return np.einsum("hi,wj,ijc->hwc", _interpolation_weights(height), _interpolation_weights(width), grid)


def _interpolation_weights(size: int) -> np.ndarray:
    """The weights ``(size, grid)`` with which each of ``size`` positions lies between the points of the grid."""
    positions = np.linspace(0, _GRID - 1, size)[:, None]
    return np.maximum(1 - np.abs(positions - np.arange(_GRID)), 0)
