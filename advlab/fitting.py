"""Keras' ``fit`` with many steps in each call into TensorFlow: the same training, several times as fast.

``fit`` fetches each batch from Python's side and calls TensorFlow once for it, which on a small network takes longer
than the arithmetic. Here the images lie in TensorFlow once; an element of the data that ``fit`` sees is a table of row
numbers, a line for each batch, and its train function is one compiled loop over the lines. Epochs, validation, metrics
and callbacks remain Keras' own; what a callback is told as a batch is one such table.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from advlab.recipes import Training

# Batches for each call: the progress bar still moves, and calls cost nothing.
BATCHES_PER_CALL = 64
# On a CPU a step of a dense network gains a fifth to a half of a millisecond by XLA, whose compilation takes one to two
# seconds. Convolutions and recurrent cells become slower.
_XLA_FROM_STEPS = 6_000
_DENSE = ("Activation", "BatchNormalization", "Dense", "Dropout", "Flatten", "InputLayer")


def prepare(model: keras.Model, x: np.ndarray, y: np.ndarray) -> None:
    """Let loss, metrics and optimizer of a compiled model make their variables, which are then ready to be restored.

    ``fit`` would guess their shapes from tables of row numbers. It also moves the generators of recurrent dropout.
    """
    answers = model(x[:1])
    model.compute_loss(x[:1], y[:1], answers)
    model.compute_metrics(x[:1], y[:1], answers)
    model.reset_metrics()
    model.optimizer.build(model.trainable_variables)


def fit(
    model: keras.Model,
    x: np.ndarray,
    y: np.ndarray,
    settings: Training,
    *,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    first_epoch: int = 0,
) -> None:
    """Train a model, compiled and prepared, in place on ``x (n, ...)`` and ``y (n,)`` from ``first_epoch`` to the last.

    The order of the images is drawn anew for each epoch and depends on nothing but ``settings.seed`` and the epoch.
    With a model of several devices (``tf.distribute``) Keras' own train function shares each batch between them.
    """
    batches = batches_of(len(x), settings.batch_size)
    if tf.distribute.has_strategy():
        data, steps = _images(x, y, settings, first_epoch), batches
    else:
        xla = _xla_pays(model, batches * settings.epochs)
        model.train_function = _loop(model, x, y, settings.batch_size, xla)
        data, steps = _tables(len(x), settings, first_epoch), len(list(_cut(np.arange(len(x)), settings.batch_size)))
    model.fit(
        data.prefetch(2),
        steps_per_epoch=steps,
        initial_epoch=first_epoch,
        epochs=settings.epochs,
        validation_data=validation,
        validation_batch_size=1000,
        callbacks=list(callbacks),
        shuffle=False,
        verbose=0,
    )


def batches_of(images: int, batch_size: int) -> int:
    """How many batches show all images once; the last may be smaller."""
    return math.ceil(images / batch_size)


def order(images: int, seed: int, epoch: int) -> np.ndarray:
    """The order in which an epoch (from 0) shows the images: int32 ``(images,)``."""
    return np.random.default_rng((seed, epoch)).permutation(images).astype(np.int32)


def _cut(rows: np.ndarray, batch_size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Tables of one size with the number of lines that count, then the last batch where it is a smaller one."""
    whole = len(rows) // batch_size
    for start in range(0, whole, BATCHES_PER_CALL):
        lines = min(BATCHES_PER_CALL, whole - start)
        table = np.zeros((BATCHES_PER_CALL, batch_size), np.int32)
        table[:lines] = rows[start * batch_size : (start + lines) * batch_size].reshape(lines, batch_size)
        yield table, lines
    if whole * batch_size < len(rows):
        yield rows[None, whole * batch_size :], 1


def _tables(images: int, settings: Training, first_epoch: int) -> tf.data.Dataset:
    def draw() -> Iterator[tuple[np.ndarray, int]]:
        for epoch in itertools.count(first_epoch):
            yield from _cut(order(images, settings.seed, epoch), settings.batch_size)

    kinds = (tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([], tf.int32))
    return tf.data.Dataset.from_generator(draw, output_signature=kinds)


def _images(x: np.ndarray, y: np.ndarray, settings: Training, first_epoch: int) -> tf.data.Dataset:
    def draw() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for epoch in itertools.count(first_epoch):
            rows = order(len(x), settings.seed, epoch)
            for start in range(0, len(x), settings.batch_size):
                chosen = rows[start : start + settings.batch_size]
                yield x[chosen], y[chosen]

    kinds = (tf.TensorSpec([None, *x.shape[1:]], x.dtype), tf.TensorSpec([None], y.dtype))
    return tf.data.Dataset.from_generator(draw, output_signature=kinds)


def _loop(model: keras.Model, x: np.ndarray, y: np.ndarray, batch_size: int, xla: bool) -> Callable[..., Any]:
    """What takes the place of the model's train function: it takes a table of rows from the iterator."""

    def run(table: tf.Tensor, lines: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> Any:
        def step(line: tf.Tensor) -> tf.Tensor:
            rows = table[line]
            model.train_step((tf.gather(x, rows), tf.gather(y, rows)))
            return line + 1

        tf.while_loop(lambda line: line < lines, step, [tf.constant(0)], parallel_iterations=1)
        return model.get_metrics_result()

    images, labels = tf.constant(x), tf.constant(y)

    def traced(lines: int, width: int, xla: bool) -> Callable[..., Any]:
        table = tf.TensorSpec([lines, width], tf.int32)
        function = tf.function(run, autograph=False, jit_compile=xla)
        return function.get_concrete_function(table, tf.TensorSpec([], tf.int32), images, labels)

    by_lines = {}
    if len(x) >= batch_size:
        by_lines[BATCHES_PER_CALL] = traced(BATCHES_PER_CALL, batch_size, xla)
    if len(x) % batch_size:
        # The smaller last batch is not worth a compilation of its own.
        by_lines[1] = traced(1, len(x) % batch_size, False)

    def train_function(iterator: Any) -> Any:
        table, lines = next(iterator)
        return by_lines[table.shape[0]](table, lines, images, labels)

    return train_function


def _xla_pays(model: keras.Model, steps: int) -> bool:
    kinds = {type(layer).__name__ for layer in model.layers}
    # Random numbers of two shapes in one loop made XLA thirty times slower (units 256-512 with dropout, measured).
    masks = {layer.output.shape for layer in model.layers if isinstance(layer, keras.layers.Dropout)}
    return steps >= _XLA_FROM_STEPS and kinds <= set(_DENSE) and len(masks) <= 1
