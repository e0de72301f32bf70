"""SavedModel folders of Keras 2: rebuilt from their configuration and checkpoint, without running their graph.

``keras_metadata.pb`` (TensorFlow 2.5 to 2.15) names every layer by its path of attributes, such as
``root.layer_with_weights-0``; the checkpoint's object graph has the variables of each layer under the same path.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from advlab.classifiers.formats import layers, weights
from advlab.classifiers.formats.config import MODELS, Entry, explain, name_of, parts
from advlab.classifiers.formats.values import FAILURES
from advlab.errors import InvalidFile
from advlab.validation import json_object

_METADATA = "keras_metadata.pb"
_MAX_METADATA = 1 << 26  # bytes; that of a network of a thousand layers takes a hundredth
_ROOT = "root"


def is_keras2(path: Path) -> bool:
    """Whether a folder is a SavedModel that states the layers it was made of."""
    return path.is_dir() and (path / _METADATA).is_file()


def read(path: Path, *, trust: bool, custom_objects: Mapping[str, Any] | None) -> keras.Model:
    """The model in the folder ``path``; raises ``InvalidFile`` where it cannot be rebuilt."""
    described = _layers(path)
    model_config: Entry = described[_ROOT].get("model_config") or described[_ROOT]
    model = layers.build_model(model_config, 2, trust=trust, custom_objects=custom_objects)
    try:
        checkpoint = _Checkpoint(path / "variables" / "variables")
        for name, attributes, layer in _leaves(model, model_config, _ROOT, described):
            variables = [*layer.trainable_weights, *layer.non_trainable_weights]
            if variables:
                weights.fill(name, variables, checkpoint.arrays(attributes, variables))
            if hasattr(layer, "finalize_state"):
                layer.finalize_state()
    except FAILURES as error:
        raise InvalidFile(f"its variables cannot be read: {explain(error)}. Copy or save the folder again.") from error
    return model


def training_config(path: Path) -> Any:
    """What the folder states about how its model was trained; None where it states nothing."""
    return _layers(path)[_ROOT].get("training_config")


def _layers(path: Path) -> dict[str, dict[str, Any]]:
    """Path of attributes -> what the folder says of the layer there."""
    file = path / _METADATA
    try:
        if file.stat().st_size > _MAX_METADATA:
            raise ValueError(f"{_METADATA} takes more than {_MAX_METADATA:,} bytes")
        found = {}
        for number, node in _fields(file.read_bytes()):
            if number == 1:
                texts = dict(_fields(node))
                found[texts[3].decode()] = json_object(texts[5], "the description of a layer")
        if _ROOT not in found:
            raise ValueError(f"{_METADATA} describes no model")
    except (LookupError, OSError, ValueError) as error:
        raise InvalidFile(f"its layers cannot be read: {error}. Copy or save the folder again.") from error
    return found


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of the fields of a protocol buffer that hold texts or other messages."""
    position = 0

    def integer() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = message[position]
            position += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while position < len(message):
        key = integer()
        size = integer()  # or the value itself of a field that holds a number
        if key & 7 == 2:
            if position + size > len(message):
                raise ValueError(f"{_METADATA} is truncated")
            yield key >> 3, message[position : position + size]
            position += size
        elif key & 7:
            raise ValueError(f"{_METADATA} is damaged")


def _leaves(
    model: keras.Model, entry: Entry, attributes: str, described: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, str, keras.Layer]]:
    """Each layer that is no model itself, with its name in the file and its path of attributes."""
    depth = attributes.count(".") + 1
    inside = {
        str(description.get("name")): path
        for path, description in described.items()
        if path.startswith(f"{attributes}.") and path.count(".") == depth
    }
    for inner, layer in weights.pairs(model, entry):
        name = name_of(inner)
        if name not in inside:
            raise ValueError(f"layer '{name}' is not described")
        if parts(inner)[0] in MODELS:
            yield from _leaves(layer, inner, inside[name], described)
        else:
            yield name, inside[name], layer


class _Checkpoint:
    """The variables in a checkpoint, by the path of attributes that leads to them."""

    def __init__(self, prefix: Path):
        self._reader = tf.train.load_checkpoint(str(prefix))
        self._shapes = self._reader.get_variable_to_shape_map()
        graph = trackable_object_graph_pb2.TrackableObjectGraph()
        graph.ParseFromString(self._reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
        self._nodes = graph.nodes

    def arrays(self, attributes: str, variables: list[Any]) -> list[np.ndarray]:
        """Those of the layer at a path, of the sizes of ``variables``: sizes are compared before anything is read."""
        layer = 0
        for name in attributes.split(".")[1:]:
            layer = self._child(layer, name)
        if "variables" in self._children(layer):
            listed = self._children(self._child(layer, "variables"))
            nodes = [listed[name] for name in sorted(listed, key=int)]
        else:  # layers that are built anew when loaded, such as Normalization
            nodes = [self._child(layer, variable.name) for variable in variables]
        keys = [attribute.checkpoint_key for node in nodes for attribute in self._nodes[node].attributes]
        shapes = [tuple(self._shapes[key]) for key in keys]
        if list(map(math.prod, shapes)) != [math.prod(variable.shape) for variable in variables]:
            raise ValueError(f"the layer at '{attributes}' has variables of the shapes {shapes}, which do not fit it")
        return [np.asarray(self._reader.get_tensor(key)) for key in keys]

    def _child(self, node: int, name: str) -> int:
        children = self._children(node)
        if name not in children:
            raise ValueError(f"the checkpoint has no '{name}' where the model has one")
        return children[name]

    def _children(self, node: int) -> dict[str, int]:
        return {child.local_name: child.node_id for child in self._nodes[node].children}
