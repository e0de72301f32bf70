"""Randomised smoothing (Cohen et al., arXiv:1902.02918): a certified L2 radius for any classifier, with confidence.

What is certified is another classifier, the smoothed one: its answer is the class that the base classifier names most
often under Gaussian noise. The radius holds for it with probability ``confidence`` over the draws (theorem 1), as far
as the normal draws of TensorFlow in float32 are normal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from scipy import stats

from advlab.classifiers.classifier import Classifier

BATCH = 1000
FIRST = 100  # draws that choose the class


class Smoothed(NamedTuple):
    """Of each image: the class of the smoothed classifier, int64 ``(n,)``, -1 where it abstains, and its radius."""

    predicted: np.ndarray
    radius: np.ndarray


def smoothed(
    classifier: Classifier,
    x: np.ndarray,
    indices: np.ndarray,
    *,
    sigma: float,
    draws: int,
    confidence: float,
    seed: int = 0,
    report: Callable[[int], None] = lambda decided: None,
) -> Smoothed:
    """Predict and certify images ``(n, h, w, c)``.

    The class is that of 100 draws, the lower bound of its probability, by Clopper and Pearson, that of ``draws``
    others. The noise of an image depends on ``seed`` and its index alone.
    """
    predicted, radius = np.full(len(x), -1, np.int64), np.zeros(len(x))
    for row, (image, index) in enumerate(zip(x, indices, strict=True)):
        top = int(_counts(classifier, image, sigma, FIRST, (seed, int(index), 0)).argmax())
        hits = int(_counts(classifier, image, sigma, draws, (seed, int(index), 1))[top])
        low = float(stats.beta.ppf(1 - confidence, hits, draws - hits + 1)) if hits else 0.0
        if low > 0.5:
            predicted[row], radius[row] = top, sigma * float(stats.norm.ppf(low))
        report(1)
    return Smoothed(predicted, radius)


def _counts(
    classifier: Classifier, image: np.ndarray, sigma: float, draws: int, streams: tuple[int, int, int]
) -> np.ndarray:
    """int64 ``(k,)``: how often each class is named under noise."""
    seed, index, purpose = streams
    counts = np.zeros(classifier.classes, np.int64)
    for start in range(0, draws, BATCH):
        size = min(BATCH, draws - start)
        key = np.random.SeedSequence([seed, index, purpose, start]).generate_state(2).astype(np.int32)
        noise = tf.random.stateless_normal([size, *image.shape], key)
        noisy = (image + sigma * noise).numpy()
        named = classifier.probabilities(noisy, batch_size=BATCH, in_box=False).argmax(1)
        counts += np.bincount(named, minlength=classifier.classes)
    return counts
