"""The words of a model of texts while it is trained: their vectors, and by these their neighbours, change."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from advlab.classifiers.classifier import Classifier
from advlab.classifiers.words import word_model
from advlab.problem.words import Words

NEIGHBOURS = 50  # of a word, that may take its place: as many as the attacks on words begin with


class TrainableWords:
    """What attacks on words work on, inside a train step; the neighbours are those of the last ``refresh``."""

    def __init__(self, model: keras.Model, vocabulary: Sequence[str]):
        self._model = word_model(Classifier.from_keras(model, card={"vocabulary": list(vocabulary)}))
        self._neighbours = tf.Variable(self._found(), trainable=False)

    def now(self) -> Words:
        """The words with their present vectors, to be called where a step is traced."""
        table = tf.convert_to_tensor(self._model.variable)
        return Words(table, self._model.logits, lambda *_: tf.convert_to_tensor(self._neighbours))

    def refresh(self) -> None:
        """Find the neighbours by the present vectors, as an attack on the model would now."""
        self._neighbours.assign(self._found())

    def _found(self) -> np.ndarray:
        table = np.asarray(self._model.variable, np.float32)
        return self._model._replace(table=table).neighbours(NEIGHBOURS, "substitute", "", "")
