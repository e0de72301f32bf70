"""The Square attack under L2 and L1: change is taken from one window and given to another.

Andriushchenko et al. 2019, arXiv:1912.00049, algorithm 3: the second window is emptied; the first, where a pattern of
two opposite halves that fade from their centers is added, takes what norm both had and what the ball has to spare.
Under L1 it is the same scheme with absolute values for squares, after the idea of Croce, Hein 2021, arXiv:2103.01208,
not their code. The windows are masks over the image, so that each sample has its own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from advlab.problem import random
from advlab.problem.problem import START, Loop, Problem, Query, State


def craft(problem: Problem, steps: int, side: Callable[[tf.Tensor], tf.Tensor]) -> Loop:
    """The loop of ``square`` under L2 and L1; ``side`` gives the width of the windows at a step, before it is made odd
    and at least 3."""
    ball = problem.ball
    power = 2 if ball.norm == "l2" else 1
    rows, columns, channels = problem.x.shape[1:]
    widest = (min(rows, columns) - 1) // 2  # half of it, rounded down; so are all widths below
    shapes = np.zeros((widest + 1, 3, 2 * widest + 1), np.float32)
    for half in range(widest + 1):
        shapes[half, :, : 2 * half + 1] = _shape(2 * half + 1, power)
    budget = tf.cast(ball.epsilon, tf.float32) ** power

    def start() -> State:
        width = max(min(rows, columns) // 5, 1)
        down, across = rows // width, columns // width
        signs = _signs(random.uniform(problem.streams, START, 0, down * across * channels))
        signs = tf.reshape(signs, [-1, down, across, channels])
        fade, weight, along = _shape(width, power)
        tile = np.tile(weight[:, None] * np.minimum(fade[:, None], along), (down, across))
        change = tf.repeat(tf.repeat(signs, width, 1), width, 2) * tile[:, :, None]
        edges = [(left // 2, left - left // 2) for left in (rows % width, columns % width)]
        change = tf.pad(change, [(0, 0), *edges, (0, 0)])
        x = ball.project(problem.x + change * (budget / (channels * down * across)) ** (1 / power))
        return {"x": x, "best_x": x, "best": tf.zeros_like(x[:, 0, 0, 0]) - np.inf}

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        better = query.loss > state["best"]
        best_x = tf.where(better[:, None, None, None], query.x, state["best_x"])
        change = best_x - problem.x
        half = tf.clip_by_value(side(step) // 2, min(1, widest), widest)
        drawn = random.uniform(problem.streams, step, 0, 5 + channels)
        row, column, other_row, other_column = (
            place(drawn[:, draw], 2 * half + 1, (rows, columns)[draw % 2]) for draw in range(4)
        )
        first, second = window(row, column, 2 * half + 1), window(other_row, other_column, 2 * half + 1)
        pattern = _pattern(tf.gather(shapes, half), row, column, drawn[:, 4] < 0.5)

        zero = tf.zeros_like(change)
        inside = tf.where(first, change, zero)
        mixed = inside / tf.maximum(_norm(inside, power), 1e-12)
        mixed += tf.where(first, pattern * _signs(drawn[:, None, None, 5:]), zero)
        spare = tf.nn.relu(budget - tf.reduce_sum(_norm(change, power) ** power, -1, keepdims=True)) / channels
        given = (spare + _norm(tf.where(first | second, change, zero), power) ** power) ** (1 / power)
        kept = tf.where(first | second, zero, change)
        change = kept + mixed * given / tf.maximum(_norm(mixed, power), 1e-12)
        x = ball.project(problem.x + change)
        return {"x": x, "best_x": best_x, "best": tf.maximum(query.loss, state["best"])}

    return Loop(steps, start, update, loss="margin", gradient=False)


def place(drawn: tf.Tensor, width: tf.Tensor, count: int) -> tf.Tensor:
    """int32 ``(n, count)``: where each row or column lies in a window of that width, from 0; its place is ``drawn``."""
    top = tf.floor(drawn * tf.cast(count - width + 1, tf.float32))
    return tf.range(count) - tf.cast(top, tf.int32)[:, None]


def window(row: tf.Tensor, column: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """bool ``(n, h, w, 1)``: the pixels whose row and column are both inside."""
    down, across = ((place >= 0) & (place < width) for place in (row, column))
    return (down[:, :, None] & across[:, None, :])[..., None]


def _pattern(shape: tf.Tensor, row: tf.Tensor, column: tf.Tensor, turned: tf.Tensor) -> tf.Tensor:
    """float32 ``(n, h, w, 1)``: one half above the other or, ``turned``, beside it; valid inside the window."""
    last = shape.shape[1] - 1
    down, across = (tf.gather(shape, tf.clip_by_value(place, 0, last), axis=1) for place in (row, column))
    upright = down[1][:, :, None] * tf.minimum(down[0][:, :, None], across[2][:, None, :])
    beside = across[1][:, None, :] * tf.minimum(across[0][:, None, :], down[2][:, :, None])
    return tf.where(turned[:, None, None], beside, upright)[..., None]


def _shape(width: int, power: int) -> np.ndarray:
    """float32 ``(3, width)``: how a square's two halves, each of norm 1, are made of vectors.

    A pixel's size falls with the larger of its two distances from the half's center, so it is the smaller of what each
    distance allows: down the rows, and along the columns. Between them the sign of the half over its norm.
    """
    sizes = np.cumsum(1.0 / np.arange(width // 2 + 1, 0, -1) ** 2)[::-1]
    along = sizes[np.abs(np.arange(width) - width // 2)]
    fade, weight = [], []
    for sign, height in ((1, width // 2), (-1, width - width // 2)):
        here = sizes[np.abs(np.arange(height) - height // 2)]
        norm = (np.minimum(here[:, None], along) ** power).sum() ** (1 / power)
        fade.append(here)
        weight.append(np.full(height, sign / max(norm, 1e-12)))
    return np.stack([np.concatenate(fade), np.concatenate(weight), along]).astype(np.float32)


def _signs(drawn: tf.Tensor) -> tf.Tensor:
    return tf.where(drawn < 0.5, -1.0, 1.0)


def _norm(values: tf.Tensor, power: int) -> tf.Tensor:
    """``(n, 1, 1, c)``: of each channel."""
    return tf.reduce_sum(tf.abs(values) ** power, [1, 2], keepdims=True) ** (1 / power)
