"""Operations of Keras 3, such as ``x / 255``, ``a + b``, ``ops.relu`` or a slice, from a saved model's configuration.

An operation is saved like a layer, without weights. HDF5 files name its class without its module, so ``Add`` may be a
layer or an operation. Keras itself takes all for layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import keras
import numpy as np

from advlab.classifiers.formats import values
from advlab.classifiers.formats.config import Entry, explain, name_of, parts, plain, valid_name
from advlab.errors import InvalidFile

# These wrap a function or a whole graph of their own, which no configuration of plain values describes.
_OF_FUNCTIONS = {
    *("AssociativeScan", "Cond", "ForiLoop", "Function", "JVP", "Map", "Scan", "Switch", "VectorizedMap", "WhileLoop"),
}


def is_operation(entry: Entry) -> bool:
    """Whether an entry is an operation: every layer states whether it is trainable, no operation does."""
    class_name, config = parts(entry)
    return class_name in classes() and isinstance(config, Mapping) and "trainable" not in config


def build_operation(entry: Entry) -> keras.Operation:
    """The operation of an entry; raises ``InvalidFile`` where its settings do not fit its class."""
    class_name, config = parts(entry)
    name, cls = name_of(entry), classes()[class_name]
    settings = {key: _as_tuples(plain(value)) for key, value in config.items() if key != "name"}
    try:
        operation = cls(**settings)
    except (*values.FAILURES, InvalidFile) as error:
        raise InvalidFile(f"operation '{name}' ({class_name}) cannot be built: {explain(error)}.") from error
    operation.name = valid_name(name)  # not every constructor takes one
    return operation


def _as_tuples(value: Any) -> Any:
    """JSON has no tuples; some operations add the tuple they were given to another."""
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def argument(value: Any) -> Any:
    """An argument of a saved call that is a Python object and not a tensor: a slice, an ellipsis, an array."""
    config = value.get("config") or {}
    match value["class_name"]:
        case "__slice__":
            return slice(*(plain(config.get(key)) for key in ("start", "stop", "step")))
        case "__ellipsis__":
            return Ellipsis
        case "__numpy__" | "__tensor__":
            try:
                return np.asarray(plain(config.get("value")), config.get("dtype"))
            except (TypeError, ValueError) as error:
                raise InvalidFile(f"the model configuration holds a damaged array: {explain(error)}.") from error
    return plain(value)


@cache
def classes() -> dict[str, type[Any]]:
    """The operations that Keras itself defines, by class name."""

    def subclasses(cls: type[Any]) -> Iterator[type[Any]]:
        for subclass in cls.__subclasses__():
            yield subclass
            yield from subclasses(subclass)

    return {
        cls.__name__: cls
        for cls in subclasses(keras.Operation)
        if cls.__module__.split(".")[0] == "keras"
        and not issubclass(cls, keras.Layer)
        and cls.__name__ not in _OF_FUNCTIONS
    }
