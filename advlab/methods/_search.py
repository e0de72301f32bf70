"""The binary search over the weight c of an attack's loss, every sample at its own pace.

Carlini, Wagner 2016, arXiv:1608.04644, section VI: c is multiplied by 10 until a search succeeds; from then on it lies
halfway between the largest that failed and the smallest that succeeded. All searches form one loop: a sample whose
search ends early begins its next one at once, and is done when its last one ends.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from advlab.problem.problem import Problem, State

LARGEST = 1e10
CHECKS, PROGRESS = 20, 0.999  # so often in a search its loss must be below this fraction of what it was


def begin(problem: Problem, constant: float) -> State:
    """The first search of each row, every entry ``(b,)``: ``c`` is its weight, ``inner`` its queries so far."""
    row, count = tf.zeros_like(problem.x[:, 0, 0, 0]), tf.zeros_like(problem.labels)
    return {
        "c": row + constant,
        "low": row,
        "high": row + np.inf,
        "succeeded": row > 0,
        "checked_loss": row,
        "inner": count,
        "search": count,
        "done": row > 0,
    }


def advance(
    state: State, loss: tf.Tensor, success: tf.Tensor, steps: int, searches: int, abort: bool
) -> tuple[State, tf.Tensor]:
    """The searches after one query, whose ``loss`` is to decrease; and bool ``(b,)``, the rows that start again."""
    ended, checked_loss = check_progress(state, loss, steps, abort)
    c, succeeded = state["c"], state["succeeded"] | success
    low = tf.where(ended & ~succeeded, c, state["low"])
    high = tf.where(ended & succeeded, c, state["high"])
    next_c = tf.where(tf.math.is_finite(high), (low + high) / 2, tf.minimum(10 * c, LARGEST))
    search = state["search"] + tf.cast(ended, tf.int32)
    return {
        "c": tf.where(ended, next_c, c),
        "low": low,
        "high": high,
        "succeeded": succeeded & ~ended,
        "inner": tf.where(ended, 0, state["inner"] + 1),
        "checked_loss": checked_loss,
        "search": search,
        "done": search >= searches,
    }, ended


def check_progress(state: State, loss: tf.Tensor, steps: int, abort: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """bool ``(b,)``: the rows whose steps are used up or whose loss stagnates; and the loss to compare with next."""
    ended, is_check = state["inner"] + 1 >= steps, state["inner"] % max(steps // CHECKS, 1) == 0
    if abort:
        ended |= is_check & (state["inner"] > 0) & (loss > PROGRESS * state["checked_loss"])
    return ended, tf.where(is_check, loss, state["checked_loss"])
