"""Jacobian saliency map attack (L0): pairs of pixels turn white, those that help one class against all others most.

Papernot et al. 2015, "The limitations of deep learning in adversarial settings", arXiv:1511.07528, algorithm 3: among
the positions not yet white, the pair p, q whose slopes of the logit aimed at sum to ``a > 0``, and those of all other
logits to ``b < 0``, with the largest ``-a b``. Without a class to aim at, the likeliest wrong one at each look is it.
In colour a position is one unit: its channels' slopes are added up, and all of its channels become white.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from advlab.problem.problem import Loop, Problem, Query, State

NORMS = ("l0",)
GOAL = "minimal"


def craft(problem: Problem, *, fraction: float = 0.145, increase: bool = True, n_target_classes: int = 0) -> Loop:
    """At most ``fraction`` of the positions change; without ``increase`` they turn black instead of white."""
    shape = problem.x.shape[1:]
    positions, limit = shape[0] * shape[1], float(increase)

    def start() -> State:
        return {"x": problem.x, "done": tf.zeros_like(problem.labels, tf.bool)}

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        classes = query.logits.shape[-1]
        wrong = tf.where(tf.one_hot(problem.labels, classes) > 0, np.float32(-np.inf), query.logits)
        aim = tf.where(problem.aim >= 0, problem.aim, tf.argmax(wrong, -1, tf.int32))
        towards = tf.one_hot(aim, classes)
        slopes = problem.pullback(query.x, tf.stack([towards, towards - 1], 1))
        slopes = slopes if increase else -slopes

        spent = query.success | (2 * tf.cast(step + 1, tf.float32) > fraction * positions)
        free = (query.x != limit) & ~(state["done"] | spent)[:, None, None, None]
        slopes = tf.reduce_sum(tf.where(free[:, None], slopes, tf.zeros_like(slopes)), -1)
        # Scaled by its largest entry first: products of tiny slopes would underflow.
        slopes /= tf.maximum(tf.reduce_max(tf.abs(slopes), [2, 3], keepdims=True), 1e-30)
        slopes = tf.where(tf.reduce_any(free, -1)[:, None], slopes, np.float32(-np.inf))
        pair = tf.reshape(best_pair(tf.reshape(slopes, [-1, 2, positions])), [-1, *shape[:2], 1])
        return {"x": tf.where(pair, limit, query.x), "done": ~tf.reduce_any(pair, [1, 2, 3])}

    return Loop(positions // 2, start, update, loss="difference", gradient=False, extra=(1, 2))


def best_pair(slopes: tf.Tensor) -> tf.Tensor:
    """bool ``(b, d)``: the two of d points, float32 ``(b, 2, d)``, whose sum ``(x, y)`` has the largest product.

    Both coordinates of the sum are positive; no point is marked where no pair is so. Exact, without looking at all
    pairs: ``4 x y <= (r x + y / r)**2`` for any r, so a pair's product is at most the square of the larger of its two
    weights, ``r x + y / r`` of a point. Points are paired with all others in the order of their weights, until these
    are too small. The r at which the bound of the best pair so far is tight makes that few points for most samples.
    """

    def weigh(left: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
        hopeful = tf.reduce_all(left + tf.reduce_max(left, -1, keepdims=True) > 0, 1)
        return tf.where(hopeful, tf.nn.relu(tf.reduce_sum(scale * left, 1)), tf.zeros_like(left[:, 0]))

    def open_(best: tf.Tensor, weights: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(weights**2 > best)

    def grow(best: tf.Tensor, weights: tf.Tensor, left: tf.Tensor, scale: tf.Tensor, pair: tf.Tensor) -> tuple:
        heaviest = tf.argmax(weights, -1)
        here = _mark(heaviest, left)
        point = tf.gather(left, heaviest, axis=2, batch_dims=1)[..., None]
        left = tf.where(here[:, None], np.float32(-np.inf), left)
        sums = tf.nn.relu(left + point)
        partner = tf.argmax(tf.reduce_prod(sums, 1), -1)
        total = tf.gather(sums, partner, axis=2, batch_dims=1)[..., None]
        product = tf.reduce_prod(total, 1)
        better = product > best
        scale = tf.where(better[..., None], tf.sqrt(total[:, ::-1] / total), scale)
        pair = tf.where(better, here | _mark(partner, left), pair)
        return tf.maximum(best, product), weigh(left, scale), left, scale, pair

    scale, best = tf.ones_like(slopes[:, :, :1]), tf.zeros_like(slopes[:, 0, :1])
    pair = tf.zeros_like(slopes[:, 0], tf.bool)
    return tf.while_loop(open_, grow, (best, weigh(slopes, scale), slopes, scale, pair))[-1]


def _mark(index: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
    return tf.one_hot(index, points.shape[-1], on_value=True, off_value=False)
