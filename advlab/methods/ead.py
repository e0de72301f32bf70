"""Elastic-net attack (L1): a proximal gradient method whose shrinkage keeps the change sparse.

Chen et al. 2017, "EAD: elastic-net attacks to deep neural networks via adversarial examples", arXiv:1709.04114,
algorithm 1: ``c max(confidence - margin, 0) + ||x' - x||^2 + beta ||x' - x||_1`` is minimised by FISTA, and c found in
``searches`` binary-search steps of ``steps`` each. Queries are at the extrapolated points, where the gradient is
needed anyway: their successes are as near as those of the iterates, for one pass less.
"""

from __future__ import annotations

import tensorflow as tf

from advlab.methods import _search
from advlab.problem.norms import total
from advlab.problem.problem import Loop, Problem, Query, State

NORMS = ("l1",)
GOAL = "minimal"
CHOICES = {"rule": ("l1", "en")}


def craft(
    problem: Problem,
    *,
    steps: int = 1000,
    searches: int = 9,
    learning_rate: float = 0.01,
    constant: float = 1e-3,
    beta: float = 1e-2,
    confidence: float = 0.0,
    rule: str = "l1",
    abort: bool = False,
) -> Loop:
    """The step size decays as a square root.

    Args:
        steps: Steps of each search.
        searches: Steps of the bisection over c, the weight of the margin.
        learning_rate: The first step size.
        constant: The first c.
        beta: Weight of the 1-norm, which keeps the change sparse.
        confidence: The margin of the image returned, in logits.
        rule: Which success is returned: l1, the least 1-norm, or en, the least elastic net.
        abort: End a search where its loss stagnates: a tenth of the queries, but a third farther.
    """
    clean = problem.x

    def elastic_net(x: tf.Tensor) -> tf.Tensor:
        return total((x - clean) ** 2 + beta * tf.abs(x - clean))[:, 0, 0, 0]

    def start() -> State:
        return {"x": clean, "iterate": clean, **_search.begin(problem, constant)}

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        change = query.x - clean
        shortfall = tf.nn.relu(confidence + problem.clearance(query.logits) - query.loss)
        loss = elastic_net(query.x) + state["c"] * shortfall
        rows, restarts = _search.advance(state, loss, query.success, steps, searches, abort)

        inner = tf.cast(state["inner"], tf.float32)[:, None, None, None]
        weight = tf.where(shortfall > 0, state["c"], 0.0)[:, None, None, None]
        gradient = 2 * change - weight * query.gradient
        next_change = change - learning_rate * tf.sqrt(1 - inner / steps) * gradient
        iterate = tf.clip_by_value(clean + tf.sign(next_change) * tf.nn.relu(tf.abs(next_change) - beta), 0, 1)
        x = tf.clip_by_value(iterate + inner / (inner + 3) * (iterate - state["iterate"]), 0, 1)
        restarts = restarts[:, None, None, None]
        return {"x": tf.where(restarts, clean, x), "iterate": tf.where(restarts, clean, iterate), **rows}

    distance = elastic_net if rule == "en" else None
    return Loop(
        steps * searches,
        start,
        update,
        loss="margin",
        confidence=confidence,
        refine=rule == "l1",
        distance=distance,
    )
