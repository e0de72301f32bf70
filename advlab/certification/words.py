"""Texts of which some words may be replaced: a box around what the maximum over all positions can become.

Jia, Raghunathan, Göksel, Liang 2019, "Certified robustness to adversarial word substitutions", arXiv:1909.00986, for
networks that take the maximum over positions right after the embedding, with a budget of words. A coordinate of the
maximum rises to at most the largest of all candidates, and falls no lower than the largest value that ``k``
replacements leave: the words are the classifier's own float32 vectors, and maxima of them are exact.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from advlab.certification.network import Network
from advlab.certification.region import Region
from advlab.certification.translate import network_of
from advlab.classifiers.classifier import Classifier
from advlab.classifiers.words import word_model
from advlab.errors import InvalidValue
from advlab.text import as_numbers

CANDIDATES = 50  # neighbours that may take the place of a word: as many as the attacks on words begin with
_ROWS = 50  # texts whose vectors are in memory together


class WordSubject(NamedTuple):
    """The network behind the maximum; the vector of each word, and the least and largest of its candidates' ``(v, d)``.

    ``is_free`` bool ``(v,)``: whether anything may take the place of a word.
    """

    network: Network
    table: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    is_free: np.ndarray

    def region(self, x: np.ndarray, epsilon: float | np.ndarray) -> Region:
        """The boxes of the maximum, float64 ``(n, d)``, for texts of which ``epsilon`` words may be replaced."""
        counts = np.broadcast_to(np.floor(np.asarray(epsilon, np.float64)), (len(x),)).astype(int)
        parts = [self._box(x[i : i + _ROWS], counts[i : i + _ROWS]) for i in range(0, len(x), _ROWS)]
        center, lower, upper = (tf.constant(np.concatenate(ends), tf.float64) for ends in zip(*parts, strict=True))
        radius = tf.constant(counts[:, None], tf.float64)
        return Region("linf", center, radius, lower, upper)

    def _box(self, x: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        numbers = as_numbers(x)
        own, free = self.table[numbers], self.is_free[numbers][..., None]
        center = own.max(1)
        # What stays: words that nothing replaces, and of the others all but those that the budget takes away.
        fixed = np.where(free, -np.inf, own).max(1)
        ordered = -np.sort(np.where(free, -own, np.inf), axis=1)
        left = ordered[np.arange(len(x)), np.minimum(counts, own.shape[1] - 1)]
        least = np.where(free, self.lowest[numbers], own).max(1)
        lower = np.maximum(np.maximum(fixed, left), least)
        upper = np.maximum(center, np.where(free, self.highest[numbers], -np.inf).max(1))
        changes = (counts > 0)[:, None]
        return center, np.where(changes, lower, center), np.where(changes, upper, center)


def word_subject(classifier: Classifier) -> WordSubject:
    """What certificates of a classifier of texts work on, made once for it and its weights.

    Raises ``InvalidValue`` for other networks of texts.
    """
    known, digest = classifier.compiled.get("word subject"), classifier.digest
    if known is None or known[0] != digest:
        known = classifier.compiled["word subject"] = digest, _word_subject(classifier)
    return known[1]


def behind_maximum(classifier: Classifier) -> Classifier:
    """The network that follows the maximum; raises ``InvalidValue`` where that does not follow the embedding."""
    model = classifier.keras_model
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.Dropout)]
    names = [type(layer).__name__ for layer in layers]
    at = names.index("Embedding") + 1 if "Embedding" in names else len(names)
    if names[at : at + 1] != ["GlobalMaxPooling1D"]:
        raise InvalidValue(
            f"Texts have bounds where the maximum over all positions follows the embedding; in model "
            f"'{classifier.name}' a {names[at] if at < len(names) else 'network without an embedding'} does. Attack it "
            "instead, with 'hotflip'."
        )
    behind = keras.Model(layers[at].output, model.outputs[0])
    name = f"{classifier.name} behind its maximum"
    return Classifier.from_keras(behind, name=name, output=classifier.settings.output)


def _word_subject(classifier: Classifier) -> WordSubject:
    head = behind_maximum(classifier)
    words = word_model(classifier)
    near = words.neighbours(CANDIDATES, "substitute", "", "")
    offered = np.where(near >= 0, near, np.arange(len(near))[:, None])
    lowest, highest = np.array(words.table), np.array(words.table)
    for start in range(0, len(near), 500):
        rows = slice(start, min(start + 500, len(near)))
        vectors = words.table[offered[rows]]
        lowest[rows] = np.minimum(lowest[rows], vectors.min(1))
        highest[rows] = np.maximum(highest[rows], vectors.max(1))
    is_free = np.zeros(len(words.table), bool)
    is_free[: len(near)] = (near >= 0).any(1)
    network = network_of(head, (1, words.table.shape[1], 1))
    return WordSubject(network, words.table, lowest, highest, is_free)
