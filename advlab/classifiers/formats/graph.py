"""Connecting the layers of a functional model as its saved configuration says.

A *reference* is ``[layer, node, tensor]``: an output of the layer's call number ``node``. Keras 1 and 2 wrote a list of
references for each call, Keras 3 writes its arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import keras

from advlab.classifiers.formats.config import Entry, layers_of, name_of, parts
from advlab.classifiers.formats.operations import argument
from advlab.errors import InvalidFile

_ENDS = ("input_layers", "output_layers")


class _Reference(NamedTuple):
    layer: str
    node: int
    tensor: int


def connect(config: Entry, layers: list[Any], built: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """Inputs and outputs, as Keras tensors, of the model in ``config`` with the entries ``layers``.

    ``built`` holds the layers by saved name, and the tensors of input layers. Raises ``InvalidFile`` where the graph is
    damaged.
    """
    pending: list[tuple[str, Any]] = []
    results: dict[str, list[list[Any]]] = {}
    for entry in layers:
        name = name_of(entry)
        is_input = parts(entry)[0] == "InputLayer"
        results[name] = [[built[name]]] if is_input else []
        nodes = [] if is_input else entry.get("inbound_nodes") or []
        pending += [(name, _parse_call(node, built)) for node in nodes]
    inputs, outputs = (list(_references(_parse_references(config.get(key), built))) for key in _ENDS)
    first = _first_nodes(config, [node for _, node in pending], outputs)

    def tensor(reference: _Reference, is_end: bool = False) -> Any:
        return results[reference.layer][reference.node - first(reference, is_end)][reference.tensor]

    while pending:
        deferred: list[tuple[str, Any]] = []
        for name, node in pending:
            ready = all(len(results[r.layer]) > r.node - first(r, False) for r in _references(node))
            if ready and not any(name == other for other, _ in deferred):
                results[name].append(_call(built[name], node, tensor))
            else:
                deferred.append((name, node))
        if len(deferred) == len(pending):
            raise InvalidFile(f"the layers of the model form a loop or lack an input, at layer '{deferred[0][0]}'.")
        pending = deferred
    return [tensor(r, True) for r in inputs], [tensor(r, True) for r in outputs]


def _first_nodes(config: Entry, nodes: list[Any], outputs: list[_Reference]) -> Callable[[_Reference, bool], int]:
    """The number that a layer's first call has in the file.

    A nested model already has a call of its own, number 0. Keras 2 counts it; Keras 3 counts it for functional models
    and only in ``output_layers``.
    """
    class_names = {name_of(entry): parts(entry)[0] for entry in layers_of(config)}
    references = [*(r for node in nodes for r in _references(node)), *outputs]
    is_keras_2 = any(isinstance(node, list) for node in nodes)
    from_1 = {r.layer for r in references} - {r.layer for r in references if r.node == 0}
    models = ("Functional", "Model", "Network")
    from_1_as_output = {r.layer for r in outputs if class_names[r.layer] in models and r.node > 0}

    def first(reference: _Reference, is_end: bool) -> int:
        if is_keras_2:
            return int(reference.layer in from_1)
        return int(is_end and reference.layer in from_1_as_output)

    return first


def _call(layer: Any, node: Any, tensor: Callable[[_Reference], Any]) -> list[Any]:
    if isinstance(node, list):
        tensors = [tensor(reference) for reference, _ in node]
        arguments = {
            k: v for _, settings in node[:1] for k, v in _with_tensors(settings, tensor).items() if v is not None
        }
        return keras.tree.flatten(layer(tensors[0] if len(tensors) == 1 else tensors, **arguments))
    positional, named = _with_tensors(node["args"], tensor), _with_tensors(node["kwargs"], tensor)
    if isinstance(layer, keras.Layer):
        named = {key: value for key, value in named.items() if value is not None}
    elif type(layer).__name__ == "GetItem" and isinstance(positional[-1], list):
        positional[-1] = tuple(positional[-1])  # JSON has no tuples, and a list is another index
    return keras.tree.flatten(layer(*positional, **named))


def _with_tensors(value: Any, tensor: Callable[[_Reference], Any]) -> Any:
    if isinstance(value, _Reference):
        return tensor(value)
    if isinstance(value, list):
        return [_with_tensors(inner, tensor) for inner in value]
    if isinstance(value, dict):
        return {key: _with_tensors(inner, tensor) for key, inner in value.items()}
    return value


def _references(value: Any) -> Iterator[_Reference]:
    if isinstance(value, _Reference):
        yield value
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _references(inner)
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _references(inner)


def _parse_call(node: Any, built: Mapping[str, Any]) -> Any:
    """A call with its references parsed: a list of (reference, settings), or ``{"args": [...], "kwargs": {...}}``."""
    if isinstance(node, Mapping) and isinstance(node.get("args"), list):
        return {key: _parse_arguments(node.get(key) or {}, built) for key in ("args", "kwargs")}
    if not isinstance(node, list) or not node:
        raise InvalidFile("the model configuration is damaged: a call of a layer has no inputs. Save the model again.")
    calls = []
    for call in [node] if isinstance(node[0], str) else node:
        settings = call[3] if isinstance(call, list) and len(call) == 4 else {}
        reference = _parse_references(call[:3] if isinstance(call, list) else call, built)
        if not isinstance(reference, _Reference) or not isinstance(settings, Mapping):
            raise InvalidFile(
                f"the call {str(call)[:60]!r} in the model configuration cannot be connected. Save the model again."
            )
        calls.append((reference, {key: _parse_references(value, built) for key, value in settings.items()}))
    return calls


def _parse_arguments(value: Any, built: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_parse_arguments(inner, built) for inner in value]
    if not isinstance(value, Mapping):
        return value
    if value.get("class_name") == "__keras_tensor__" and isinstance(value.get("config"), Mapping):
        return _parse_references(value["config"].get("keras_history"), built)
    if "class_name" in value:
        return argument(value)
    return {key: _parse_arguments(inner, built) for key, inner in value.items()}


def _parse_references(value: Any, built: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        if len(value) == 3 and isinstance(value[0], str) and all(isinstance(index, int) for index in value[1:]):
            if value[0] not in built:
                raise InvalidFile(
                    f"the model configuration is damaged: it refers to '{value[0]}', which is not a layer."
                )
            return _Reference(*value)
        return [_parse_references(inner, built) for inner in value]
    if isinstance(value, Mapping):
        return {key: _parse_references(inner, built) for key, inner in value.items()}
    return value
