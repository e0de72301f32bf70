"""The model configuration in a saved file, of any Keras generation, read as plain data.

Every dictionary of it with a ``class_name`` is an *entry*. Nothing here builds anything; what is damaged, unknown or
dangerous raises ``InvalidFile``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from advlab.errors import InvalidFile

Entry = Mapping[str, Any]

MODELS = ("Sequential", "Functional", "Model", "Network")
CODE = ("Lambda", "TorchModuleWrapper", "FlaxLayer", "JaxLayer", "TFSMLayer", "__lambda__")
_KERAS_MODULES = ("keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras", "builtins")
_FUNCTIONS = ("elu", "relu", "relu6", "selu", "sigmoid", "softmax", "softplus", "softsign", "tanh")
_SEQUENCES = ("__tuple__", "TensorShape")


def parts(entry: Any) -> tuple[str, Any]:
    """``class_name`` and ``config`` of an entry."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("class_name"), str):
        raise InvalidFile(
            f"the model configuration is damaged: {str(entry)[:60]!r} is not a layer. Save the model again."
        )
    class_name, config = entry["class_name"], entry.get("config")
    if not isinstance(config, Mapping) and not (class_name == "Sequential" and isinstance(config, list)):
        raise InvalidFile(f"the model configuration is damaged: a {class_name} has no config. Save the model again.")
    return class_name, config


def layers_of(config: Any) -> list[Any]:
    """The entries of a model's layers; standalone Keras up to 2.2.2 wrote a plain list for Sequential."""
    layers = config.get("layers") if isinstance(config, Mapping) else config
    if not isinstance(layers, list) or not layers:
        raise InvalidFile("the model configuration is damaged: it lists no layers. Save the model again.")
    return layers


_HARMLESS = 1_000_000  # weights that any machine can build; what is wrong with them is said layer by layer


def require_held(config: Any, values: int) -> None:
    """Raise ``InvalidFile`` where the layers announce more weights than the ``values`` that the file holds.

    Each layer is counted with the least that it can have, before anything of its size is built.
    """
    announced, remaining = 0, [config]
    while remaining:
        node = remaining.pop()
        remaining += node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ()
        if isinstance(node, Mapping) and isinstance(node.get("config"), Mapping):
            announced += _least_weights(str(node.get("class_name")), node["config"])
    if announced > max(values, _HARMLESS):
        raise InvalidFile(
            f"its layers announce at least {announced:,} weights, and the file holds {values:,}. Save the model again."
        )


def _least_weights(class_name: str, config: Entry) -> int:
    sizes = {key: value for key, value in config.items() if isinstance(value, int) and value > 0}
    if class_name == "Embedding":
        return sizes.get("input_dim", 0) * sizes.get("output_dim", 0)
    units = sizes.get("units", 0)
    return max(units**2 if class_name in ("LSTM", "GRU", "SimpleRNN") else units, sizes.get("filters", 0))


def name_of(entry: Entry) -> str:
    """The name of a layer, as in the file."""
    class_name, config = parts(entry)
    name = config.get("name") if isinstance(config, Mapping) else None
    return str(name or entry.get("name") or class_name.lower())


def valid_name(name: str) -> str:
    """The name of a layer in a form that Keras 3 allows."""
    return name.replace("/", "_")


def shape_of(entry: Entry) -> list[int | None] | None:
    """The input shape ``[None, ...]`` that a layer or model states, without the batch size it was trained with."""
    class_name, config = parts(entry)
    if isinstance(config, Mapping):
        for key in ("batch_shape", "batch_input_shape"):
            shape = plain(config.get(key))
            if isinstance(shape, list) and shape and all(size is None or isinstance(size, int) for size in shape):
                return [None, *shape[1:]]
    if class_name in MODELS:
        layers = layers_of(config)
        inputs = [layer for layer in layers if parts(layer)[0] == "InputLayer"]
        shape = shape_of((inputs or layers)[0])
        return shape or (_build_shape(config) if isinstance(config, Mapping) else None)
    return None


def _build_shape(config: Entry) -> list[int | None] | None:
    shape = plain(config.get("build_input_shape"))
    return [None, *shape[1:]] if isinstance(shape, list) and shape else None


def without_operator(entry: Entry) -> Entry:
    """The entry itself, or a layer in place of an operator with a constant, ``x / 255``, or of a function, ``relu``.

    tf.keras 2.4 and later saved them in functional models as ``TFOpLambda`` layers.
    """
    class_name, config = parts(entry)
    nodes = entry.get("inbound_nodes")
    if class_name != "TFOpLambda" or not isinstance(nodes, list) or len(nodes) != 1:
        return entry
    function = str(config.get("function")).rpartition(".")[2]
    match nodes[0]:
        case [str(source), int(node), int(tensor), {**named}] if function in _FUNCTIONS and not _said(named):
            activation = {"name": name_of(entry), "activation": function}
            return {"class_name": "Activation", "config": activation, "inbound_nodes": [[[source, node, tensor, {}]]]}
        case [str(source), int(node), int(tensor), {"y": int(y) | float(y)}] if y != 0:
            scalings = {
                "truediv": {"scale": 1 / y},
                "multiply": {"scale": y},
                "mul": {"scale": y},
                "add": {"scale": 1.0, "offset": y},
                "subtract": {"scale": 1.0, "offset": -y},
                "sub": {"scale": 1.0, "offset": -y},
            }
            scaling = scalings.get(function)
            if scaling:
                call = [[source, node, tensor, {}]]
                settings = {"name": name_of(entry), **scaling}
                return {"class_name": "Rescaling", "config": settings, "inbound_nodes": [call]}
    return entry


def _said(named: Mapping[Any, Any]) -> bool:
    """Whether a call of a function has arguments beside its input; every one states the name, mostly as null."""
    return any(value is not None for key, value in named.items() if key != "name")


def plain(value: Any) -> Any:
    """A setting of numbers, strings and lists of them, however its Keras generation wrote it."""
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if not isinstance(value, Mapping):
        return value
    if value.get("type") == "ndarray":
        return plain(value.get("value"))
    class_name = value.get("class_name")
    if class_name in _SEQUENCES:
        return plain(value.get("items") or value.get("config") or [])
    if class_name == "__numpy__" and isinstance(value.get("config"), Mapping):
        return plain(value["config"].get("value"))
    if class_name is not None:
        raise InvalidFile(f"the model configuration holds a '{class_name}' where a plain value belongs.")
    return {key: plain(inner) for key, inner in value.items()}


def is_foreign(entry: Entry) -> bool:
    """Whether an entry states that its class is not Keras' own."""
    module, registered = entry.get("module"), entry.get("registered_name")
    is_keras = module is None or any(module == m or str(module).startswith(f"{m}.") for m in _KERAS_MODULES)
    return not is_keras or ">" in str(registered) or ">" in str(entry.get("class_name"))


def refuse_code(config: Any, custom_objects: Mapping[str, Any], layer: str = "") -> None:
    """Raise ``InvalidFile`` where a configuration, at any depth, holds code or what neither Keras nor the user has."""
    if isinstance(config, list):
        for value in config:
            refuse_code(value, custom_objects, layer)
    elif isinstance(config, Mapping):
        class_name, inner = config.get("class_name"), config.get("config")
        if isinstance(class_name, str):
            layer = str(inner.get("name", layer) if isinstance(inner, Mapping) else layer)
            given = {class_name, str(config.get("registered_name")).rpartition(">")[2], str(inner)} & {*custom_objects}
            function = named_function(inner) if class_name == "Lambda" else None
            if class_name == "function" and config.get("module") == "builtins":
                function = str(inner)
            if function is not None and function not in custom_objects:
                raise unknown_function(function, layer)
            if class_name in CODE and function is None:
                raise code(class_name, layer)
            if is_foreign(config) and not given:
                raise unknown_layer(class_name, layer)
        for value in config.values():
            refuse_code(value, custom_objects, layer)


def named_function(config: Any) -> str | None:
    """The name of the function that a Lambda layer calls, where the file holds that in place of its code."""
    function = config.get("function") if isinstance(config, Mapping) else None
    name = function.get("config") if isinstance(function, Mapping) else function
    return name if isinstance(name, str) else None


def code(class_name: str, name: str) -> InvalidFile:
    """The error for a layer that carries code."""
    return InvalidFile(
        f"layer '{name}' ({class_name}) holds Python code, which would run on this machine. If you trust the origin "
        "of the file, use --trust (trust=True in Python)."
    )


def unknown_layer(class_name: str, name: str) -> InvalidFile:
    """The error for a layer that only its author's code can build."""
    own = class_name.rpartition(">")[2]
    return InvalidFile(
        f"layer '{name}' has the class '{class_name}', which is not one of Keras {keras.__version__}. If it is yours, "
        f"give the Python file with it: --custom FILE.py --trust (in Python custom_objects={{'{own}': {own}}}). "
        "Else build the model in Python with the code of that class, load its weights there, and use "
        "advlab.Classifier.from_keras(model)."
    )


def unknown_function(function: str, layer: str) -> InvalidFile:
    """The error for a function that a layer names and whose code is not in the file."""
    return InvalidFile(
        f"layer '{layer}' calls the function '{function[:60]}', whose code is not in the file. Give the Python file "
        f"with it: --custom FILE.py --trust (in Python custom_objects={{'{function[:60]}': function}})."
    )


def unknown_model(class_name: str) -> InvalidFile:
    """The error for a model of a class of the user's own, whose graph no file describes."""
    return InvalidFile(
        f"it is a model of the class '{class_name}', whose code is not in the file. Build it in Python, load its "
        "weights there, and use advlab.Classifier.from_keras(model)."
    )


def explain(error: BaseException) -> str:
    """The first line of an error of Keras, for the end of ours."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200].rstrip(".:")
