"""The images that a certificate speaks of: a ball around each image, intersected with the box [0, 1]."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from advlab.certification.nodes import repeated
from advlab.errors import unknown

NORMS = ("linf", "l2", "l1")
_L2_ROUNDS, _L1_ROUNDS = 8, 25
_TINY = 1e-30


class Region(NamedTuple):
    """``n`` regions of flattened images, float64 ``(n, d)``: ``lower <= x <= upper`` and ``|x - center| <= epsilon``.

    ``epsilon`` is ``(n, 1)``. Under ``linf`` the box says it all.
    """

    norm: str
    center: tf.Tensor
    epsilon: tf.Tensor
    lower: tf.Tensor
    upper: tf.Tensor

    def minimum(self, coefficients: tf.Tensor, slack: tf.Tensor | float = 0.0) -> tf.Tensor:
        """``(n, r)``: the least of ``coefficients · x`` for coefficients ``(m, r, d)``, m either n or 1.

        Less ``slack``, a number or ``(n, 1)``, times the sum of the absolute coefficients. Exact up to rounding under
        ``linf``. Under ``l2`` and ``l1`` the Lagrangian of the ball, minimised over the box, at a multiplier found by a
        few Newton steps or bisections: a lower bound whatever the multiplier.
        """
        if self.norm == "linf":
            middle, radius = (self.lower + self.upper) / 2, (self.upper - self.lower) / 2
            return _dot(coefficients, middle) - _dot(tf.abs(coefficients), radius + slack)
        down, up = self._room()
        change = _l2_minimum if self.norm == "l2" else _l1_minimum
        spared = slack * tf.reduce_sum(tf.abs(coefficients), 2)
        return _dot(coefficients, self.center) + change(coefficients, down, up, self.epsilon) - spared

    def minimiser(self, coefficients: tf.Tensor) -> tf.Tensor:
        """``(n, d)``: an image of the region with the least, or under ``l2`` and ``l1`` a small, ``coefficients · x``.

        ``coefficients`` are ``(n, d)``.
        """
        if self.norm == "linf":
            return tf.where(coefficients > 0, self.lower, self.upper)
        down, up = (room[:, 0] for room in self._room())
        if self.norm == "l2":
            size = tf.norm(coefficients, axis=1, keepdims=True) + _TINY
            return self.center + tf.clip_by_value(-self.epsilon * coefficients / size, -down, up)
        room = tf.where(coefficients > 0, down, up)
        order = tf.argsort(-tf.abs(coefficients), axis=1)
        ordered = tf.gather(room, order, axis=1, batch_dims=1)
        used = tf.clip_by_value(self.epsilon - tf.cumsum(ordered, axis=1, exclusive=True), 0.0, ordered)
        back = tf.gather(used, tf.argsort(order, axis=1), axis=1, batch_dims=1)
        return self.center - tf.sign(coefficients) * back

    def interval(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Least and largest value of each pixel, ``(n, d)``."""
        return self.lower, self.upper

    def _room(self) -> tuple[tf.Tensor, tf.Tensor]:
        """How far each pixel may fall and rise, ``(n, 1, d)``."""
        return (self.center - self.lower)[:, None], (self.upper - self.center)[:, None]


def region_of(x: np.ndarray, norm: str, epsilon: float | np.ndarray) -> Region:
    """The regions of radius ``epsilon``, one number or ``(n,)``, around images ``(n, h, w, c)`` in [0, 1]."""
    if norm not in NORMS:
        raise unknown("norm with bounds", norm, NORMS)
    center = tf.constant(np.asarray(x, np.float64).reshape(len(x), -1))
    radius = tf.constant(np.broadcast_to(np.asarray(epsilon, np.float64).reshape(-1, 1), (len(x), 1)))
    return Region(norm, center, radius, tf.maximum(center - radius, 0.0), tf.minimum(center + radius, 1.0))


def rows_of(region: Region, rows: tf.Tensor) -> Region:
    """The regions with these numbers."""
    return Region(region.norm, *(tf.gather(part, rows) for part in region[1:]))


def _dot(coefficients: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
    """``(n, r)`` from ``(m, r, d)`` and ``(n, d)``: one product of matrices where all images share the coefficients."""
    if coefficients.shape[0] == 1:
        return tf.matmul(vector, coefficients[0], transpose_b=True)
    return tf.linalg.matvec(coefficients, vector)


def _l2_minimum(a: tf.Tensor, down: tf.Tensor, up: tf.Tensor, epsilon: tf.Tensor) -> tf.Tensor:
    """``max over the multiplier of sum min (a d + multiplier d^2) - multiplier epsilon^2`` over ``-down <= d <= up``.

    The multiplier starts at that of the ball without a box. Each round solves for it with the pixels at the end of
    their room held there: it falls towards the best one and never below.
    """
    budget = epsilon**2

    def change(multiplier: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(-a / (2 * multiplier[..., None]), -down, up)

    def solve(multiplier: tf.Tensor) -> list[tf.Tensor]:
        delta = change(multiplier)
        held = (delta <= -down) | (delta >= up)
        rest = budget - tf.reduce_sum(tf.where(held, delta**2, tf.zeros_like(delta)), 2)
        free = tf.reduce_sum(tf.where(held, tf.zeros_like(delta), a**2), 2)
        solved = tf.sqrt(free / tf.maximum(4 * rest, _TINY))
        return [tf.maximum(tf.minimum(multiplier, solved), _TINY)]

    first = tf.maximum(tf.norm(a, axis=2) / (2 * epsilon), _TINY)
    [multiplier] = repeated(solve, [first], _L2_ROUNDS)
    delta = tf.stop_gradient(change(multiplier))
    return tf.reduce_sum(delta * (a + multiplier[..., None] * delta), 2) - multiplier * budget


def _l1_minimum(a: tf.Tensor, down: tf.Tensor, up: tf.Tensor, epsilon: tf.Tensor) -> tf.Tensor:
    """``max over the multiplier of -sum room max(|a| - multiplier, 0) - multiplier epsilon``, by bisection."""
    size, room = tf.abs(a), tf.where(a > 0, down, up)

    def halve(low: tf.Tensor, high: tf.Tensor) -> list[tf.Tensor]:
        middle = (low + high) / 2
        spent = tf.reduce_sum(tf.where(size > middle[..., None], room, tf.zeros_like(size)), 2)
        return [tf.where(spent > epsilon, middle, low), tf.where(spent > epsilon, high, middle)]

    _, multiplier = repeated(halve, [tf.zeros_like(a[..., 0]), tf.reduce_max(size, 2)], _L1_ROUNDS)
    return -tf.reduce_sum(room * tf.maximum(size - multiplier[..., None], 0.0), 2) - multiplier * epsilon
