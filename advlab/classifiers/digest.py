"""What identifies a network: a digest of all that determines its output, and of nothing else."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import keras
import numpy as np

_NAMES = {"name", "registered_name", "module", "inbound_nodes", "input_layers", "output_layers", "build_config"}
_IGNORED = _NAMES | {"dtype", "seed", "trainable", "batch_shape", "batch_input_shape", "build_input_shape"}
_TRAINING_SUFFIXES = ("_initializer", "_regularizer", "_constraint")


def network_digest(model: keras.Model, extra: bytes) -> str:
    """16 hexadecimal digits that depend on layers, their settings, weights and ``extra``; not on names."""
    sha = hashlib.sha256()
    for layer in model.layers:
        sha.update(json.dumps([type(layer).__name__, _settings(layer)], sort_keys=True).encode())
    for weight in model.weights:
        array = np.ascontiguousarray(weight)
        sha.update(f"{array.shape} {array.dtype}".encode())
        sha.update(array.tobytes())
    for operation in _operations(model):
        sha.update(json.dumps([type(operation).__name__, _settings(operation), _constants(operation)]).encode())
    sha.update(extra)
    return sha.hexdigest()[:16]


def _operations(model: keras.Model) -> list[Any]:
    """The operations of a model, and of those in it, that are not layers, such as ``x / 255``."""
    found: list[Any] = []
    for operation in getattr(model, "operations", ()):
        if isinstance(operation, keras.Model):
            found += _operations(operation)
        elif not isinstance(operation, keras.Layer):
            found.append(operation)
    return found


def _constants(operation: Any) -> list[str]:
    """The arguments of an operation that are not tensors, such as the 255 in ``x / 255``."""
    arguments = operation._inbound_nodes[0].arguments
    values = keras.tree.flatten([arguments.args, arguments.kwargs])
    constants = (value for value in values if not isinstance(value, keras.KerasTensor))
    return [repr(np.asarray(value).tolist() if hasattr(value, "shape") else value) for value in constants]


def _settings(layer: Any) -> Any:
    """The configuration of a layer without names and what only training uses: what determines its output for inputs."""
    try:
        return _inference_config(layer.get_config())
    except NotImplementedError:
        return None


def _inference_config(value: Any) -> Any:
    if isinstance(value, dict):
        relevant = {k: v for k, v in value.items() if k not in _IGNORED and not k.endswith(_TRAINING_SUFFIXES)}
        return {key: _inference_config(inner) for key, inner in relevant.items()}
    if isinstance(value, list | tuple):
        return [_inference_config(inner) for inner in value]
    return value if isinstance(value, bool | int | float | str | None) else type(value).__name__
