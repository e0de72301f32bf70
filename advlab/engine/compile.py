"""How the engine's functions are compiled: by XLA or as a plain graph, and on how many processor cores."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from advlab.classifiers.classifier import Classifier

_SLICE_ROWS, _MIN_ROWS = 125, 16  # rows whose state fits the cache of one core; that are worth a core of their own
Carry = dict[str, tf.Tensor]
Function = Callable[..., Carry]


def xla_pays(classifier: Classifier, samples_times_steps: int) -> bool:
    """Whether XLA repays its compilation: never for convolutions and recurrent cells, which it runs slower on a CPU.

    On a GPU every network gains a little, once the batches are large: a fifth of a second in 16 million image steps.
    """
    if tf.config.list_logical_devices("GPU"):
        return samples_times_steps >= 20_000_000
    layers = list(classifier.keras_model._flatten_layers())
    if not all(layer.supports_jit for layer in layers):
        return False
    layer_types = {type(layer).__name__ for layer in layers}
    is_slow = any(word in name for name in layer_types for word in ("Conv", "RNN", "LSTM", "GRU", "Bidirectional"))
    return not is_slow and samples_times_steps >= 100_000


def rows_at_once(classifier: Classifier, image_shape: Sequence[int], one_pass: bool = False) -> int:
    """Images of a full batch: as many as keep a GPU busy, or as fit a processor, by network and image ``(h, w, c)``.

    A method of ``one_pass`` in each step has room for more on a processor: of a residual network 140 images at a time
    take a fifth less than 35. Others have several passes in memory, one for each class they look at.
    """
    on_gpu = bool(tf.config.list_logical_devices("GPU"))
    activations = 2**26 if one_pass and not on_gpu else 2**24
    # A method keeps about a dozen tensors of the size of its images.
    fitting = min(activations // classifier.activation_size, 2**22 // math.prod(image_shape))
    return int(np.clip(16 * fitting if on_gpu else fitting, 16, 10_000 if on_gpu else 1000))


class Slices(NamedTuple):
    """A full batch has ``size`` rows, in slices of ``rows`` compiled together; ``sizes`` of batches, ascending."""

    rows: int
    size: int
    sizes: tuple[int, ...]


def slices(rows: int, xla: bool) -> Slices:
    """How a batch of at least so many rows is divided; a smaller one has its rows repeated up to one of the sizes."""
    if not xla or tf.config.list_logical_devices("GPU"):
        return Slices(rows, rows, tuple(math.ceil(rows / divisor) for divisor in (16, 4, 2, 1)))
    cores = min(os.cpu_count() or 1, max(rows // _MIN_ROWS, 1))
    rounds = max(math.ceil(rows / (_SLICE_ROWS * cores)), 1)
    slice_rows = math.ceil(rows / (rounds * cores))
    round_rows = slice_rows * cores
    size = round_rows * rounds
    # All slices have one size: to compile a smaller one takes longer than it would save for the last few rows.
    return Slices(slice_rows, size, tuple(sorted({slice_rows, *range(round_rows, size + 1, round_rows)})))


def compile_function(function: Function, xla: bool) -> Function:
    """The function compiled: by XLA once for each batch size; as a plain graph once, for any size.

    Arguments of other ranks, or more of them, as a mask or an epsilon of each image are, are another graph.
    """
    traced = tf.function(function, autograph=False, jit_compile=xla)
    if xla:
        return traced

    any_size_graphs: dict[tuple[int, ...], Any] = {}

    def any_size(value: tf.Tensor) -> tf.TensorSpec:
        return tf.TensorSpec([None, *value.shape[1:]] if value.shape.rank else [], value.dtype)

    def call(*arguments: Any) -> Carry:
        ranks = tuple(value.shape.rank for value in tf.nest.flatten(arguments))
        if ranks not in any_size_graphs:
            # Traced first, it serves every size: results must not depend on which sizes came before.
            any_size_graphs[ranks] = traced.get_concrete_function(*tf.nest.map_structure(any_size, arguments))
        return traced(*arguments)

    return call


def parallelize(function: Function, xla: bool) -> Function:
    """The same function for a batch of many slices, whose rows are its first argument; each core takes one at a time.

    XLA alone leaves cores idle between its matrix products. Of the arguments, tensors with axes have rows first.
    """
    traced: dict[tuple[int, int], Function] = {}

    def run_slices(slice_rows: int, *arguments: Any) -> Carry:
        rows = arguments[0].labels.shape[0]
        parts = 1 if rows % slice_rows else rows // slice_rows
        split = [tf.split(v, parts) if v.shape.rank else [v] * parts for v in tf.nest.flatten(arguments)]
        results = [function(*tf.nest.pack_sequence_as(arguments, part)) for part in zip(*split, strict=True)]
        return tf.nest.map_structure(lambda *values: tf.concat(values, 0), *results)

    def call(slice_rows: int, *arguments: Any) -> Carry:
        if not xla:
            return function(*arguments)
        key = (slice_rows, len(arguments[0].labels))
        if key not in traced:
            traced[key] = tf.function(partial(run_slices, slice_rows), autograph=False)
        return traced[key](*arguments)

    return call
