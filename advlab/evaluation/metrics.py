"""What is measured, as pure functions of NumPy arrays; each can be checked by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from advlab.errors import InvalidValue
from advlab.formatting import number

SHIFT_BINS = 40


@dataclass(frozen=True)
class Rate:
    """A fraction ``count / total`` in [0, 1] with its Wilson interval; ``value`` is NaN when ``total`` is 0."""

    value: float
    low: float
    high: float
    count: int
    total: int

    @property
    def interval(self) -> str:
        """In percent: ``[19.5, 31.4]``."""
        return f"[{100 * self.low:.1f}, {100 * self.high:.1f}]"

    @property
    def text(self) -> str:
        """In percent with its interval: ``25.0 [19.5, 31.4]``."""
        return f"{number(100 * self.value, '.1f')} {self.interval}"


class Summary(NamedTuple):
    """Mean and quartiles of a set of numbers; NaN for an empty set."""

    mean: float
    median: float
    q25: float
    q75: float


class Size(NamedTuple):
    """How large perturbations are in one norm; NaN for an empty set."""

    median: float
    mean: float
    max: float


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a fraction, ``(low, high)`` in [0, 1]; (0, 1) when ``n`` is 0.

    E. B. Wilson, Journal of the American Statistical Association 22 (1927), 209-212. It stays inside [0, 1] and keeps
    its coverage near 0 and 1, where accuracies under attack lie. Raises ``InvalidValue`` outside 0 <= successes <= n.
    """
    if not 0 <= successes <= n:
        raise InvalidValue(f"successes must lie in [0, n]. Got successes={successes}, n={n}.")
    if not 0 < confidence < 1:
        raise InvalidValue(f"confidence must lie between 0 and 1. Got {confidence:g}. Try 0.95.")
    if n == 0:
        return 0.0, 1.0
    z2 = NormalDist().inv_cdf(0.5 + confidence / 2) ** 2
    fraction = successes / n
    centre = (fraction + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (fraction * (1 - fraction) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return low, high


def rate(hits: np.ndarray, among: np.ndarray | None = None, confidence: float = 0.95) -> Rate:
    """The fraction of True in ``hits``, bool ``(n,)``, counted over the samples where ``among`` is True (None: all)."""
    counted = np.ones(len(hits), bool) if among is None else among
    total = int(np.count_nonzero(counted))
    count = int(np.count_nonzero(hits & counted))
    low, high = wilson(count, total, confidence)
    return Rate(count / total if total else math.nan, low, high, count, total)


def summary(values: np.ndarray) -> Summary:
    """Mean, median and quartiles (linear interpolation) of ``(m,)`` numbers."""
    if len(values) == 0:
        return Summary(math.nan, math.nan, math.nan, math.nan)
    q25, median, q75 = np.percentile(values, (25, 50, 75))
    return Summary(float(np.mean(values)), float(median), float(q25), float(q75))


def size(values: np.ndarray) -> Size:
    """Median, mean and maximum of ``(m,)`` distances."""
    if len(values) == 0:
        return Size(math.nan, math.nan, math.nan)
    return Size(float(np.median(values)), float(np.mean(values)), float(np.max(values)))


def confidence_shift(clean: np.ndarray, adversarial: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """p_adv - p_clean of one class per sample: float64 ``(n,)`` in [-1, 1], negative where the attack works.

    ``clean`` and ``adversarial`` are probabilities ``(n, k)``; ``classes`` are int ``(n,)``, such as the labels.
    """
    rows = np.arange(len(classes))
    return adversarial[rows, classes].astype(np.float64) - clean[rows, classes].astype(np.float64)


def shift_histogram(shift: np.ndarray) -> np.ndarray:
    """How many of ``(m,)`` shifts lie in each of 40 equal bins from -1 to 1: int64 ``(40,)``; NaN is left out."""
    finite = shift[~np.isnan(shift)]
    return np.histogram(np.clip(finite, -1, 1), bins=SHIFT_BINS, range=(-1, 1))[0]


def transitions(labels: np.ndarray, predicted: np.ndarray, among: np.ndarray, k: int) -> np.ndarray:
    """Counts int64 ``(k, k)``: row label, column prediction, over the samples where ``among`` is True."""
    pairs = labels[among].astype(np.int64) * k + predicted[among]
    return np.bincount(pairs, minlength=k * k).reshape(k, k)


def flow_distance(
    labels: np.ndarray, predicted: np.ndarray, sizes: np.ndarray, among: np.ndarray, k: int
) -> np.ndarray:
    """The median size, float64 ``(k, k)``: row label, column prediction, over the samples where ``among`` is True.

    NaN where a pair has no sample.
    """
    pairs, values = labels[among].astype(np.int64) * k + predicted[among], sizes[among].astype(np.float64)
    order = np.lexsort((values, pairs))
    occurring, start, count = np.unique(pairs[order], return_index=True, return_counts=True)
    low, high = (values[order][start + middle] for middle in ((count - 1) // 2, count // 2))
    medians = np.full(k * k, math.nan)
    medians[occurring] = (low + high) / 2
    return medians.reshape(k, k)


def per_class(hits: np.ndarray, labels: np.ndarray, k: int, among: np.ndarray | None = None) -> tuple[Rate, ...]:
    """``rate`` of each of the ``k`` classes by label."""
    counted = np.ones(len(hits), bool) if among is None else among
    return tuple(rate(hits, counted & (labels == c)) for c in range(k))
