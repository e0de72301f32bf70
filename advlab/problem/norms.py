"""Sizes of images and of their changes, written so that compilers for processors make them fast.

``values`` are float32 with rows first, ``(n, h, w, c)`` or with more axes in front; a number for each image has its
last three axes reduced to 1.
"""

from __future__ import annotations

import tensorflow as tf

_AXES = [-3, -2, -1]


def total(values: tf.Tensor) -> tf.Tensor:
    """The sum over each image, whose last three axes are of known size."""
    # As a product with ones: compiled for a processor, a sum along rows is not vectorised.
    pixels = values.shape[-3] * values.shape[-2] * values.shape[-1]
    sums = tf.reshape(values, [-1, pixels]) @ tf.ones([pixels, 1])
    return tf.reshape(sums, tf.concat([tf.shape(values)[:-3], [1, 1, 1]], 0))


def length(values: tf.Tensor, norm: str) -> tf.Tensor:
    """The norm of each image; in ``l0`` the number of positions at which any channel is not zero."""
    if norm == "linf":
        return tf.reduce_max(tf.abs(values), _AXES, keepdims=True)
    if norm == "l0":
        return total(tf.cast(tf.reduce_any(values != 0, -1, keepdims=True), tf.float32))
    return total(tf.abs(values)) if norm == "l1" else tf.sqrt(total(values**2))


def l1_normalized(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Each image divided by the sum of its absolute values, however small, and one over that sum; zero stays zero."""
    size = total(tf.abs(values))
    # Multiplied by one over it: to divide every pixel takes several times as long.
    scale = 1 / tf.where(size > 0, size, tf.ones_like(size))
    return values * scale, scale


def unit(values: tf.Tensor) -> tf.Tensor:
    """Each image divided by its Euclidean norm, however small; zero stays zero."""
    # Its l1_normalized first: squares of tiny gradients would underflow.
    scaled, _ = l1_normalized(values)
    return scaled * (1 / tf.maximum(length(scaled, "l2"), 1e-12))


def headroom(x: tf.Tensor, increase: tf.Tensor) -> tf.Tensor:
    """How far each pixel can go: to 1 where ``increase``, bool of the same shape, else to 0."""
    # Exact, and without a choice between two arrays: compiled for a processor, that is a branch, often mispredicted.
    return tf.abs(tf.cast(increase, x.dtype) - x)
