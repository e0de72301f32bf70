"""A square patch anywhere on an image: shifted, turned and scaled, each image at random and in its own way."""

from __future__ import annotations

import math

import tensorflow as tf

from advlab.errors import InvalidValue
from advlab.problem import random
from advlab.problem.problem import Problem


def side_of(problem: Problem, side: int) -> int:
    """The side of the patch in pixels, 0 for two fifths of the shorter one of the image; refused above that one."""
    shortest = min(problem.x.shape[1:3])
    if side > shortest:
        raise InvalidValue(
            f"The patch is larger than the image: its side is {side} pixels, the image's shorter one {shortest}. "
            f"Choose a side of at most {shortest}."
        )
    return side or max(round(0.4 * shortest), 1)


def place(
    problem: Problem, patch: tf.Tensor, step: tf.Tensor | int, rotation: float | tf.Tensor, scaling: float | tf.Tensor
) -> tf.Tensor:
    """The images with the patch on them, float32 ``(b, h, w, c)``.

    Its angle is uniform up to ``rotation`` degrees either way, its side in ``1 - scaling`` to ``1 + scaling`` of that
    of ``patch``, float32 ``(1, s, s, c)``, but never beyond the image, and its corner any pixel from which it stays
    inside; corners that the rotation takes out of the image are lost. Between pixels it is interpolated (bilinear).
    The draws depend on seed, restart, sample and ``step`` alone.
    """
    rows, columns, side = problem.x.shape[1], problem.x.shape[2], patch.shape[1]
    draws = random.uniform(problem.streams, step, 1, 4)[:, :, None, None]
    angle = (2 * draws[:, 0] - 1) * rotation * math.pi / 180
    size = tf.clip_by_value(side * (1 + (2 * draws[:, 1] - 1) * scaling), 1, min(rows, columns))
    # Whole pixels: a patch that is neither turned nor scaled is then shown as it is.
    down, across = (
        tf.floor(draw * (length - size + 1)) for draw, length in ((draws[:, 2], rows), (draws[:, 3], columns))
    )
    y = (tf.range(rows, dtype=tf.float32)[:, None] + 0.5 - down) / size - 0.5
    x = (tf.range(columns, dtype=tf.float32)[None] + 0.5 - across) / size - 0.5
    turned_y, turned_x = tf.cos(angle) * y - tf.sin(angle) * x, tf.sin(angle) * y + tf.cos(angle) * x
    is_inside = (tf.abs(turned_y) < 0.5) & (tf.abs(turned_x) < 0.5)
    sampled = _interpolate(patch[0], (turned_y + 0.5) * side - 0.5, (turned_x + 0.5) * side - 0.5)
    return tf.where(is_inside[..., None], sampled, problem.x)


def _interpolate(patch: tf.Tensor, y: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """The patch ``(s, s, c)`` at points ``(b, h, w)`` counted in pixels from the center of the first one."""
    last = patch.shape[0] - 1
    y, x = tf.clip_by_value(y, 0, last), tf.clip_by_value(x, 0, last)
    top, left = tf.floor(y), tf.floor(x)
    y_weight, x_weight = (y - top)[..., None], (x - left)[..., None]

    def pixel(row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
        indices = tf.stack([tf.minimum(row, last), tf.minimum(column, last)], -1)
        return tf.gather_nd(patch, tf.cast(indices, tf.int32))

    upper = (1 - x_weight) * pixel(top, left) + x_weight * pixel(top, left + 1)
    lower = (1 - x_weight) * pixel(top + 1, left) + x_weight * pixel(top + 1, left + 1)
    return (1 - y_weight) * upper + y_weight * lower
