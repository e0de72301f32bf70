"""Reads dense and convolutional networks in ONNX files into Keras models.

The Keras model has the input of the file, in its shape and order, channels first; inside, images have their channels
last, as TensorFlow's convolutions on a processor want them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from advlab.classifiers.formats.config import explain
from advlab.classifiers.formats.onnx_layers import OPERATIONS, in_order
from advlab.classifiers.formats.values import FAILURES
from advlab.errors import AdvlabError, InvalidFile

_NORMALISING = 14  # before this version of its operations, ONNX's own evaluation normalises by the batch it is given
_TOLERANCE = 1e-3  # by which the Keras model may differ from ONNX's own evaluation, relative to the largest output


def read(path: Path) -> keras.Model:
    """The network of an ONNX file; its first axis is the batch. Raises ``InvalidFile``, naming what it cannot read.

    What was read is measured: on a random input it must agree with ONNX's own reference evaluation.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise AdvlabError(
            f"'{path}' is an ONNX file, which the package onnx reads. Install it: pip install 'advlab[onnx]'"
        ) from error
    try:
        graph = onnx.load(path, load_external_data=False)
        model = _model(graph.graph, onnx)
        _check(graph, model)
    except InvalidFile as error:
        raise InvalidFile(f"Cannot open '{path}': {error}") from error
    except (*FAILURES, DecodeError) as error:
        reason = f"it is damaged, or not a network that Keras can build: {explain(error)}"
        raise InvalidFile(f"Cannot open '{path}': {reason}.") from error
    return model


def _model(graph: Any, onnx: Any) -> keras.Model:
    values: dict[str, Any] = {tensor.name: _array(tensor, onnx) for tensor in graph.initializer}
    inputs = [tensor for tensor in graph.input if tensor.name not in values]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise InvalidFile(f"it has {len(inputs)} inputs and {len(graph.output)} outputs; one of each is read.")
    image = keras.Input(_input_shape(inputs[0]))
    values[inputs[0].name] = keras.layers.Permute((2, 3, 1))(image) if len(image.shape) == 4 else image
    for node in graph.node:
        settings = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        if node.op_type == "Constant" and "value" in settings:
            values[node.output[0]] = _array(settings["value"], onnx)
            continue
        if node.op_type not in OPERATIONS or node.domain not in ("", "ai.onnx"):
            supported = ", ".join(sorted([*OPERATIONS, "Constant"]))
            raise InvalidFile(f"no layer for its node '{node.name}' ({node.op_type}). Supported: {supported}.")
        given = [values[name] for name in node.input if name]
        made = OPERATIONS[node.op_type](given, settings)
        if made is None:
            stated = ", ".join(f"{name}={value}" for name, value in settings.items())
            raise InvalidFile(f"no layer for its node '{node.name}' ({node.op_type}) with {stated or 'such inputs'}.")
        values[node.output[0]] = made
    return keras.Model(image, in_order(values[graph.output[0].name]))


def _array(tensor: Any, onnx: Any) -> np.ndarray:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise InvalidFile("its weights lie in another file. Save it with the weights inside (save_as_external_data).")
    return onnx.numpy_helper.to_array(tensor)


def _input_shape(tensor: Any) -> tuple[int, ...]:
    batch, *sizes = [d.dim_value for d in tensor.type.tensor_type.shape.dim] or [0]
    if batch > 1 or not 1 <= len(sizes) <= 3 or 0 in sizes:
        raise InvalidFile(f"its input has the shape {(batch, *sizes)}; a batch of 1 or any size, and fixed sizes.")
    return tuple(sizes)


def _check(graph: Any, model: keras.Model) -> None:
    """Measure that the model computes what the file says."""
    from onnx.reference import ReferenceEvaluator

    version = max((one.version for one in graph.opset_import if one.domain in ("", "ai.onnx")), default=0)
    if version < _NORMALISING and any(node.op_type == "BatchNormalization" for node in graph.graph.node):
        return

    x = np.random.default_rng(0).random((1, *model.input_shape[1:]), np.float32)
    name = next(i.name for i in graph.graph.input if i.name not in {t.name for t in graph.graph.initializer})
    (theirs,) = ReferenceEvaluator(graph).run(None, {name: x})
    ours = np.asarray(model(x, training=False))
    largest = np.abs(theirs).max(initial=1.0)
    if theirs.size != ours.size or not np.allclose(ours.ravel(), theirs.ravel(), rtol=0, atol=_TOLERANCE * largest):
        raise InvalidFile("its layers, read one by one, compute another function than ONNX does.")
