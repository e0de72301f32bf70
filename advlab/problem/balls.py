"""The balls an attack stays in: where it may start, which step is steepest, and how a point is projected.

Every ball is intersected with the box [0, 1] and, where there is a ``mask``, with the images that differ from the
center where it is True alone. Tensors are float32 with rows first, ``(n, h, w, c)``; ``epsilon`` is float64 in pixel
units, a scalar or ``(n, 1, 1, 1)``; ``mask`` is bool ``(n, h, w, c)`` or ``(n, h, w, 1)``, None for every pixel. The
projections are exact on the intersection of ball, box and mask: projecting and then clipping is feasible, but farther
away. A pixel outside the mask is that of the center, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from advlab.problem.norms import headroom, length, total, unit

Draw = Callable[[int, str], tf.Tensor]  # (number of the draw, "uniform" or "normal") -> shape of the images
_TINY = 1e-30
_PIXEL_ROUNDING = 3e-8  # the most that rounding to float32 moves a pixel


class Masked(Protocol):
    """What a mask confines."""

    @property
    def center(self) -> tf.Tensor:
        """The clean images."""

    @property
    def mask(self) -> tf.Tensor | None:
        """The pixels that may change."""


class Ball(Masked, Protocol):
    """What every ball offers; ``steepest`` is left out where a norm has no gradient step of its own."""

    @property
    def epsilon(self) -> tf.Tensor:
        """The radius."""

    @property
    def norm(self) -> str:
        """The name of the norm."""

    def start(self, draw: Draw) -> tf.Tensor:
        """A random point."""

    def steepest(self, gradient: tf.Tensor, x: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """The change of ``x`` of norm ``size`` that raises the loss most."""

    def project(self, x: tf.Tensor) -> tf.Tensor:
        """The nearest point of ball and box."""

    def distance(self, x: tf.Tensor) -> tf.Tensor:
        """float32 ``(n,)``: how far ``x`` is from the center."""


class LinfBall(NamedTuple):
    """Every pixel may change by epsilon. Bounds are computed in float64 and rounded inward."""

    center: tf.Tensor
    epsilon: tf.Tensor
    low: tf.Tensor
    high: tf.Tensor
    mask: tf.Tensor | None = None

    @property
    def norm(self) -> str:
        """The name of the norm."""
        return "linf"

    @classmethod
    def around(cls, center: tf.Tensor, epsilon: tf.Tensor, mask: tf.Tensor | None = None) -> LinfBall:
        """The bounds are worked out once, not at every projection."""
        center64 = tf.cast(center, tf.float64)
        low, high = tf.maximum(center64 - epsilon, 0), tf.minimum(center64 + epsilon, 1)
        low32, high32 = tf.cast(low, tf.float32), tf.cast(high, tf.float32)
        inner_low = tf.math.nextafter(low32, tf.ones_like(low32))
        inner_high = tf.math.nextafter(high32, tf.zeros_like(high32))
        low32 = tf.where(tf.cast(low32, tf.float64) < low, inner_low, low32)
        high32 = tf.where(tf.cast(high32, tf.float64) > high, inner_high, high32)
        if mask is not None:
            low32, high32 = tf.where(mask, low32, center), tf.where(mask, high32, center)
        return cls(center, epsilon, low32, high32, mask)

    def start(self, draw: Draw) -> tf.Tensor:
        """Uniform in the ball, clipped to the box."""
        return self.project(self.center + tf.cast(self.epsilon, tf.float32) * (2 * draw(0, "uniform") - 1))

    def steepest(self, gradient: tf.Tensor, x: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """The change of ``x`` of norm ``size`` that raises the loss most: the sign of the gradient."""
        return size * tf.sign(gradient)

    def project(self, x: tf.Tensor) -> tf.Tensor:
        """The nearest point of ball and box."""
        return tf.clip_by_value(x, self.low, self.high)

    def distance(self, x: tf.Tensor) -> tf.Tensor:
        """float32 ``(n,)``: the largest change of a pixel."""
        return length(x - self.center, "linf")[:, 0, 0, 0]


class L2Ball(NamedTuple):
    """The Euclidean norm of the change is at most epsilon."""

    center: tf.Tensor
    epsilon: tf.Tensor
    mask: tf.Tensor | None = None

    @property
    def norm(self) -> str:
        """The name of the norm."""
        return "l2"

    def start(self, draw: Draw) -> tf.Tensor:
        """Uniform in the ball, clipped to the box."""
        direction = unit(masked(self, draw(0, "normal")))
        radius = draw(1, "uniform")[:, :1, :1, :1] ** (1.0 / dimensions(self))
        return self.project(self.center + tf.cast(self.epsilon, tf.float32) * radius * direction)

    def steepest(self, gradient: tf.Tensor, x: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """The change of norm ``size`` along the gradient; zero where the gradient is zero."""
        return size * unit(gradient)

    def project(self, x: tf.Tensor) -> tf.Tensor:
        """The nearest point of ball and box: ``clip(s d)`` with the largest s in [0, 1] that is inside.

        The squared norm is concave and piecewise linear in u = s**2, so Newton's iteration from the left ends at the
        exact root after finitely many steps, and never leaves the ball on the way.
        """
        change = masked(self, x - self.center)
        room = headroom(self.center, change > 0) ** 2
        squares = change**2
        budget = _safe_radius(self.epsilon, _PIXEL_ROUNDING * _pixels(change) ** 0.5) ** 2
        squared_norm = tf.maximum(total(squares), _TINY)

        def not_converged(iteration: tf.Tensor, u: tf.Tensor, increment: tf.Tensor) -> tf.Tensor:
            return (iteration < 50) & tf.reduce_any(increment > 1e-7 * u)

        def newton(iteration: tf.Tensor, u: tf.Tensor, increment: tf.Tensor) -> tuple[tf.Tensor, ...]:
            is_clipped = u * squares >= room
            value = total(tf.where(is_clipped, room, u * squares))
            slope = total(tf.where(is_clipped, tf.zeros_like(squares), squares))
            next_u = tf.where(slope > 0, u + tf.nn.relu(budget - value) / tf.maximum(slope, _TINY), tf.ones_like(u))
            next_u = tf.minimum(next_u, 1)
            return iteration + 1, next_u, next_u - u

        initial_u = tf.minimum(budget / squared_norm, 1)
        _, u, _ = tf.while_loop(not_converged, newton, (tf.constant(0), initial_u, initial_u))
        return tf.clip_by_value(self.center + tf.sqrt(u) * change, 0, 1)

    def distance(self, x: tf.Tensor) -> tf.Tensor:
        """float32 ``(n,)``: the Euclidean norm of the change."""
        return length(x - self.center, "l2")[:, 0, 0, 0]


class L1Ball(NamedTuple):
    """The absolute changes add up to at most epsilon."""

    center: tf.Tensor
    epsilon: tf.Tensor
    mask: tf.Tensor | None = None

    @property
    def norm(self) -> str:
        """The name of the norm."""
        return "l1"

    def start(self, draw: Draw) -> tf.Tensor:
        """Uniform in the ball, clipped to the box."""
        direction = -tf.math.log1p(-draw(0, "uniform")) * tf.sign(draw(1, "uniform") - 0.5)
        direction = masked(self, direction)
        direction /= total(tf.abs(direction)) + _TINY
        radius = draw(2, "uniform")[:, :1, :1, :1] ** (1.0 / dimensions(self))
        return self.project(self.center + tf.cast(self.epsilon, tf.float32) * radius * direction)

    def steepest(self, gradient: tf.Tensor, x: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """The change of norm ``size`` inside the box that raises the loss most.

        The pixels of largest gradient move, each as far as it can, until the size is used up; those at the box do not.
        """
        room = headroom(x, gradient > 0)
        magnitude = tf.where(room > 0, tf.abs(gradient), tf.zeros_like(gradient))
        size = tf.cast(size, tf.float32) * tf.ones_like(magnitude[:, :1, :1, :1])

        def halve(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            middle = (low + high) / 2
            fits = total(tf.where(magnitude > middle, room, tf.zeros_like(room))) <= size
            return tf.where(fits, low, middle), tf.where(fits, middle, high)

        largest = length(magnitude, "linf")
        low, high = _repeat(24, halve, (tf.zeros_like(largest), largest))  # float32 resolves no finer threshold
        full = tf.where(magnitude > high, room, tf.zeros_like(room))
        partial = tf.where((magnitude > low) & (magnitude <= high), room, tf.zeros_like(room))
        fraction = tf.nn.relu(size - total(full)) / tf.maximum(total(partial), _TINY)
        return tf.sign(gradient) * (full + partial * tf.minimum(fraction, 1))

    def project(self, x: tf.Tensor) -> tf.Tensor:
        """The nearest point of ball and box: ``clip(soft(d, t))`` with the smallest threshold t that is inside."""
        change = masked(self, x - self.center)
        magnitude = tf.abs(change)
        room = headroom(self.center, change > 0)
        budget = _safe_radius(self.epsilon, _PIXEL_ROUNDING * _pixels(change))

        # The norm is piecewise linear and decreasing in t: Newton's iteration ends on the root's own piece; bisection
        # takes over where a step would leave the interval that holds the root.
        def newton(
            iteration: tf.Tensor, t: tf.Tensor, low: tf.Tensor, high: tf.Tensor, is_open: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            soft = magnitude - t
            norm = total(tf.clip_by_value(soft, 0, room))
            slope = total(tf.cast((soft > 0) & (soft < room), tf.float32))
            is_outside = norm > budget
            low, high = tf.where(is_outside, t, low), tf.where(is_outside, high, t)
            is_open = is_outside | ((t > 0) & (norm < budget * (1 - 2e-6)))
            next_t = t + (norm - budget * (1 - 1e-6)) / tf.maximum(slope, _TINY)
            next_t = tf.where((next_t > low) & (next_t < high), next_t, (low + high) / 2)
            return iteration + 1, tf.where(is_open, next_t, t), low, high, is_open

        zero = tf.zeros_like(magnitude[:, :1, :1, :1])
        largest = length(magnitude, "linf")
        _, t, _, high, is_open = tf.while_loop(
            lambda iteration, t, low, high, is_open: (iteration < 50) & tf.reduce_any(is_open),
            newton,
            (tf.constant(0), zero, zero, largest, zero == 0),
        )
        return self.center + tf.sign(change) * tf.clip_by_value(magnitude - tf.where(is_open, high, t), 0, room)

    def distance(self, x: tf.Tensor) -> tf.Tensor:
        """float32 ``(n,)``: the sum of the absolute changes."""
        return length(x - self.center, "l1")[:, 0, 0, 0]


class L0Ball(NamedTuple):
    """At most epsilon image positions change, in any way; all channels of a position count as one."""

    center: tf.Tensor
    epsilon: tf.Tensor
    mask: tf.Tensor | None = None

    @property
    def norm(self) -> str:
        """The name of the norm."""
        return "l0"

    def start(self, draw: Draw) -> tf.Tensor:
        """Random positions, uniform values."""
        order = draw(0, "uniform")[..., 0]
        if self.mask is not None:
            order = tf.where(tf.reduce_any(self.mask, -1), order, -1)
        return restricted(self, tf.where(self._largest(order), draw(1, "uniform"), self.center))

    def project(self, x: tf.Tensor) -> tf.Tensor:
        """The nearest point of ball and box: the changes that are most costly to undo are kept."""
        x = restricted(self, x)
        clipped = tf.clip_by_value(x, 0, 1)
        gain = tf.reduce_sum((x - self.center) ** 2 - (x - clipped) ** 2, -1)
        return tf.where(self._largest(gain), clipped, self.center)

    def distance(self, x: tf.Tensor) -> tf.Tensor:
        """float32 ``(n,)``: the number of positions that differ."""
        return length(x - self.center, "l0")[:, 0, 0, 0]

    def _largest(self, values: tf.Tensor) -> tf.Tensor:
        """bool ``(n, h, w, 1)``: the epsilon positions with the largest values."""
        flat = tf.reshape(values, [tf.shape(values)[0], -1])
        rank = tf.argsort(tf.argsort(flat, direction="DESCENDING", stable=True))
        is_largest = tf.cast(rank, tf.float64) < tf.reshape(tf.floor(self.epsilon), [-1, 1])
        return tf.reshape(is_largest, tf.shape(values))[..., None]


class Box(NamedTuple):
    """Any image with pixels in [0, 1]: no limit on the change, whose size is its Euclidean norm."""

    center: tf.Tensor
    epsilon: tf.Tensor
    mask: tf.Tensor | None = None

    @property
    def norm(self) -> str:
        """The name of the norm."""
        return "none"

    def start(self, draw: Draw) -> tf.Tensor:
        """A uniformly random image."""
        return restricted(self, draw(0, "uniform"))

    def project(self, x: tf.Tensor) -> tf.Tensor:
        """The nearest image in the box."""
        return restricted(self, tf.clip_by_value(x, 0, 1))

    def distance(self, x: tf.Tensor) -> tf.Tensor:
        """float32 ``(n,)``: the Euclidean norm of the change."""
        return length(x - self.center, "l2")[:, 0, 0, 0]


BALLS: dict[str, Callable[..., Any]] = {  # norm -> ball(center, epsilon, mask=None)
    "linf": LinfBall.around,
    "l2": L2Ball,
    "l1": L1Ball,
    "l0": L0Ball,
    "none": Box,
}


def resized(ball: Ball, epsilon: tf.Tensor) -> Any:
    """The ball of the same norm, center and mask with another radius."""
    return BALLS[ball.norm](ball.center, epsilon, ball.mask)


def restricted(ball: Masked, x: tf.Tensor) -> tf.Tensor:
    """``x`` where the mask lets pixels change, and the center elsewhere."""
    return x if ball.mask is None else tf.where(ball.mask, x, ball.center)


def masked(ball: Masked, change: tf.Tensor) -> tf.Tensor:
    """The change, zero where the mask lets no pixel change."""
    return change if ball.mask is None else tf.where(ball.mask, change, tf.zeros_like(change))


def dimensions(ball: Masked) -> float | tf.Tensor:
    """How many pixels, over all channels, may change: a number, or with a mask float32 ``(n, 1, 1, 1)``."""
    if ball.mask is None:
        return _pixels(ball.center)
    return total(tf.cast(ball.mask, tf.float32)) * (ball.center.shape[3] / ball.mask.shape[3])


def _pixels(x: tf.Tensor) -> float:
    return float(x.shape[1] * x.shape[2] * x.shape[3])


def _safe_radius(epsilon: tf.Tensor, rounding: float) -> tf.Tensor:
    """float32: a radius a little smaller, so that the rounding of sums and of pixels does not leave the ball."""
    return tf.cast(tf.maximum(epsilon * (1 - 1e-6) - rounding, 0), tf.float32)


def _repeat(
    count: int, body: Callable[..., tuple[tf.Tensor, ...]], values: tuple[tf.Tensor, ...]
) -> tuple[tf.Tensor, ...]:
    return tuple(
        tf.while_loop(lambda i, *_: i < count, lambda i, *v: (i + 1, *body(*v)), (tf.constant(0), *values))[1:]
    )
