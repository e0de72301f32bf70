"""Gradients of a network's outputs with respect to its images, with two kernels that are slow on a CPU replaced.

On a CPU TensorFlow spends most of a convolutional network's backward pass in two places: max-pooling, and a first
convolution whose images have few channels. In a graph both are given gradients that add up the same numbers faster.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import tensorflow as tf

_CHANNEL_RATIO = 4  # input channels are few where there are at least so many output channels for each
_UNCONNECTED = tf.UnconnectedGradients.ZERO


def value_and_gradient(
    function: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]], x: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The pair ``function(x)``, and the gradient of the sum of the second of it, the value."""
    if tf.executing_eagerly():
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            auxiliary, value = function(x)
        return auxiliary, value, tape.gradient(value, x, unconnected_gradients=_UNCONNECTED)
    with _faster_kernels():
        auxiliary, value = function(x)
    return auxiliary, value, tf.gradients(value, x, unconnected_gradients=_UNCONNECTED)[0]


def _faster_kernels() -> AbstractContextManager[Any]:
    if tf.config.list_logical_devices("GPU"):
        return nullcontext()
    return tf.compat.v1.get_default_graph().gradient_override_map(_register_gradients())


@cache
def _register_gradients() -> dict[str, str]:
    """Operation -> name of its gradient; registered once, when first needed."""
    tf.RegisterGradient("AdvlabMaxPool")(_max_pool_gradient)
    tf.RegisterGradient("AdvlabConv2D")(_convolution_gradient)
    return {"MaxPool": "AdvlabMaxPool", "Conv2D": "AdvlabConv2D"}


def _max_pool_gradient(op: Any, gradient: tf.Tensor) -> tf.Tensor:
    x, y = op.inputs[0], op.outputs[0]
    attributes = {
        name: op.get_attr(name) for name in ("ksize", "strides", "padding", "explicit_paddings", "data_format")
    }
    is_plain = attributes["padding"] == b"VALID" and attributes["data_format"] == b"NHWC"
    is_static = None not in (*x.shape[1:], *y.shape[1:])
    if is_plain and is_static and attributes["ksize"] == attributes["strides"]:
        return _unpool(x, y, gradient, int(attributes["ksize"][1]), int(attributes["ksize"][2]))
    return tf.raw_ops.MaxPoolGrad(orig_input=x, orig_output=y, grad=gradient, **attributes)


@tf.function(autograph=False, jit_compile=True)
def _unpool(x: tf.Tensor, y: tf.Tensor, gradient: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """The gradient goes to the first largest pixel of each window, as in TensorFlow; windows do not overlap."""
    rows, columns, channels = y.shape[1:]
    windows = tf.reshape(x[:, : rows * height, : columns * width], [-1, rows, height, columns, width, channels])
    first = tf.fill(tf.shape(y), height * width - 1)
    for offset in reversed(range(height * width - 1)):
        first = tf.where(windows[:, :, offset // width, :, offset % width] == y, offset, first)
    offsets = tf.reshape(tf.range(height * width), [1, 1, height, 1, width, 1])
    broadcast = gradient[:, :, None, :, None] + tf.zeros_like(windows)
    routed = tf.where(offsets == first[:, :, None, :, None], broadcast, tf.zeros_like(broadcast))
    pooled = tf.reshape(routed, [-1, rows * height, columns * width, channels])
    return tf.pad(pooled, [[0, 0], [0, x.shape[1] - rows * height], [0, x.shape[2] - columns * width], [0, 0]])


def _convolution_gradient(op: Any, gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    x, kernel = op.inputs
    names = ("strides", "padding", "explicit_paddings", "data_format", "dilations", "use_cudnn_on_gpu")
    attributes = {name: op.get_attr(name) for name in names}
    is_plain = attributes["padding"] == b"VALID" and attributes["data_format"] == b"NHWC"
    is_dense = set(attributes["strides"]) == set(attributes["dilations"]) == {1}
    channels, filters = kernel.shape[2:]
    if is_plain and is_dense and channels * _CHANNEL_RATIO <= filters and None not in gradient.shape[1:]:
        x_gradient = _input_gradient(kernel, gradient)
    else:
        x_gradient = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=tf.shape(x), filter=kernel, out_backprop=gradient, **attributes
        )
    kernel_gradient = tf.raw_ops.Conv2DBackpropFilter(
        input=x, filter_sizes=tf.shape(kernel), out_backprop=gradient, **attributes
    )
    return x_gradient, kernel_gradient


def _input_gradient(kernel: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """One matrix product gives what each output contributes to each pixel of its window; shifted, these add up."""
    height, width, channels, filters = kernel.shape
    rows, columns = gradient.shape[1:3]
    contributions = tf.matmul(tf.reshape(gradient, [-1, filters]), tf.reshape(kernel, [-1, filters]), transpose_b=True)
    contributions = tf.reshape(contributions, [-1, rows, columns, height, width, channels])
    shifted = [
        tf.pad(contributions[:, :, :, i, j], [[0, 0], [i, height - 1 - i], [j, width - 1 - j], [0, 0]])
        for i in range(height)
        for j in range(width)
    ]
    return tf.add_n(shifted)
