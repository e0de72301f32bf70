"""How large perturbations are, in every norm, and whether they exceed a budget: float64, NumPy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from advlab.lazy import Images, batches

_ROWS = 128  # the float64 copies of so many small images stay in a processor's cache

_PAIRED_PIXELS = 20_000_000  # a quarter of a second


class Distances(NamedTuple):
    """Per-sample sizes of perturbations, float64 ``(n,)``: ``l0`` counts the changed image positions."""

    linf: np.ndarray
    l2: np.ndarray
    l1: np.ndarray
    l0: np.ndarray


def distances(x: Images, x_adv: Images) -> Distances:
    """The size of each perturbation of images ``(n, h, w, c)`` in every norm, computed in float64.

    ``l0`` counts image positions in which any channel changed; the other norms run over all pixels and channels.
    """
    return Distances(*_sizes(x, x_adv, Distances._fields))


def distance(x: Images, x_adv: Images, norm: str) -> np.ndarray:
    """float64 ``(n,)``: the same in one norm only, in less time."""
    return _sizes(x, x_adv, (norm,))[0]


def nearest_other_class(x: Images, labels: np.ndarray, norm: str) -> np.ndarray:
    """float64 ``(m,)``: how far each of the first images ``(n, h, w, c)`` is from the nearest one of another label.

    Infinite where there is none; equal images do not count. ``m`` is ``n``, or fewer where the ``m * m`` distances
    would take long: 159 images of 28 x 28, but never fewer than 50.
    """
    few = max(50, math.isqrt(_PAIRED_PIXELS // max(x[:1].size, 1)))
    x, labels = x[:few], labels[:few]
    nearest = np.full(len(x), math.inf)
    for row in range(len(x)):
        others = x[labels != labels[row]]
        sizes = distance(np.broadcast_to(x[row], others.shape), others, norm)
        nearest[row] = sizes[sizes > 0].min(initial=math.inf)
    return nearest


def _sizes(x: Images, x_adv: Images, norms: Sequence[str]) -> np.ndarray:
    sizes = np.zeros((len(norms), len(x)))
    for rows in batches(x):
        _fill(sizes[:, rows], x[rows], x_adv[rows], norms)
    return sizes


def _fill(sizes: np.ndarray, x: np.ndarray, x_adv: np.ndarray, norms: Sequence[str]) -> None:
    for start in range(0, len(x), _ROWS):
        chunk = slice(start, start + _ROWS)
        change = np.abs(np.subtract(x_adv[chunk], x[chunk], dtype=np.float64))
        flat = change.reshape(len(change), -1)
        for number, norm in enumerate(norms):
            match norm:
                case "linf":
                    sizes[number, chunk] = flat.max(1, initial=0.0)
                case "l2":
                    sizes[number, chunk] = np.sqrt(np.einsum("ij,ij->i", flat, flat))
                case "l1":
                    sizes[number, chunk] = flat.sum(1)
                case "l0":
                    changed = (change != 0).any(-1)
                    sizes[number, chunk] = np.count_nonzero(changed.reshape(len(change), -1), axis=1)


def exceeds(sizes: np.ndarray, norm: str, epsilon: float | np.ndarray) -> np.ndarray:
    """bool ``(n,)``: distances beyond epsilon, one of all or ``(n,)``, or NaN.

    Allowed for float32 rounding: 1e-7 absolute in ``linf``, 1e-6 relative in ``l2`` and ``l1``, nothing in ``l0``.
    """
    allowed = {"linf": epsilon + 1e-7, "l0": epsilon}.get(norm, epsilon * (1 + 1e-6))
    return np.logical_not(sizes <= allowed)
