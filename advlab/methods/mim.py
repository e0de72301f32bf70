"""Momentum iterative method (Linf, L2): the sign of an accumulated gradient.

Dong et al. 2017, "Boosting adversarial attacks with momentum", arXiv:1710.06081, algorithm 1 (equations 6 and 7):
``g <- decay g + gradient / ||gradient||_1``, then the steepest step along g.
"""

from __future__ import annotations

import tensorflow as tf

from advlab.problem.norms import l1_normalized
from advlab.problem.problem import Loop, Problem, Query, State, absolute_step_size

NORMS = ("linf", "l2")
GOAL = "bounded"


def craft(
    problem: Problem,
    *,
    steps: int = 10,
    relative_step_size: float = 1.25,
    step_size: float | None = None,
    decay: float = 1.0,
) -> Loop:
    """From the clean image, as the authors do; a momentum of zero is the basic iterative method.

    Args:
        steps: Gradient steps on each image.
        relative_step_size: Of a step, in units of epsilon / steps.
        step_size: Of a step, in pixel units; None: as relative_step_size says.
        decay: What remains of the momentum at each step.
    """
    ball = problem.ball
    size = absolute_step_size(problem, steps, relative_step_size, step_size)

    def start() -> State:
        return {"x": problem.x, "momentum": tf.zeros_like(problem.x)}

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        momentum = decay * state["momentum"] + l1_normalized(query.gradient)[0]
        return {"x": ball.project(query.x + ball.steepest(momentum, query.x, size)), "momentum": momentum}

    return Loop(steps, start, update)
