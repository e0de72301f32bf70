"""How the engine's functions are compiled: by XLA or as a plain graph, and on how many processor cores."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import tensorflow as tf

from advlab.classifiers.classifier import Classifier

_SHARE, _LEAST = 125, 16  # rows whose state lies in the memory of one core; that are worth a core of their own
Carry = dict[str, tf.Tensor]
Function = Callable[..., Carry]


def xla_pays(classifier: Classifier, samples_times_steps: int) -> bool:
    """Whether XLA repays its compilation: never for convolutions and recurrent cells, which it runs slower on a CPU."""
    kinds = {type(layer).__name__ for layer in classifier.keras_model._flatten_layers()}
    slow = any(word in kind for kind in kinds for word in ("Conv", "RNN", "LSTM", "GRU", "Bidirectional"))
    return not slow and samples_times_steps >= 100_000


class Shares(NamedTuple):
    """A full batch has ``size`` rows, of which ``rows`` are compiled together; ``sizes`` of batches, ascending."""

    rows: int
    size: int
    sizes: tuple[int, ...]


def shares(rows: int, xla: bool) -> Shares:
    """How a batch of at least so many rows is divided; a smaller one has its rows repeated up to one of the sizes."""
    if not xla or tf.config.list_logical_devices("GPU"):
        return Shares(rows, rows, tuple(math.ceil(rows / part) for part in (16, 4, 2, 1)))
    cores = min(os.cpu_count() or 1, max(rows // _LEAST, 1))
    rounds = max(math.ceil(rows / (_SHARE * cores)), 1)
    share = math.ceil(rows / (rounds * cores))
    whole = share * cores
    # All are made of one share: to compile a smaller one takes longer than it would save for the last few rows.
    return Shares(share, whole * rounds, tuple(sorted({share, *range(whole, whole * rounds + 1, whole)})))


def once(function: Function, xla: bool) -> Function:
    """The function compiled: XLA does so for each size of a batch; a plain graph is traced once, for any size."""
    traced = tf.function(function, autograph=False, jit_compile=xla)
    if xla:
        return traced

    general: list[Any] = []

    def any_size(value: tf.Tensor) -> tf.TensorSpec:
        return tf.TensorSpec([None, *value.shape[1:]] if value.shape.rank else [], value.dtype)

    def call(*arguments: Any) -> Carry:
        if not general:
            # There first, it serves every size: results must not depend on which sizes came before.
            general.append(traced.get_concrete_function(*tf.nest.map_structure(any_size, arguments)))
        return traced(*arguments)

    return call


def side_by_side(function: Function, xla: bool) -> Function:
    """The same for a batch of many shares, each of so many rows: the first argument; a core takes one after another.

    XLA alone leaves cores idle between its matrix products. Of the arguments, tensors with axes have rows first.
    """
    traced: dict[tuple[int, int], Function] = {}

    def divided(share: int, *arguments: Any) -> Carry:
        rows = arguments[0].labels.shape[0]
        parts = 1 if rows % share else rows // share
        flat = [tf.split(v, parts) if v.shape.rank else [v] * parts for v in tf.nest.flatten(arguments)]
        done = [function(*tf.nest.pack_sequence_as(arguments, cut)) for cut in zip(*flat, strict=True)]
        return tf.nest.map_structure(lambda *values: tf.concat(values, 0), *done)

    def call(share: int, *arguments: Any) -> Carry:
        if not xla:
            return function(*arguments)
        key = (share, len(arguments[0].labels))
        if key not in traced:
            traced[key] = tf.function(partial(divided, share), autograph=False)
        return traced[key](*arguments)

    return call
