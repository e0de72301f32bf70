"""Augmented Lagrangian method for adversarial attacks (L2, L1): distance plus a penalty whose weight follows success.

Rony, Granger, Pedersoli, Ben Ayed 2020, "Augmented Lagrangian adversarial attacks", arXiv:2011.11857, algorithm 1: the
distance is minimised together with the penalty P2 of the difference of logits ratio, by RMSProp with momentum. Its
multiplier ``mu`` follows the penalty's slope; ``rho`` grows where the ratio has not improved for ten steps and nothing
was found yet. The step size is at first what changes the image by ``first_distance``, and decays once it succeeds.
"""

from __future__ import annotations

import tensorflow as tf

from advlab.problem.norms import length, unit
from advlab.problem.problem import Loop, Problem, Query, State

NORMS = ("l2", "l1")
GOAL = "minimal"
MEMORY = 0.9  # of all averages
CHECK, IMPROVEMENT, GROWTH = 10, 0.95, 1.2  # steps between checks of the ratio, what it must reach, what rho grows by
SMALLEST, LARGEST = 1e-6, 1e12  # of the multiplier
HALVINGS = 20  # until the first step size is known


def craft(problem: Problem, *, steps: int = 1000, first_distance: float | None = None, reduction: float = 0.01) -> Loop:
    """The distance falls while the penalty keeps each image adversarial.

    Args:
        steps: Gradient steps on each image.
        first_distance: What the first step changes the image by, in pixel units; None: 0.1 in l2, 0.5 in l1.
        reduction: What the step size decays to, relative to the first.
    """
    clean, norm = problem.x, problem.ball.norm
    distance = {"l2": 0.1, "l1": 0.5}[norm] if first_distance is None else first_distance

    def start() -> State:
        row, zeros = tf.zeros_like(clean[:, :1, :1, :1]), tf.zeros_like(clean)
        ones = {"mu": row + 1, "rho": row + 1, "checked": row, "step_size": row, "found_at": row + steps}
        return {"x": clean, "squares": zeros + 1, "momentum": zeros, **ones}

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        count, success = tf.cast(step, tf.float32), query.success[:, None, None, None]
        # Beyond the boundary by what rounding needs, so that a success counts.
        spread = tf.math.top_k(query.logits, min(problem.top + 2, query.logits.shape[-1]))[0]
        slack = problem.clearance(query.logits) / tf.maximum(spread[:, 0] - spread[:, -1], 1e-12)
        ratio = (slack - query.loss)[:, None, None, None]

        was_found = state["found_at"] < steps
        is_check = (step + 1) % CHECK == 0
        grows = is_check & ~was_found & (ratio >= IMPROVEMENT * state["checked"])
        rho = tf.where(grows, GROWTH * state["rho"], state["rho"])
        followed = MEMORY * state["mu"] + (1 - MEMORY) * _slope(ratio, rho, state["mu"])
        mu = tf.where(step > 0, tf.clip_by_value(followed, SMALLEST, LARGEST), state["mu"])
        found_at = tf.where(success & ~was_found, count, state["found_at"])

        change = query.x - clean
        nearer = unit(change) if norm == "l2" else tf.sign(change)
        gradient = tf.where(step > 0, nearer, tf.zeros_like(nearer)) - _slope(ratio, rho, mu) * query.gradient
        step_size = tf.cond(step > 0, lambda: state["step_size"], lambda: _first_step_size(problem, gradient, distance))
        decay = reduction ** (tf.nn.relu(count - found_at) / tf.maximum(steps - found_at, 1))
        squares = MEMORY * state["squares"] + (1 - MEMORY) * gradient**2
        momentum = MEMORY * state["momentum"] + gradient / (tf.sqrt(squares) + 1e-8)
        return {
            "x": tf.clip_by_value(query.x - step_size * decay * momentum, 0, 1),
            "squares": squares,
            "momentum": momentum,
            "mu": mu,
            "rho": rho,
            "checked": tf.where(is_check | (step == 0), ratio, state["checked"]),
            "step_size": step_size,
            "found_at": found_at,
        }

    return Loop(steps, start, update, loss="dlr")


def _slope(ratio: tf.Tensor, rho: tf.Tensor, mu: tf.Tensor) -> tf.Tensor:
    """The derivative of the penalty P2: at zero it is ``mu``, above it grows fast, below it vanishes."""
    above = mu + 2 * mu * rho * ratio + rho**2 * ratio**2 / 2
    return tf.where(ratio >= 0, above, mu / (1 - rho * tf.minimum(ratio, 0)) ** 2)


def _first_step_size(problem: Problem, gradient: tf.Tensor, distance: float | tf.Tensor) -> tf.Tensor:
    """float32 ``(b, 1, 1, 1)``: the step along the gradient that changes the image by ``distance``, within the box."""

    def size(step_size: tf.Tensor) -> tf.Tensor:
        return length(tf.clip_by_value(problem.x - step_size * gradient, 0, 1) - problem.x, problem.ball.norm)

    low = tf.zeros_like(gradient[:, :1, :1, :1])
    high = low + distance / tf.maximum(length(gradient, problem.ball.norm), 1e-12)
    # The box may take most of a step.
    for _ in range(HALVINGS // 2):
        high = tf.where(size(high) < distance, 2 * high, high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        is_beyond = size(middle) > distance
        low, high = tf.where(is_beyond, low, middle), tf.where(is_beyond, middle, high)
    return (low + high) / 2
