"""Carlini & Wagner attack (L2, Linf): Adam on distance plus c times the margin, with a search over c.

Carlini, Wagner 2016, "Towards evaluating the robustness of neural networks", arXiv:1608.04644, sections V and VI.
The pixels are tanh of ``w``, stretched so that black and white lie where tanh still has a slope. In the paper they lie
at infinity: close to that, pixels take hundreds of steps to move at all. Results are as near, in a third of the looks.

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
TIGHTEN, LARGEST = 0.9, 20.0  # what tau is multiplied by; where c is given up


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
    """``constant`` is the first c, ``confidence`` the margin asked of a search; the nearest success on the way is kept.

    With ``abort`` a search also ends where its loss no longer falls. Linf takes ``steps * searches`` looks at most.
    """
    linf = problem.ball.norm == "linf"
    clean = tf.atanh(ENDS * (2 * problem.x - 1))

    def start() -> State:
        rows = _begin_tau(problem, constant) if linf else _search.begin(problem, constant)
        return {"x": _pixels(clean), "w": clean, "first": 0 * clean, "second": 0 * clean, **rows}

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        change = query.x - problem.x
        over = tf.nn.relu(tf.abs(change) - state["tau"][:, None, None, None]) if linf else change**2
        rise = tf.where(over > 0, tf.sign(change), 0.0) if linf else 2 * change
        short = tf.nn.relu(confidence - query.loss)
        loss = total(over)[:, 0, 0, 0] + state["c"] * short
        weight = tf.where(short > 0, state["c"], 0.0)[:, None, None, None]
        slope = (rise - weight * query.gradient) * (1 - (ENDS * (2 * query.x - 1)) ** 2)

        time = tf.cast(state["inner"] + 1, tf.float32)[:, None, None, None]
        rate = learning_rate * tf.sqrt(1 - SECOND**time) / (1 - FIRST**time)
        first = FIRST * state["first"] + (1 - FIRST) * slope
        second = SECOND * state["second"] + (1 - SECOND) * slope**2
        w = tf.clip_by_value(state["w"] - rate * first / (tf.sqrt(second) + TINY), tf.atanh(-ENDS), tf.atanh(ENDS))

        success = query.success & (query.loss >= confidence)
        if linf:
            reach = length(change, "linf")[:, 0, 0, 0]
            rows, again = _tighten(state, loss, success, reach, steps, abort)
        else:
            rows, again = _search.advance(state, loss, success, steps, searches, abort)
        again = again[:, None, None, None]
        w = w if linf else tf.where(again, clean, w)
        first, second = tf.where(again, 0.0, first), tf.where(again, 0.0, second)
        return {"x": _pixels(w), "w": w, "first": first, "second": second, **rows}

    return Loop(steps * searches, start, update, loss="margin")


def _pixels(w: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(tf.tanh(w) * (0.5 / ENDS) + 0.5, 0, 1)


def _begin_tau(problem: Problem, constant: float) -> State:
    row = tf.zeros_like(problem.x[:, 0, 0, 0])
    pace = {"checked": row, "inner": tf.zeros_like(problem.labels)}
    return {"c": row + constant, "tau": row + 1, "done": row > 0, **pace}


def _tighten(
    state: State, loss: tf.Tensor, success: tf.Tensor, reach: tf.Tensor, steps: int, abort: bool
) -> tuple[State, tf.Tensor]:
    ended, checked = _search.stuck(state, loss, steps, abort)
    inside = success & (reach <= state["tau"])
    c = tf.where(ended & ~inside, 2 * state["c"], state["c"])
    again = ended | inside
    return {
        "c": c,
        "tau": tf.where(inside, TIGHTEN * reach, state["tau"]),
        "inner": tf.where(again, 0, state["inner"] + 1),
        "done": c > LARGEST,
        "checked": checked,
    }, again
