"""Loads the weights of a saved model into a rebuilt one, layer by layer, each shape checked before it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import h5py
import keras
import numpy as np

from advlab.classifiers.formats.config import MODELS, layers_of, name_of, parts, valid_name
from advlab.errors import InvalidFile
from advlab.hdf5 import attribute_list, read_array

_Array: TypeAlias = h5py.Dataset | np.ndarray


def assign(group: h5py.Group, model: keras.Model, config: Mapping[str, Any]) -> None:
    """Set the weights of ``model``, built from ``config``, to those in the group ``model_weights`` of its file.

    Raises ``InvalidFile`` that names the layer whose weights are missing or have another shape.
    """
    for entry, layer in pairs(model, config):
        name = name_of(entry)
        trainable, non_trainable = _variables(layer, entry)
        variables = trainable + non_trainable
        datasets = [_array(group, f"{name}/{path}") for path in _names(_member(group, name), "weight_names")]
        if not variables and all(d.dtype.kind in "iu" for d in datasets):
            continue  # the state of a random generator, which Keras 3 keeps elsewhere
        if len(datasets) != len(variables):
            raise InvalidFile(
                f"layer '{name}' needs {len(variables)} weights, but the file holds {len(datasets)} for it. It is "
                "incomplete or belongs to another model: save it again with model.save()."
            )
        fill(name, variables, datasets)
        for leaf in _leaves(layer, entry):
            if hasattr(leaf, "finalize_state"):
                leaf.finalize_state()


def assign_in_order(group: h5py.Group, model: keras.Model) -> None:
    """As ``assign``, for a model whose layers may be named otherwise: the layers with weights in their order."""
    names = [name for name in _names(group, "layer_names") if _names(_member(group, name), "weight_names")]
    layers = [layer for layer in model.layers if layer.weights]
    if len(names) != len(layers):
        raise InvalidFile(
            f"the model has {len(layers)} layers with weights, the file {len(names)}. Give its own model."
        )
    for name, layer in zip(names, layers, strict=True):
        variables = [*layer.trainable_weights, *layer.non_trainable_weights]
        datasets = [_array(group, f"{name}/{path}") for path in _names(_member(group, name), "weight_names")]
        if len(datasets) != len(variables):
            raise InvalidFile(
                f"layer '{layer.name}' needs {len(variables)} weights, but the file holds {len(datasets)} for its "
                f"counterpart '{name}'. Give the model that the weights were saved from."
            )
        fill(name, variables, datasets)


def pairs(model: keras.Model, entry: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], keras.Layer]]:
    """Each layer of a model with its entry, in the order of the file, which is the order of the saved weights.

    Operations have no weights and are not among the layers of a model.
    """
    layers = {layer.name: layer for layer in model.layers}
    for inner in layers_of(parts(entry)[1]):
        name = valid_name(name_of(inner))
        if parts(inner)[0] != "InputLayer" and name in layers:
            yield inner, layers[name]


def _variables(layer: keras.Layer, entry: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """Trainable and other weights; files hold, for each outermost layer, the former before the latter."""
    if parts(entry)[0] not in MODELS:
        return list(layer.trainable_weights), list(layer.non_trainable_weights)
    inner = [_variables(layer, entry) for entry, layer in pairs(layer, entry)]
    trainable = [weight for weights, _ in inner for weight in weights]
    return trainable, [weight for _, weights in inner for weight in weights]


def _leaves(layer: keras.Layer, entry: Mapping[str, Any]) -> Iterator[keras.Layer]:
    if parts(entry)[0] not in MODELS:
        yield layer
        return
    for inner, nested in pairs(layer, entry):
        yield from _leaves(nested, inner)


def fill(name: str, variables: list[Any], datasets: Sequence[_Array]) -> None:
    """Set the weights of the layer ``name``; raises ``InvalidFile`` for one of another shape."""
    position = 0
    while position < len(variables):
        cell = slice(position, position + 3)
        if _is_cudnn(variables[cell], datasets[cell]):
            for variable, value in zip(variables[cell], _from_cudnn(datasets[cell]), strict=True):
                variable.assign(value.reshape(variable.shape))
            position += 3
            continue
        variable, dataset = variables[position], datasets[position]
        if tuple(variable.shape) != dataset.shape:
            raise InvalidFile(
                f"layer '{name}' needs the weight '{variable.name}' in the shape {tuple(variable.shape)}, but the file "
                f"holds {dataset.shape}. The file is damaged or was altered: save it again with model.save()."
            )
        variable.assign(_values(dataset))
        position += 1


def _is_cudnn(variables: list[Any], datasets: Sequence[_Array]) -> bool:
    """Whether three weights are those of a CuDNN cell: two biases in one vector, a shape that Keras 3 does not use."""
    if len(variables) < 3 or [variable.name for variable in variables] != ["kernel", "recurrent_kernel", "bias"]:
        return False
    kernel, recurrent, bias = (tuple(variable.shape) for variable in variables)
    double = (2 * kernel[-1],)
    return [d.shape for d in datasets] == [kernel, recurrent, double] and bias != double


def _from_cudnn(datasets: Sequence[_Array]) -> list[np.ndarray]:
    """CuDNN's kernels are stored transposed, gate by gate, with the memory order of the input kernel swapped."""
    kernel, recurrent, bias = map(_values, datasets)
    gates = kernel.shape[1] // recurrent.shape[0]
    kernel = np.hstack([k.T.reshape(k.shape, order="F") for k in np.hsplit(kernel, gates)])
    recurrent = np.hstack([k.T for k in np.hsplit(recurrent, gates)])
    return [kernel, recurrent, bias if gates == 3 else bias.reshape(2, -1).sum(0)]


def _names(group: Any, attribute: str) -> list[str]:
    """A list of names, which Keras splits over several attributes where it is long."""
    chunks = [attribute_list(group, attribute) or []] if attribute in group.attrs else []
    while f"{attribute}{len(chunks)}" in group.attrs:
        chunks.append(attribute_list(group, f"{attribute}{len(chunks)}") or [])
    return [name for chunk in chunks for name in chunk]


def _member(group: h5py.Group, path: str) -> Any:
    """A group or array of the file, which ``open_hdf5`` has searched for links to other places."""
    for part in filter(None, path.split("/")):
        if not isinstance(group, h5py.Group) or part not in group:
            raise InvalidFile(f"the file holds no weights '{path}'. It is incomplete: save it again with model.save().")
        group = group[part]
    return group


def _array(group: h5py.Group, path: str) -> h5py.Dataset:
    member = _member(group, path)
    if not isinstance(member, h5py.Dataset) or member.dtype.kind not in "fiub":
        raise InvalidFile(f"the weights '{path}' are not numbers stored in this file. Save the model again.")
    return member


def _values(dataset: _Array) -> np.ndarray:
    if isinstance(dataset, np.ndarray):
        return dataset
    try:
        return read_array(dataset)
    except ValueError as error:
        raise InvalidFile(f"{error}. The file is damaged or was altered: save it again with model.save().") from error
