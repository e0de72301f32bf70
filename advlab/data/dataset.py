"""Labelled images in one fixed form, checked when they enter."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from advlab.data.conversion import ValueRange, as_option, default_class_names, to_labels, to_unit_range
from advlab.errors import InvalidValue
from advlab.lazy import Images, LazyImages, batches, fits_in_memory, select
from advlab.validation import shown


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Labelled images of one split, validated when created and read-only from then on.

    ``x`` float32 ``(n, h, w, c)`` in [0, 1], an array, which may be given as ``(n, h, w)``, or ``LazyImages``; ``y``
    int64 ``(n,)`` in 0..k-1; ``indices`` int64 ``(n,)``, the position of each sample in the full split; ``classes`` the
    k names; ``provenance`` a sentence on what distinguishes the images from those that ``name`` stands for. Of texts,
    which are images one pixel high (``advlab.text``), ``vocabulary`` has the word of each number. Writable arrays
    are copied. Raises ``InvalidValue``.
    """

    name: str
    split: str
    x: Images
    y: np.ndarray
    indices: np.ndarray
    classes: tuple[str, ...]
    provenance: str = ""
    vocabulary: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        subject = f"Data set '{self.name}'"
        classes = tuple(str(c) for c in self.classes)
        x, y = _images(self.x, subject), _labels(self.y, len(classes), subject)
        indices = np.asarray(self.indices)
        if not len(x) == len(y) == len(indices):
            raise InvalidValue(
                f"{subject} has {len(x)} images, {len(y)} labels and {len(indices)} indices. "
                "Give one of each per sample."
            )
        self.__dict__.update(x=x, y=y, indices=_read_only(indices, np.int64), classes=classes)

    @classmethod
    def from_arrays(
        cls,
        x: Any,
        y: Any,
        classes: Sequence[str] | None = None,
        *,
        name: str = "arrays",
        split: str = "test",
        value_range: ValueRange | None = None,
    ) -> Dataset:
        """A data set from images and labels as people have them.

        Args:
            x: Images ``(n, h, w)`` or ``(n, h, w, c)``: floating point in [0, 1]; integers in 0-255, which are divided
                by 255 with an ``AdvlabWarning``; or whatever ``value_range`` says.
            y: Labels: integers ``(n,)`` or ``(n, 1)``, the same as floating point, one-hot rows ``(n, k)``, or names.
            classes: The k names; None: the labels are the names.
            name: How the data set is called in results.
            split: ``train`` or ``test``.
            value_range: The pixels that are black and white, such as ``(0, 255)`` or ``(-1, 1)``.

        Raises:
            InvalidValue: For images or labels that could mean several things, with what to say.
            UnknownName: For a label that is not among the classes.
        """
        subject = f"data set '{name}'"
        in_unit_range = _lazily_in_unit_range if isinstance(x, LazyImages) else to_unit_range
        images = in_unit_range(x, f"Data set '{name}'", value_range)
        count = len(images) if isinstance(images, LazyImages) else len(np.atleast_1d(images))
        labels, found = to_labels(y, classes, subject)
        names = default_class_names(labels, name) if found is None else found
        return cls(name, split, images, labels, np.arange(count), tuple(names))

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        size = "x".join(map(str, self.shape))
        what = f"texts of {self.shape[1]} words" if self.vocabulary else f"images {size}"
        return f"Dataset {self.name} {self.split}: {len(self)} {what}, {len(self.classes)} classes"

    def _repr_html_(self) -> str:
        from advlab.figures.notebook import dataset_html

        return dataset_html(self)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image."""
        _, height, width, channels = self.x.shape
        return height, width, channels

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that any change of the images, labels or indices changes (SHA-256, shortened)."""
        sha = hashlib.sha256(repr(self.x.shape).encode())
        for rows in batches(self.x):
            sha.update(np.ascontiguousarray(self.x[rows]).data)
        for array in (self.y, self.indices):
            sha.update(array.data)
        sha.update("\n".join(self.vocabulary).encode())
        return sha.hexdigest()[:16]

    def take(self, n: int | None, seed: int | None = None) -> Dataset:
        """The first ``n`` samples, or with a ``seed`` a random ``n`` of them in their order; all where n is larger.

        A smaller sample is contained in every larger one of the same seed.
        """
        positions = choose(len(self), n, seed)
        if len(positions) == len(self):
            return self
        rows: Any = slice(len(positions)) if seed is None else positions
        x = select(self.x, rows)
        # Few of many images are an array again.
        x = np.asarray(x) if fits_in_memory(x.shape) else x
        return replace(self, x=x, y=self.y[rows], indices=self.indices[rows])


def subset(dataset: Dataset, rows: np.ndarray | slice) -> Dataset:
    """The samples of those rows, their images read into memory."""
    x = np.asarray(dataset.x[rows])
    return replace(dataset, x=x, y=dataset.y[rows], indices=dataset.indices[rows])


def choose(size: int, n: int | None, seed: int | None) -> np.ndarray:
    """The positions, ascending, of the samples that ``Dataset.take`` returns."""
    for what, value, low in (("number of samples", n, 1), ("seed", seed, 0)):
        if value is not None and (isinstance(value, bool) or not hasattr(value, "__index__") or value < low):
            raise InvalidValue(f"The {what} must be an int in the range [{low}, inf). Got {shown(value)}.")
    order = np.arange(size) if seed is None else np.random.default_rng(seed).permutation(size)
    return np.sort(order[:n])


def _read_only(array: np.ndarray, dtype: type) -> np.ndarray:
    """A contiguous read-only array of this dtype; a writable array of the caller is copied."""
    read_only: np.ndarray = np.ascontiguousarray(array, dtype=dtype)
    if read_only.flags.writeable and np.may_share_memory(read_only, array):
        read_only = read_only.copy()
    read_only.flags.writeable = False
    return read_only


def _images(x: Any, subject: str) -> Images:
    if not isinstance(x, LazyImages):
        x = np.asarray(x)
    if x.ndim not in (3, 4) or not x.size:
        raise InvalidValue(f"{subject} has images of shape {x.shape}. Give at least one, as (n, h, w) or (n, h, w, c).")
    if x.dtype.kind != "f":
        raise InvalidValue(
            f"{subject} has images of type {x.dtype}, not floating point in [0, 1]. "
            "The likely cause is images in 0-255: divide by 255, as in x.astype('float32') / 255."
        )
    if isinstance(x, LazyImages):
        return x
    with np.errstate(over="ignore"):
        x = _read_only(x[..., None] if x.ndim == 3 else x, np.float32)
    _require_unit_range(x, subject)
    return x


def _lazily_in_unit_range(x: LazyImages, subject: str, value_range: ValueRange | None) -> LazyImages:
    """Lazy images of any type as ``to_unit_range`` makes them, each checked once, here."""
    extremes = [(content.min(), content.max()) for content in (x[rows] for rows in batches(x))]
    if x.dtype.kind in "iu" and value_range is None:
        # What can be refused or warned of shows in the lowest and the highest pixel.
        to_unit_range(np.array(extremes, x.dtype), subject)
        value_range = (0, 255)
    images = LazyImages(x.shape, lambda rows: np.asarray(to_unit_range(x[rows], subject, value_range), np.float32))
    for rows in batches(images):
        _require_unit_range(images[rows], subject, rows.start)
    return images


def _require_unit_range(x: np.ndarray, subject: str, first: int = 0) -> None:
    low, high = x.min(), x.max()
    if np.isnan(low):
        bad = first + int(np.isnan(x).any((1, 2, 3)).argmax())
        raise InvalidValue(f"{subject} has NaN pixels, first in image {bad}. Fix or drop it.")
    if low < 0 or high > 1:
        cause = "standardised images: undo the scaling" if low < 0 else "images in 0-255: divide by 255"
        example = (0, 255) if low >= 0 else (-1, 1) if low >= -1 and high <= 1 else (low, high)
        raise InvalidValue(
            f"{subject} has pixels from {low:g} to {high:g}, not in [0, 1]. The likely cause is {cause}, or say which "
            f"pixels are black and white, such as {as_option(example)}."
        )


def _hinge_labels(y: np.ndarray) -> str:
    return " Labels -1 and 1 become 0 and 1 by (y + 1) // 2." if set(np.unique(y)) == {-1, 1} else ""


def _labels(y: Any, k: int, subject: str) -> np.ndarray:
    y = np.asarray(y)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim != 1 or y.dtype.kind not in "iu":
        fix = "for one-hot labels that is y.argmax(1)" if y.ndim == 2 else "such as y.astype('int64')"
        raise InvalidValue(
            f"{subject} has labels of shape {y.shape} and type {y.dtype}. Give one int per sample, shape (n,); {fix}."
        )
    bad = np.flatnonzero((y < 0) | (y >= k))
    if len(bad):
        raise InvalidValue(
            f"{subject} has the label {y[bad[0]]} at index {bad[0]}, outside 0..{k - 1}. "
            f"Number the classes from 0 and name every class.{_hinge_labels(y)}"
        )
    return _read_only(y, np.int64)
