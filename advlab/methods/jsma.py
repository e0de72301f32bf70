"""Jacobian saliency map attack (L0): pairs of pixels turn white, those that help one class against all others most.

Papernot et al. 2015, "The limitations of deep learning in adversarial settings", arXiv:1511.07528, algorithm 3: among
the positions not yet white, the pair p, q whose gradients of the logit aimed at sum to ``a > 0``, and of all other
logits to ``b < 0``, with the largest ``-a b``. Without a class to aim at, it is the likeliest wrong one at each query.
In colour a position is one unit: its channels' gradients are added up, and all of its channels become white.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from advlab.problem.problem import Loop, Problem, Query, State

NORMS = ("l0",)
GOAL = "minimal"


def craft(problem: Problem, *, fraction: float = 0.145, increase: bool = True, n_target_classes: int = 0) -> Loop:
    """Two positions change at each step.

    Args:
        fraction: Of the positions that change, at most.
        increase: Whether they turn white; otherwise black.
        n_target_classes: Aim at so many likely wrong classes, one after the other; 0: at the likeliest.
    """
    shape = problem.x.shape[1:]
    positions = shape[0] * shape[1]
    limit = problem.restrict(tf.zeros_like(problem.x) + float(increase))  # what a pixel that may change becomes

    def start() -> State:
        return {"x": problem.x, "done": tf.zeros_like(problem.labels, tf.bool)}

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        classes = query.logits.shape[-1]
        wrong = tf.where(tf.one_hot(problem.labels, classes) > 0, np.float32(-np.inf), query.logits)
        likeliest = tf.math.top_k(wrong, problem.top)[1][:, -1]
        aim = tf.where(problem.aim >= 0, problem.aim, likeliest)
        towards = tf.one_hot(aim, classes)
        gradients = tf.stack([problem.pullback(query.x, weights) for weights in (towards, towards - 1)], 1)
        gradients = gradients if increase else -gradients

        is_finished = query.success | (2 * tf.cast(step + 1, tf.float32) > fraction * positions)
        free = (query.x != limit) & ~(state["done"] | is_finished)[:, None, None, None]
        gradients = tf.reduce_sum(tf.where(free[:, None], gradients, tf.zeros_like(gradients)), -1)
        # Scaled by its largest entry first: products of tiny gradients would underflow.
        gradients /= tf.maximum(tf.reduce_max(tf.abs(gradients), [2, 3], keepdims=True), 1e-30)
        gradients = tf.where(tf.reduce_any(free, -1)[:, None], gradients, np.float32(-np.inf))
        pair = tf.reshape(best_pair(tf.reshape(gradients, [-1, 2, positions])), [-1, *shape[:2], 1])
        return {"x": tf.where(pair, limit, query.x), "done": ~tf.reduce_any(pair, [1, 2, 3])}

    return Loop(positions // 2, start, update, loss="difference", gradient=False, extra=(2, 2), refine=False)


def best_pair(points: tf.Tensor) -> tf.Tensor:
    """bool ``(b, d)``: the two of d points, float32 ``(b, 2, d)``, whose sum ``(x, y)`` has the largest product.

    Both coordinates of the sum are positive; no point is marked where no pair is so. Exact, without trying all
    pairs: ``4 x y <= (r x + y / r)**2`` for any r, so a pair's product is at most the square of the larger of its two
    weights, ``r x + y / r`` of a point. Points are paired with all others in the order of their weights, until these
    are too small. The r at which the bound of the best pair so far is tight makes that few points for most samples.
    """

    def weigh(remaining: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
        is_candidate = tf.reduce_all(remaining + tf.reduce_max(remaining, -1, keepdims=True) > 0, 1)
        return tf.where(is_candidate, tf.nn.relu(tf.reduce_sum(scale * remaining, 1)), tf.zeros_like(remaining[:, 0]))

    def has_candidates(best: tf.Tensor, weights: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(weights**2 > best)

    def try_heaviest(
        best: tf.Tensor, weights: tf.Tensor, remaining: tf.Tensor, scale: tf.Tensor, pair: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        heaviest = tf.argmax(weights, -1)
        mark = _mark(heaviest, remaining)
        point = tf.gather(remaining, heaviest, axis=2, batch_dims=1)[..., None]
        remaining = tf.where(mark[:, None], np.float32(-np.inf), remaining)
        sums = tf.nn.relu(remaining + point)
        partner = tf.argmax(tf.reduce_prod(sums, 1), -1)
        total = tf.gather(sums, partner, axis=2, batch_dims=1)[..., None]
        product = tf.reduce_prod(total, 1)
        is_better = product > best
        scale = tf.where(is_better[..., None], tf.sqrt(total[:, ::-1] / total), scale)
        pair = tf.where(is_better, mark | _mark(partner, remaining), pair)
        return tf.maximum(best, product), weigh(remaining, scale), remaining, scale, pair

    scale, best = tf.ones_like(points[:, :, :1]), tf.zeros_like(points[:, 0, :1])
    pair = tf.zeros_like(points[:, 0], tf.bool)
    return tf.while_loop(has_candidates, try_heaviest, (best, weigh(points, scale), points, scale, pair))[-1]


def _mark(index: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
    return tf.one_hot(index, points.shape[-1], on_value=True, off_value=False)
