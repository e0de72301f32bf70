"""The Keras layers of ONNX operations; what is not listed here is not read.

Images are ``(n, h, w, c)`` here and ``(n, c, h, w)`` in the file; every other tensor has the axes of the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

Settings = Mapping[str, Any]
Values = Sequence[Any]  # constants are arrays, everything else Keras tensors


def _with_weights(layer: Any, x: Any, *weights: np.ndarray) -> Any:
    made = layer(x)
    layer.set_weights([np.asarray(weight, np.float32) for weight in weights])
    return made


def in_order(x: Any) -> Any:
    """A tensor in ONNX's order of the axes."""
    return keras.layers.Permute((3, 1, 2))(x) if len(x.shape) == 4 else x


def _reshaped(x: Any, shape: Sequence[int]) -> Any:
    x = in_order(x)
    if len(shape) == 1:
        return keras.layers.Flatten()(x) if len(x.shape) > 2 else x
    x = keras.layers.Reshape(tuple(shape))(x)
    return keras.layers.Permute((2, 3, 1))(x) if len(shape) == 3 else x


def _reshape(given: Values, settings: Settings) -> Any:
    x, shape = given
    batch, *sizes = shape.tolist()
    size = math.prod(x.shape[1:])
    known = math.prod(one for one in sizes if one > 0)
    if batch not in (-1, 0, 1) or sizes.count(-1) > 1 or 0 in sizes or not 1 <= len(sizes) <= 3:
        return None
    return _reshaped(x, [size // known if one == -1 else one for one in sizes])


def _flatten(given: Values, settings: Settings) -> Any:
    return _reshaped(given[0], [-1]) if settings.get("axis", 1) == 1 else None


def _gemm(given: Values, settings: Settings) -> Any:
    x, kernel, *bias = given
    if settings.get("transA", 0) or isinstance(x, np.ndarray) or not isinstance(kernel, np.ndarray):
        return None
    kernel = settings.get("alpha", 1.0) * (kernel.T if settings.get("transB", 0) else kernel)
    shift = [np.broadcast_to(settings.get("beta", 1.0) * one, kernel.shape[1:]) for one in bias]
    return _with_weights(keras.layers.Dense(kernel.shape[1], use_bias=bool(bias)), x, kernel, *shift)


def _matmul(given: Values, settings: Settings) -> Any:
    x, kernel = given
    if isinstance(x, np.ndarray) or len(x.shape) == 4 or np.ndim(kernel) != 2:
        return None
    return _with_weights(keras.layers.Dense(kernel.shape[1], use_bias=False), x, kernel)


def _scaled(x: Any, factor: Any, shift: Any) -> Any:
    """``factor * x + shift`` with constants that broadcast in ONNX's order of the axes."""
    wide = []
    for value in (factor, shift):
        value = np.asarray(value, np.float64)
        value = value.reshape((1,) * (len(x.shape) - value.ndim) + value.shape)
        wide.append((np.moveaxis(value, 1, -1) if value.ndim == 4 else value)[0].tolist())
    return keras.layers.Rescaling(*wide)(x)


def _arithmetic(both: type, constant: Callable[[np.ndarray, bool], tuple[Any, Any] | None]) -> Callable[..., Any]:
    """An operation of two tensors by the layer ``both``; of one by the factor and shift that its constant means."""

    def operation(given: Values, settings: Settings) -> Any:
        a, b = given
        first = isinstance(a, np.ndarray)
        if not first and not isinstance(b, np.ndarray):
            return both()([a, b]) if both is not keras.layers.Layer and a.shape == b.shape else None
        meant = constant(a if first else b, first)
        return None if meant is None else _scaled(b if first else a, *meant)

    return operation


def _windows(settings: Settings) -> dict[str, Any] | None:
    """Strides and padding of a convolution or pooling; None where no layer has them."""
    automatic = settings.get("auto_pad", b"NOTSET")
    kernel = settings["kernel_shape"]
    if len(kernel) != 2 or settings.get("ceil_mode", 0) or automatic not in (b"NOTSET", b"VALID", b"SAME_UPPER"):
        return None
    return {
        "strides": tuple(settings.get("strides", (1, 1))),
        "padding": "same" if automatic == b"SAME_UPPER" else "valid",
    }


def _convolution(given: Values, settings: Settings) -> Any:
    x, kernel, *bias = given
    how = _windows({"kernel_shape": kernel.shape[2:], **settings})
    if how is None:
        return None
    top, left, bottom, right = settings.get("pads", (0, 0, 0, 0))
    if top or left or bottom or right:
        x = keras.layers.ZeroPadding2D(((top, bottom), (left, right)))(x)
    layer = keras.layers.Conv2D(
        kernel.shape[0],
        kernel.shape[2:],
        groups=settings.get("group", 1),
        dilation_rate=tuple(settings.get("dilations", (1, 1))),
        use_bias=bool(bias),
        data_format="channels_last",
        **how,
    )
    return _with_weights(layer, x, kernel.transpose(2, 3, 1, 0), *bias)


def _pooling(layer: type) -> Callable[..., Any]:
    def operation(given: Values, settings: Settings) -> Any:
        how = _windows(settings)
        if how is None or any(settings.get("pads", ())) or set(settings.get("dilations", (1,))) != {1}:
            return None
        return layer(tuple(settings["kernel_shape"]), data_format="channels_last", **how)(given[0])

    return operation


def _normalisation(given: Values, settings: Settings) -> Any:
    x, scale, bias, mean, variance = given
    factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + settings.get("epsilon", 1e-5))
    shape = (-1,) + (1,) * (len(x.shape) - 2)
    return _scaled(x, factor.reshape(shape), (bias - mean * factor).reshape(shape))


def _concatenation(given: Values, settings: Settings) -> Any:
    return keras.layers.Concatenate(-1)(list(given)) if settings["axis"] == 1 and len(given[0].shape) != 3 else None


def _layer(make: Callable[[Settings], keras.Layer]) -> Callable[..., Any]:
    return lambda given, settings: make(settings)(given[0])


# Each returns the tensor that it makes of its inputs; None where no layer does what its settings or inputs say.
OPERATIONS: dict[str, Callable[[Values, Settings], Any]] = {
    "Add": _arithmetic(keras.layers.Add, lambda constant, first: (1.0, constant)),
    "AveragePool": _pooling(keras.layers.AveragePooling2D),
    "BatchNormalization": _normalisation,
    "Concat": _concatenation,
    "Conv": _convolution,
    "Div": _arithmetic(keras.layers.Layer, lambda constant, first: None if first else (1 / constant, 0.0)),
    "Dropout": lambda given, settings: given[0],
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _layer(lambda settings: keras.layers.GlobalAveragePooling2D("channels_last", keepdims=True)),
    "Identity": lambda given, settings: given[0],
    "LeakyRelu": _layer(lambda settings: keras.layers.LeakyReLU(settings.get("alpha", 0.01))),
    "MatMul": _matmul,
    "MaxPool": _pooling(keras.layers.MaxPooling2D),
    "Mul": _arithmetic(keras.layers.Layer, lambda constant, first: (constant, 0.0)),
    "Relu": _layer(lambda settings: keras.layers.ReLU()),
    "Reshape": _reshape,
    "Sigmoid": _layer(lambda settings: keras.layers.Activation("sigmoid")),
    "Softmax": _layer(lambda settings: keras.layers.Activation("softmax")),
    "Sub": _arithmetic(keras.layers.Subtract, lambda constant, first: (-1.0, constant) if first else (1.0, -constant)),
    "Tanh": _layer(lambda settings: keras.layers.Activation("tanh")),
}
