"""Fast minimum-norm attack (Linf, L2, L1, L0): a gradient step, then a projection whose radius follows success.

Pintor et al. 2021, "Fast minimum-norm adversarial attacks through adaptive norm constraints", arXiv:2102.12827,
algorithm 1. Until a sample first succeeds its radius is where the linearised loss reaches zero (equation 7); from then
on it shrinks by ``gamma`` on success and grows by it otherwise. Both ``gamma`` and the step size decay along a cosine.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from advlab.problem.balls import resized
from advlab.problem.norms import length, unit
from advlab.problem.problem import Loop, Problem, Query, State

NORMS = ("linf", "l2", "l1", "l0")
GOAL = "minimal"
DUAL = {"linf": "l1", "l2": "l2", "l1": "linf", "l0": "linf"}


def craft(problem: Problem, *, steps: int = 100, gamma: float = 0.05, step_size: float = 1.0) -> Loop:
    """A gradient step, then the projection.

    Args:
        steps: Gradient steps on each image.
        gamma: By what fraction the radius shrinks after a success and grows after a failure.
        step_size: Euclidean length of the first gradient step, in pixel units.
    """
    norm = problem.ball.norm

    def start() -> State:
        row = tf.zeros_like(problem.x[:, :1, :1, :1])
        return {"x": problem.x, "radius": row + np.inf, "smallest": row + np.inf}

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        decay = (1 + tf.cos(math.pi * tf.cast(step, tf.float32) / steps)) / 2
        change = query.x - problem.x
        size, gradient_norm = length(change, norm), tf.maximum(length(query.gradient, DUAL[norm]), 1e-12)
        success = query.success[:, None, None, None]
        smallest = tf.where(success & (size < state["smallest"]), size, state["smallest"])
        shrink = tf.maximum(gamma * decay, 1.0 / steps / 100)
        # Beyond the linearised boundary by as much as the radius moves later: a projection onto it would never cross.
        first_radius = (size + tf.abs(query.loss)[:, None, None, None] / gradient_norm) * (1 + gamma)
        adapted = tf.where(
            success, tf.minimum(state["radius"] * (1 - shrink), smallest), state["radius"] * (1 + shrink)
        )
        if norm == "l0":
            first_radius = tf.maximum(tf.math.ceil(first_radius), size + 1)
            rounded = tf.where(success, tf.floor(adapted), tf.math.ceil(adapted))
            adapted = tf.where(success, tf.minimum(rounded, smallest - 1), tf.maximum(rounded, state["radius"] + 1))
        radius = tf.where(
            tf.math.is_finite(smallest), tf.where(tf.math.is_finite(state["smallest"]), adapted, size), first_radius
        )
        radius = tf.minimum(radius, smallest)
        ball = resized(problem.ball, tf.cast(tf.maximum(radius, 0), tf.float64))
        return {
            "x": ball.project(query.x + step_size * decay * unit(query.gradient)),
            "radius": radius,
            "smallest": smallest,
        }

    return Loop(steps, start, update, loss="margin")
