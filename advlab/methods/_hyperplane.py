"""The nearest linearised class boundary, and the smallest change that reaches it without leaving the box [0, 1].

Croce, Hein 2019, arXiv:1907.02044, section 2.2, solved without sorting. ``x`` and ``normal`` are float32
``(n, h, w, c)``; ``rise``, float32 ``(n, 1, 1, 1)``, is by how much ``sum(normal * change)`` has to grow, or, if it is
negative, to shrink. Where the box does not let the plane be reached, every pixel goes as far as it can.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from advlab.problem.norms import headroom, l1_normalized, length, total
from advlab.problem.problem import Problem

DUAL = {"linf": "l1", "l2": "l2", "l1": "linf"}
_TINY = 1e-20
_NEGLIGIBLE = 1e-9  # of the sum of all gradients, which is lost in its rounding
_MAX_RISE = 1e9  # more than any image can rise along a normal whose entries add up to 1


def boundary(problem: Problem, x: tf.Tensor, logits: tf.Tensor, candidates: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Normal and height of the linearised boundary to cross: other logit minus label's, at ``x``, and its gradient.

    Away from the label the nearest boundary will do. A class aimed at has to overtake every other: there it is the
    aim's logit minus the other's, and the boundary that is farthest. Only the ``candidates`` likeliest classes are
    looked at, the label or the aim among them: a forward and a backward pass for each but one. Where the label is to
    leave the ``top`` likeliest, the boundary is that of the other class at this place.
    """
    classes, has_aim = logits.shape[-1], problem.aim >= 0
    reference = tf.one_hot(tf.where(has_aim, problem.aim, problem.labels), classes)
    count = problem.top if problem.top > 1 else _others(classes, candidates)
    others = tf.math.top_k(tf.where(reference > 0, logits.dtype.min, logits), count)[1][:, problem.top - 1 :]
    sign = tf.where(has_aim, -1.0, 1.0)[:, None]

    def look_at(number: tf.Tensor, nearest: tf.Tensor, *boundary: tf.Tensor) -> tuple[tf.Tensor, ...]:
        weights = sign * (tf.one_hot(others[:, number], classes) - reference)
        normal, height = problem.pullback(x, weights), tf.reduce_sum(weights * logits, -1)[:, None, None, None]
        unit, scale = l1_normalized(normal)
        distance = height * scale / tf.maximum(length(unit, DUAL[problem.ball.norm]), _TINY)
        distance = tf.where(has_aim[:, None, None, None], distance, tf.abs(distance))
        is_nearer = distance < nearest
        pairs = zip((distance, normal, height), (nearest, *boundary), strict=True)
        return number + 1, *(tf.where(is_nearer, new, old) for new, old in pairs)

    row = tf.zeros_like(x[:, :1, :1, :1])
    _, _, normal, height = tf.while_loop(
        lambda number, *_: number < others.shape[1], look_at, (tf.constant(0), row + np.inf, tf.zeros_like(x), row)
    )
    return normal, height


def cost(problem: Problem, candidates: int) -> tuple[int, int]:
    """The forward and backward passes of ``boundary``."""
    passes = 1 if problem.top > 1 else _others(problem.logits(problem.x).shape[-1], candidates)
    return passes, passes


def _others(classes: int, candidates: int) -> int:
    return max(min(candidates, classes) - 1, 1)


def reach(x: tf.Tensor, normal: tf.Tensor, rise: tf.Tensor, norm: str) -> tuple[tf.Tensor, tf.Tensor]:
    """The smallest change of ``x``, measured in ``norm``, raising ``sum(normal * change)`` by ``rise``; its size."""
    normal, scale = l1_normalized(normal)
    # Towards a plane out of reach every pixel goes all the way: those whose gradient is noise had better stay.
    normal = tf.where(tf.abs(normal) > _NEGLIGIBLE, normal, tf.zeros_like(normal))
    rise *= scale
    gain = tf.abs(normal)
    room = headroom(x, (normal > 0) == (rise > 0))
    size = tf.minimum(tf.abs(rise), _MAX_RISE)
    move, distance = _fill(gain, room, size) if norm == "l1" else _spread(gain, room, size, norm)
    return tf.sign(rise) * tf.sign(normal) * move, distance


def _spread(gain: tf.Tensor, room: tf.Tensor, rise: tf.Tensor, norm: str) -> tuple[tf.Tensor, tf.Tensor]:
    """All pixels move at once, in l2 each as fast as it gains, until they meet the box.

    The gain is concave and piecewise linear in the time, so Newton's iteration from the left ends at the exact
    root after finitely many steps, four of them as a rule.
    """
    zero = tf.zeros_like(gain)

    def move_at(time: tf.Tensor) -> tf.Tensor:
        return time * gain if norm == "l2" else time * tf.ones_like(gain)

    def not_converged(iteration: tf.Tensor, time: tf.Tensor, increment: tf.Tensor) -> tf.Tensor:
        return (iteration < 50) & tf.reduce_any(increment > 1e-4 * time)

    def newton(iteration: tf.Tensor, time: tf.Tensor, increment: tf.Tensor) -> tuple[tf.Tensor, ...]:
        is_free = move_at(time) < room
        slope = total(tf.where(is_free, gain**2 if norm == "l2" else gain, zero))
        clipped_gain = total(tf.where(is_free, zero, gain * room))
        root = tf.where(slope > _TINY, (rise - clipped_gain) / tf.maximum(slope, _TINY), time)
        return iteration + 1, tf.maximum(root, time), root - time

    _, time, _ = tf.while_loop(not_converged, newton, (tf.constant(0), tf.zeros_like(rise), tf.ones_like(rise)))
    move = tf.minimum(move_at(time), room)
    # In linf the size is the time itself, unless the plane is out of reach.
    return move, length(move, "l2") if norm == "l2" else tf.minimum(time, 1)


def _fill(gain: tf.Tensor, room: tf.Tensor, rise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The pixels that gain most go all the way, one after the other; the last goes as far as is needed."""
    full_gain, zero = gain * room, tf.zeros_like(gain)

    def halve(iteration: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, ...]:
        middle = (low + high) / 2
        is_enough = total(tf.where(gain > middle, full_gain, zero)) >= rise
        return iteration + 1, tf.where(is_enough, middle, low), tf.where(is_enough, high, middle)

    # Halved so often, the threshold is known to the last bit; the pixels between its bounds gain the same.
    bounds = (tf.constant(0), tf.zeros_like(rise), length(gain, "linf"))
    _, low, high = tf.while_loop(lambda iteration, *_: iteration < 24, halve, bounds)
    full = tf.where(gain > high, room, zero)
    partial = tf.where((gain > low) & (gain <= high), room, zero)
    fraction = tf.nn.relu(rise - total(gain * full)) / tf.maximum(total(gain * partial), _TINY)
    move = full + partial * tf.minimum(fraction, 1)
    return move, total(move)
