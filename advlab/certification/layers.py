"""What each Keras layer adds to a network; a layer that is not listed here has no bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from advlab.certification.building import Building
from advlab.certification.nodes import Activation, AveragePool, Concatenate, Convolution, Pad, Sum
from advlab.errors import InvalidValue

SUPPORTED = (
    "Dense, Conv2D, MaxPooling2D, AveragePooling2D, GlobalMaxPooling2D, GlobalAveragePooling2D, Flatten, Reshape, "
    "Permute, ZeroPadding2D, Add, Subtract, Concatenate, ReLU, LeakyReLU, BatchNormalization, Rescaling, Dropout, "
    "Identity, Activation, nested models; activations linear, relu, leaky_relu, sigmoid, tanh, and softmax at the end"
)
Pair = tuple[int, int]
PASSING = (keras.layers.Dropout, keras.layers.Identity, keras.layers.InputLayer, keras.layers.GaussianNoise)
_ACTIVATIONS = {
    keras.activations.relu: ("relu", 0.0),
    keras.activations.leaky_relu: ("relu", 0.2),
    keras.activations.sigmoid: ("sigmoid", 0.0),
    keras.activations.tanh: ("tanh", 0.0),
}
_SQUASHING = (keras.activations.softmax, keras.activations.sigmoid)


def add_layer(found: Building, layer: Any, given: list[int], last: bool) -> int:
    """Add one layer to the nodes ``given``; ``last`` where its softmax or sigmoid gives the classifier's probabilities.

    Raises ``InvalidValue`` for a layer without bounds, naming it and those supported.
    """
    if isinstance(layer, PASSING):
        return given[0]
    if type(layer) not in _LAYERS:
        raise unsupported(layer)
    at = _LAYERS[type(layer)](found, layer, given)
    activation = getattr(layer, "activation", None)
    if isinstance(layer, keras.layers.Softmax):
        activation = keras.activations.softmax
    if activation in (None, keras.activations.linear) or (last and activation in _SQUASHING):
        return at
    if activation not in _ACTIVATIONS:
        raise unsupported(layer, f" with activation '{getattr(activation, '__name__', type(activation).__name__)}'")
    return found.add(Activation((at,), found.nodes[at].shape, *_ACTIVATIONS[activation]))


def unsupported(layer: keras.Layer, how: str = "") -> InvalidValue:
    """The error for a layer without bounds."""
    return InvalidValue(
        f"No bounds for layer '{layer.name}' ({type(layer).__name__}{how}). Supported: {SUPPORTED}. "
        "Method 'smoothing' takes any classifier."
    )


def _pool_settings(layer: Any) -> tuple[Pair, Pair, str]:
    (height, width), (down, right) = layer.pool_size, layer.strides
    return (height, width), (down, right), layer.padding.upper()


def _channels_last(found: Building, layer: Any) -> None:
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise unsupported(layer, " with channels first")


def _dense(found: Building, layer: Any, given: list[int]) -> int:
    return found.dense(given[0], layer.kernel, layer.bias)


def _convolution(found: Building, layer: Any, given: list[int]) -> int:
    _channels_last(found, layer)
    if layer.groups != 1 or tuple(layer.dilation_rate) != (1, 1):
        raise unsupported(layer, f" with groups={layer.groups}, dilation_rate={tuple(layer.dilation_rate)}")
    before = found.nodes[given[0]].shape
    bias = np.zeros(layer.filters) if layer.bias is None else layer.bias
    shape = tuple(layer.compute_output_shape((1, *before))[1:])
    how = (tuple(layer.strides), layer.padding.upper())
    return found.add(Convolution((given[0],), shape, before, found.read(layer.kernel), found.read(bias), *how))


def _average(found: Building, layer: Any, given: list[int]) -> int:
    _channels_last(found, layer)
    before = found.nodes[given[0]].shape
    shape = tuple(layer.compute_output_shape((1, *before))[1:])
    return found.add(AveragePool((given[0],), shape, before, *_pool_settings(layer)))


def _maximum(found: Building, layer: Any, given: list[int]) -> int:
    _channels_last(found, layer)
    return found.pooled_maximum(given[0], *_pool_settings(layer))


def _global_average(found: Building, layer: Any, given: list[int]) -> int:
    _channels_last(found, layer)
    before = found.nodes[given[0]].shape
    whole = (before[0], before[1])
    at = found.add(AveragePool((given[0],), (1, 1, before[2]), before, whole, whole, "VALID"))
    return found.reshaped(at, (1, 1, before[2]) if layer.keepdims else before[2:])


def _global_maximum(found: Building, layer: Any, given: list[int]) -> int:
    _channels_last(found, layer)
    before = found.nodes[given[0]].shape
    at = found.pooled_maximum(given[0], before[:2], before[:2], "VALID")
    return found.reshaped(at, (1, 1, before[2]) if layer.keepdims else before[2:])


def _flatten(found: Building, layer: Any, given: list[int]) -> int:
    _channels_last(found, layer)
    return found.reshaped(given[0], (found.nodes[given[0]].size,))


def _reshape(found: Building, layer: Any, given: list[int]) -> int:
    return found.reshaped(given[0], tuple(layer.compute_output_shape((1, *found.nodes[given[0]].shape))[1:]))


def _permutation(found: Building, layer: Any, given: list[int]) -> int:
    return found.permuted(given[0], tuple(axis - 1 for axis in layer.dims))


def _zeros(found: Building, layer: Any, given: list[int]) -> int:
    _channels_last(found, layer)
    (top, bottom), (left, right) = layer.padding
    height, width, channels = found.nodes[given[0]].shape
    shape = (top + height + bottom, left + width + right, channels)
    return found.add(Pad((given[0],), shape, (top, left, 0), (bottom, right, 0)))


def _sum(signs: Callable[[int], list[float]]) -> Callable[[Building, Any, list[int]], int]:
    def translate(found: Building, layer: Any, given: list[int]) -> int:
        shapes = {found.nodes[number].shape for number in given}
        if len(shapes) != 1:
            raise unsupported(layer, " of inputs that differ in shape")
        return found.add(Sum(tuple(given), shapes.pop(), tuple(signs(len(given)))))

    return translate


def _concatenate(found: Building, layer: Any, given: list[int]) -> int:
    shapes = [found.nodes[number].shape for number in given]
    axis = layer.axis - 1 if layer.axis > 0 else layer.axis + len(shapes[0])
    extents = tuple(shape[axis] for shape in shapes)
    shape = (*shapes[0][:axis], sum(extents), *shapes[0][axis + 1 :])
    return found.add(Concatenate(tuple(given), shape, axis, extents))


def _relu(found: Building, layer: Any, given: list[int]) -> int:
    slope = float(layer.negative_slope)
    if getattr(layer, "max_value", None) is not None or getattr(layer, "threshold", None) or not 0 <= slope <= 1:
        raise unsupported(layer, " with a ceiling, a threshold or a slope outside [0, 1]")
    return found.add(Activation((given[0],), found.nodes[given[0]].shape, "relu", slope))


def _normalisation(found: Building, layer: Any, given: list[int]) -> int:
    before = found.nodes[given[0]].shape
    if layer.axis not in (-1, len(before)):
        raise unsupported(layer, f" along axis {layer.axis}")
    mean, variance = (np.asarray(value, np.float64) for value in (layer.moving_mean, layer.moving_variance))
    factor = (1.0 if layer.gamma is None else np.asarray(layer.gamma, np.float64)) / np.sqrt(variance + layer.epsilon)
    shift = (0.0 if layer.beta is None else np.asarray(layer.beta, np.float64)) - mean * factor
    return found.scaled(given[0], factor, shift)


def _rescaling(found: Building, layer: Any, given: list[int]) -> int:
    return found.scaled(given[0], layer.scale, layer.offset)


def _same(found: Building, layer: Any, given: list[int]) -> int:
    return given[0]


_LAYERS: dict[type, Callable[[Building, Any, list[int]], int]] = {
    keras.layers.Dense: _dense,
    keras.layers.Conv2D: _convolution,
    keras.layers.AveragePooling2D: _average,
    keras.layers.MaxPooling2D: _maximum,
    keras.layers.GlobalAveragePooling2D: _global_average,
    keras.layers.GlobalMaxPooling2D: _global_maximum,
    keras.layers.Flatten: _flatten,
    keras.layers.Reshape: _reshape,
    keras.layers.Permute: _permutation,
    keras.layers.ZeroPadding2D: _zeros,
    keras.layers.Add: _sum(lambda count: [1.0] * count),
    keras.layers.Subtract: _sum(lambda count: [1.0, -1.0]),
    keras.layers.Concatenate: _concatenate,
    keras.layers.ReLU: _relu,
    keras.layers.LeakyReLU: _relu,
    keras.layers.BatchNormalization: _normalisation,
    keras.layers.Rescaling: _rescaling,
    keras.layers.Activation: _same,
    keras.layers.Softmax: _same,
}
