"""The box of certified training for texts: what the maximum over positions becomes where some words are replaced.

The box is that of ``certification.words`` (Jia et al. 2019, arXiv:1909.00986), here as a function of the vectors that
are being trained: bounds of a word's candidates are taken of the words of the batch alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from advlab.certification.network import Network
from advlab.certification.translate import trainable_network
from advlab.certification.words import behind_maximum
from advlab.classifiers.classifier import Classifier
from advlab.problem.words import as_numbers
from advlab.training.trainable_words import TrainableWords

_NONE = tf.float32.min  # in place of a word that there is not


class WordSubject:
    """Texts ``(n, 1, l, 1)`` of which ``count`` words may be replaced; raises ``InvalidValue`` for other networks."""

    def __init__(self, model: keras.Model, vocabulary: Sequence[str], count: int):
        self._words, self._count = TrainableWords(model, vocabulary), count
        self._head = behind_maximum(Classifier.from_keras(model, card={"vocabulary": list(vocabulary)}))

    def network(self) -> Network:
        """What follows the maximum."""
        return trainable_network(self._head, self._shape)

    def box(self, x: tf.Tensor, size: tf.Tensor | float) -> tuple[tf.Tensor, tf.Tensor]:
        """The least and largest maximum, float32 ``(n, 1, d, 1)``."""
        words = self._words.now()
        numbers = as_numbers(tf.cast(x, tf.float32))
        occurring, index = tf.unique(tf.reshape(numbers, [-1]))
        near = tf.gather(words.neighbours(0, "", "", ""), occurring)
        candidates = words.vectors(tf.where(near >= 0, near, occurring[:, None]))
        vectors = words.vectors(occurring)
        index = tf.reshape(index, tf.shape(numbers))
        own, lowest, highest = (
            tf.gather(table, index)
            for table in (
                vectors,
                tf.minimum(vectors, tf.reduce_min(candidates, 1)),
                tf.maximum(vectors, tf.reduce_max(candidates, 1)),
            )
        )
        is_free = tf.gather(tf.reduce_any(near >= 0, 1), index)[..., None]
        center = tf.reduce_max(own, 1)
        fixed = tf.reduce_max(tf.where(is_free, _NONE, own), 1)
        count = min(self._count, numbers.shape[1] - 1)
        replaceable = tf.transpose(tf.where(is_free, own, _NONE), [0, 2, 1])
        left = tf.math.top_k(replaceable, count + 1)[0][..., count]
        least = tf.reduce_max(tf.where(is_free, lowest, own), 1)
        low = tf.maximum(tf.maximum(fixed, left), least)
        high = tf.maximum(center, tf.reduce_max(tf.where(is_free, highest, _NONE), 1))
        ends = (center + size * (end - center) for end in (low, high))
        low, high = (tf.reshape(end, [-1, *self._shape]) for end in ends)
        return low, high

    def refresh(self) -> None:
        """Find the neighbours by the vectors of now."""
        self._words.refresh()

    @property
    def _shape(self) -> tuple[int, int, int]:
        return (1, self._head.keras_model.inputs[0].shape[-1], 1)
