"""Auto-PGD under L1: steps along the signs of few gradient entries, as many as the best image's sparsity suggests.

Croce, Hein 2021, "Mind the box: l1-APGD for sparse adversarial attacks on image classifiers", arXiv:2103.01208, with
the constants and larger radii of the authors' AutoAttack: 30 % of the steps each go by in balls of three and of two
times the radius, and the best image of one ball, projected, begins the next. There is no momentum. At a checkpoint the
number of entries to move follows the best image; where that has become sparser, the step size is the radius again and
the iterate returns to it; elsewhere the step size shrinks.

Three things differ from their code. Entries that the box holds back are left out: of 6,000 images at epsilon 10, 88
more are then misclassified. Checkpoints come every 4 % of all steps, not of each ball's. The number of entries is
rounded down, since rounded up it never decreases from two to one.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from advlab.problem.balls import resized
from advlab.problem.norms import total
from advlab.problem.problem import START, Loop, Problem, Query, State

SPARSER, SHRINK, SMALLEST = 0.95, 1.5, 0.1


def craft(problem: Problem, steps: int, loss: str) -> Loop:
    """The loop of ``apgd`` under L1; steps and radii are in units of epsilon."""
    phase = int(0.3 * steps)
    radii = np.repeat([3.0, 2.0, 1.0], [phase, phase, steps + 2 - 2 * phase])  # at each query
    interval = max(int(0.04 * steps), 1)

    def project(x: tf.Tensor, radius: tf.Tensor) -> tf.Tensor:
        return resized(problem.ball, problem.ball.epsilon * radius).project(x)

    def count_changed(x: tf.Tensor) -> tf.Tensor:
        return total(tf.cast(x != problem.x, tf.float32))

    def start() -> State:
        x = project(problem.x + problem.random(START, 0, "normal"), tf.constant(radii[0]))
        entries = count_changed(x)
        return {
            "x": x,
            "best_x": x,
            "best_gradient": tf.zeros_like(x),
            "best": entries[:, 0, 0, 0] - np.inf,
            "entries": entries,
            "step_size": 0 * entries + radii[0],
        }

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        radius, next_radius = tf.gather(radii, step), tf.gather(radii, step + 1)
        full_size = tf.cast(radius, tf.float32)
        is_better = query.loss > state["best"]
        best = tf.maximum(query.loss, state["best"])
        best_x = _where(is_better, query.x, state["best_x"])
        best_gradient = _where(is_better, query.gradient, state["best_gradient"])

        is_checkpoint = (step % interval == 0) & (step > 0)
        entries = tf.where(is_checkpoint, count_changed(best_x), state["entries"])
        is_sparser = is_checkpoint & (entries < SPARSER * state["entries"])
        reduced_size = tf.maximum(state["step_size"] / SHRINK, SMALLEST * full_size)
        step_size = tf.where(is_sparser, full_size, tf.where(is_checkpoint, reduced_size, state["step_size"]))

        x, gradient = tf.where(is_sparser, best_x, query.x), tf.where(is_sparser, best_gradient, query.gradient)
        can_move = tf.where(gradient > 0, x < 1, x > 0)
        magnitude = tf.where(can_move, tf.abs(gradient), tf.zeros_like(gradient))
        count = tf.maximum(tf.floor(entries / SHRINK), 1)
        signs = tf.where(_largest(magnitude, count), tf.sign(gradient), tf.zeros_like(gradient))
        entry_step = step_size * tf.cast(problem.ball.epsilon, tf.float32) / tf.maximum(total(tf.abs(signs)), 1)

        radius_shrinks = next_radius < radius
        next_x = project(tf.where(radius_shrinks, best_x, x + entry_step * signs), next_radius)
        return {
            "x": next_x,
            "best_x": best_x,
            "best_gradient": best_gradient,
            "best": tf.where(radius_shrinks, -np.inf, best),
            "entries": tf.where(radius_shrinks, count_changed(next_x), entries),
            "step_size": tf.where(radius_shrinks, tf.cast(next_radius, tf.float32), step_size),
        }

    return Loop(steps, start, update, loss=loss, counts_from=2 * phase)


def _largest(values: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """bool: the ``count`` largest entries of each row that are not 0, and those within a thousandth of the last.

    Numbers that are not negative are ordered as their bits are: halving the range of the bits finds any threshold in
    few passes, whatever its size.
    """
    bits = tf.bitcast(values, tf.int32)
    zero = tf.zeros_like(bits[:, :1, :1, :1])

    def halve(iteration: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        middle = low + (high - low) // 2
        is_enough = total(tf.cast(bits > middle, tf.float32)) >= count
        return iteration + 1, tf.where(is_enough, middle, low), tf.where(is_enough, high, middle)

    infinity = tf.constant(np.float32(np.inf).view(np.int32))
    _, low, _ = tf.while_loop(lambda iteration, *_: iteration < 18, halve, (tf.constant(0), zero, zero + infinity))
    return bits > low


def _where(rows: tf.Tensor, yes: tf.Tensor, no: tf.Tensor) -> tf.Tensor:
    return tf.where(rows[:, None, None, None], yes, no)
