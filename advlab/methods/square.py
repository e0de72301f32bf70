"""Square attack: random squares of plus or minus epsilon, kept where they raise the loss; no gradient is used.

Andriushchenko et al. 2019, "Square attack: a query-efficient black-box adversarial attack via random search",
arXiv:1912.00049, algorithms 1 and 2: vertical stripes to begin with, squares whose area follows a schedule that is
scaled from 10,000 queries to ``steps``. Every sample draws its own squares, up to the last row and column.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from advlab import random
from advlab.problem import START, Loop, Problem, State, View

NORMS = ("linf",)
KIND = "bounded"
HALVED_AT = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000 queries


def craft(problem: Problem, *, steps: int = 5000, area: float = 0.8) -> Loop:
    """``area`` is the share of the image that the first squares cover."""
    ball = problem.ball
    rows, columns, channels = problem.x.shape[1:]
    epsilon = tf.cast(ball.epsilon, tf.float32)
    halvings = np.searchsorted(np.array(HALVED_AT), 10_000 * np.arange(steps + 1) / steps, side="left")

    def start() -> State:
        stripes = random.uniform(problem.streams, START, 0, columns * channels)
        signs = tf.sign(tf.reshape(stripes, [-1, 1, columns, channels]) - 0.5)
        x = ball.project(problem.x + epsilon * signs)
        return {"x": x, "best_x": x, "best": tf.zeros_like(x[:, 0, 0, 0]) - np.inf}

    def update(state: State, view: View, step: tf.Tensor) -> State:
        better = view.loss > state["best"]
        best_x = tf.where(better[:, None, None, None], view.x, state["best_x"])
        share = area * 0.5 ** tf.cast(tf.gather(halvings, step), tf.float32)
        side = tf.clip_by_value(tf.round(tf.sqrt(share * rows * columns)), 1, min(rows, columns) - 1)
        drawn = random.uniform(problem.streams, step, 0, 2 + channels)
        top = tf.floor(drawn[:, 0] * (rows - side + 1))[:, None, None, None]
        left = tf.floor(drawn[:, 1] * (columns - side + 1))[:, None, None, None]
        row = tf.reshape(tf.range(rows, dtype=tf.float32), [1, -1, 1, 1])
        column = tf.reshape(tf.range(columns, dtype=tf.float32), [1, 1, -1, 1])
        inside = (row >= top) & (row < top + side) & (column >= left) & (column < left + side)
        signs = tf.sign(drawn[:, None, None, 2:] - 0.5)
        x = tf.where(inside, problem.x + epsilon * signs, best_x)
        return {"x": ball.project(x), "best_x": best_x, "best": tf.maximum(view.loss, state["best"])}

    return Loop(steps, start, update, loss="margin", gradient=False)
