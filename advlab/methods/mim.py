"""Momentum iterative method: the sign of an accumulated gradient.

Dong et al. 2017, "Boosting adversarial attacks with momentum", arXiv:1710.06081, algorithm 1 (equations 6 and 7):
``g <- decay g + gradient / ||gradient||_1``, then the steepest step along g. ``step`` is in units of epsilon / steps.
"""

from __future__ import annotations

import tensorflow as tf

from advlab.problem.norms import shares
from advlab.problem.problem import Loop, Problem, State, View

NORMS = ("linf", "l2")
KIND = "bounded"


def craft(problem: Problem, *, steps: int = 10, step: float = 1.25, decay: float = 1.0) -> Loop:
    """From the clean image, as the authors do; a momentum of zero is the basic iterative method."""
    ball = problem.ball
    size = step * tf.cast(ball.epsilon, tf.float32) / steps

    def start() -> State:
        return {"x": problem.x, "momentum": tf.zeros_like(problem.x)}

    def update(state: State, view: View, step: tf.Tensor) -> State:
        momentum = decay * state["momentum"] + shares(view.gradient)[0]
        return {"x": ball.project(view.x + ball.steepest(momentum, view.x, size)), "momentum": momentum}

    return Loop(steps, start, update)
