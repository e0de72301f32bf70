"""Stand-ins in the backward pass: what a layer outputs stays as it is, its gradient is that of another function.

Backward pass differentiable approximation: Athalye, Carlini, Wagner 2018, "Obfuscated gradients give a false sense of
security", arXiv:1802.00420, section 4.1. Layers are found by name anywhere in a model, in models inside it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import tensorflow as tf

from advlab.errors import InvalidValue, unknown

StandIn = str | Callable[..., tf.Tensor]
Call = Callable[..., Any]

NAMED = ("identity", "smoothed")
SPANS = (
    0.1,
    0.3,
    1.0,
)  # of the standard deviation of a layer's inputs, over which the slopes of a smoothed one are measured
DRAWS = 4  # of the signs of the steps, which average out what other units change


def operations_of(model: keras.Model) -> dict[str, list[Any]]:
    """Name -> the layers and other operations of that name, in a model and in the models inside it, in their order."""
    found: dict[str, list[Any]] = {}
    for operation in getattr(model, "operations", None) or model.layers:
        if isinstance(operation, keras.Model):
            for name, inner in operations_of(operation).items():
                found.setdefault(name, []).extend(inner)
        elif not isinstance(operation, keras.layers.InputLayer):
            found.setdefault(operation.name, []).append(operation)
    return found


def keeps_shape(operation: Any) -> bool:
    """Whether a layer or operation has one input and one output, of one shape."""
    node = operation._inbound_nodes[0]
    return len(node.input_tensors) == len(node.output_tensors) == 1 and (
        node.input_tensors[0].shape == node.output_tensors[0].shape
    )


@contextmanager
def replaced_calls(model: keras.Model, wrappers: Mapping[str, Callable[[Call], Call]]) -> Iterator[None]:
    """Within the block the operations of those names call what their wrapper makes of their own call.

    A function traced within it keeps that; the model itself is afterwards as it was before.
    """
    operations = operations_of(model)
    with ExitStack() as restore:
        for name, wrapper in wrappers.items():
            for operation in operations[name]:
                # Past Keras, which would take a function that is set on a layer for a part of it.
                object.__setattr__(operation, "call", wrapper(operation.call))
                restore.callback(object.__delattr__, operation, "call")
        yield


def stand_in(layer: str, function: StandIn) -> Callable[[Call], Call]:
    """A wrapper for ``replaced_calls``: the same output, and the gradient of ``function`` of the layer's inputs."""

    def wrapper(call: Call) -> Call:
        def call_with_stand_in(*inputs: Any, **options: Any) -> tf.Tensor:
            output = call(*inputs, **options)
            if function == "smoothed":
                approximation = tf.stop_gradient(_slopes(lambda x: call(x, **options), *inputs)) * inputs[0]
            else:
                approximation = inputs[0] if isinstance(function, str) else function(*inputs)
            shape = getattr(approximation, "shape", None)
            if shape is None or not shape.is_compatible_with(output.shape):
                given = "none" if shape is None else tuple(shape)
                raise InvalidValue(
                    f"Layer '{layer}' outputs the shape {tuple(output.shape)}, its stand-in {given}. Give a TensorFlow "
                    "function of the layer's inputs that outputs the same shape as the layer."
                )
            return _with_gradient_of(tf.cast(approximation, output.dtype), tf.stop_gradient(output))

        return call_with_stand_in

    return wrapper


def check_stand_ins(model: keras.Model, stand_ins: Mapping[str, StandIn]) -> None:
    """Raise where a layer does not exist, or a stand-in is none of ``identity``, ``smoothed`` and a function."""
    operations = operations_of(model)
    for layer, function in stand_ins.items():
        if layer not in operations:
            raise unknown("layer", layer, operations)
        if function in NAMED and not all(map(keeps_shape, operations[layer])):
            raise InvalidValue(
                f"Layer '{layer}' changes the shape of its input, so that '{function}' cannot stand in for it. Give a "
                "TensorFlow function of its inputs that outputs the same shape."
            )
        if not callable(function) and function not in NAMED:
            raise InvalidValue(
                f"The stand-in of layer '{layer}' is known by its name only: '{function}'. An archive has no more of "
                "it; give the function, 'identity' or 'smoothed'."
            )


def _slopes(call: Call, x: tf.Tensor) -> tf.Tensor:
    """How much each output of a layer rises with the input of its place, over steps of several lengths.

    Central differences along random signs: of a layer that works on each unit alone they are exact, elsewhere the
    changes of other units average out. Where the gradient is zero beside a step, or says nothing of a jump, this does.
    """
    spread = tf.math.reduce_std(x) + 1e-6
    slopes = []
    for draw in range(DRAWS):
        # The same signs at each call, so that an attack repeats itself.
        uniform = tf.random.stateless_uniform(tf.shape(x)[1:], (draw, 0), -1.0, 1.0)
        sign = tf.cast(tf.where(uniform < 0, -1.0, 1.0), x.dtype)
        for span in SPANS:
            step = tf.cast(span, x.dtype) * spread
            slopes.append((call(x + step * sign) - call(x - step * sign)) * sign / (2 * step))
    return tf.add_n(slopes) / len(slopes)


@tf.custom_gradient
def _with_gradient_of(approximation: tf.Tensor, output: tf.Tensor) -> tuple[tf.Tensor, Call]:
    # Not approximation + (output - approximation), whose rounding would change what the network predicts.
    return tf.identity(output), lambda upstream: (upstream, None)
