"""Arrays as people have them, made images in [0, 1] and labels from 0 where they can mean only one thing."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from advlab.errors import AdvlabWarning, InvalidValue, unknown

MOST_CLASSES = 100_000
ValueRange = tuple[float, float]


def to_unit_range(x: Any, subject: str, value_range: ValueRange | None = None) -> np.ndarray:
    """Images as floating point, where their type or ``value_range`` tells what black and white are.

    ``value_range`` ``(low, high)`` becomes [0, 1]. Without it, integers up to 255 are divided by 255, with an
    ``AdvlabWarning`` that says so, and booleans become 0 and 1; floating point is returned as it is. Raises
    ``InvalidValue`` for integers that could mean several things.
    """
    x = np.asarray(x)
    if value_range is not None:
        low, high = value_range
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise InvalidValue(
                f"value_range must be two numbers, the lower first, such as (0, 255). Got {value_range}."
            )
        return ((x.astype(np.float32) - np.float32(low)) / np.float32(high - low)).astype(np.float32)
    if x.dtype.kind == "b":
        return x.astype(np.float32)
    if x.dtype.kind not in "iu" or not x.size:
        return x
    lowest, highest = int(x.min()), int(x.max())
    if lowest < 0 or highest > 255:
        white = 65535 if lowest >= 0 and highest < 65536 else highest
        raise InvalidValue(
            f"{subject} has whole-numbered pixels from {lowest} to {highest}. Say which of them are black and white, "
            f"such as {as_option((min(lowest, 0), white))}."
        )
    if highest <= 1:
        raise InvalidValue(
            f"{subject} has the whole-numbered pixels 0 and 1 alone. Say whether 1 is white, {as_option((0, 1))}, or "
            f"nearly black, {as_option((0, 255))}."
        )
    warnings.warn(f"{subject}: pixels of type {x.dtype} are taken as 0-255 and divided by 255.", AdvlabWarning, 4)
    return np.divide(x, np.float32(255), dtype=np.float32)


def as_option(value_range: ValueRange) -> str:
    """How a range is given, on the command line and in Python."""
    low, high = (f"{value:.10g}" for value in value_range)
    return f"--range {low},{high} (value_range=({low}, {high}) in Python)"


def to_labels(y: Any, classes: Sequence[str] | None, subject: str) -> tuple[np.ndarray, Sequence[str] | None]:
    """Labels as integers ``(n,)``, and the names of the classes as far as the labels tell them.

    Taken are integers, whole floating point numbers, booleans, ``(n, 1)``, one-hot rows, and class names: those of
    ``classes``, or sorted where that is None. What is none of these is returned as it is. Raises ``UnknownName`` for a
    name that is not among the classes.
    """
    y = np.asarray(y)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim == 2 and y.dtype.kind in "biuf" and _is_one_hot(y):
        names = [str(number) for number in range(y.shape[1])] if classes is None else classes
        return y.argmax(1), names
    if y.ndim != 1:
        return y, classes
    if y.dtype.kind in "USO" and all(isinstance(label, str | bytes) for label in y.tolist()):
        return _numbered(
            [label.decode() if isinstance(label, bytes) else label for label in y.tolist()], classes, subject
        )
    if y.dtype.kind == "b" or (y.dtype.kind == "f" and np.all(np.isfinite(y)) and np.all(y == np.round(y))):
        return y.astype(np.int64), classes
    return y, classes


def default_class_names(y: Any, name: str) -> list[str]:
    """The numbers from 0 to the highest label, as class names."""
    highest = int(np.max(y, initial=0)) if np.asarray(y).dtype.kind in "iu" else 0
    if highest >= MOST_CLASSES:
        raise InvalidValue(
            f"Data set '{name}' has the label {highest}. Number the classes from 0, or give their names."
        )
    return [str(i) for i in range(highest + 1)]


def class_numbers(names: Sequence[str], classes: Sequence[str] | None, subject: str) -> tuple[list[int], list[str]]:
    """The number of each class that is called by name, and the names of all classes.

    Names of ``classes`` are looked up there, also as they are written in names of files. Else whole numbers are the
    numbers that they are, and other names are numbered in their sorted order. Raises ``UnknownName`` for a name that
    is not among the classes.
    """
    numbered = list(enumerate(map(str, classes or ())))[::-1]
    positions = {as_file_name(name): number for number, name in numbered} | {name: number for number, name in numbered}
    are_numbers = all(name.isdecimal() for name in names)
    if classes is not None and all(name in positions for name in names):
        return [positions[name] for name in names], [str(name) for name in classes]
    if are_numbers:
        numbers = [int(name) for name in names]
        return numbers, default_class_names(numbers, subject) if classes is None else [str(name) for name in classes]
    if classes is not None:
        raise unknown(f"class of {subject}", next(name for name in names if name not in positions), classes)
    found = sorted(set(names))
    return [found.index(name) for name in names], found


def as_file_name(name: str) -> str:
    """A class name as a part of a file name on every system."""
    return "".join(c if c.isalnum() or c in "_." else "_" for c in name)[:40] or "_"


def _numbered(labels: Sequence[str], classes: Sequence[str] | None, subject: str) -> tuple[np.ndarray, Sequence[str]]:
    distinct = sorted(set(labels))
    numbers, names = class_numbers(distinct, classes, subject)
    number_of = dict(zip(distinct, numbers, strict=True))
    return np.array([number_of[label] for label in labels]), names


def _is_one_hot(y: np.ndarray) -> bool:
    return bool(np.all((y == 0) | (y == 1)) and np.all(y.sum(1) == 1))
