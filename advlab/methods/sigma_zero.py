"""Sigma-zero (L0): descent on a smooth count of changed pixels, with a threshold that follows success.

Cinà et al. 2024, "sigma-zero: gradient-based optimization of l0-norm adversarial examples", arXiv:2402.01879,
algorithm 1: Adam on ``relu(-margin) + mean of d**2 / (d**2 + sigma)``, where ``d`` is the change; then every change
below the threshold is undone. In colour ``d`` is the length of a position's change over its channels, and a position is
undone whole, by its largest channel.
"""

from __future__ import annotations

import math

import tensorflow as tf

from advlab.problem.norms import length
from advlab.problem.problem import Loop, Problem, Query, State

NORMS = ("l0",)
GOAL = "minimal"
FIRST, SECOND, TINY = 0.9, 0.999, 1e-8  # of Adam, as the authors leave them


def craft(
    problem: Problem,
    *,
    steps: int = 1000,
    step_size: float = 1.0,
    sigma: float = 0.001,
    threshold: float = 0.3,
    rate: float = 0.01,
) -> Loop:
    """Descend, then undo the smallest changes.

    Args:
        steps: Gradient steps on each image.
        step_size: Of the first step; it decays to a tenth of itself along a cosine.
        sigma: How sharply the smooth count tells a change from none.
        threshold: Changes below it are undone, in pixel units, at first.
        rate: The threshold moves by so much of the step size at each step.
    """
    positions = problem.x.shape[1] * problem.x.shape[2]

    def start() -> State:
        zeros = tf.zeros_like(problem.x)
        return {"x": problem.x, "first": zeros, "second": zeros, "threshold": zeros[:, :1, :1, :1] + threshold}

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        change = query.x - problem.x
        square = tf.reduce_sum(change**2, -1, keepdims=True)
        # The gradient of d**2 / (d**2 + sigma): zero where nothing has changed, whatever sigma.
        gradient = tf.math.divide_no_nan(2 * sigma * change, positions * (square + sigma) ** 2)
        # Not "below zero": on the boundary itself, where rounding decides, it would stand still.
        gradient = tf.where(query.success[:, None, None, None], gradient, gradient - query.gradient)
        gradient *= 1 / tf.maximum(length(gradient, "linf"), 1e-12)

        count = tf.cast(step + 1, tf.float32)
        first = FIRST * state["first"] + (1 - FIRST) * gradient
        second = SECOND * state["second"] + (1 - SECOND) * gradient**2
        scale = tf.sqrt(second / (1 - SECOND**count)) + TINY
        next_x = query.x - _decayed(step_size, count - 1, steps) * first / (1 - FIRST**count) / scale
        x = tf.clip_by_value(next_x, 0, 1)

        drift = rate * _decayed(step_size, count, steps)
        limit = state["threshold"] + tf.where(query.success[:, None, None, None], drift, -drift)
        limit = tf.clip_by_value(limit, 0, 1)
        is_kept = tf.reduce_max(tf.abs(x - problem.x), -1, keepdims=True) >= limit
        return {"x": tf.where(is_kept, x, problem.x), "first": first, "second": second, "threshold": limit}

    return Loop(steps, start, update, loss="margin")


def _decayed(step_size: tf.Tensor, count: tf.Tensor, steps: int) -> tf.Tensor:
    return step_size * (0.1 + 0.9 * (1 + tf.cos(math.pi * count / steps)) / 2)
