"""What detectors look at: one number for each image, larger where it is more suspicious.

Each public function of ``STATISTICS`` takes a classifier, clean images with labels to learn from, and settings, and
returns a TensorFlow function from images float32 ``(n, h, w, c)`` to two numbers for each, float32 ``(n,)``: the score,
and what an attacker who knows the detector lowers instead. The latter has a gradient wherever the score is to fall:
logits in place of probabilities, which saturate, and straight through what only rounds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from advlab.classifiers.classifier import Classifier
from advlab.classifiers.input_defenses import BitDepth, MedianSmoothing
from advlab.classifiers.logits import features_of
from advlab.data.dataset import Dataset
from advlab.errors import InvalidValue
from advlab.validation import as_int

Statistic = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
_RIDGE = 1e-6  # of the mean variance: features that are always zero have none


def maximum_softmax(classifier: Classifier, data: Dataset) -> Statistic:
    """One minus the confidence. Hendrycks and Gimpel 2016, arXiv:1610.02136."""

    def doubt(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = classifier.logits(x)
        return 1 - tf.reduce_max(tf.nn.softmax(logits), -1), _disagreement(logits, tf.argmax(logits, -1))

    return doubt


def energy(classifier: Classifier, data: Dataset) -> Statistic:
    """Minus the log of the sum of the exponentials of the logits. Liu et al. 2020, arXiv:2010.03759, equation 4."""

    def free_energy(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        value = -tf.reduce_logsumexp(classifier.logits(x), -1)
        return value, value

    return free_energy


def dropout(classifier: Classifier, data: Dataset, *, passes: int = 20) -> Statistic:
    """How far predictions spread over passes with dropout active: the variances of the probabilities, added up.

    Feinman et al. 2017, arXiv:1703.00410, section 5.2. Raises ``InvalidValue`` for a network without dropout.
    """
    passes = as_int("passes", passes, 2, 1000)
    layers = [layer for layer in classifier.keras_model._flatten_layers() if isinstance(layer, keras.layers.Dropout)]
    if not any(layer.rate for layer in layers):
        raise InvalidValue(
            f"Model '{classifier.name}' has no dropout layers, whose spread this detector measures. Choose another "
            "detector, or a model with dropout, such as 'mnist-dropout-adam'."
        )

    def spread(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with _active(layers):
            # Each row of a batch draws its own mask.
            logits = classifier.logits(tf.repeat(x, passes, 0))
        probabilities = tf.reshape(tf.nn.softmax(logits), [-1, passes, classifier.classes])
        predicted = tf.repeat(tf.argmax(tf.reduce_mean(probabilities, 1), -1), passes)
        disagreement = tf.reduce_mean(tf.reshape(_disagreement(logits, predicted), [-1, passes]), -1)
        return tf.reduce_sum(tf.math.reduce_variance(probabilities, 1), -1), disagreement

    return spread


def feature_squeezing(classifier: Classifier, data: Dataset, *, bits: int = 1, size: int = 2) -> Statistic:
    """The largest L1 distance between the probabilities of an image and of its squeezed versions.

    Squeezed to ``bits`` of each pixel, and by the median of ``size`` times ``size`` pixels. Xu et al. 2017,
    arXiv:1704.01155, section 5; 1 and 2 are theirs for MNIST, colour images take 5 and 2.
    """
    squeezers = (BitDepth(bits), MedianSmoothing(size))

    def largest_distance(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = classifier.logits(x)
        squeezed = [classifier.logits(x + tf.stop_gradient(squeeze(x) - x)) for squeeze in squeezers]
        distances = [tf.abs(tf.nn.softmax(logits) - tf.nn.softmax(other)) for other in squeezed]
        disagreements = [_disagreement(each, tf.argmax(logits, -1)) for each in (logits, *squeezed)]
        return tf.reduce_max(tf.reduce_sum(tf.stack(distances), -1), 0), tf.add_n(disagreements)

    return largest_distance


def mahalanobis(classifier: Classifier, data: Dataset) -> Statistic:
    """The squared Mahalanobis distance to the nearest class, of the features before the last dense layer.

    The classes have means of their own and one covariance, of ``data``. Lee et al. 2018, arXiv:1807.03888, equation 2.
    Raises ``InvalidValue`` where a class has no image.
    """
    extractor = features_of(classifier.keras_model)

    def features(x: tf.Tensor) -> tf.Tensor:
        outputs = tf.cast(extractor(classifier.adapted(x), training=False), tf.float32)
        return tf.reshape(outputs, [tf.shape(outputs)[0], -1])

    missing = sorted(set(range(classifier.classes)) - set(data.y.tolist()))
    if missing:
        raise InvalidValue(
            f"The Mahalanobis detector learns from images of each class. Got none of class {missing[0]} among "
            f"{len(data)}; fit it on more images."
        )
    values = np.concatenate([features(tf.constant(data.x[i : i + 1000])).numpy() for i in range(0, len(data), 1000)])
    means = np.stack([values[data.y == c].mean(0) for c in range(classifier.classes)]).astype(np.float64)
    centered = values - means[data.y]
    covariance = centered.T @ centered / len(data)
    covariance += _RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    # Distances of features times this matrix are those of Mahalanobis.
    whitening = tf.constant(np.linalg.cholesky(np.linalg.inv(covariance)), tf.float32)
    white_means = tf.constant(means @ np.linalg.cholesky(np.linalg.inv(covariance)), tf.float32)

    def distance_to_nearest(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        white = tf.matmul(features(x), whitening)
        distance = tf.reduce_min(tf.reduce_sum((white[:, None] - white_means) ** 2, -1), -1)
        return distance, distance

    return distance_to_nearest


def art_statistic(detector: Any) -> Statistic:
    """The score of a detector of the adversarial-robustness-toolbox, in NumPy and without gradient."""

    def scores(x: np.ndarray) -> np.ndarray:
        report, is_adversarial = detector.detect(x)
        predictions = np.asarray(report.get("predictions", ()))
        found = predictions[:, 1] if predictions.ndim == 2 and predictions.shape[1] == 2 else is_adversarial
        return np.asarray(found, np.float32)

    def score(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        value = tf.ensure_shape(tf.numpy_function(scores, [x], tf.float32), [None])
        return value, value

    return score


STATISTICS: dict[str, Callable[..., Statistic]] = {
    "maximum-softmax": maximum_softmax,
    "energy": energy,
    "dropout": dropout,
    "feature-squeezing": feature_squeezing,
    "mahalanobis": mahalanobis,
}


def _disagreement(logits: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """float32 ``(n,)``: the cross-entropy of logits with the class that was predicted."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.stop_gradient(predicted), logits)


@contextlib.contextmanager
def _active(layers: list[keras.layers.Dropout]) -> Iterator[None]:
    """Within the block these layers drop, and nothing else of the model is as in training."""
    for layer in layers:
        # Past Keras, which would take a function that is set on a layer for a part of it.
        object.__setattr__(layer, "call", lambda x, training=False, call=layer.call: call(x, training=True))
    try:
        yield
    finally:
        for layer in layers:
            object.__delattr__(layer, "call")
