"""Projected gradient descent from a random start.

Madry et al. 2017, "Towards deep learning models resistant to adversarial attacks", arXiv:1706.06083, equation 2:
``x <- project(x + step * steepest(gradient))``. ``step`` is in units of epsilon / steps: 2.5 lets the walk cross the
ball in any direction, as the authors advise.
"""

from __future__ import annotations

import tensorflow as tf

from advlab.problem.problem import START, Loop, Problem, State, View

NORMS = ("linf", "l2", "l1")
KIND = "bounded"


def craft(problem: Problem, *, steps: int = 40, step: float = 2.5, random_start: bool = True) -> Loop:
    """Start anywhere in the ball, climb, and come back into it after each step."""
    ball = problem.ball
    size = step * tf.cast(ball.epsilon, tf.float32) / steps

    def start() -> State:
        return {"x": ball.start(lambda draw, kind: problem.random(START, draw, kind)) if random_start else problem.x}

    def update(state: State, view: View, step: tf.Tensor) -> State:
        return {"x": ball.project(view.x + ball.steepest(view.gradient, view.x, size))}

    return Loop(steps, start, update)
