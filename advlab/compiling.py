"""How the engine's functions are compiled: by XLA or as a plain graph, and on how many processor cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from advlab.classifier import Classifier

_SHARE = 250  # rows that are worth a core of their own
Carry = dict[str, tf.Tensor]
Function = Callable[..., Carry]


def xla_pays(classifier: Classifier, samples_times_steps: int) -> bool:
    """Whether XLA repays its compilation: never for convolutions and recurrent cells, which it runs slower on a CPU."""
    kinds = {type(layer).__name__ for layer in classifier.keras_model._flatten_layers()}
    slow = any(word in kind for kind in kinds for word in ("Conv", "RNN", "LSTM", "GRU", "Bidirectional"))
    return not slow and samples_times_steps >= 100_000


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


def side_by_side(advance: Function, xla: bool) -> Function:
    """Let each processor core take a share of the rows: XLA alone leaves cores idle between its matrix products."""
    cores = 1 if tf.config.list_logical_devices("GPU") or not xla else os.cpu_count() or 1

    @tf.function(autograph=False)
    def shared(batch: Any, epsilon: tf.Tensor, floats: Mapping[str, tf.Tensor], carry: Carry, *chunk: Any) -> Carry:
        rows = batch.labels.shape[0]
        parts = max(p for p in range(1, cores + 1) if p == 1 or (rows % p == 0 and rows // p >= _SHARE))
        batches = zip(*(tf.split(value, parts) for value in batch), strict=True)
        carries = zip(*(tf.split(value, parts) for value in carry.values()), strict=True)
        done = [
            advance(type(batch)(*values), epsilon, floats, dict(zip(carry, carried, strict=True)), *chunk)
            for values, carried in zip(batches, carries, strict=True)
        ]
        return {name: tf.concat([part[name] for part in done], 0) for name in carry}

    return shared if cores > 1 else advance
