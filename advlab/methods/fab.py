"""Fast adaptive boundary attack: project onto the linearised boundary, drawn back towards the clean image.

Croce, Hein 2019, "Minimally distorted adversarial examples with a fast adaptive boundary attack", arXiv:1907.02044,
algorithm 1; with ``targets``, the variant of arXiv:2003.01690 that takes on one boundary after the other for one
backward pass a step instead of one for every class. An image that succeeds steps back as in the paper, but the boundary
is linearised where the image was, which is nearer to it: half the forward passes, and on average smaller distances.
"""

from __future__ import annotations

import tensorflow as tf

from advlab.methods._hyperplane import boundary, cost, reach
from advlab.problem.norms import total
from advlab.problem.problem import Loop, Problem, State, View

NORMS = ("linf", "l2", "l1")
KIND = "minimal"


def craft(
    problem: Problem,
    *,
    steps: int = 100,
    alpha: float = 0.1,
    eta: float = 1.05,
    beta: float = 0.9,
    targets: int = 0,
) -> Loop:
    """``alpha`` is the largest bias towards the clean image, ``eta`` the extrapolation, ``beta`` the backward step."""
    norm = problem.ball.norm

    def update(state: State, view: View, step: tf.Tensor) -> State:
        if targets:
            normal, height = view.gradient, view.loss[:, None, None, None]
        else:
            normal, height = boundary(problem, view.x, view.logits)
        change = view.x - problem.x
        kept = tf.where(view.success, beta, 1.0)[:, None, None, None]
        climbed = total(normal * change)
        x = problem.x + kept * change
        here, near = reach(x, normal, (1 - kept) * climbed - height, norm)
        there, far = reach(problem.x, normal, climbed - height, norm)
        bias = tf.minimum(near / tf.maximum(near + far, 1e-12), alpha)
        moved = (1 - bias) * (x + eta * here) + bias * (problem.x + eta * there)
        return {"x": tf.clip_by_value(moved, 0, 1)}

    passes = (0, 0) if targets else cost(problem)
    return Loop(steps, lambda: {"x": problem.x}, update, loss="difference", gradient=targets > 0, extra=passes)
