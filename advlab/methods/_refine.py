"""What every minimal method ends with: from the nearest success found, a few steps along the boundary to a nearer one.

Under linf, l2 and l1 the next query lies on the way to the nearest point of the boundary as it is linearised at the
nearest success. The step doubles where that is an improvement; where it crosses the boundary, the next query returns to
the boundary as it is linearised there; where that is no improvement either, the step halves. Under l0 one changed
position is undone at a time, the one that the margin needs least; where that is too much, another position replaces the
least useful one. No step is taken back that shortens the distance, so that the result is never farther.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from advlab.methods._hyperplane import reach
from advlab.problem.norms import total
from advlab.problem.problem import Loop, Problem, Query, State

Start = Callable[[], State]
Update = Callable[[State, Query, tf.Tensor], State]

STEPS = {"linf": 30, "l2": 30, "l1": 30, "l0": 60}
REPAIRS = 2  # replacements after a position is undone


def craft(problem: Problem, *, confidence: float = 0.0) -> Loop:
    """Begin at ``problem.nearest``; ``confidence`` is the margin to keep."""
    norm = problem.ball.norm
    start, update = _remove(problem) if norm == "l0" else _descend(problem, confidence)
    return Loop(STEPS[norm], start, update, loss="margin", confidence=confidence)


def _descend(problem: Problem, confidence: float | tf.Tensor) -> tuple[Start, Update]:
    clean, norm = problem.x, problem.ball.norm

    def start() -> State:
        row = tf.zeros_like(clean[:, 0, 0, 0])
        return {
            "x": problem.nearest,
            "best": problem.nearest,
            "gradient": tf.zeros_like(clean),
            "height": row,
            "distance": row + float("inf"),
            "fraction": row + 0.5,
            "returns": row > 0,
        }

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        distance = problem.ball.distance(query.x)
        improves = query.success & (distance < state["distance"])
        best, gradient = _where(improves, query.x, state["best"]), _where(improves, query.gradient, state["gradient"])
        # How much higher than needed: a step may use it up.
        spare = query.loss - confidence - problem.clearance(query.logits)
        height = tf.where(improves, spare, state["height"])
        returns = ~improves & ~query.success & ~state["returns"]
        fraction = tf.where(improves, tf.minimum(2 * state["fraction"], 1), state["fraction"] / 2)
        fraction = tf.where(returns, state["fraction"], fraction)

        base, normal = _where(returns, query.x, clean), _where(returns, query.gradient, gradient)
        rise = _where(returns, -spare[:, None, None, None], total(gradient * (best - clean)) - _column(height))
        aim = base + reach(base, normal, rise, norm)[0]
        x = _where(returns, aim, best + _column(fraction) * (aim - best))
        return {
            "x": tf.clip_by_value(x, 0, 1),
            "best": best,
            "gradient": gradient,
            "height": height,
            "distance": tf.where(improves, distance, state["distance"]),
            "fraction": fraction,
            "returns": returns,
        }

    return start, update


def _remove(problem: Problem) -> tuple[Start, Update]:
    clean = problem.x
    never = tf.constant(float("inf"))

    def start() -> State:
        row = tf.zeros_like(clean[:, 0, 0, 0])
        return {
            "x": problem.nearest,
            "best": problem.nearest,
            "gradient": tf.zeros_like(clean),
            "distance": row + never,
            "tried": tf.zeros_like(clean[..., :1], tf.bool),
            "repairs": tf.zeros_like(problem.labels),
            "done": row > 0,
        }

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        distance = problem.ball.distance(query.x)
        improves = query.success & (distance < state["distance"])
        best, gradient = _where(improves, query.x, state["best"]), _where(improves, query.gradient, state["gradient"])
        tried = state["tried"] & ~improves[:, None, None, None]
        repairs = ~improves & (state["repairs"] < REPAIRS) & (step > 0)

        x, slope = _where(repairs, query.x, best), _where(repairs, query.gradient, gradient)
        is_changed = tf.reduce_any(x != clean, -1, keepdims=True)
        # In l0 the values of changed positions are free: each goes as far as helps.
        extreme = tf.cast(slope > 0, x.dtype)
        useful = tf.reduce_sum(slope * (extreme - clean), -1, keepdims=True)
        lost = tf.reduce_sum(slope * (x - clean), -1, keepdims=True)
        cost = _where(repairs, useful, lost)
        can_go = is_changed & (repairs[:, None, None, None] | ~tried)
        goes = _mark(tf.where(can_go, -cost, -never))
        comes = _mark(tf.where(is_changed | tried, -never, useful)) & repairs[:, None, None, None]
        is_kept = (is_changed & ~goes) | comes
        return {
            "x": tf.where(is_kept, tf.where(slope != 0, extreme, x), clean),
            "best": best,
            "gradient": gradient,
            "distance": tf.where(improves, distance, state["distance"]),
            "tried": tried | (goes & ~repairs[:, None, None, None]),
            "repairs": tf.where(repairs, state["repairs"] + 1, 0),
            "done": ~tf.reduce_any(can_go, [1, 2, 3]),
        }

    return start, update


def _mark(values: tf.Tensor) -> tf.Tensor:
    """bool ``(b, h, w, 1)``: the position with the largest value, none where all are minus infinity."""
    flat = tf.reshape(values, [-1, values.shape[1] * values.shape[2]])
    largest = tf.one_hot(tf.argmax(flat, -1), flat.shape[-1], on_value=True, off_value=False)
    return tf.reshape(largest & tf.math.is_finite(flat), [-1, *values.shape[1:]])


def _column(values: tf.Tensor) -> tf.Tensor:
    return values[:, None, None, None]


def _where(rows: tf.Tensor, yes: tf.Tensor, no: tf.Tensor) -> tf.Tensor:
    return tf.where(rows[:, None, None, None], yes, no)
