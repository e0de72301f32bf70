"""Fast adaptive boundary attack (Linf, L2, L1): project onto the linearised boundary, biased to the clean image.

Croce, Hein 2019, "Minimally distorted adversarial examples with a fast adaptive boundary attack", arXiv:1907.02044,
algorithm 1; with ``n_target_classes``, the variant of arXiv:2003.01690 that approaches one boundary after the other for
one backward pass a step instead of one for each candidate. An image that succeeds steps back towards the clean one. The
paper linearises the boundary after that step, for one more query; before it, the boundary is nearer: fewer queries, and
on some networks smaller distances. Where the paper steps onto the boundary, this aims beyond it by what rounding needs.
"""

from __future__ import annotations

import tensorflow as tf

from advlab.methods._hyperplane import boundary, cost, reach
from advlab.problem.norms import length, total
from advlab.problem.problem import START, Loop, Problem, Query, State

NORMS = ("linf", "l2", "l1")
GOAL = "minimal"
CHOICES = {"linearize": ("alternate", "before", "after")}
RADIUS = {"linf": 0.3, "l2": 1.0, "l1": 5.0}  # of the authors: twice the farthest that a restart begins


def craft(
    problem: Problem,
    *,
    steps: int = 100,
    alpha: float = 0.1,
    eta: float = 1.05,
    beta: float = 0.9,
    linearize: str = "alternate",
    candidates: int = 10,
    n_target_classes: int = 0,
) -> Loop:
    """The first restart begins at the clean image, others at random, half as far at most as the nearest success so far.

    Args:
        steps: Steps for each image.
        alpha: The largest bias towards the clean image.
        eta: Extrapolation beyond the boundary.
        beta: So much of the change remains after a success, a step back towards the clean image.
        linearize: The boundary, before or after the step back, or one and the other in alternate restarts.
        candidates: So many likeliest classes are considered, the label among them.
        n_target_classes: Approach the boundaries of so many likely wrong classes, one after the other; 0: the nearest.
    """
    norm = problem.ball.norm
    is_after = {"before": problem.restart < 0, "after": problem.restart >= 0, "alternate": problem.restart % 2 == 1}[
        linearize
    ]

    def start() -> State:
        x = tf.where((problem.restart > 0)[:, None, None, None], _random_start(problem), problem.x)
        return {"x": x, "stepped_back": problem.labels < 0}

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        if n_target_classes:
            normal, height = query.gradient, query.loss[:, None, None, None]
        else:
            normal, height = boundary(problem, query.x, query.logits, candidates)
        height -= problem.clearance(query.logits)[:, None, None, None]
        change = query.x - problem.x
        steps_back = query.success & is_after & ~state["stepped_back"]
        backward = tf.where(query.success & (steps_back | ~is_after), beta, 1.0)[:, None, None, None]
        rise = total(normal * change)
        x = problem.x + backward * change
        move, distance = reach(x, normal, (1 - backward) * rise - height, norm)
        clean_move, clean_distance = reach(problem.x, normal, rise - height, norm)
        bias = tf.minimum(distance / tf.maximum(distance + clean_distance, 1e-12), alpha)
        next_x = (1 - bias) * (x + eta * move) + bias * (problem.x + eta * clean_move)
        next_x = tf.where(steps_back[:, None, None, None], x, tf.clip_by_value(next_x, 0, 1))
        return {"x": next_x, "stepped_back": steps_back}

    passes = (0, 0) if n_target_classes else cost(problem, candidates)
    return Loop(steps, start, update, loss="difference", gradient=n_target_classes > 0, extra=passes)


def _random_start(problem: Problem) -> tf.Tensor:
    """Uniform in linf, else a normal direction: at half of the distance found so far, or of the authors' radius."""
    norm = problem.ball.norm
    draw = 2 * problem.random(START, 0) - 1 if norm == "linf" else problem.random(START, 0, "normal")
    direction = problem.masked(draw)
    found = length(problem.nearest - problem.x, norm)
    radius = tf.minimum(tf.where(found > 0, found, RADIUS[norm]), RADIUS[norm]) / 2
    return tf.clip_by_value(problem.x + radius * direction / tf.maximum(length(direction, norm), 1e-12), 0, 1)
