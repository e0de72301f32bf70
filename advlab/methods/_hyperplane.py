"""The nearest linearised class boundary, and the smallest change that reaches it without leaving the box [0, 1].

Croce, Hein 2019, arXiv:1907.02044, section 2.2, solved without sorting. ``x`` and ``normal`` are float32
``(n, h, w, c)``; ``rise``, float32 ``(n, 1, 1, 1)``, is by how much ``sum(normal * change)`` has to grow, or, if it is
negative, to shrink. Where the box does not let the plane be reached, every pixel goes as far as it can.
"""

from __future__ import annotations

import tensorflow as tf

from advlab.problem.norms import headroom, l1_normalized, length, total
from advlab.problem.problem import Problem

DUAL = {"linf": "l1", "l2": "l2", "l1": "linf"}
_TINY = 1e-20
_NEGLIGIBLE = 1e-9  # of the sum of all gradients, which is lost in its rounding
_MAX_RISE = 1e9  # more than any image can rise along a normal whose entries add up to 1


def boundary(problem: Problem, x: tf.Tensor, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Normal and height of the linearised boundary to cross: other logit minus label's, at ``x``, and its gradient.

    Away from the label the nearest boundary will do. A class aimed at has to overtake every other: there it is the
    aim's logit minus the other's, and the boundary that is farthest. One backward pass for each class but one.
    """
    classes, has_aim = logits.shape[-1], problem.aim >= 0
    reference = tf.where(has_aim, problem.aim, problem.labels)[:, None]
    others = (reference + tf.range(1, classes)) % classes
    sign = tf.where(has_aim, -1.0, 1.0)[:, None, None]
    weights = sign * (tf.one_hot(others, classes) - tf.one_hot(reference, classes))
    normals = problem.pullback(x, weights)
    heights = tf.linalg.matvec(weights, logits)[:, :, None, None, None]
    unit, scale = l1_normalized(normals)
    distances = (heights * scale / tf.maximum(length(unit, DUAL[problem.ball.norm]), _TINY))[:, :, 0, 0, 0]
    nearest = tf.argmin(tf.where(has_aim[:, None], distances, tf.abs(distances)), -1)
    return tf.gather(normals, nearest, batch_dims=1), tf.gather(heights, nearest, batch_dims=1)


def cost(problem: Problem) -> tuple[int, int]:
    """The forward and backward passes of ``boundary``."""
    return 1, problem.logits(problem.x).shape[-1] - 1


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
