"""Whether a classifier's confidence can be believed: calibration, and how often it is confidently wrong.

``probabilities`` are ``(n, k)`` and ``labels`` int ``(n,)`` throughout. The confidence of a sample is its largest
probability. A sample whose probabilities are not finite has none: it is in no bin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from advlab.errors import InvalidValue
from advlab.evaluation.metrics import Rate, rate
from advlab.validation import as_int

BINS = 15
CONFIDENT = 0.9


@dataclass(frozen=True, eq=False)
class Reliability:
    """A reliability diagram of ``b`` bins, float64 ``(b,)`` in [0, 1]; empty bins are NaN.

    ``confidence`` is the mean of a bin and ``accuracy`` the fraction classified as the label; ``count`` int64 ``(b,)``
    its samples; ``error`` the expected calibration error in [0, 1], NaN without samples.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray
    error: float


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> Reliability:
    """Confidence against accuracy in equal bins of confidence, (0, 1/bins], (1/bins, 2/bins], ...

    The error is sum over bins of count / n * |accuracy - confidence|: Guo et al., On calibration of modern neural
    networks, arXiv:1706.04599, eq. 3. Raises ``InvalidValue`` for fewer than one bin or arrays that do not fit.
    """
    bins = as_int("bins", bins, 1)
    confidence, correct = _confidence(probabilities, labels)
    finite = np.isfinite(confidence)
    # Edges in the type of the probabilities, so that a float32 0.2 lies on the edge and not just above it.
    inner_edges = np.linspace(0, 1, bins + 1)[1:-1].astype(confidence.dtype)
    bin_numbers = np.searchsorted(inner_edges, confidence[finite], side="left")
    count = np.bincount(bin_numbers, minlength=bins)
    sums = (np.bincount(bin_numbers, weights=values[finite], minlength=bins) for values in (confidence, correct))
    mean_confidence, accuracy = (np.where(count > 0, total / np.maximum(count, 1), math.nan) for total in sums)
    gaps = np.abs(accuracy - mean_confidence)[count > 0]
    error = float(gaps @ count[count > 0] / count.sum()) if count.any() else math.nan
    return Reliability(mean_confidence, accuracy, count, error)


def confidently_wrong(probabilities: np.ndarray, labels: np.ndarray, among: np.ndarray | None = None) -> Rate:
    """The fraction of samples that are misclassified with a confidence above 0.9, among those where ``among`` is True.

    Raises ``InvalidValue`` for arrays that do not fit.
    """
    confidence, correct = _confidence(probabilities, labels)
    return rate(~correct & (confidence > CONFIDENT), among)


def _confidence(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The confidence of each sample and whether it is correct."""
    if probabilities.ndim != 2 or probabilities.shape[1] < 1 or labels.shape != probabilities.shape[:1]:
        raise InvalidValue(
            f"probabilities must be (n, k) and labels (n,). Got {probabilities.shape} and {labels.shape}. "
            "Give one row of probabilities and one label for each sample."
        )
    return probabilities.max(1), probabilities.argmax(1) == labels
