"""Certified training: each step lowers the loss of the worst logits that interval bounds allow within epsilon.

The bounds are those of ``certification``, read from the same layers and traced into the train step with the weights as
they then are, in float32 and without room for rounding errors: what training reaches, ``advlab.certify`` proves.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np
import tensorflow as tf

from advlab.certification.intervals import interval_of
from advlab.certification.network import Network
from advlab.certification.nodes import Dense, Shape
from advlab.certification.translate import trainable_network
from advlab.classifiers.classifier import Classifier
from advlab.declarations.certified import Certified
from advlab.errors import InvalidValue


class Subject(Protocol):
    """What bounds are about: the network, traced with the weights as they are, and a box around each of its inputs."""

    def network(self) -> Network:
        """The network that the box goes into."""
        ...

    def box(self, x: tf.Tensor, size: tf.Tensor | float) -> tuple[tf.Tensor, tf.Tensor]:
        """The least and largest inputs, for data ``x``; ``size`` is in units of the whole box, and may be above 1."""
        ...

    def refresh(self) -> None:
        """Find anew what is not found in every step."""
        ...


class ImageSubject(NamedTuple):
    """Images ``(n, h, w, c)`` of ``shape``, each pixel within ``epsilon`` and in [0, 1]."""

    classifier: Classifier
    shape: Shape
    epsilon: float

    def network(self) -> Network:
        """The whole classifier."""
        return trainable_network(self.classifier, self.shape)

    def box(self, x: tf.Tensor, size: tf.Tensor | float) -> tuple[tf.Tensor, tf.Tensor]:
        """float32 ``(n, h, w, c)`` each."""
        images = tf.reshape(tf.cast(x, tf.float32), [-1, *self.shape])
        return tf.maximum(images - size * self.epsilon, 0.0), tf.minimum(images + size * self.epsilon, 1.0)

    def refresh(self) -> None:
        """Nothing is kept from step to step."""


def attach(model: keras.Model, certified: Certified, subject: Subject, steps_per_epoch: int, seed: int) -> None:
    """Let the train step of a model, compiled and prepared, lower the loss of the worst logits; kernels are drawn anew.

    Raises ``InvalidValue`` for a layer without bounds, or one whose function of an image depends on the batch.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            raise InvalidValue(
                f"Layer '{layer.name}' (BatchNormalization) computes something else in training than what is certified "
                "afterwards. Certified training is for networks without it; leave it out of the architecture."
            )
    _initialise(model, seed)
    reach = (certified.train_epsilon or certified.epsilon) / certified.epsilon
    plain_loss = model.compute_loss

    def certified_loss(
        x: tf.Tensor, y: tf.Tensor, y_pred: tf.Tensor, sample_weight: Any = None, training: bool = True
    ) -> tf.Tensor:
        loss = plain_loss(x, y, y_pred, sample_weight, training)
        if not training:
            return loss
        step = tf.cast(tf.convert_to_tensor(model.optimizer.iterations), tf.float32) + 1
        risen = (step / steps_per_epoch - certified.warmup_epochs) / certified.ramp_epochs
        risen = tf.clip_by_value(risen, 0.0, 1.0)
        labels = tf.cast(tf.reshape(y, [-1]), tf.int32)
        worst = worst_within(subject.network(), *subject.box(x, risen * reach), labels)
        worst_loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, worst))
        share = 1 - risen * (1 - certified.clean_weight)
        return share * loss + (1 - share) * worst_loss

    subject.network()  # a layer without bounds is refused before training begins
    model.compute_loss = certified_loss


class CertifiedValidation(keras.callbacks.Callback):
    """Adds ``val_certified_accuracy`` to each epoch's figures: put it before the callbacks that read them.

    It is the fraction of ``x (n, h, w, c)``, of ``labels (n,)``, that interval bounds prove in the whole box.
    """

    def __init__(self, subject: Subject, x: np.ndarray, labels: np.ndarray):
        super().__init__()
        images, y = tf.constant(x), tf.constant(labels, tf.int32)

        def certified_accuracy() -> tf.Tensor:
            worst = worst_within(subject.network(), *subject.box(images, 1.0), y)
            others = tf.where(tf.one_hot(y, worst.shape[-1], True, False), -np.inf, worst)
            return tf.reduce_mean(tf.cast(tf.reduce_max(others, -1) < 0, tf.float32))

        self._subject = subject
        self._certified_accuracy = tf.function(certified_accuracy, autograph=False)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Find anew what the epoch's boxes are made of."""
        self._subject.refresh()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Bound the validation images."""
        self._subject.refresh()
        if logs is not None:
            logs["val_certified_accuracy"] = float(self._certified_accuracy())


def worst_within(network: Network, low: tf.Tensor, high: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """float32 ``(n, k)``: upper bounds of how far each logit lies above that of the label, whose own entry is 0.

    For inputs of the network between ``low`` and ``high``. The last dense layer is taken together with the difference,
    which is tighter than a difference of bounds.
    """
    lows, highs = [low], [high]
    *nodes, last = network.nodes[1:]
    for node in nodes:
        low, high = interval_of(node, lows, highs)
        lows.append(low)
        highs.append(high)
    if not isinstance(last, Dense):
        low, high = interval_of(last, lows, highs)
        differences = high - tf.gather(low, labels, batch_dims=1)[:, None]
        return tf.where(tf.one_hot(labels, network.classes, True, False), 0.0, differences)
    low, high = lows[last.inputs[0]], highs[last.inputs[0]]
    kernel = last.kernel[None] - tf.gather(tf.transpose(last.kernel), labels)[:, :, None]
    shift = last.shift - tf.gather(last.shift, labels)[:, None]
    middle, radius = (low + high) / 2, (high - low) / 2
    return tf.einsum("nd,ndk->nk", middle, kernel) + tf.einsum("nd,ndk->nk", radius, tf.abs(kernel)) + shift


def _initialise(model: keras.Model, seed: int) -> None:
    """Normal kernels of which the absolute values of one unit add up to 2: a ReLU halves an interval."""
    generator = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Dense | keras.layers.Conv2D):
            fan_in = math.prod(layer.kernel.shape[:-1])
            layer.kernel.assign(generator.normal(0, math.sqrt(2 * math.pi) / fan_in, layer.kernel.shape))
