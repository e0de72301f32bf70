"""Fast gradient sign method (Linf, L2, L1): one step of size epsilon.

Goodfellow, Shlens, Szegedy 2014, "Explaining and harnessing adversarial examples", arXiv:1412.6572, section 4:
``x_adv = x + epsilon sign(gradient)``; under L2 and L1 the step is the steepest one of that norm.
"""

from __future__ import annotations

import tensorflow as tf

from advlab.problem.problem import Loop, Problem, Query, State

NORMS = ("linf", "l2", "l1")
GOAL = "bounded"


def craft(problem: Problem) -> Loop:
    """Query the clean image, then take one step to the edge of the ball."""
    ball = problem.ball

    def start() -> State:
        return {"x": problem.x}

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        return {"x": ball.project(query.x + ball.steepest(query.gradient, query.x, tf.cast(ball.epsilon, tf.float32)))}

    return Loop(1, start, update)
