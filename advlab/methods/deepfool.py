"""DeepFool (L2, Linf): linearise, step to the nearest class boundary, repeat until it is crossed.

Moosavi-Dezfooli, Fawzi, Frossard 2015, "DeepFool: a simple and accurate method to fool deep neural networks",
arXiv:1511.04599, algorithm 2 and, for other norms, equations 10 and 11. ``overshoot`` is the relative step beyond the
boundary. The paper ignores the box; here each step is the smallest that stays inside it.
"""

from __future__ import annotations

import tensorflow as tf

from advlab.methods._hyperplane import boundary, cost, reach
from advlab.problem.problem import Loop, Problem, Query, State

NORMS = ("l2", "linf")
GOAL = "minimal"


def craft(problem: Problem, *, steps: int = 50, overshoot: float = 0.02, candidates: int = 10) -> Loop:
    """Linearise, step, and look again.

    Args:
        steps: Linearisations for each image, at most.
        overshoot: The step beyond the boundary, relative to the distance to it.
        candidates: So many likeliest classes are considered, the label among them.
    """

    def start() -> State:
        return {"x": problem.x, "change": tf.zeros_like(problem.x), "done": problem.labels < 0}

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        normal, height = boundary(problem, query.x, query.logits, candidates)
        rise = tf.abs(height) + problem.clearance(query.logits)[:, None, None, None]
        change = state["change"] + reach(query.x, normal, rise, problem.ball.norm)[0]
        x = tf.clip_by_value(problem.x + (1 + overshoot) * change, 0, 1)
        return {"x": x, "change": change, "done": query.success}

    return Loop(steps, start, update, loss="margin", gradient=False, extra=cost(problem, candidates))
