"""Hardening: some minutes of adversarial training that a finished classifier is given, whatever its layers.

The network is trained as it is used: through its logits, in inference mode, so that dropout is off and batch
normalisation keeps its statistics. The batches are crafted by the code of adversarial training.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from advlab.classifiers.classifier import Classifier
from advlab.data.dataset import Dataset
from advlab.declarations.adversaries import Adversary
from advlab.engine.steps import Batch
from advlab.errors import AdvlabError, InvalidValue
from advlab.problem import random
from advlab.progress import Progress
from advlab.training.adversary import RobustValidation, craft, untargeted
from advlab.training.fit import order

BATCH_SIZE = 128
CHECKS = 12  # how often the network is judged, evenly over the time; the best state is kept
_WARMUP = 0.2  # the fraction of the time in which epsilon and the rate grow
_HELD_OUT, _FRACTION = 500, 0.1  # images to judge by: at most so many, and at most this part of them


class Hardening(NamedTuple):
    """What came of it: the classifier, train steps, seconds, and robust accuracy on held-out images at each check.

    ``kept`` is the check whose weights the classifier has; 0 is that before any step.
    """

    classifier: Classifier
    steps: int
    seconds: float
    checks: tuple[float, ...]
    kept: int


def harden(
    classifier: Classifier,
    data: Dataset,
    adversary: Adversary,
    *,
    seconds: float,
    learning_rate: float = 1e-3,
    seed: int = 0,
    progress: bool | None = None,
) -> Hardening:
    """Train a copy of a classifier on ``data`` against an adversary for so many seconds.

    The learning rate and epsilon rise over the first fifth, then the rate falls to zero. Of the states that are judged,
    by PGD on images held out of ``data``, the most robust one is returned.

    Raises ``InvalidValue`` where nothing can be trained, ``AdvlabError`` where the loss becomes NaN or infinite before
    the first check; later ones end the training with the best weights.
    """
    model = keras.models.clone_model(classifier.keras_model)
    model.set_weights(classifier.keras_model.get_weights())
    copy = classifier.with_network(model, name=f"{classifier.name}-hardened")
    held_out = min(_HELD_OUT, math.floor(_FRACTION * len(data)))
    variables = model.trainable_variables
    if not variables or held_out < 1:
        lack = (
            "no weights that can be trained" if not variables else f"{len(data)} training images, too few to hold out"
        )
        raise InvalidValue(f"Model '{classifier.name}' cannot be hardened: it has {lack}.")
    count = len(data) - held_out
    judge = RobustValidation(copy, adversary, data.x[count:], data.y[count:], seed)
    train_step = _train_step(copy, adversary, learning_rate)
    images, labels = tf.constant(data.x[:count]), tf.constant(data.y[:count], tf.int32)
    checks, kept, best = [judge.robust_accuracy()], 0, model.get_weights()
    start_time, loss = perf_counter(), 0.0
    with Progress(CHECKS, f"harden {classifier.name}", show=progress) as bar:
        for step, rows in enumerate(_batches(count, seed)):
            part = (perf_counter() - start_time) / seconds
            if part * CHECKS >= len(checks) and step:
                checks.append(judge.robust_accuracy())
                bar.advance(1, robust=f"{checks[-1]:.3f}")
                # As robust and later is better: the rate has fallen further.
                if checks[-1] >= checks[kept]:
                    kept, best = len(checks) - 1, model.get_weights()
            if part >= 1 or not math.isfinite(loss):
                break
            grown = min(part / _WARMUP, 1.0)
            rate = learning_rate * min(grown, (1 - part) / (1 - _WARMUP))
            batch = untargeted(
                tf.gather(images, rows), tf.gather(labels, rows), random.streams(seed, step, tf.range(len(rows)))
            )
            loss = float(train_step(batch, tf.constant(grown, tf.float64), tf.constant(rate)))
    if not math.isfinite(loss) and len(checks) == 1:
        raise AdvlabError(
            f"Model '{classifier.name}' cannot be hardened at learning rate {learning_rate:g}: the loss became {loss} "
            f"in step {step}. Choose a smaller learning_rate."
        )
    model.set_weights(best)
    return Hardening(copy, step, perf_counter() - start_time, tuple(checks), kept)


def _train_step(
    classifier: Classifier, adversary: Adversary, learning_rate: float
) -> Callable[[Batch, tf.Tensor, tf.Tensor], tf.Tensor]:
    """One step on a batch at a fraction of epsilon and a rate: the loss on what was crafted."""
    variables = classifier.keras_model.trainable_variables
    optimizer = keras.optimizers.Adam(learning_rate)
    optimizer.build(variables)

    def step(batch: Batch, grown: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
        x_adv = craft(adversary, classifier.logits, batch, grown * adversary.epsilon)
        optimizer.learning_rate.assign(rate)
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch.labels, classifier.logits(x_adv))
            loss = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)
        return loss

    return tf.function(step, autograph=False)


def _batches(count: int, seed: int) -> Iterator[np.ndarray]:
    """Rows of full batches, without end; of all images where they are fewer."""
    for epoch in itertools.count():
        rows = order(count, seed, epoch)
        for first in range(0, max(count - BATCH_SIZE, 0) + 1, BATCH_SIZE):
            yield rows[first : first + BATCH_SIZE]
