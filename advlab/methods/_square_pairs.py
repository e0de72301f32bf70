"""The Square attack under L2 and L1: change moves from one window to another.

Andriushchenko et al. 2019, arXiv:1912.00049, algorithm 3: the second window is emptied; the first, where a pattern of
two opposite halves that fade from their centers is added, gets the norm of both and what the ball has left.
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
    """The loop of ``square`` under L2 and L1; ``side`` gives the width of a step's windows, made odd here."""
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
        tile_rows, tile_columns = rows // width, columns // width
        signs = _signs(random.uniform(problem.streams, START, 0, tile_rows * tile_columns * channels))
        signs = tf.reshape(signs, [-1, tile_rows, tile_columns, channels])
        fade, weight, along = _shape(width, power)
        tile = np.tile(weight[:, None] * np.minimum(fade[:, None], along), (tile_rows, tile_columns))
        change = tf.repeat(tf.repeat(signs, width, 1), width, 2) * tile[:, :, None]
        padding = [(rest // 2, rest - rest // 2) for rest in (rows % width, columns % width)]
        change = tf.pad(change, [(0, 0), *padding, (0, 0)])
        x = ball.project(problem.x + change * (budget / (channels * tile_rows * tile_columns)) ** (1 / power))
        return {"x": x, "best_x": x, "best": tf.zeros_like(x[:, 0, 0, 0]) - np.inf}

    def update(state: State, query: Query, step: tf.Tensor) -> State:
        is_better = query.loss > state["best"]
        best_x = tf.where(is_better[:, None, None, None], query.x, state["best_x"])
        change = best_x - problem.x
        half = tf.clip_by_value(side(step) // 2, min(1, widest), widest)
        draws = random.uniform(problem.streams, step, 0, 5 + channels)
        anchor = (*anchors(problem, step, 1), *anchors(problem, step, 2))
        row, column, other_row, other_column = (
            window_offsets(draws[:, draw], 2 * half + 1, (rows, columns)[draw % 2], anchor[draw]) for draw in range(4)
        )
        first, second = window(row, column, 2 * half + 1), window(other_row, other_column, 2 * half + 1)
        pattern = _pattern(tf.gather(shapes, half), row, column, draws[:, 4] < 0.5)

        zero = tf.zeros_like(change)
        window_change = tf.where(first, change, zero)
        direction = window_change / tf.maximum(_norm(window_change, power), 1e-12)
        direction += problem.masked(tf.where(first, pattern * _signs(draws[:, None, None, 5:]), zero))
        spare = tf.nn.relu(budget - tf.reduce_sum(_norm(change, power) ** power, -1, keepdims=True)) / channels
        window_norm = (spare + _norm(tf.where(first | second, change, zero), power) ** power) ** (1 / power)
        rest = tf.where(first | second, zero, change)
        change = rest + direction * window_norm / tf.maximum(_norm(direction, power), 1e-12)
        x = ball.project(problem.x + change)
        return {"x": x, "best_x": best_x, "best": tf.maximum(query.loss, state["best"])}

    return Loop(steps, start, update, loss="margin", gradient=False)


def anchors(problem: Problem, step: tf.Tensor, draw: int) -> tuple[tf.Tensor | None, tf.Tensor | None]:
    """int32 ``(n,)``: row and column of a random pixel of each mask; None without masks, when all pixels are alike."""
    if problem.ball.mask is None:
        return None, None
    free = tf.reduce_any(problem.ball.mask, -1)
    columns = free.shape[2]
    order = random.uniform(problem.streams, step, draw, free.shape[1] * columns)
    chosen = tf.argmax(tf.where(tf.reshape(free, [-1, free.shape[1] * columns]), order, -1), -1, tf.int32)
    return chosen // columns, chosen % columns


def window_offsets(draw: tf.Tensor, width: tf.Tensor, count: int, anchor: tf.Tensor | None = None) -> tf.Tensor:
    """int32 ``(n, count)``: the index of each row or column in a window of that width; ``draw`` in [0, 1) places it.

    Anywhere, or so that it holds the row or column ``anchor``, int32 ``(n,)``.
    """
    if anchor is None:
        top = tf.cast(tf.floor(draw * tf.cast(count - width + 1, tf.float32)), tf.int32)
    else:
        before = tf.cast(tf.floor(draw * tf.cast(width, tf.float32)), tf.int32)
        top = tf.clip_by_value(anchor - before, 0, count - width)
    return tf.range(count) - top[:, None]


def window(row: tf.Tensor, column: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """bool ``(n, h, w, 1)``: the pixels whose row and column are both inside."""
    in_row, in_column = ((offset >= 0) & (offset < width) for offset in (row, column))
    return (in_row[:, :, None] & in_column[:, None, :])[..., None]


def _pattern(shape: tf.Tensor, row: tf.Tensor, column: tf.Tensor, is_transposed: tf.Tensor) -> tf.Tensor:
    """float32 ``(n, h, w, 1)``: one half above the other or, where transposed, left of it; valid inside the window."""
    last = shape.shape[1] - 1
    down, across = (tf.gather(shape, tf.clip_by_value(offset, 0, last), axis=1) for offset in (row, column))
    upright = down[1][:, :, None] * tf.minimum(down[0][:, :, None], across[2][:, None, :])
    transposed = across[1][:, None, :] * tf.minimum(across[0][:, None, :], down[2][:, :, None])
    return tf.where(is_transposed[:, None, None], transposed, upright)[..., None]


def _shape(width: int, power: int) -> np.ndarray:
    """float32 ``(3, width)``: how a square's two halves, each of norm 1, are made of vectors.

    A pixel's size decreases with the larger of its two distances from the half's center, so it is the smaller of what
    each distance allows: down the rows, and along the columns. Between them the sign of the half over its norm.
    """
    sizes = np.cumsum(1.0 / np.arange(width // 2 + 1, 0, -1) ** 2)[::-1]
    along = sizes[np.abs(np.arange(width) - width // 2)]
    fade, weight = [], []
    for sign, height in ((1, width // 2), (-1, width - width // 2)):
        half_fade = sizes[np.abs(np.arange(height) - height // 2)]
        norm = (np.minimum(half_fade[:, None], along) ** power).sum() ** (1 / power)
        fade.append(half_fade)
        weight.append(np.full(height, sign / max(norm, 1e-12)))
    return np.stack([np.concatenate(fade), np.concatenate(weight), along]).astype(np.float32)


def _signs(draws: tf.Tensor) -> tf.Tensor:
    return tf.where(draws < 0.5, -1.0, 1.0)


def _norm(values: tf.Tensor, power: int) -> tf.Tensor:
    """``(n, 1, 1, c)``: of each channel."""
    return tf.reduce_sum(tf.abs(values) ** power, [1, 2], keepdims=True) ** (1 / power)
