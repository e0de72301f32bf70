"""Projected gradient descent (Linf, L2, L1) from a random start.

Madry et al. 2017, "Towards deep learning models resistant to adversarial attacks", arXiv:1706.06083, equation 2:
``x <- project(x + step_size * steepest(gradient))``. A relative step size of 2.5 lets the iterates cross the ball in
any direction, as the authors advise.
"""

from __future__ import annotations

from functools import partial

import tensorflow as tf

from advlab.problem.problem import START, Loop, Problem, Query, State, absolute_step_size

NORMS = ("linf", "l2", "l1")
GOAL = "bounded"


def craft(
    problem: Problem,
    *,
    steps: int = 40,
    relative_step_size: float = 2.5,
    step_size: float | None = None,
    random_start: bool = True,
) -> Loop:
    """Start anywhere in the ball, climb, and come back into it after each step.

    Args:
        steps: Gradient steps on each image.
        relative_step_size: Of a step, in units of epsilon / steps.
        step_size: Of a step, in pixel units; None: as relative_step_size says.
        random_start: Whether to begin anywhere in the ball; otherwise at the clean image.
    """
    ball = problem.ball
    size = absolute_step_size(problem, steps, relative_step_size, step_size)

    def start() -> State:
        return {"x": ball.start(partial(problem.random, START)) if random_start else problem.x}

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        return {"x": ball.project(query.x + ball.steepest(query.gradient, query.x, size))}

    return Loop(steps, start, update)
