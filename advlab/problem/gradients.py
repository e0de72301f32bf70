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

_FEW = 4  # input channels are few where there are so many times as many output channels
_NONE = tf.UnconnectedGradients.ZERO


def value_and_gradients(
    function: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]], x: tf.Tensor, weights: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    """What ``function`` gives for ``x``, a pair, and gradients of the second of it.

    One gradient of its sum; with ``weights`` ``(b, m, k)`` m of them, of the sums weighted so.
    """
    count = 1 if weights is None else weights.shape[1]
    upstream = [None if weights is None else weights[:, row] for row in range(count)]
    if tf.executing_eagerly():
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(x)
            seen, value = function(x)
        slopes = [tape.gradient(value, x, output_gradients=u, unconnected_gradients=_NONE) for u in upstream]
        return seen, value, slopes
    with _replaced():
        seen, value = function(x)
    return seen, value, [tf.gradients(value, x, grad_ys=u, unconnected_gradients=_NONE)[0] for u in upstream]


def _replaced() -> AbstractContextManager[Any]:
    if tf.config.list_logical_devices("GPU"):
        return nullcontext()
    return tf.compat.v1.get_default_graph().gradient_override_map(_registered())


@cache
def _registered() -> dict[str, str]:
    """Operation -> name of its gradient; registered once, when first needed."""
    tf.RegisterGradient("AdvlabMaxPool")(_max_pool)
    tf.RegisterGradient("AdvlabConv2D")(_convolution)
    return {"MaxPool": "AdvlabMaxPool", "Conv2D": "AdvlabConv2D"}


def _max_pool(op: Any, slope: tf.Tensor) -> tf.Tensor:
    x, y = op.inputs[0], op.outputs[0]
    settings = {name: op.get_attr(name) for name in ("ksize", "strides", "padding", "explicit_paddings", "data_format")}
    plain = settings["padding"] == b"VALID" and settings["data_format"] == b"NHWC"
    known = None not in (*x.shape[1:], *y.shape[1:])
    if plain and known and settings["ksize"] == settings["strides"]:
        return _unpool(x, y, slope, int(settings["ksize"][1]), int(settings["ksize"][2]))
    return tf.raw_ops.MaxPoolGrad(orig_input=x, orig_output=y, grad=slope, **settings)


@tf.function(autograph=False, jit_compile=True)
def _unpool(x: tf.Tensor, y: tf.Tensor, slope: tf.Tensor, high: int, wide: int) -> tf.Tensor:
    """The slope goes to the first largest pixel of each window, as TensorFlow has it; windows do not overlap."""
    down, across, channels = y.shape[1:]
    windows = tf.reshape(x[:, : down * high, : across * wide], [-1, down, high, across, wide, channels])
    first = tf.fill(tf.shape(y), high * wide - 1)
    for place in reversed(range(high * wide - 1)):
        first = tf.where(windows[:, :, place // wide, :, place % wide] == y, place, first)
    places = tf.reshape(tf.range(high * wide), [1, 1, high, 1, wide, 1])
    spread = slope[:, :, None, :, None] + tf.zeros_like(windows)
    own = tf.where(places == first[:, :, None, :, None], spread, tf.zeros_like(spread))
    inner = tf.reshape(own, [-1, down * high, across * wide, channels])
    return tf.pad(inner, [[0, 0], [0, x.shape[1] - down * high], [0, x.shape[2] - across * wide], [0, 0]])


def _convolution(op: Any, slope: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    x, kernel = op.inputs
    names = ("strides", "padding", "explicit_paddings", "data_format", "dilations", "use_cudnn_on_gpu")
    settings = {name: op.get_attr(name) for name in names}
    plain = settings["padding"] == b"VALID" and settings["data_format"] == b"NHWC"
    dense = set(settings["strides"]) == set(settings["dilations"]) == {1}
    channels, filters = kernel.shape[2:]
    if plain and dense and channels * _FEW <= filters and None not in slope.shape[1:]:
        to_x = _scattered(kernel, slope)
    else:
        to_x = tf.raw_ops.Conv2DBackpropInput(input_sizes=tf.shape(x), filter=kernel, out_backprop=slope, **settings)
    to_kernel = tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=tf.shape(kernel), out_backprop=slope, **settings)
    return to_x, to_kernel


def _scattered(kernel: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
    """One matrix product gives what each output sends to each pixel below it; shifted, these add up."""
    high, wide, channels, filters = kernel.shape
    down, across = slope.shape[1:3]
    sent = tf.matmul(tf.reshape(slope, [-1, filters]), tf.reshape(kernel, [-1, filters]), transpose_b=True)
    sent = tf.reshape(sent, [-1, down, across, high, wide, channels])
    shifted = [
        tf.pad(sent[:, :, :, i, j], [[0, 0], [i, high - 1 - i], [j, wide - 1 - j], [0, 0]])
        for i in range(high)
        for j in range(wide)
    ]
    return tf.add_n(shifted)
