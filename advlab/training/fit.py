"""Keras' ``fit`` with many steps in each call into TensorFlow: the same training, several times as fast.

``fit`` fetches each batch in Python and calls TensorFlow once for it, which on a small network takes longer than the
arithmetic. Here the images are in TensorFlow's memory from the start, and the train function is one compiled loop over
the lines of a table of row numbers, a line for each batch. Epochs, validation, metrics and callbacks remain Keras' own;
what callbacks count as a batch is one such table.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from advlab.declarations.recipes import Training

# Batches per call: few enough for a moving progress bar, enough to make the cost of a call negligible.
BATCHES_PER_CALL = 64
# On a CPU a step of a dense network gains a fifth of a millisecond to two by XLA, whose compilation takes half a second
# to one. Convolutions and recurrent cells become slower.
_XLA_FROM_STEPS = 1_500
_DENSE = ("Activation", "BatchNormalization", "Dense", "Dropout", "Flatten", "InputLayer")


def prepare(model: keras.Model, x: np.ndarray, y: np.ndarray) -> None:
    """Create the variables of loss, metrics and optimizer of a compiled model, so that a checkpoint can restore them.

    ``fit`` would infer their shapes from its data, which are not images. Also advances recurrent dropout's generators.
    """
    outputs = model(x[:1])
    model.compute_loss(x[:1], y[:1], outputs)
    model.compute_metrics(x[:1], y[:1], outputs)
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

    Each epoch draws a new order of the images, which depends on nothing but ``settings.seed`` and the epoch. On several
    devices (``tf.distribute``) Keras' own train function splits each batch between them.
    """
    batches = batch_count(len(x), settings.batch_size)
    if tf.distribute.has_strategy():
        data, steps = _batched_dataset(x, y, settings, first_epoch), batches
    else:
        xla = _xla_pays(model, batches * settings.epochs)
        model.train_function = _make_train_function(model, x, y, settings, first_epoch, xla)
        # The train function has its own tables; this data set only sets the number of calls.
        data = tf.data.Dataset.range(1).repeat()
        steps = math.ceil(len(x) // settings.batch_size / BATCHES_PER_CALL) + bool(len(x) % settings.batch_size)
    model.fit(
        _without_autotuning(data),
        steps_per_epoch=steps,
        initial_epoch=first_epoch,
        epochs=settings.epochs,
        validation_data=validation and _without_autotuning(tf.data.Dataset.from_tensor_slices(validation).batch(1000)),
        callbacks=list(callbacks),
        shuffle=False,
        verbose=0,
    )


def batch_count(images: int, batch_size: int) -> int:
    """The number of batches in an epoch; the last may be smaller."""
    return math.ceil(images / batch_size)


def order(images: int, seed: int, epoch: int) -> np.ndarray:
    """The order of the images in an epoch (from 0): int32 ``(images,)``."""
    return np.random.default_rng((seed, epoch)).permutation(images).astype(np.int32)


def _tables(images: int, settings: Training, first_epoch: int) -> Iterator[tuple[np.ndarray, int]]:
    """Tables of one size with the number of lines that count; an epoch's last, smaller batch has its own."""
    size, full_batches = settings.batch_size, images // settings.batch_size
    for epoch in itertools.count(first_epoch):
        rows = order(images, settings.seed, epoch)
        for start in range(0, full_batches, BATCHES_PER_CALL):
            lines = min(BATCHES_PER_CALL, full_batches - start)
            table = np.zeros((BATCHES_PER_CALL, size), np.int32)
            table[:lines] = rows[start * size : (start + lines) * size].reshape(lines, size)
            yield table, lines
        if full_batches * size < images:
            yield rows[None, full_batches * size :], 1


def _without_autotuning(data: tf.data.Dataset) -> tf.data.Dataset:
    """Without autotuning: its thread sleeps twice as long each time, and the end of training may wait for it."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.with_options(options)


def _tensor_in_numpy_memory(x: np.ndarray) -> tf.Tensor:
    """A tensor of the images in NumPy's memory, which comes in large pages: TensorFlow's own takes ten times as long.

    TensorFlow adopts only memory that begins at a multiple of 64 bytes.
    """
    memory = np.empty(x.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    aligned = memory[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    aligned[:] = x
    # On a machine with a GPU the identity moves them there.
    return tf.identity(tf.experimental.dlpack.from_dlpack(aligned.__dlpack__()))


def _batched_dataset(x: np.ndarray, y: np.ndarray, settings: Training, first_epoch: int) -> tf.data.Dataset:
    with tf.device("CPU"):
        images, labels = tf.constant(x), tf.constant(y)

    def batches(epoch: tf.Tensor) -> tf.data.Dataset:
        rows = tf.numpy_function(lambda epoch: order(len(x), settings.seed, int(epoch)), [epoch], tf.int32)
        return tf.data.Dataset.from_tensor_slices(tf.ensure_shape(rows, [len(x)])).batch(settings.batch_size)

    data = tf.data.Dataset.range(first_epoch, settings.epochs).flat_map(batches)
    return data.map(lambda rows: (tf.gather(images, rows), tf.gather(labels, rows))).prefetch(2)


def _make_train_function(
    model: keras.Model, x: np.ndarray, y: np.ndarray, settings: Training, first_epoch: int, xla: bool
) -> Callable[..., Any]:
    """The replacement of the model's train function: each call trains on the next table of rows."""

    def run(table: tf.Tensor, lines: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> Any:
        def step(line: tf.Tensor) -> tf.Tensor:
            rows = table[line]
            model.train_step((tf.gather(x, rows), tf.gather(y, rows)))
            return line + 1

        tf.while_loop(lambda line: line < lines, step, [tf.constant(0)], parallel_iterations=1)
        return model.get_metrics_result()

    images, labels = _tensor_in_numpy_memory(x), tf.constant(y)
    size = settings.batch_size

    def trace(lines: int, width: int, xla: bool) -> Callable[..., Any]:
        table = tf.TensorSpec([lines, width], tf.int32)
        function = tf.function(run, autograph=False, jit_compile=xla)
        with _threefry(model) if xla else contextlib.nullcontext():
            return function.get_concrete_function(table, tf.TensorSpec([], tf.int32), images, labels)

    by_lines, calls = {}, []
    with ThreadPoolExecutor(1) as executor:
        for lines, width in ((BATCHES_PER_CALL, size if len(x) >= size else 0), (1, len(x) % size)):
            if width:
                # The smaller last batch is not worth a compilation by XLA.
                by_lines[lines] = trace(lines, width, xla and lines > 1)
                # A call for zero lines compiles it on one core, while the next is traced on the other.
                zero_lines = tf.zeros([lines, width], tf.int32), tf.constant(0)
                calls.append(executor.submit(by_lines[lines], *zero_lines, images, labels))
    for call in calls:
        call.result()
    tables = _tables(len(x), settings, first_epoch)

    def train_function(iterator: Any) -> Any:
        next(iterator)
        table, lines = next(tables)
        return by_lines[len(table)](tf.constant(table), tf.constant(lines), images, labels)

    return train_function


@contextlib.contextmanager
def _threefry(model: keras.Model) -> Iterator[None]:
    """Draw dropout masks from Threefry inside the block: XLA takes ten times as long for Philox, Keras' choice."""

    def drop(layer: keras.layers.Dropout, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or not layer.rate:
            return inputs
        seed = layer.seed_generator.next()
        return tf.nn.experimental.stateless_dropout(inputs, layer.rate, seed, rng_alg="threefry")

    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    for layer in layers:
        layer.call = partial(drop, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.call


def _xla_pays(model: keras.Model, steps: int) -> bool:
    return steps >= _XLA_FROM_STEPS and all(type(layer).__name__ in _DENSE for layer in model.layers)
