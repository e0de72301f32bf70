"""A detector: a statistic of images under one classifier, and the threshold above which an image is refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from advlab.classifiers.classifier import Classifier
from advlab.data.dataset import Dataset, subset
from advlab.defenses.statistics import STATISTICS, Statistic, art_statistic
from advlab.errors import InvalidValue, Mismatch, unknown
from advlab.validation import is_number, shown

_BATCH = 500


class _Fitted(NamedTuple):
    classifier: Classifier
    statistic: Statistic
    compiled: Callable[[tf.Tensor], tf.Tensor]


class Detector:
    """Tells adversarial images by one number: ``advlab.Detector("energy").fit(classifier, data).detects(x)``.

    Args:
        name: ``maximum-softmax``, ``energy``, ``dropout`` (``passes``), ``feature-squeezing`` (``bits``, ``size``) or
            ``mahalanobis``.
        **settings: Those in brackets.

    Raises:
        UnknownName: For another detector or setting.
    """

    def __init__(self, name: str, **settings: Any):
        if name not in STATISTICS:
            raise unknown("detector", name, STATISTICS)
        parameters = inspect.signature(STATISTICS[name]).parameters.values()
        own = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
        for key in settings:
            if key not in own:
                raise unknown(f"setting of detector '{name}'", key, own)
        self._begin(name, settings, STATISTICS[name])

    def _begin(self, name: str, settings: dict[str, Any], make: Callable[..., Statistic]) -> None:
        self.name, self.settings, self._make = name, settings, make
        self.threshold = np.inf
        self._fitted: _Fitted | None = None

    @classmethod
    def from_art(cls, detector: Any) -> Detector:
        """A fitted evasion detector of the adversarial-robustness-toolbox, to be fitted once more for its threshold.

        Its score is the second column of the predictions that ``detect(x)`` reports, or 1 and 0 for yes and no. It has
        no gradient: the attack on both lowers it by chance only, and is no evidence for it.
        """
        adapted = cls.__new__(cls)
        adapted._begin(f"art-{type(detector).__name__}", {}, lambda *_: art_statistic(detector))
        return adapted

    def fit(self, classifier: Classifier, data: Dataset, false_positive_rate: float = 0.05) -> Detector:
        """Learn from clean images, and set the threshold.

        Args:
            classifier: What the detector watches over.
            data: Clean images with labels. What is learnt is learnt from a random half; the threshold is set on the
                other half, on the images that are classified correctly.
            false_positive_rate: The fraction of clean images, above 0 and below 1, that may be refused.

        Returns:
            The detector itself.

        Raises:
            InvalidValue: For a classifier that the detector cannot watch, too few images, a rate out of range.
        """
        if not (is_number(false_positive_rate) and 0 < false_positive_rate < 1):
            raise InvalidValue(
                f"false_positive_rate must lie between 0 and 1. Got {shown(false_positive_rate)}. Try 0.05: one clean "
                "image in twenty is refused."
            )
        classifier.check(data)
        least = int(np.ceil(1 / false_positive_rate))
        learnt_from, held_out = _halves(data)
        correct = classifier.probabilities(held_out.x).argmax(1) == held_out.y
        if correct.sum() < least:
            raise InvalidValue(
                f"A false-positive rate of {false_positive_rate:g} needs at least {least} correctly classified images "
                f"to set the threshold on, half of all. Got {correct.sum()}; fit on more images."
            )
        statistic = self._make(classifier, learnt_from, **self.settings)
        any_size = tf.TensorSpec([None, *data.shape], tf.float32)
        compiled = tf.function(lambda x: statistic(x)[0], autograph=False, input_signature=[any_size])
        self._fitted = _Fitted(classifier, statistic, compiled)
        scores = self.score(held_out.x[correct])
        self.threshold = float(np.quantile(scores, 1 - false_positive_rate, method="higher"))
        return self

    def score(self, x: np.ndarray) -> np.ndarray:
        """float32 ``(n,)`` of images float32 ``(n, h, w, c)``: how suspicious each is."""
        compiled = self.fitted.compiled
        batches = [compiled(tf.constant(x[i : i + _BATCH], tf.float32)).numpy() for i in range(0, len(x), _BATCH)]
        return np.concatenate(batches) if batches else np.zeros(0, np.float32)

    def detects(self, x: np.ndarray) -> np.ndarray:
        """bool ``(n,)``: which images are refused, those above the threshold."""
        return np.asarray(self.score(x) > self.threshold)

    @property
    def fitted(self) -> _Fitted:
        """What ``fit`` was given and found; raises ``InvalidValue`` before."""
        if self._fitted is None:
            raise InvalidValue(f"Detector '{self.name}' has not been fitted. Call fit(classifier, data) first.")
        return self._fitted

    def require(self, classifier: Classifier) -> None:
        """Raise ``Mismatch`` where it was fitted on another classifier."""
        own = self.fitted.classifier
        if own.digest != classifier.digest:
            raise Mismatch(
                f"Detector '{self.name}' was fitted on '{own.name}' ({own.digest[:6]}), not on '{classifier.name}' "
                f"({classifier.digest[:6]}): its threshold says nothing there. Fit it again."
            )

    def __repr__(self) -> str:
        fitted = f"on {self._fitted.classifier.name}, threshold {self.threshold:.4g}" if self._fitted else "not fitted"
        return f"Detector {self.name}: {fitted}"


def _halves(data: Dataset) -> tuple[Dataset, Dataset]:
    """Two random halves, the same ones each time: of a folder every second image may be of one class."""
    order = np.random.default_rng(0).permutation(len(data))
    parts = (np.sort(order[start::2]) for start in (0, 1))
    first, second = (subset(data, rows) for rows in (parts if len(data) > 1 else (order, order)))
    return first, second
