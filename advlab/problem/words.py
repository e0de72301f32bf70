"""What a problem on texts has beside one on images: words in place of pixels, and their vectors.

A text is an image ``(1, l, 1)`` of numbers of words (``advlab.text``), so a ball of the norm ``l0`` counts changed
words. Its pixels have no gradient; the vectors that the model looks up for the words have one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from advlab import text
from advlab.text import PADDING, SCALE, START, UNKNOWN

__all__ = ["PADDING", "START", "UNKNOWN", "Words", "as_images", "as_numbers", "replaced"]


class Words(NamedTuple):
    """The two halves of a classifier of texts.

    ``table`` float32 ``(v, d)``; ``logits``: vectors ``(n, l, d)`` -> ``(n, k)``; ``neighbours``: number of candidates,
    edit, protected words, file of vectors -> int32 ``(v, m)``, what may take the place of each word, -1 for nothing.
    Table and neighbours are tensors where training changes them.
    """

    table: np.ndarray | tf.Tensor
    logits: Callable[[tf.Tensor], tf.Tensor]
    neighbours: Callable[[int, str, str, str], np.ndarray | tf.Tensor]

    def vectors(self, numbers: tf.Tensor) -> tf.Tensor:
        """float32 ``(n, l, d)`` of the words int32 ``(n, l)``."""
        return tf.gather(tf.convert_to_tensor(self.table), numbers)

    def similarity(self, clean: np.ndarray, perturbed: np.ndarray) -> np.ndarray:
        """float32 ``(n,)`` of texts ``(n, 1, l, 1)``: the mean cosine between replaced words and what took their place.

        1 where no word was replaced; places that were empty are left out.
        """
        before, after = text.as_numbers(clean), text.as_numbers(perturbed)
        rows, places = np.nonzero((before != after) & (before > START))
        pairs = [np.asarray(self.table)[numbers[rows, places]].astype(np.float64) for numbers in (before, after)]
        sizes = [np.linalg.norm(vectors, axis=1) for vectors in pairs]
        cosine = np.sum(pairs[0] * pairs[1], 1) / np.maximum(sizes[0] * sizes[1], 1e-12)
        count, total = (np.bincount(rows, weights, minlength=len(before)) for weights in (None, cosine))
        return np.where(count > 0, np.clip(total / np.maximum(count, 1), -1, 1), 1).astype(np.float32)


def as_numbers(x: tf.Tensor) -> tf.Tensor:
    """int32 ``(n, l)`` from images ``(n, 1, l, 1)``."""
    return tf.cast(tf.round(x[:, 0, :, 0] * SCALE), tf.int32)


def as_images(numbers: tf.Tensor) -> tf.Tensor:
    """float32 ``(n, 1, l, 1)``: the inverse, exact."""
    return (tf.cast(numbers, tf.float32) / SCALE)[:, None, :, None]


def replaced(numbers: tf.Tensor, positions: tf.Tensor, words: tf.Tensor) -> tf.Tensor:
    """int32 ``(n, l)``: the texts with another word at one position of each, int32 ``(n,)``."""
    at = tf.one_hot(positions, numbers.shape[1], on_value=True, off_value=False)
    return tf.where(at, words[:, None], numbers)
