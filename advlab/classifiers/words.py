"""A classifier of texts cut in two at its embedding: the vector of each word, and the logits of a line of vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from advlab.classifiers.classifier import Classifier
from advlab.classifiers.logits import strip_softmax
from advlab.errors import InvalidFile, Mismatch
from advlab.text import FIRST, PADDING, UNKNOWN

# Words that carry the sentence: no substitute is offered for them, and they are none.
_FUNCTION_WORDS = """
a an the and or but nor if then than that this these those of in on at to from by for with without about into over under
after before is am are was were be been being do does did have has had will would can could shall should may might must
not no never nothing none neither it its he him his she her hers they them their we us our you your i me my who whom
whose which what when where why how there here as so too very just only also
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
FREQUENT = 5000
_BEFORE = (
    "InputLayer",
    "Rescaling",
    "Reshape",
    "Flatten",
    "Identity",
)  # what may lie between the texts and the vectors


class WordModel(NamedTuple):
    """``table`` float32 ``(v, d)``; ``logits``: vectors ``(n, l, d)`` -> ``(n, k)``; ``vocabulary``.

    ``variable`` is what the table was read from, which training changes.
    """

    table: np.ndarray
    logits: Callable[[tf.Tensor], tf.Tensor]
    vocabulary: tuple[str, ...]
    variable: keras.Variable

    def neighbours(self, count: int, edit: str, protected: str, vectors: str) -> np.ndarray:
        """int32 ``(v, m)``: what may take the place of each word, the nearest first; -1 for nothing.

        ``edit``: ``substitute`` offers ``count`` neighbours by the cosine of their vectors, of the ``FREQUENT`` most
        frequent words (training hardly moves the vectors of rare ones), ``typo`` an unknown word,
        ``delete`` an empty place, ``any`` all of these; ``insert`` offers the ``count`` most frequent words for an
        empty place. ``protected`` words, with commas between them, and function words keep their place, and are not
        inserted. ``vectors`` is a file of other vectors, such as counter-fitted ones, a word and its numbers on each
        line; without it those of the model decide, and may put opposites side by side.
        """
        size = len(self.vocabulary)
        kept = FUNCTION_WORDS | {word.strip() for word in protected.split(",")}
        is_free = np.array([n >= FIRST and word not in kept for n, word in enumerate(self.vocabulary)])
        if edit == "insert":
            frequent = np.flatnonzero(is_free)[:count]
            found = np.full((size, max(len(frequent), 1)), -1, np.int32)
            found[PADDING, : len(frequent)] = frequent
            return found
        offered = []
        if edit in ("substitute", "any"):
            table, is_known = (self.table, np.ones(size, bool)) if not vectors else self._vectors_of(vectors)
            is_offered = is_free & is_known & (np.arange(size) < FIRST + FREQUENT)
            offered.append(_nearest(table[:size], is_free & is_known, is_offered, min(count, size)))
        if edit in ("typo", "any"):
            offered.append(np.full((size, 1), UNKNOWN, np.int32))
        if edit in ("delete", "any"):
            offered.append(np.full((size, 1), PADDING, np.int32))
        found = np.concatenate(offered, 1)
        found[~is_free] = -1
        return found

    def _vectors_of(self, path: str) -> tuple[np.ndarray, np.ndarray]:
        numbers = {word: number for number, word in enumerate(self.vocabulary)}
        found: dict[int, np.ndarray] = {}
        try:
            with open(path, encoding="utf-8") as file:
                for line in filter(str.strip, file):
                    word, *values = line.split()
                    if word in numbers and len(values) > 1:
                        found[numbers[word]] = np.array(values, np.float32)
        except (OSError, ValueError) as error:
            raise InvalidFile(
                f"Cannot read the vectors in '{path}': {error}. Give a text file with a word and its numbers a line."
            ) from error
        if len({len(vector) for vector in found.values()}) != 1:
            raise InvalidFile(f"'{path}' has no vectors, all as long, of words that the model knows.")
        table = np.zeros((len(self.vocabulary), len(next(iter(found.values())))), np.float32)
        is_known = np.zeros(len(self.vocabulary), bool)
        for number, vector in found.items():
            table[number], is_known[number] = vector, True
        return table, is_known


def word_model(classifier: Classifier) -> WordModel:
    """The two halves of a classifier of texts; raises ``Mismatch`` for one that does not begin with an embedding."""
    network = classifier.keras_model
    embedding = _embedding(network)
    if embedding is None or not classifier.vocabulary:
        raise Mismatch(
            f"Model '{classifier.name}' does not begin with one Embedding layer, which an attack on words works on, or "
            "has no vocabulary. Choose a model of texts, such as 'sentiment-tiny'."
        )
    head = keras.Model(embedding.output, network.outputs[0])
    logits, _ = strip_softmax(head, classifier.name, output=classifier.settings.output, loss=classifier.loss)

    def two_logits(vectors: tf.Tensor) -> tf.Tensor:
        value = tf.cast(logits(vectors), tf.float32)
        return tf.concat([tf.zeros_like(value), value], 1) if value.shape[-1] == 1 else value

    return WordModel(
        np.asarray(embedding.embeddings, np.float32), two_logits, classifier.vocabulary, embedding.embeddings
    )


def _embedding(network: keras.Model) -> keras.layers.Embedding | None:
    for layer in network.layers:
        if isinstance(layer, keras.layers.Embedding):
            return layer
        if type(layer).__name__ not in _BEFORE:
            return None
    return None


def _nearest(table: np.ndarray, is_free: np.ndarray, is_offered: np.ndarray, count: int) -> np.ndarray:
    """int32 ``(v, count)``: the offered words of the largest cosine to each free word, itself left out."""
    found = np.full((len(table), count), -1, np.int32)
    free, offered = np.flatnonzero(is_free), np.flatnonzero(is_offered)
    unit = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    most = min(count, len(offered) - 1)
    for start in range(0, len(free) if most > 0 else 0, 1000):
        rows = free[start : start + 1000]
        cosine = unit[rows] @ unit[offered].T
        cosine[rows[:, None] == offered] = -np.inf
        best = np.argpartition(-cosine, most - 1, axis=1)[:, :most]
        order = np.argsort(-np.take_along_axis(cosine, best, 1), axis=1, kind="stable")
        found[rows, :most] = offered[np.take_along_axis(best, order, 1)]
    return found
