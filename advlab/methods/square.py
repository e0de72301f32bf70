"""Square attack (Linf, L2, L1): random squares of plus or minus epsilon, kept where they raise the loss.

Andriushchenko et al. 2019, "Square attack: a query-efficient black-box adversarial attack via random search",
arXiv:1912.00049, algorithms 1 and 2 (under L2 and L1: algorithm 3): vertical stripes to begin with, squares whose area
follows a schedule that is scaled from 10,000 queries to ``steps``. Every sample draws its own squares, up to the last
row and column; where a mask confines the change, around a random pixel that may change.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from advlab.methods import _square_pairs
from advlab.problem import random
from advlab.problem.problem import START, Loop, Problem, Query, State

NORMS = ("linf", "l2", "l1")
GOAL = "bounded"
HALVED_AT = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000 queries


def craft(problem: Problem, *, steps: int = 5000, area: float = 0.8) -> Loop:
    """Keep a square where it raises the loss.

    Args:
        steps: Queries of each image.
        area: Fraction of the image that the first squares cover.
    """
    ball = problem.ball
    rows, columns, channels = problem.x.shape[1:]
    halvings = np.searchsorted(HALVED_AT, 10_000 * np.arange(steps + 1) // max(steps, 1), side="left")

    def side(step: tf.Tensor) -> tf.Tensor:
        fraction = area * 0.5 ** tf.cast(tf.gather(halvings, step), tf.float32)
        return tf.cast(tf.round(tf.sqrt(fraction * rows * columns)), tf.int32)

    if ball.norm != "linf":
        return _square_pairs.craft(problem, steps, side)
    epsilon = tf.cast(ball.epsilon, tf.float32)
    low, high = ball.project(problem.x - epsilon), ball.project(problem.x + epsilon)

    def start() -> State:
        stripes = random.uniform(problem.streams, START, 0, columns * channels)
        x = tf.where(tf.reshape(stripes, [-1, 1, columns, channels]) < 0.5, low, high)
        return {"x": x, "best_x": x, "best": tf.zeros_like(x[:, 0, 0, 0]) - np.inf}

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        is_better = query.loss > state["best"]
        best_x = tf.where(is_better[:, None, None, None], query.x, state["best_x"])
        width = tf.clip_by_value(side(step), 1, min(rows, columns) - 1)
        draws = random.uniform(problem.streams, step, 0, 2 + channels)
        anchor = _square_pairs.anchors(problem, step, 1)
        row = _square_pairs.window_offsets(draws[:, 0], width, rows, anchor[0])
        column = _square_pairs.window_offsets(draws[:, 1], width, columns, anchor[1])
        values = tf.where(draws[:, None, None, 2:] < 0.5, low, high)
        x = tf.where(_square_pairs.window(row, column, width), values, best_x)
        return {"x": x, "best_x": best_x, "best": tf.maximum(query.loss, state["best"])}

    return Loop(steps, start, update, loss="margin", gradient=False)
