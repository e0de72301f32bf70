"""Decoupled direction and norm (L2): the gradient gives the direction, success alone the norm.

Rony et al. 2018, "Decoupling direction and norm for efficient gradient-based L2 adversarial attacks and defenses",
arXiv:1811.09600, algorithm 1. The norm shrinks by ``gamma`` where the last image succeeded and grows by it otherwise.
"""

from __future__ import annotations

import math

import tensorflow as tf

from advlab.problem.norms import unit
from advlab.problem.problem import Loop, Problem, Query, State

NORMS = ("l2",)
GOAL = "minimal"


def craft(problem: Problem, *, steps: int = 100, gamma: float = 0.05, radius: float = 1.0) -> Loop:
    """The step size decays from 1 to 0.01 along a cosine.

    Args:
        steps: Gradient steps on each image.
        gamma: By what fraction the norm shrinks after a success and grows after a failure.
        radius: The norm to begin with, in pixel units.
    """

    def start() -> State:
        x = problem.x
        return {"x": x, "change": tf.zeros_like(x), "radius": tf.zeros_like(x[:, :1, :1, :1]) + radius}

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        step_size = 0.01 + 0.99 * (1 + tf.cos(math.pi * tf.cast(step, tf.float32) / steps)) / 2
        success = query.success[:, None, None, None]
        radius = state["radius"] * tf.where(success, 1 - gamma, 1 + gamma)
        change = state["change"] + step_size * unit(query.gradient)
        x = tf.clip_by_value(problem.x + radius * unit(change), 0, 1)
        return {"x": x, "change": x - problem.x, "radius": radius}

    return Loop(steps, start, update)
