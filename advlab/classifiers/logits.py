"""Taking the softmax off a Keras model: its logits, whatever layers stand at its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from advlab.errors import InvalidValue

Logits = Callable[[tf.Tensor], tf.Tensor]
_PASSING = (keras.layers.Reshape, keras.layers.Flatten, keras.layers.Dropout, keras.layers.Identity)
_UNKNOWN_SIZE = 32  # pixels, for a model that leaves height and width open


def strip_softmax(model: keras.Model) -> tuple[Logits, tuple[str, ...]]:
    """A function from the model's input to its logits, and notes on how far that succeeded.

    ``log-probabilities``: what stands at the end is not understood and gives probabilities; the logits are their
    logarithms. ``independent-sigmoids``: several sigmoids were taken off, which were trained as separate questions.
    """
    last, tensor = _end(model)
    if last is None:
        return _probed(model)
    activation = getattr(last, "activation", None)
    linear = activation is keras.activations.linear
    if isinstance(last, keras.Model) and getattr(last, "inputs", None):
        inner, notes = strip_softmax(last)
        return _chain(keras.Model(model.inputs[0], tensor), inner), notes
    if isinstance(last, _PASSING) or (isinstance(last, keras.layers.Activation) and linear):
        # It moves numbers without changing them, so it may as well come after the logits.
        inner, notes = strip_softmax(keras.Model(model.inputs[0], tensor))
        return _chain(inner, lambda logits: last(logits, training=False) if _trains(last) else last(logits)), notes
    if isinstance(last, keras.layers.Softmax) or (isinstance(last, keras.layers.Activation) and _squashes(activation)):
        logits = _inference(keras.Model(model.inputs[0], tensor))
    elif _squashes(activation):
        logits = _without_activation(keras.Model(model.inputs[0], tensor), last)
    elif linear:
        logits = _inference(model)
    else:
        return _probed(model)
    sigmoids = activation is keras.activations.sigmoid and model.output_shape[-1] > 1
    return logits, ("independent-sigmoids",) if sigmoids else ()


def features_of(model: keras.Model) -> keras.Model:
    """The model up to what its last dense layer is given; where there is none, the whole model."""
    last, tensor = _end(model)
    while last is not None:
        if isinstance(last, keras.layers.Dense):
            return keras.Model(model.inputs[0], tensor)
        if isinstance(last, keras.Model) and getattr(last, "inputs", None):
            return keras.Model(model.inputs[0], features_of(last)(tensor))
        last, tensor = _end(keras.Model(model.inputs[0], tensor))
    return model


def _end(model: keras.Model) -> tuple[Any, Any]:
    """The layer that gives the model's output, and the tensor that it was given; (None, None) where that is unclear."""
    try:
        layer, node, _ = model.outputs[0]._keras_history
        return layer, layer._inbound_nodes[node].input_tensors[0]
    except (AttributeError, IndexError, TypeError, ValueError):
        return None, None


def _squashes(activation: object) -> bool:
    return activation in (keras.activations.softmax, keras.activations.sigmoid)


def _trains(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.layers.Dropout)


def _inference(model: keras.Model) -> Logits:
    return lambda x: model(x, training=False)


def _chain(first: Callable[..., tf.Tensor], second: Logits) -> Logits:
    return lambda x: second(first(x, training=False) if isinstance(first, keras.Model) else first(x))


def _without_activation(body: keras.Model, last: keras.Layer) -> Logits:
    def logits(x: tf.Tensor) -> tf.Tensor:
        # The layer keeps its own weights: a copy would go stale when the user trains on.
        hidden = body(x, training=False)
        activation, last.activation = last.activation, keras.activations.linear
        try:
            return last(hidden)
        finally:
            last.activation = activation

    return logits


def _probed(model: keras.Model) -> tuple[Logits, tuple[str, ...]]:
    """For an end that is not understood: log p where the outputs are probabilities, else the outputs as they are."""
    shape = [d or _UNKNOWN_SIZE for d in model.input_shape[1:]]
    output = np.asarray(model(np.random.default_rng(0).random((4, *shape), np.float32), training=False), np.float32)
    if output.ndim != 2:
        raise InvalidValue(
            f"Model '{model.name}' gives outputs of shape {output.shape[1:]} for one image. "
            "A classifier gives one number for each class: add a Flatten or pooling layer."
        )
    smallest = float(np.finfo(np.float32).tiny)
    inside = output.min() >= 0 and output.max() <= 1

    def log(x: tf.Tensor) -> tf.Tensor:
        return tf.math.log(tf.maximum(tf.cast(x, tf.float32), smallest))

    if inside and output.shape[1] == 1:
        return lambda x: log(model(x, training=False)) - log(1 - model(x, training=False)), ("log-probabilities",)
    if inside and np.allclose(output.sum(-1), 1, atol=1e-2):
        return lambda x: log(model(x, training=False)), ("log-probabilities",)
    return _inference(model), ()
