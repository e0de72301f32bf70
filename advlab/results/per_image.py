"""What a threat model says of each image by itself: the pixels that may change, the epsilon, the target."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from advlab.errors import InvalidValue
from advlab.lazy import Images, batches
from advlab.validation import shown


@dataclass(frozen=True, eq=False)
class PerImage:
    """Arrays for ``n`` images of shape ``(h, w, c)``; None where all images are alike.

    Attributes:
        mask: bool ``(m, h, w, d)``, True where a pixel may change: m is n, or 1 for one mask of all images, and d is c,
            or 1 for one mask of all channels.
        epsilon: float64 ``(n,)``, in pixel units.
        target: int64 ``(n,)``, the class to reach.
    """

    mask: np.ndarray | None = None
    epsilon: np.ndarray | None = None
    target: np.ndarray | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """Name -> array, of those that there are."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> PerImage:
        """From name -> array; other names are left out."""
        return cls(**{f.name: arrays[f.name] for f in fields(cls) if f.name in arrays})

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that any change of an array changes; empty where there is none."""
        sha = hashlib.sha256()
        for name, array in self.arrays().items():
            sha.update(f"{name}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return sha.hexdigest()[:32] if self.arrays() else ""

    def take(self, rows: slice) -> PerImage:
        """What it says of some of the images."""
        mask = self.mask if self.mask is None or len(self.mask) == 1 else self.mask[rows]
        epsilon, target = (None if array is None else array[rows] for array in (self.epsilon, self.target))
        return PerImage(mask, epsilon, target)

    @classmethod
    def join(cls, parts: Sequence[PerImage], counts: Sequence[int]) -> PerImage:
        """What several say of the images of each, of which there are ``counts``, for all of them."""
        arrays = {name: [part.arrays()[name] for part in parts] for name in parts[0].arrays()}
        is_shared = "mask" in arrays and any(len(mask) < n for mask, n in zip(arrays["mask"], counts, strict=True))
        return cls(
            **{n: a[0] if n == "mask" and is_shared else np.concatenate(a) for n, a in arrays.items()},
        )

    def outside(self, x: Images, x_adv: Images) -> np.ndarray:
        """bool ``(n,)``: images in which a pixel differs that the mask lets not change."""
        differs = np.zeros(len(x), bool)
        if self.mask is not None:
            for rows in batches(x):
                mask = self.mask if len(self.mask) == 1 else self.mask[rows]
                differs[rows] = np.any((x[rows] != x_adv[rows]) & ~mask, axis=(1, 2, 3))
        return differs


def as_mask(value: Any, images: tuple[int, ...]) -> np.ndarray:
    """A mask as ``PerImage`` holds it, for images of shape ``(n, h, w, c)``.

    ``value`` is bool, or numbers 0 and 1, of shape ``(h, w)``, ``(h, w, c)``, or for each image ``(n, h, w)`` or
    ``(n, h, w, c)``. Raises ``InvalidValue`` for another shape, other values, and where no pixel may change.
    """
    array = np.asarray(value)
    n, h, w, c = images
    layouts = {(h, w): (1, h, w, 1), (h, w, 1): (1, h, w, 1), (h, w, c): (1, h, w, c)}
    layouts |= {(n, h, w, 1): (n, h, w, 1), (n, h, w, c): (n, h, w, c)}
    shape = layouts.get(array.shape, (n, h, w, 1) if array.shape == (n, h, w) else None)
    if shape is None:
        raise InvalidValue(
            f"mask must have the shape of an image, {(h, w)} or {(h, w, c)}, or of all images, {(n, h, w)} or "
            f"{(n, h, w, c)}. Got {array.shape}."
        )
    if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        values = f"values from {array.min():g} to {array.max():g}" if array.dtype.kind in "iuf" else shown(value)
        raise InvalidValue(
            f"mask must hold 0 and 1 (or False and True) alone, 1 where a pixel may change. Got {values}. "
            "Of a picture with 256 levels: mask > 127."
        )
    mask = array.astype(bool).reshape(shape)
    empty = np.flatnonzero(~mask.any((1, 2, 3)))
    if len(empty):
        which = f" of image {empty[0]}" if len(mask) > 1 else ""
        raise InvalidValue(f"The mask{which} is empty: no pixel may change. Set 1 where one may.")
    return mask


def as_epsilons(value: Any, n: int) -> np.ndarray:
    """An epsilon for each of ``n`` images, float64 ``(n,)``; raises ``InvalidValue`` for anything else."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise InvalidValue(f"epsilon_per_image must hold numbers. Got {shown(value)}.") from None
    if array.shape != (n,) or not np.all(np.isfinite(array) & (array >= 0)):
        got = f"values from {array.min():g} to {array.max():g}" if array.shape == (n,) else f"the shape {array.shape}"
        raise InvalidValue(
            f"epsilon_per_image must hold a float in the range [0, inf) for each of the {n} images. Got {got}."
        )
    return array


def as_targets(value: Any, labels: np.ndarray) -> np.ndarray:
    """A class to reach for each image, int64 ``(n,)``; raises ``InvalidValue`` for anything else.

    An image whose target is its label is out of scope, as with one target of all; where all are, it is refused.
    """
    array = np.asarray(value)
    if array.shape != labels.shape or array.dtype.kind not in "iu":
        raise InvalidValue(
            f"target must be a class, or an int for each of the {len(labels)} images. Got {array.dtype} {array.shape}."
        )
    if array.min() < 0:
        raise InvalidValue(f"Each target must be a class, counted from 0. Got {array.min()}.")
    if np.array_equal(array, labels):
        raise InvalidValue(
            "Every target equals its label: there is nothing to attack. Give the classes to reach, or leave target "
            "out for any wrong class."
        )
    return array.astype(np.int64)
