"""Random noise (any norm), uniform, Gaussian or salt-and-pepper: the control that every attack must beat.

One random point for each sample and restart; no gradient is used. How it is drawn before it is projected:

``uniform``: anywhere in the ball.

``gaussian``: normal, of standard deviation epsilon / 2 under linf, and such that the norm is epsilon on average under
l2 and l1. Under l0 (at epsilon random positions) and none: 0.5.

``salt-and-pepper``: each position turns black or white, even odds, with probability ``fraction``; under l0: epsilon of
them. A ball keeps the direction of that change and cuts its size.
"""

from __future__ import annotations

import math
from functools import partial

import tensorflow as tf

from advlab.problem.balls import dimensions
from advlab.problem.problem import START, Loop, Problem, State

NORMS = ("linf", "l2", "l1", "l0", "none")
GOAL = "bounded"
CHOICES = {"distribution": ("uniform", "gaussian", "salt-and-pepper")}


def craft(problem: Problem, *, distribution: str = "uniform", fraction: float = 0.1) -> Loop:
    """Draw one point of the ball and query it.

    Args:
        distribution: Of the noise, before it is projected onto the ball.
        fraction: Probability that a position changes, of salt-and-pepper noise; under l0 epsilon says it.
    """
    ball = problem.ball

    def start() -> State:
        point = ball.start(partial(problem.random, START))
        if distribution == "uniform":
            return {"x": point}
        # The ball's own random point shows which epsilon positions it chose.
        is_noisy = tf.reduce_any(point != problem.x, -1, keepdims=True) if ball.norm == "l0" else True
        if distribution == "gaussian":
            noisy = problem.x + _deviation(problem) * problem.random(START, 2, "normal")
        else:
            noisy = tf.round(problem.random(START, 2)[..., :1])
            is_noisy = is_noisy if ball.norm == "l0" else problem.random(START, 3)[..., :1] < fraction
        return {"x": ball.project(tf.where(is_noisy, noisy, problem.x))}

    return Loop(0, start, lambda state, query, step: state, gradient=False)


def _deviation(problem: Problem) -> tf.Tensor | float:
    pixels = dimensions(problem.ball)
    per_epsilon = {"linf": 0.5, "l2": pixels**-0.5, "l1": (math.pi / 2) ** 0.5 / pixels}.get(problem.ball.norm)
    return 0.5 if per_epsilon is None else per_epsilon * tf.cast(problem.ball.epsilon, tf.float32)
