"""Linear bounds of an activation on an interval: between two lines lies the whole function."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from advlab.certification.nodes import Activation, repeated

_BISECTIONS = 40
_NARROW = 1e-12


class Relaxation(NamedTuple):
    """``lower_slope z + lower_intercept <= f(z) <= upper_slope z + upper_intercept``: float64 ``(n, r, *shape)``."""

    lower_slope: tf.Tensor
    lower_intercept: tf.Tensor
    upper_slope: tf.Tensor
    upper_intercept: tf.Tensor


def relax(node: Activation, low: tf.Tensor, high: tf.Tensor, alpha: tf.Tensor | None = None) -> Relaxation:
    """The lines for ``low <= z <= high``, both ``(n, r, *shape)`` with r = 1 where all rows alpha them.

    ``alpha``, in [0, 1] and ``(n, r, *shape)``, chooses the lower line of a ReLU that may be active or not: from its
    slope below zero (0) to 1. None is the choice of CROWN: the line that leaves the smaller area. S-shaped functions
    have a tangent or a chord on either side (arXiv:1811.00866, section 3.3).
    """
    match node.function:
        case "relu":
            return _relu(low, high, node.slope, alpha)
        case "tanh":
            return _tanh(low, high)
        case _:  # sigmoid(z) = 1/2 + tanh(z / 2) / 2
            half = _tanh(low / 2, high / 2)
            return Relaxation(
                half.lower_slope / 4,
                0.5 + half.lower_intercept / 2,
                half.upper_slope / 4,
                0.5 + half.upper_intercept / 2,
            )


def is_open(low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
    """bool: a ReLU whose input may be of either sign."""
    return (low < 0) & (high > 0)


def steeper(low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
    """CROWN's choice of ``alpha``: 1 where the interval reaches further above zero than below, else 0."""
    return tf.cast(high > -low, tf.float64)


def _relu(low: tf.Tensor, high: tf.Tensor, slope: float, alpha: tf.Tensor | None) -> Relaxation:
    alpha = steeper(low, high) if alpha is None else alpha
    open_ones = is_open(low, high)
    width = tf.where(open_ones, high - low, tf.ones_like(low))
    chord = (high - slope * low) / width
    fixed = tf.where(low >= 0, tf.ones_like(low), slope * tf.ones_like(low))
    upper_slope = tf.where(open_ones, chord, fixed)
    lower_slope = tf.where(open_ones, slope + (1 - slope) * alpha, fixed)
    zero = tf.zeros_like(low)
    return Relaxation(lower_slope, zero, upper_slope, tf.where(open_ones, (slope - chord) * low, zero))


def _tanh(low: tf.Tensor, high: tf.Tensor) -> Relaxation:
    upper_slope, upper_intercept = _tanh_above(low, high)
    # tanh is odd: its lower line is the upper one of the mirrored interval, mirrored.
    lower_slope, mirrored = _tanh_above(-high, -low)
    return Relaxation(lower_slope, -mirrored, upper_slope, upper_intercept)


def _tanh_above(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Slope and intercept of a line above tanh: the chord where it lies above, else a tangent on the concave side."""
    low, high = tf.stop_gradient(low), tf.stop_gradient(high)
    narrow = high - low < _NARROW
    chord = (tf.tanh(high) - tf.tanh(low)) / tf.where(narrow, tf.ones_like(low), high - low)

    # The tangent at d >= 0 lies above tanh(low) for d from some point on; ``right`` always does.
    def halve(left: tf.Tensor, right: tf.Tensor) -> list[tf.Tensor]:
        middle = (left + right) / 2
        above = tf.tanh(middle) + _derivative(middle) * (low - middle) >= tf.tanh(low)
        return [tf.where(above, left, middle), tf.where(above, middle, right)]

    _, right = repeated(halve, [tf.zeros_like(low), tf.maximum(high, 0.0)], _BISECTIONS)
    touching = tf.where(low >= 0, (low + high) / 2, right)
    tangent = _derivative(touching)
    at_end = tf.tanh(high) + _derivative(high) * (low - high)
    use_chord = ((high <= 0) | ((low < 0) & (at_end < tf.tanh(low)))) & ~narrow
    slope = tf.where(use_chord, chord, tf.where(narrow, tf.zeros_like(low), tangent))
    by_tangent = tf.tanh(touching) - tangent * touching
    by_chord = tf.maximum(tf.tanh(low) - chord * low, tf.tanh(high) - chord * high)
    return slope, tf.where(narrow, tf.tanh(high), tf.where(use_chord, by_chord, by_tangent))


def _derivative(z: tf.Tensor) -> tf.Tensor:
    return 1 - tf.tanh(z) ** 2
