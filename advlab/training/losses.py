"""The losses of TRADES and MART, which compare what a network predicts for a batch and for its adversarial images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from advlab.declarations.adversaries import Adversary

_MART_MARGIN = 1.0001  # in place of 1 under a logarithm and as a weight, in its authors' code

Loss = Callable[..., tf.Tensor]


def make_loss(
    model: keras.Model, adversary: Adversary, plain_loss: Loss, adversarial: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
) -> Loss:
    """The replacement of a model's ``compute_loss``; in validation it is the plain loss of the clean images.

    ``adversarial(x, labels)`` crafts. Keras' losses take the logits from before the softmax, and their mean over
    several devices. A divergence is the cross-entropy of two predictions less the entropy of the first.
    """
    beta = adversary.beta

    def trades(
        x: tf.Tensor, y: tf.Tensor, y_pred: tf.Tensor, sample_weight: Any = None, training: bool = True
    ) -> tf.Tensor:
        loss = plain_loss(x, y, y_pred, sample_weight, training)
        if not training:
            return loss
        p_adv = model(adversarial(x, y), training=True)
        cross_entropy = keras.losses.CategoricalCrossentropy()
        return loss + beta * (cross_entropy(y_pred, p_adv) - cross_entropy(y_pred, y_pred))

    def mart(
        x: tf.Tensor, y: tf.Tensor, y_pred: tf.Tensor, sample_weight: Any = None, training: bool = True
    ) -> tf.Tensor:
        if not training:
            return plain_loss(x, y, y_pred, sample_weight, training)
        p_adv = model(adversarial(x, y), training=True)
        labels = tf.one_hot(tf.cast(tf.reshape(y, [-1]), tf.int32), tf.shape(p_adv)[-1])
        # Images whose label is unlikely on the clean image count more; a wrong class close to certain costs besides.
        doubt = _MART_MARGIN - tf.reduce_sum(labels * y_pred, -1)
        strongest = tf.reduce_max(p_adv - labels, -1)
        cross_entropy = keras.losses.CategoricalCrossentropy()
        diverged = cross_entropy(y_pred, p_adv, doubt) - cross_entropy(y_pred, y_pred, doubt)
        boost = keras.losses.MeanAbsoluteError()(tf.zeros_like(doubt), tf.math.log(_MART_MARGIN - strongest))
        return plain_loss(x, y, p_adv, sample_weight, training) + boost + beta * diverged

    return {"trades": trades, "mart": mart}[adversary.method]
