"""What an attack costs before it is run: passes for each image, at most, and the seconds that one takes here."""

from __future__ import annotations

import time
from importlib import import_module
from typing import NamedTuple

import tensorflow as tf

from advlab.classifiers.classifier import Classifier
from advlab.data.dataset import Dataset
from advlab.declarations.attack import Attack
from advlab.engine import steps
from advlab.engine.compile import rows_at_once
from advlab.problem.problem import Loop, UniversalLoop
from advlab.problem.words import as_numbers

_FEW = 64  # images that are timed
_REPEATS = 3


class Passes(NamedTuple):
    """Forward and backward passes for one image, at most: images that leave early cost less."""

    forward: int
    backward: int


def most_passes(spec: Attack, shape: tuple[int, ...], classes: int) -> Passes | None:
    """Of an attack on images ``(h, w, c)``; None where another library counts them."""
    craft = spec.craft or import_module(f"advlab.methods.{spec.method}").craft
    loop = steps.plan(craft, spec, shape)
    aims = max(min(int(spec.parameters.get("n_target_classes") or 0), classes - 1), 1)
    rounds = spec.restarts * aims * spec.passes
    if isinstance(loop, UniversalLoop):
        return Passes(rounds * loop.epochs, rounds * loop.epochs)
    if not isinstance(loop, Loop):
        return None
    forward, backward = loop.extra
    forwards = loop.first_passes + loop.steps * (1 + forward) + 1
    return Passes(rounds * forwards, rounds * loop.steps * (int(loop.gradient) + backward))


def seconds_per_pass(classifier: Classifier, dataset: Dataset) -> float:
    """Of one forward, and about as much of one backward pass, for one image in a batch: measured here and now."""
    x = tf.constant(dataset.x[: min(_FEW, rows_at_once(classifier, dataset.shape))])
    words = steps.words_of(classifier)
    if words is not None:  # whose numbers have no gradient: that of their vectors costs the same
        x = words.vectors(as_numbers(x))
    logits = classifier.logits if words is None else words.logits

    @tf.function(autograph=False)
    def forward_and_backward(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(logits(x))
        return tape.gradient(total, x)

    forward_and_backward(x)
    start = time.perf_counter()
    for _ in range(_REPEATS):
        forward_and_backward(x).numpy()
    return (time.perf_counter() - start) / (2 * _REPEATS * len(x))
