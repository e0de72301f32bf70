"""The nearest linearised class boundary, and the smallest change that reaches it without leaving the box [0, 1].

Croce, Hein 2019, arXiv:1907.02044, section 2.2, solved without sorting. ``x`` and ``normal`` are float32
``(n, h, w, c)``; ``rise``, float32 ``(n, 1, 1, 1)``, is by how much ``sum(normal * change)`` has to grow, or, if it is
negative, to fall. Where the box does not let the plane be reached, every pixel goes as far as it can.
"""

from __future__ import annotations

import tensorflow as tf

from advlab.problem.norms import headroom, l1_normalized, length, total
from advlab.problem.problem import Problem

DUAL = {"linf": "l1", "l2": "l2", "l1": "linf"}
_TINY = 1e-20
_FAR = 1e9  # more than any image can rise along a normal whose entries add up to 1


def boundary(problem: Problem, x: tf.Tensor, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Normal and height of the linearised boundary to cross: other logit minus label's, at ``x``, and its gradient.

    Away from the label the nearest boundary will do. A class aimed at has to overtake every other: there it is the
    aim's logit minus the other's, and the boundary that is farthest. One backward pass for each class but one.
    """
    classes, aimed = logits.shape[-1], problem.aim >= 0
    own = tf.where(aimed, problem.aim, problem.labels)[:, None]
    others = (own + tf.range(1, classes)) % classes
    sign = tf.where(aimed, -1.0, 1.0)[:, None, None]
    weights = sign * (tf.one_hot(others, classes) - tf.one_hot(own, classes))
    normals = problem.pullback(x, weights)
    heights = tf.linalg.matvec(weights, logits)[:, :, None, None, None]
    unit, scale = l1_normalized(normals)
    far = (heights * scale / tf.maximum(length(unit, DUAL[problem.ball.norm]), _TINY))[:, :, 0, 0, 0]
    chosen = tf.argmin(tf.where(aimed[:, None], far, tf.abs(far)), -1)
    return tf.gather(normals, chosen, batch_dims=1), tf.gather(heights, chosen, batch_dims=1)


def cost(problem: Problem) -> tuple[int, int]:
    """The forward and backward passes of ``boundary``."""
    return 1, problem.logits(problem.x).shape[-1] - 1


def reach(x: tf.Tensor, normal: tf.Tensor, rise: tf.Tensor, norm: str) -> tuple[tf.Tensor, tf.Tensor]:
    """The smallest change of ``x``, measured in ``norm``, raising ``sum(normal * change)`` by ``rise``; its size."""
    normal, scale = l1_normalized(normal)
    rise *= scale
    gain = tf.abs(normal)
    room = headroom(x, (normal > 0) == (rise > 0))
    short = tf.minimum(tf.abs(rise), _FAR)
    walk, far = _fill(gain, room, short) if norm == "l1" else _spread(gain, room, short, norm)
    return tf.sign(rise) * tf.sign(normal) * walk, far


def _spread(gain: tf.Tensor, room: tf.Tensor, rise: tf.Tensor, norm: str) -> tuple[tf.Tensor, tf.Tensor]:
    """All pixels move at once, in l2 each as fast as it gains, until they meet the box.

    What is gained is concave and piecewise linear in the time, so Newton's iteration from the left ends at the exact
    root after finitely many steps, four of them as a rule.
    """
    zero = tf.zeros_like(gain)

    def way(time: tf.Tensor) -> tf.Tensor:
        return time * gain if norm == "l2" else time * tf.ones_like(gain)

    def moves(count: tf.Tensor, time: tf.Tensor, ahead: tf.Tensor) -> tf.Tensor:
        return (count < 50) & tf.reduce_any(ahead > 1e-4 * time)

    def newton(count: tf.Tensor, time: tf.Tensor, ahead: tf.Tensor) -> tuple[tf.Tensor, ...]:
        free = way(time) < room
        slope = total(tf.where(free, gain**2 if norm == "l2" else gain, zero))
        gained = total(tf.where(free, zero, gain * room))
        root = tf.where(slope > _TINY, (rise - gained) / tf.maximum(slope, _TINY), time)
        return count + 1, tf.maximum(root, time), root - time

    _, time, _ = tf.while_loop(moves, newton, (tf.constant(0), tf.zeros_like(rise), tf.ones_like(rise)))
    walk = tf.minimum(way(time), room)
    # In linf all go as far as the time says, or the plane is out of reach.
    return walk, length(walk, "l2") if norm == "l2" else tf.minimum(time, 1)


def _fill(gain: tf.Tensor, room: tf.Tensor, rise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The pixels that gain most go all the way, one after the other; the last goes as far as is needed."""
    worth, zero = gain * room, tf.zeros_like(gain)

    def halve(count: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, ...]:
        middle = (low + high) / 2
        enough = total(tf.where(gain > middle, worth, zero)) >= rise
        return count + 1, tf.where(enough, middle, low), tf.where(enough, high, middle)

    # Halved so often, the threshold is known to the last bit; the pixels between its bounds gain the same.
    bounds = (tf.constant(0), tf.zeros_like(rise), length(gain, "linf"))
    _, low, high = tf.while_loop(lambda count, *_: count < 24, halve, bounds)
    full = tf.where(gain > high, room, zero)
    edge = tf.where((gain > low) & (gain <= high), room, zero)
    rest = tf.nn.relu(rise - total(gain * full)) / tf.maximum(total(gain * edge), _TINY)
    walk = full + edge * tf.minimum(rest, 1)
    return walk, total(walk)
