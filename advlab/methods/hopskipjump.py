"""HopSkipJump (L2, Linf), by the adversarial-robustness-toolbox: the normal of the boundary from labels alone.

Chen, Jordan, Wainwright 2019, "HopSkipJumpAttack: a query-efficient decision-based attack", arXiv:1904.02144,
algorithm 2. Step t estimates the normal from ``queries`` x sqrt(t) labels, steps along it, and returns to the boundary
by bisection. The start is a uniformly random image of another class; a sample for which none is found fails.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from advlab.methods._art import adapt, end_step_searches
from advlab.problem.problem import ExternalLoop, Problem

NORMS = ("l2", "linf")
GOAL = "minimal"
TRIALS = 100  # random images among which the start is sought
MAX_QUERIES = 10_000  # labels for one normal
BISECTIONS = 12


def craft(problem: Problem, *, steps: int = 10, queries: int = 100) -> ExternalLoop:
    """Approach each image along the decision boundary.

    Args:
        steps: Steps along the boundary.
        queries: Labels that the first normal is estimated from; that of step t takes sqrt(t) times as many.
    """
    norm = problem.ball.norm
    toolbox = adapt(
        "HopSkipJump",
        end_step_searches,
        norm=np.inf if norm == "linf" else 2,
        max_iter=steps,
        init_eval=min(queries, MAX_QUERIES),
        max_eval=MAX_QUERIES,
        init_size=TRIALS,
        batch_size=MAX_QUERIES,
    )
    # The toolbox leaves out the return after the last step, which is 1 / sqrt(steps) of the distance.
    return ExternalLoop(lambda batch: _nearest(batch, tf.constant(toolbox.run(batch)), norm).numpy())


def _nearest(problem: Problem, x_adv: tf.Tensor, norm: str) -> tf.Tensor:
    """Where the way from ``x_adv`` to the clean images crosses the boundary: straight, or through the balls of linf."""
    change = x_adv - problem.x
    largest = tf.reduce_max(tf.abs(change), [1, 2, 3], keepdims=True)

    def interpolate(fraction: tf.Tensor) -> tf.Tensor:
        if norm == "linf":
            return problem.x + tf.clip_by_value(change, -fraction * largest, fraction * largest)
        return problem.x + fraction * change

    low, high = tf.zeros_like(largest), tf.ones_like(largest)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        query = problem.query(interpolate(middle), "margin", gradient=False)
        # A tie may be undone by the last bit of a logit.
        is_adversarial = (query.loss > 1e-4 * tf.reduce_max(tf.abs(query.logits), -1))[:, None, None, None]
        low, high = tf.where(is_adversarial, low, middle), tf.where(is_adversarial, middle, high)
    return interpolate(high)
