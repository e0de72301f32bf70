"""Stripping the final softmax of a Keras model (recovering logits), whatever layers it ends in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from advlab.errors import InvalidValue

Logits = Callable[[tf.Tensor], tf.Tensor]
_VALUE_PRESERVING = (keras.layers.Reshape, keras.layers.Flatten, keras.layers.Dropout, keras.layers.Identity)
_OPEN_SIZE = 32  # pixels, for a model that leaves height and width open


def strip_softmax(model: keras.Model) -> tuple[Logits, tuple[str, ...]]:
    """A function from the model's input to its logits, and notes on how far that succeeded.

    ``log-probabilities``: the last layer is not understood and outputs probabilities; the logits are their logarithms.
    ``independent-sigmoids``: several sigmoids were stripped, which were trained as separate binary classifiers.
    """
    last, tensor = _last_layer(model)
    if last is None:
        return _logits_by_probing(model)
    activation = getattr(last, "activation", None)
    linear = activation is keras.activations.linear
    if isinstance(last, keras.Model) and getattr(last, "inputs", None):
        inner, notes = strip_softmax(last)
        return _chain(keras.Model(model.inputs[0], tensor), inner), notes
    if isinstance(last, _VALUE_PRESERVING) or (isinstance(last, keras.layers.Activation) and linear):
        # It rearranges values without changing them, so it may as well follow the logits.
        inner, notes = strip_softmax(keras.Model(model.inputs[0], tensor))
        return _chain(inner, lambda logits: last(logits, training=False) if _is_dropout(last) else last(logits)), notes
    if isinstance(last, keras.layers.Softmax) or (
        isinstance(last, keras.layers.Activation) and _is_softmax_or_sigmoid(activation)
    ):
        logits = _inference(keras.Model(model.inputs[0], tensor))
    elif _is_softmax_or_sigmoid(activation):
        logits = _without_activation(keras.Model(model.inputs[0], tensor), last)
    elif linear:
        logits = _inference(model)
    else:
        return _logits_by_probing(model)
    sigmoids = activation is keras.activations.sigmoid and model.output_shape[-1] > 1
    return logits, ("independent-sigmoids",) if sigmoids else ()


def features_of(model: keras.Model) -> keras.Model:
    """The model up to the input of its last dense layer; where there is none, the whole model."""
    last, tensor = _last_layer(model)
    while last is not None:
        if isinstance(last, keras.layers.Dense):
            return keras.Model(model.inputs[0], tensor)
        if isinstance(last, keras.Model) and getattr(last, "inputs", None):
            return keras.Model(model.inputs[0], features_of(last)(tensor))
        last, tensor = _last_layer(keras.Model(model.inputs[0], tensor))
    return model


def _last_layer(model: keras.Model) -> tuple[Any, Any]:
    """The layer that outputs the model's output, and its input tensor; (None, None) where that is unclear."""
    try:
        layer, node, _ = model.outputs[0]._keras_history
        return layer, layer._inbound_nodes[node].input_tensors[0]
    except (AttributeError, IndexError, TypeError, ValueError):
        return None, None


def _is_softmax_or_sigmoid(activation: object) -> bool:
    return activation in (keras.activations.softmax, keras.activations.sigmoid)


def _is_dropout(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.layers.Dropout)


def _inference(model: keras.Model) -> Logits:
    return lambda x: model(x, training=False)


def _chain(first: Callable[..., tf.Tensor], second: Logits) -> Logits:
    return lambda x: second(first(x, training=False) if isinstance(first, keras.Model) else first(x))


def _without_activation(body: keras.Model, last: keras.Layer) -> Logits:
    def logits(x: tf.Tensor) -> tf.Tensor:
        # The layer itself and no copy, whose weights would go stale when the user continues training.
        hidden = body(x, training=False)
        activation, last.activation = last.activation, keras.activations.linear
        try:
            return last(hidden)
        finally:
            last.activation = activation

    return logits


def _logits_by_probing(model: keras.Model) -> tuple[Logits, tuple[str, ...]]:
    """For a last layer that is not understood: log p where the outputs are probabilities, else the outputs."""
    shape = [d or _OPEN_SIZE for d in model.input_shape[1:]]
    output = np.asarray(model(np.random.default_rng(0).random((4, *shape), np.float32), training=False), np.float32)
    if output.ndim != 2:
        raise InvalidValue(
            f"Model '{model.name}' has outputs of shape {output.shape[1:]} for one image. "
            "A classifier outputs one number for each class: add a Flatten or pooling layer."
        )
    smallest = float(np.finfo(np.float32).tiny)
    in_unit_range = output.min() >= 0 and output.max() <= 1

    def log(x: tf.Tensor) -> tf.Tensor:
        return tf.math.log(tf.maximum(tf.cast(x, tf.float32), smallest))

    if in_unit_range and output.shape[1] == 1:
        return lambda x: log(model(x, training=False)) - log(1 - model(x, training=False)), ("log-probabilities",)
    if in_unit_range and np.allclose(output.sum(-1), 1, atol=1e-2):
        return lambda x: log(model(x, training=False)), ("log-probabilities",)
    return _inference(model), ()
