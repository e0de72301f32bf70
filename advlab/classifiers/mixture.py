"""The layer in which the answers of several networks end as one: their mean, or one of them drawn at each query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("advlab")
class Mixture(keras.layers.Layer):
    """Of probabilities ``(n, k)`` of several networks, or ``(n, 1)`` of class 1, the mean, or for each image one drawn.

    The logits before it are found by ``logits``, from those of the networks.
    """

    def __init__(self, random: bool = False, **options: Any):
        super().__init__(**{"trainable": False, "name": "mixture", **options, "autocast": False})
        self.random = bool(random)
        self.settings = {"random": self.random}
        self.seed_generator = keras.random.SeedGenerator(0) if self.random else None

    def call(self, answers: Sequence[tf.Tensor]) -> tf.Tensor:
        """Probabilities."""
        return self._drawn(tf.stack(answers)) if self.random else tf.reduce_mean(tf.stack(answers), 0)

    def logits(self, members: Sequence[tf.Tensor]) -> tf.Tensor:
        """From the members' logits, which one unit has for class 1, those of what ``call`` makes of their answers."""
        is_one_unit = members[0].shape[-1] == 1
        pairs = [tf.concat([tf.zeros_like(z), z], -1) if is_one_unit else z for z in members]
        answers = tf.stack([tf.nn.log_softmax(z) for z in pairs])
        if self.random:
            mixed = self._drawn(answers)
        else:
            mixed = tf.reduce_logsumexp(answers, 0) - tf.math.log(float(len(pairs)))
        return mixed[:, 1:] - mixed[:, :1] if is_one_unit else mixed

    def _drawn(self, answers: tf.Tensor) -> tf.Tensor:
        members = answers.shape[0]
        draws = keras.random.uniform((tf.shape(answers)[1],), 0, members, seed=self.seed_generator)
        return tf.einsum("mnk,nm->nk", answers, tf.one_hot(tf.cast(draws, tf.int32), members))

    def get_config(self) -> dict[str, Any]:
        """Whether it draws."""
        return {**super().get_config(), **self.settings}

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of one answer."""
        return input_shape[0]


def mixtures_of(model: keras.Model) -> list[Mixture]:
    """Those in a model, and in the models inside it."""
    return [layer for layer in model._flatten_layers() if isinstance(layer, Mixture)]
