"""Carlini & Wagner attack (L2, Linf): Adam on distance plus c times the margin, with a search over c.

Carlini, Wagner 2016, "Towards evaluating the robustness of neural networks", arXiv:1608.04644, sections V and VI.
The pixels are tanh of ``w``, stretched so that black and white lie where tanh still has a gradient. In the paper they
lie at infinity: there pixels hardly move for hundreds of steps. Results are as near, in a third of the queries.

L2 minimises ``||x' - x||^2 + c max(confidence - margin, 0)`` in ``searches`` binary-search steps of ``steps`` each.
Linf minimises ``sum max(|x' - x| - tau, 0) + c max(confidence - margin, 0)``: ``tau`` shrinks by a tenth wherever no
pixel exceeds it and the attack succeeds, and c doubles where ``steps`` do not suffice, until it is too large.
"""

from __future__ import annotations

import tensorflow as tf

from advlab.methods import _search
from advlab.problem.norms import length, total
from advlab.problem.problem import Loop, Problem, Query, State

NORMS = ("l2", "linf")
GOAL = "minimal"
ENDS = 0.99  # tanh of the w of white
FIRST, SECOND, TINY = 0.9, 0.999, 1e-8  # Adam's
TIGHTEN, LARGEST = 0.9, 20.0  # the factor of tau; the c beyond which a row is done


def craft(
    problem: Problem,
    *,
    steps: int = 1000,
    searches: int = 9,
    learning_rate: float = 0.01,
    constant: float = 1e-3,
    confidence: float = 0.0,
    abort: bool = True,
) -> Loop:
    """Linf takes ``steps * searches`` queries at most.

    Args:
        steps: Steps of Adam in each search.
        searches: Steps of the search over c, the weight of the margin.
        learning_rate: Of Adam.
        constant: The first c.
        confidence: The margin of the image returned, in logits.
        abort: Whether a search also ends where its loss stagnates.
    """
    linf = problem.ball.norm == "linf"
    clean = tf.atanh(ENDS * (2 * problem.x - 1))

    def start() -> State:
        rows = _begin_tau(problem, constant) if linf else _search.begin(problem, constant)
        return {"x": _pixels(clean), "w": clean, "first": 0 * clean, "second": 0 * clean, **rows}

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        change = query.x - problem.x
        excess = tf.nn.relu(tf.abs(change) - state["tau"][:, None, None, None]) if linf else change**2
        distance_gradient = tf.where(excess > 0, tf.sign(change), 0.0) if linf else 2 * change
        shortfall = tf.nn.relu(confidence + problem.clearance(query.logits) - query.loss)
        loss = total(excess)[:, 0, 0, 0] + state["c"] * shortfall
        weight = tf.where(shortfall > 0, state["c"], 0.0)[:, None, None, None]
        gradient = (distance_gradient - weight * query.gradient) * (1 - (ENDS * (2 * query.x - 1)) ** 2)

        time = tf.cast(state["inner"] + 1, tf.float32)[:, None, None, None]
        rate = learning_rate * tf.sqrt(1 - SECOND**time) / (1 - FIRST**time)
        first = FIRST * state["first"] + (1 - FIRST) * gradient
        second = SECOND * state["second"] + (1 - SECOND) * gradient**2
        w = tf.clip_by_value(state["w"] - rate * first / (tf.sqrt(second) + TINY), tf.atanh(-ENDS), tf.atanh(ENDS))

        if linf:
            largest_change = length(change, "linf")[:, 0, 0, 0]
            rows, restarts = _tighten(state, loss, query.success, largest_change, steps, abort)
        else:
            rows, restarts = _search.advance(state, loss, query.success, steps, searches, abort)
        restarts = restarts[:, None, None, None]
        w = w if linf else tf.where(restarts, clean, w)
        first, second = tf.where(restarts, 0.0, first), tf.where(restarts, 0.0, second)
        return {"x": _pixels(w), "w": w, "first": first, "second": second, **rows}

    return Loop(steps * searches, start, update, loss="margin", confidence=confidence)


def _pixels(w: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(tf.tanh(w) * (0.5 / ENDS) + 0.5, 0, 1)


def _begin_tau(problem: Problem, constant: float) -> State:
    row = tf.zeros_like(problem.x[:, 0, 0, 0])
    progress = {"checked_loss": row, "inner": tf.zeros_like(problem.labels)}
    return {"c": row + constant, "tau": row + 1, "done": row > 0, **progress}


def _tighten(
    state: State, loss: tf.Tensor, success: tf.Tensor, largest_change: tf.Tensor, steps: int, abort: bool
) -> tuple[State, tf.Tensor]:
    ended, checked_loss = _search.check_progress(state, loss, steps, abort)
    is_within_tau = success & (largest_change <= state["tau"])
    c = tf.where(ended & ~is_within_tau, 2 * state["c"], state["c"])
    restarts = ended | is_within_tau
    return {
        "c": c,
        "tau": tf.where(is_within_tau, TIGHTEN * largest_change, state["tau"]),
        "inner": tf.where(restarts, 0, state["inner"] + 1),
        "done": c > LARGEST,
        "checked_loss": checked_loss,
    }, restarts
