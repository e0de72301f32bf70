"""Stripping the final softmax of a Keras model (recovering logits), whatever layers it ends in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from advlab.classifiers.mixture import Mixture
from advlab.classifiers.outputs import output_names, refuse_regression
from advlab.errors import InvalidValue

Logits = Callable[[tf.Tensor], tf.Tensor]
OUTPUTS = ("probability", "logit", "score")

_OPEN_SIZE = 32  # pixels, for a model that leaves height and width open
_VALUE_PRESERVING = ("Reshape", "Flatten", "Dropout", "Identity", "Squeeze")  # layers and operations
_ACTIVATIONS = {
    getattr(keras.activations, name): name
    for name in ("softmax", "sigmoid", "linear", "tanh", "softsign", "hard_sigmoid", "hard_tanh", "log_softmax")
}
_ACTIVATION_LAYERS = {"Softmax": "softmax", "Sigmoid": "sigmoid", "Tanh": "tanh", "Softsign": "softsign"}
# Layers that apply their activation last, to a sum; in a recurrent layer it acts at each step.
_WITH_ACTIVATION = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    *(getattr(keras.layers, f"{kind}{n}D") for n in (1, 2) for kind in ("Conv", "SeparableConv", "DepthwiseConv")),
    keras.layers.Conv2DTranspose,
)
_HAVE_ACTIVATION: Any = (keras.layers.Activation, *_WITH_ACTIVATION)
_SCORES = ("tanh", "softsign", "hard_tanh")


class _Stripped(NamedTuple):
    """The function before a model's final activation, and the name of that; "" where it is not understood."""

    logits: Logits
    activation: str


def strip_softmax(
    model: keras.Model, name: str = "", *, output: str | None = None, loss: str = ""
) -> tuple[Logits, tuple[str, ...]]:
    """A function from the model's input to its logits ``(n, k)``, and notes on how far that succeeded.

    ``model`` has one output, ``(k,)`` or ``(1, 1, k)``. What it means is read from the last activation, or ``output``
    says it: ``probability``, ``logit``, or ``score`` (a number whose sign decides, as of ``tanh`` or a hinge loss).
    ``loss`` is what the model was trained with, if known. One unit that is neither readable nor explained is refused,
    and so is a softmax over one unit.

    Notes: ``log-probabilities``: the last layer is not understood and outputs probabilities; the logits are their
    logarithms. ``independent-sigmoids``: several sigmoids were stripped, which were trained as separate binary
    classifiers.
    """
    if output not in (None, *OUTPUTS):
        raise InvalidValue(f"output must be one of {', '.join(OUTPUTS)}. Got {output!r}.")
    stripped, units = _strip(model), model.output_shape[-1]
    logits, activation = stripped
    notes: tuple[str, ...] = ()
    if units == 1 and activation in ("softmax", "log_softmax"):
        raise InvalidValue(
            f"Output '{output_names(model)[0]}' of model '{name}' is a softmax over one unit, which is always 1: "
            "the model has one class. Train it with a sigmoid, or with a unit for each class."
        )
    if units == 1 and activation == "linear" and output is None:
        refuse_regression(model, name, loss)
    if output == "probability" and activation not in ("softmax", "sigmoid"):
        logits, notes = _log_odds(model, units), ("log-probabilities",)
    elif output == "logit" or (output == "score" and activation not in _SCORES) or activation == "log_softmax":
        logits = _inference(model)
    elif not activation and units == 1:
        raise InvalidValue(
            f"Output '{output_names(model)[0]}' of model '{name}' is one number, and what it means cannot be read from "
            "its layer. Say it: --output-type probability (of class 1), logit (its log-odds) or score (positive for "
            "class 1); output= in Python."
        )
    elif not activation:
        logits, notes = _by_probing(model)
    elif activation in ("sigmoid", "hard_sigmoid") and units > 1:
        notes = ("independent-sigmoids",)
    return (logits if len(model.output_shape) == 2 else lambda x: tf.reshape(logits(x), [-1, units])), notes


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


def last_activation(model: keras.Model) -> str:
    """The name of the activation that a model ends in; "" where it is not understood."""
    return _strip(model).activation


def _strip(model: keras.Model) -> _Stripped:
    mixture = _strip_mixture(model)
    if mixture is not None:
        return mixture
    last, tensor = _last_layer(model)
    if last is None:
        return _Stripped(_inference(model), "")
    if isinstance(last, keras.Model) and getattr(last, "inputs", None):
        inner = _strip(last)
        return _Stripped(_chain(keras.Model(model.inputs[0], tensor), inner.logits), inner.activation)
    activation = _activation(last)
    if (_is_keras(last) and type(last).__name__ in _VALUE_PRESERVING) or (
        isinstance(last, keras.layers.Activation) and activation == "linear"
    ):
        # It rearranges values without changing them, so it may as well follow the logits.
        inner = _strip(keras.Model(model.inputs[0], tensor))
        is_dropout = isinstance(last, keras.layers.Dropout)
        call = (lambda x: last(x, training=False)) if is_dropout else last
        return _Stripped(_chain(inner.logits, call), inner.activation)
    if not activation or activation == "linear":
        return _Stripped(_inference(model), activation)
    body = keras.Model(model.inputs[0], tensor)
    if not isinstance(last, _WITH_ACTIVATION):
        return _Stripped(_inference(body), activation)
    return _Stripped(_without_activation(body, last), activation)


def _strip_mixture(model: keras.Model) -> _Stripped | None:
    """Of a model that ends in a mixture of others, from the logits of each; None for any other model."""
    last, node, _ = model.outputs[0]._keras_history
    if not isinstance(last, Mixture):
        return None
    answers = [keras.Model(model.inputs[0], tensor) for tensor in last._inbound_nodes[node].input_tensors]
    members = [_strip(answer) for answer in answers]
    logits = [
        member.logits if member.activation in ("softmax", "sigmoid") else _log_odds(answer, answer.output_shape[-1])
        for member, answer in zip(members, answers, strict=True)
    ]
    is_one_unit = model.output_shape[-1] == 1
    return _Stripped(lambda x: last.logits([member(x) for member in logits]), "sigmoid" if is_one_unit else "softmax")


def _last_layer(model: keras.Model) -> tuple[Any, Any]:
    """The layer or operation that outputs the model's output, and its input; (None, None) where that is unclear."""
    try:
        layer, node, _ = model.outputs[0]._keras_history
        tensors = layer._inbound_nodes[node].input_tensors
        return (layer, tensors[0]) if len(tensors) == 1 else (None, None)
    except (AttributeError, IndexError, TypeError, ValueError):
        return None, None


def _activation(last: Any) -> str:
    """The name of the activation that a layer or operation applies last; "" where it is not known."""
    if isinstance(last, _HAVE_ACTIVATION):
        return _ACTIVATIONS.get(last.activation, "")
    name = _ACTIVATION_LAYERS.get(type(last).__name__, "") if _is_keras(last) else ""
    last_axis = len(last.output.shape) - 1 if name else 0
    return name if getattr(last, "axis", -1) in (-1, last_axis) else ""


def _is_keras(layer: Any) -> bool:
    return type(layer).__module__.split(".")[0] == "keras"


def _inference(model: keras.Model) -> Logits:
    return lambda x: model(x, training=False)


def _chain(first: Callable[..., tf.Tensor], second: Logits) -> Logits:
    return lambda x: second(first(x, training=False) if isinstance(first, keras.Model) else first(x))


def _without_activation(body: keras.Model, last: keras.Layer) -> Logits:
    def logits(x: tf.Tensor) -> tf.Tensor:
        # A twin that shares the variables, which the user may continue to train; the user's own layer stays as it is.
        return linear_twin(last)(body(x, training=False))

    return logits


def linear_twin(layer: keras.Layer) -> keras.Layer:
    """A layer without its activation, which shares the variables of the one given."""
    twin = object.__new__(type(layer))
    vars(twin).update(vars(layer), activation=keras.activations.linear)
    return twin


def _log_odds(model: keras.Model, units: int) -> Logits:
    """The logarithms of probabilities; of one probability, its log-odds."""
    smallest = float(np.finfo(np.float32).tiny)

    def log(x: tf.Tensor) -> tf.Tensor:
        return tf.math.log(tf.maximum(tf.cast(x, tf.float32), smallest))

    if units == 1:
        return lambda x: log(model(x, training=False)) - log(1 - model(x, training=False))
    return lambda x: log(model(x, training=False))


def _by_probing(model: keras.Model) -> tuple[Logits, tuple[str, ...]]:
    """For several units of a last layer that is not understood: log p where they are probabilities, else themselves."""
    shape = [d or _OPEN_SIZE for d in model.input_shape[1:]]
    output = np.asarray(model(np.random.default_rng(0).random((4, *shape), np.float32), training=False), np.float32)
    if output.min() >= 0 and output.max() <= 1 and np.allclose(output.sum(-1), 1, atol=1e-2):
        return _log_odds(model, output.shape[-1]), ("log-probabilities",)
    return _inference(model), ()
