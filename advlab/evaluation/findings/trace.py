"""What the stored walk of an attack shows: whether its loss still rises, or falls, and what it passed by.

All of it is read from the diagnostics of a result, see ``advlab.engine.attack``: ``loss_trace``, ``trace_steps`` and
``first_success``. Where they are missing, there is nothing to see.
"""

from __future__ import annotations

import math

import numpy as np

from advlab.results.result import AttackResult

_EDGE = 1e-3  # in units of the loss: less than this is rounding


def traced(result: AttackResult) -> tuple[np.ndarray, np.ndarray]:
    """The rows int64 ``(m,)`` of the samples that walked to the end, and the loss float64 ``(m, t)`` on their way."""
    trace = result.diagnostics.get("loss_trace", np.zeros((len(result), 0)))
    if trace.shape[1] < 2:
        return np.zeros(0, np.int64), np.zeros((0, 2))
    rows = np.flatnonzero(result.attempted & np.isfinite(trace).all(1))
    return rows, trace[rows].astype(np.float64)


def late_rise(result: AttackResult) -> float:
    """The share in [0, 1] of the loss's rise that fell into the last tenth of the steps; NaN where it did not rise.

    The mean over samples still classified as their label, each at the highest loss so far: those are the ones that
    more steps could break. A walk that rises evenly has 0.1, one of a single step 1.
    """
    rows, loss = traced(result)
    best = np.maximum.accumulate(loss[result.robust[rows]], axis=1)
    if not len(best):
        return math.nan
    steps = result.diagnostics["trace_steps"]
    before = int(np.searchsorted(steps, 0.9 * steps[-1], side="right")) - 1
    rise = float(np.mean(best[:, -1] - best[:, 0]))
    return float(np.mean(best[:, -1] - best[:, before])) / rise if rise > _EDGE else math.nan


def fell(result: AttackResult) -> tuple[int, int]:
    """How many samples ended at a lower loss than they began with, and how many walked to the end."""
    rows, loss = traced(result)
    return int(np.count_nonzero(loss[:, -1] < loss[:, 0] - _EDGE)), len(rows)


def passed_by(result: AttackResult) -> np.ndarray:
    """bool ``(n,)``: broken at some look of the walk, and yet the returned image is not."""
    first = result.diagnostics.get("first_success", np.full(len(result), -1))
    return np.asarray((first >= 0) & result.attempted & ~result.success)


def ended_lower(result: AttackResult) -> tuple[int, int]:
    """How many samples were returned where their walk ended, below the highest loss seen, and how many were compared.

    Only for an attack that returned the last look of nearly every sample, which shows in the loss itself: the log-odds
    of the returned probabilities are then the last of the trace. For any other loss or attack both numbers are 0.
    """
    rows, loss = traced(result)
    target = result.attack.threat.target
    classes = result.labels[rows] if target is None else np.full(len(rows), target)
    probabilities = result.adversarial_probabilities[rows].astype(np.float64)
    own = np.take_along_axis(probabilities, classes[:, None], 1)[:, 0]
    np.put_along_axis(probabilities, classes[:, None], 0, 1)
    with np.errstate(divide="ignore"):
        returned = (np.log(probabilities.sum(1)) - np.log(own)) * (1 if target is None else -1)
    at_last = np.isclose(returned, loss[:, -1], rtol=_EDGE, atol=10 * _EDGE)
    if not len(rows) or at_last.mean() < 0.99:
        return 0, 0
    lower = returned < loss.max(1) - 10 * _EDGE - _EDGE * np.abs(loss.max(1))
    return int(np.count_nonzero(lower)), len(rows)
