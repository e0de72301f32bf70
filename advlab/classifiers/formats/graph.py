"""Connecting the layers of a functional model as its saved configuration says.

A *reference* is ``[layer, node, tensor]``: an output of the layer's call number ``node``. Keras 1 and 2 wrote a list of
references for each call, Keras 3 writes its arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import keras

from advlab.classifiers.formats.config import Entry, layers_of, name_of, parts, plain
from advlab.errors import InvalidFile

_ENDS = ("input_layers", "output_layers")


class _Reference(NamedTuple):
    layer: str
    node: int
    tensor: int


def connect(config: Entry, layers: list[Any], built: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """Inputs and outputs, as Keras tensors, of the model in ``config`` with the entries
    ``layers``; ``built`` holds the layers by saved name.

    Input layers are given as their tensor. Raises ``InvalidFile`` where the graph is damaged.
    """
    waiting: list[tuple[str, Any]] = []
    results: dict[str, list[list[Any]]] = {}
    for entry in layers:
        name = name_of(entry)
        is_input = parts(entry)[0] == "InputLayer"
        results[name] = [[built[name]]] if is_input else []
        nodes = [] if is_input else entry.get("inbound_nodes") or []
        waiting += [(name, _parsed(node, built)) for node in nodes]
    inputs, outputs = (list(_references(_parsed_reference(config.get(key), built))) for key in _ENDS)
    first = _first_nodes(config, [node for _, node in waiting], outputs)

    def tensor(reference: _Reference, ends: bool = False) -> Any:
        return results[reference.layer][reference.node - first(reference, ends)][reference.tensor]

    while waiting:
        later: list[tuple[str, Any]] = []
        for name, node in waiting:
            ready = all(len(results[r.layer]) > r.node - first(r, False) for r in _references(node))
            if ready and not any(name == other for other, _ in later):
                results[name].append(_call(built[name], node, tensor))
            else:
                later.append((name, node))
        if len(later) == len(waiting):
            raise InvalidFile(f"the layers of the model form a loop or lack an input, at layer '{later[0][0]}'.")
        waiting = later
    return [tensor(r, True) for r in inputs], [tensor(r, True) for r in outputs]


def _first_nodes(config: Entry, nodes: list[Any], outputs: list[_Reference]) -> Callable[[_Reference, bool], int]:
    """The number that a layer's first call has in the file.

    A nested model already has a call of its own, number 0. Keras 2 counts it; Keras 3 counts it for functional models
    and only in ``output_layers``.
    """
    kinds = {name_of(entry): parts(entry)[0] for entry in layers_of(config)}
    inner = [r for node in nodes for r in _references(node)]
    keras_2 = any(isinstance(node, list) for node in nodes)
    everywhere = {r.layer for r in [*inner, *outputs]} - {r.layer for r in [*inner, *outputs] if r.node == 0}
    at_the_end = {r.layer for r in outputs if kinds[r.layer] in ("Functional", "Model", "Network") and r.node > 0}

    def first(reference: _Reference, ends: bool) -> int:
        if keras_2:
            return int(reference.layer in everywhere)
        return int(ends and reference.layer in at_the_end)

    return first


def _call(layer: Any, node: Any, tensor: Callable[[_Reference], Any]) -> list[Any]:
    if isinstance(node, list):
        tensors = [tensor(reference) for reference, _ in node]
        arguments = {k: v for _, settings in node[:1] for k, v in _replaced(settings, tensor).items() if v is not None}
        return keras.tree.flatten(layer(tensors[0] if len(tensors) == 1 else tensors, **arguments))
    arguments = {key: value for key, value in _replaced(node["kwargs"], tensor).items() if value is not None}
    return keras.tree.flatten(layer(*_replaced(node["args"], tensor), **arguments))


def _replaced(value: Any, tensor: Callable[[_Reference], Any]) -> Any:
    if isinstance(value, _Reference):
        return tensor(value)
    if isinstance(value, list):
        return [_replaced(inner, tensor) for inner in value]
    if isinstance(value, dict):
        return {key: _replaced(inner, tensor) for key, inner in value.items()}
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


def _parsed(node: Any, built: Mapping[str, Any]) -> Any:
    """A call with its references marked: a list of (reference, settings), or ``{"args": [...], "kwargs": {...}}``."""
    if isinstance(node, Mapping) and isinstance(node.get("args"), list):
        return {key: _parsed_arguments(node.get(key) or {}, built) for key in ("args", "kwargs")}
    if not isinstance(node, list) or not node:
        raise InvalidFile("the model configuration is damaged: a call of a layer has no inputs. Save the model again.")
    calls = []
    for call in [node] if isinstance(node[0], str) else node:
        settings = call[3] if isinstance(call, list) and len(call) == 4 else {}
        reference = _parsed_reference(call[:3] if isinstance(call, list) else call, built)
        if not isinstance(reference, _Reference) or not isinstance(settings, Mapping):
            raise InvalidFile(f"the call {str(call)[:60]!r} in the model configuration is none that can be connected.")
        calls.append((reference, {key: _parsed_reference(value, built) for key, value in settings.items()}))
    return calls


def _parsed_arguments(value: Any, built: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_parsed_arguments(inner, built) for inner in value]
    if not isinstance(value, Mapping):
        return value
    if value.get("class_name") == "__keras_tensor__" and isinstance(value.get("config"), Mapping):
        return _parsed_reference(value["config"].get("keras_history"), built)
    if "class_name" in value:
        return plain(value)
    return {key: _parsed_arguments(inner, built) for key, inner in value.items()}


def _parsed_reference(value: Any, built: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        if len(value) == 3 and isinstance(value[0], str) and all(isinstance(index, int) for index in value[1:]):
            if value[0] not in built:
                raise InvalidFile(f"the model configuration is damaged: it refers to '{value[0]}', which is no layer.")
            return _Reference(*value)
        return [_parsed_reference(inner, built) for inner in value]
    if isinstance(value, Mapping):
        return {key: _parsed_reference(inner, built) for key, inner in value.items()}
    return value
