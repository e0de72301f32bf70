"""The nodes of a piecewise network: linear maps with their transposes, and element-wise activations.

All tensors are float64. A value is ``(n, *shape)``; coefficients of a node are ``(m, r, *shape)``: ``r`` linear
functions of its value for each of ``m`` images, where ``m`` is 1 as long as they are the same for all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow as tf

Shape = tuple[int, ...]
Tensors = list[tf.Tensor]


@dataclass(frozen=True, eq=False)
class Node:
    """One step of the network: ``inputs`` are the numbers of the nodes before it, ``shape`` is that of its value."""

    inputs: tuple[int, ...]
    shape: Shape

    @property
    def size(self) -> int:
        """Numbers of its value for one image."""
        return math.prod(self.shape)

    def apply(self, values: Tensors) -> tf.Tensor:
        """The value, from the values of the inputs."""
        raise NotImplementedError


class Input(Node):
    """The image, ``(h, w, c)``."""


@dataclass(frozen=True, eq=False)
class Linear(Node):
    """An affine map of its inputs."""

    @property
    def terms(self) -> int:
        """How many products are added up for one number."""
        return 2

    def absolute(self, values: Tensors) -> tf.Tensor:
        """The map with the absolute values of its weights and without its bias, of values >= 0."""
        raise NotImplementedError

    def transpose(self, coefficients: tf.Tensor) -> Tensors:
        """The coefficients of each input."""
        raise NotImplementedError

    @property
    def bias(self) -> tf.Tensor | None:
        """What is added, broadcast to ``(*shape)``; None where nothing is."""
        return None


@dataclass(frozen=True, eq=False)
class Dense(Linear):
    """``x @ kernel + shift`` along the last axis; kernel ``(d, units)``."""

    kernel: tf.Tensor
    shift: tf.Tensor

    @property
    def terms(self) -> int:
        return int(self.kernel.shape[0]) + 1

    @property
    def bias(self) -> tf.Tensor:
        return self.shift

    def apply(self, values: Tensors) -> tf.Tensor:
        return tf.tensordot(values[0], self.kernel, 1) + self.shift

    def absolute(self, values: Tensors) -> tf.Tensor:
        return tf.tensordot(values[0], tf.abs(self.kernel), 1)

    def transpose(self, coefficients: tf.Tensor) -> Tensors:
        return [tf.tensordot(coefficients, tf.transpose(self.kernel), 1)]


@dataclass(frozen=True, eq=False)
class Convolution(Linear):
    """A two-dimensional convolution; kernel ``(kh, kw, c, filters)``, ``padding`` ``SAME`` or ``VALID``."""

    before: Shape
    kernel: tf.Tensor
    shift: tf.Tensor
    strides: tuple[int, int]
    padding: str

    @property
    def terms(self) -> int:
        return math.prod(self.kernel.shape[:3]) + 1

    @property
    def bias(self) -> tf.Tensor:
        return self.shift

    def apply(self, values: Tensors) -> tf.Tensor:
        return tf.nn.conv2d(values[0], self.kernel, self.strides, self.padding) + self.shift

    def absolute(self, values: Tensors) -> tf.Tensor:
        return tf.nn.conv2d(values[0], tf.abs(self.kernel), self.strides, self.padding)

    def transpose(self, coefficients: tf.Tensor) -> Tensors:
        rows = tf.reshape(coefficients, [-1, *self.shape])
        shape = tf.concat([tf.shape(rows)[:1], self.before], 0)
        found = tf.nn.conv2d_transpose(rows, self.kernel, shape, self.strides, self.padding)
        return [_unflattened(found, coefficients, self.before)]


@dataclass(frozen=True, eq=False)
class AveragePool(Linear):
    """The mean of each window, over as much of it as lies inside the image."""

    before: Shape
    window: tuple[int, int]
    strides: tuple[int, int]
    padding: str

    @property
    def terms(self) -> int:
        return math.prod(self.window) + 1

    def apply(self, values: Tensors) -> tf.Tensor:
        return tf.nn.avg_pool2d(values[0], self.window, self.strides, self.padding)

    def absolute(self, values: Tensors) -> tf.Tensor:
        return self.apply(values)

    def transpose(self, coefficients: tf.Tensor) -> Tensors:
        rows = tf.reshape(coefficients, [-1, *self.shape])
        found = tf.raw_ops.AvgPoolGrad(
            orig_input_shape=tf.concat([tf.shape(rows)[:1], self.before], 0),
            grad=rows,
            ksize=[1, *self.window, 1],
            strides=[1, *self.strides, 1],
            padding=self.padding,
        )
        return [_unflattened(found, coefficients, self.before)]


@dataclass(frozen=True, eq=False)
class Scale(Linear):
    """``factor * x + shift``, both broadcast to the shape: rescaling and batch normalisation."""

    factor: tf.Tensor
    shift: tf.Tensor

    @property
    def bias(self) -> tf.Tensor:
        return self.shift

    def apply(self, values: Tensors) -> tf.Tensor:
        return values[0] * self.factor + self.shift

    def absolute(self, values: Tensors) -> tf.Tensor:
        return values[0] * tf.abs(self.factor)

    def transpose(self, coefficients: tf.Tensor) -> Tensors:
        return [coefficients * self.factor]


@dataclass(frozen=True, eq=False)
class Reshape(Linear):
    """The same numbers in another shape, from ``before``."""

    before: Shape

    def apply(self, values: Tensors) -> tf.Tensor:
        return tf.reshape(values[0], [-1, *self.shape])

    def absolute(self, values: Tensors) -> tf.Tensor:
        return self.apply(values)

    def transpose(self, coefficients: tf.Tensor) -> Tensors:
        return [_unflattened(coefficients, coefficients, self.before)]


@dataclass(frozen=True, eq=False)
class Pad(Linear):
    """Zeros around the image: ``before`` and ``after`` each axis of the input's shape."""

    before: Shape
    after: Shape

    def apply(self, values: Tensors) -> tf.Tensor:
        return tf.pad(values[0], [(0, 0), *zip(self.before, self.after, strict=True)])

    def absolute(self, values: Tensors) -> tf.Tensor:
        return self.apply(values)

    def transpose(self, coefficients: tf.Tensor) -> Tensors:
        inside = [slice(b, size - a) for b, size, a in zip(self.before, self.shape, self.after, strict=True)]
        return [coefficients[(slice(None), slice(None), *inside)]]


@dataclass(frozen=True, eq=False)
class Gather(Linear):
    """The numbers at ``positions``, int32 ``(size,)``, of the flattened input, whose shape is ``before``."""

    before: Shape
    positions: tf.Tensor

    def apply(self, values: Tensors) -> tf.Tensor:
        flat = tf.reshape(values[0], [-1, math.prod(self.before)])
        return tf.reshape(tf.gather(flat, self.positions, axis=1), [-1, *self.shape])

    def absolute(self, values: Tensors) -> tf.Tensor:
        return self.apply(values)

    def transpose(self, coefficients: tf.Tensor) -> Tensors:
        size = math.prod(self.before)
        rows = tf.transpose(tf.reshape(coefficients, [-1, self.size]))
        found = tf.transpose(tf.math.unsorted_segment_sum(rows, self.positions, size))
        return [_unflattened(found, coefficients, self.before)]


@dataclass(frozen=True, eq=False)
class Sum(Linear):
    """``signs[0] * x_0 + signs[1] * x_1 + ...`` of inputs of one shape."""

    signs: tuple[float, ...]

    @property
    def terms(self) -> int:
        return len(self.signs)

    def apply(self, values: Tensors) -> tf.Tensor:
        return tf.add_n([value if sign == 1 else sign * value for sign, value in zip(self.signs, values, strict=True)])

    def absolute(self, values: Tensors) -> tf.Tensor:
        return tf.add_n(values)

    def transpose(self, coefficients: tf.Tensor) -> Tensors:
        return [coefficients if sign == 1 else sign * coefficients for sign in self.signs]


@dataclass(frozen=True, eq=False)
class Maximum(Sum):
    """``max(a, b) = b + relu(a - b)`` from the inputs ``b`` and ``relu(a - b)``; ``pair`` are the numbers of a and b.

    Backwards it is their sum; forwards the interval of a maximum is known exactly.
    """

    pair: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Concatenate(Linear):
    """The inputs one after the other along ``axis`` of the shape; ``extents`` are theirs."""

    axis: int
    extents: tuple[int, ...]

    def apply(self, values: Tensors) -> tf.Tensor:
        return tf.concat(values, 1 + self.axis)

    def absolute(self, values: Tensors) -> tf.Tensor:
        return self.apply(values)

    def transpose(self, coefficients: tf.Tensor) -> Tensors:
        return tf.split(coefficients, list(self.extents), 2 + self.axis)


@dataclass(frozen=True, eq=False)
class Activation(Node):
    """An increasing function of each number: ``relu`` (``slope`` below zero, in [0, 1]), ``sigmoid`` or ``tanh``."""

    function: str
    slope: float = 0.0

    def apply(self, values: Tensors) -> tf.Tensor:
        (value,) = values
        match self.function:
            case "sigmoid":
                return tf.sigmoid(value)
            case "tanh":
                return tf.tanh(value)
            case _:
                return tf.maximum(value, self.slope * value)


def repeated(body: Callable[..., list[tf.Tensor]], start: list[tf.Tensor], rounds: int) -> list[tf.Tensor]:
    """What ``body`` makes of ``start`` in some rounds, constant for any gradient: one loop, however many rounds."""
    start = [tf.stop_gradient(value) for value in start]
    loop = tf.while_loop(lambda *_: True, body, start, maximum_iterations=rounds)
    return [tf.stop_gradient(value) for value in loop]


def _unflattened(rows: tf.Tensor, like: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """Rows ``(m * r, *)`` as ``(m, r, *shape)``, with m and r those of ``like``."""
    lead = [size if size is not None else tf.shape(like)[axis] for axis, size in enumerate(like.shape[:2])]
    return tf.reshape(rows, [*lead, *shape])
