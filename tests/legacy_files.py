"""Files in the layout of TensorFlow 1.x and standalone Keras 2, reconstructed: no current Python runs these."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

_INITIALIZER = {
    "class_name": "VarianceScaling",
    "config": {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform", "seed": None, "dtype": "float32"},
}


def old_layer(class_name: str, name: str, **settings: Any) -> dict[str, Any]:
    """A layer as TensorFlow 1.x describes it."""
    return {"class_name": class_name, "config": {"name": name, "trainable": True, "dtype": "float32", **settings}}


def _dense(name: str, units: int, activation: str, **settings: Any) -> dict[str, Any]:
    zeros = {"class_name": "Zeros", "config": {"dtype": "float32"}}
    return old_layer(
        "Dense",
        name,
        units=units,
        activation=activation,
        use_bias=True,
        kernel_initializer=_INITIALIZER,
        bias_initializer=zeros,
        kernel_regularizer={"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.01}},
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        **settings,
    )


DENSE = [
    _dense("dense_1", 3, "relu", batch_input_shape=[None, 4]),
    _dense("dense_2", 2, "softmax"),
]


def dense_weights() -> dict[str, list[np.ndarray]]:
    """Random weights for ``DENSE``."""
    rng = np.random.default_rng(3)
    shapes = {"dense_1": [(4, 3), (3,)], "dense_2": [(3, 2), (2,)]}
    return {name: [rng.normal(size=s).astype("float32") for s in pair] for name, pair in shapes.items()}


def sequential(layers: Sequence[Any], as_list: bool = False, name: str = "sequential_1") -> dict[str, Any]:
    """The configuration of a Sequential model; a plain list up to standalone Keras 2.2.2."""
    config = list(layers) if as_list else {"name": name, "layers": list(layers)}
    return {"class_name": "Sequential", "config": config}


def functional(layers: Sequence[Mapping[str, Any]], first_input: str = "input_1") -> dict[str, Any]:
    """The layers as a chain in a functional model, whose class was called ``Model``."""
    entries = [old_layer("InputLayer", "input_1", batch_input_shape=[None, 4], sparse=False) | {"name": "input_1"}]
    entries[0]["inbound_nodes"] = []
    previous = first_input
    for layer in layers:
        name = layer["config"]["name"]
        entries.append({**layer, "name": name, "inbound_nodes": [[[previous, 0, 0, {}]]]})
        previous = name
    ends = {"input_layers": [["input_1", 0, 0]], "output_layers": [[previous, 0, 0]]}
    return {"class_name": "Model", "config": {"name": "model_1", "layers": entries, **ends}}


def write_old(
    path: Path,
    config: Any,
    weights: Mapping[str, Sequence[np.ndarray]],
    version: str = "2.2.4-tf",
    as_bytes: bool = True,
) -> Path:
    """A whole file with optimizer settings that Keras 3 does not have; attributes are byte strings or text."""

    def encoded(text: str) -> Any:
        return text.encode() if as_bytes else text

    training = {"optimizer_config": {"class_name": "AdamV7", "config": {"decay": 0.0}}, "loss": "my_loss"}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = encoded(json.dumps(config))
        file.attrs["training_config"] = encoded(json.dumps(training))
        file.create_group("optimizer_weights").attrs["weight_names"] = [b"training/Adam/m:0"]
        group = file.create_group("model_weights")
        for target in (file, group):
            target.attrs["keras_version"], target.attrs["backend"] = encoded(version), encoded("tensorflow")
        names = weights or {layer["config"]["name"]: [] for layer in config["config"]["layers"]}
        group.attrs["layer_names"] = [name.encode() for name in names]
        for name, arrays in names.items():
            inner = group.create_group(name)
            names_of_weights = {2: ("kernel", "bias"), 3: ("kernel", "recurrent_kernel", "bias")}.get(
                len(arrays), "abcd"
            )
            paths = [f"{name}/{weight}:0" for weight, _ in zip(names_of_weights, arrays, strict=False)]
            inner.attrs["weight_names"] = [p.encode() for p in paths]
            for path_of_weight, array in zip(paths, arrays, strict=True):
                inner[path_of_weight] = array
    return path


def as_cudnn(kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray, gates: int) -> list[np.ndarray]:
    """The weights of an LSTM or GRU as a CuDNN cell stored them."""
    kernel = np.hstack([k.T.reshape(k.shape) for k in np.hsplit(kernel, gates)])
    recurrent = np.hstack([k.T for k in np.hsplit(recurrent, gates)])
    return [kernel, recurrent, bias.ravel() if gates == 3 else np.concatenate([bias * 0.25, bias * 0.75])]


def softmax(z: np.ndarray) -> np.ndarray:
    """Row-wise softmax."""
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)
