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
CHECKS, PROGRESS = 20, 0.999  # so often in a search its loss must have fallen below this share of what it was


def begin(problem: Problem, constant: float) -> State:
    """The first search of each row, every entry ``(b,)``: ``c`` is its weight, ``inner`` the looks it has had."""
    row, count = tf.zeros_like(problem.x[:, 0, 0, 0]), tf.zeros_like(problem.labels)
    return {
        "c": row + constant,
        "low": row,
        "high": row + np.inf,
        "found": row > 0,
        "checked": row,
        "inner": count,
        "search": count,
        "done": row > 0,
    }


def advance(
    state: State, loss: tf.Tensor, success: tf.Tensor, steps: int, searches: int, abort: bool
) -> tuple[State, tf.Tensor]:
    """The searches after one look, whose ``loss`` is to fall; and bool ``(b,)``, the rows that begin again."""
    ended, checked = stuck(state, loss, steps, abort)
    c, found = state["c"], state["found"] | success
    low = tf.where(ended & ~found, c, state["low"])
    high = tf.where(ended & found, c, state["high"])
    following = tf.where(tf.math.is_finite(high), (low + high) / 2, tf.minimum(10 * c, LARGEST))
    search = state["search"] + tf.cast(ended, tf.int32)
    return {
        "c": tf.where(ended, following, c),
        "low": low,
        "high": high,
        "found": found & ~ended,
        "inner": tf.where(ended, 0, state["inner"] + 1),
        "checked": checked,
        "search": search,
        "done": search >= searches,
    }, ended


def stuck(state: State, loss: tf.Tensor, steps: int, abort: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """bool ``(b,)``: the rows whose looks are used up or whose loss no longer falls; and what to compare with next."""
    ended, check = state["inner"] + 1 >= steps, state["inner"] % max(steps // CHECKS, 1) == 0
    if abort:
        ended |= check & (state["inner"] > 0) & (loss > PROGRESS * state["checked"])
    return ended, tf.where(check, loss, state["checked"])
