"""What the loss trace of an attack shows: whether the loss still rises, or decreases, and which successes were lost.

Read from the diagnostics of a result, see ``advlab.engine.attack``: ``loss_trace``, ``trace_steps`` and
``first_success``. Where they are missing, nothing is counted.
"""

from __future__ import annotations

import math

import numpy as np

from advlab.results.result import AttackResult

_TOLERANCE = 1e-3  # in units of the loss: less than this is rounding


def complete_traces(result: AttackResult) -> tuple[np.ndarray, np.ndarray]:
    """The rows int64 ``(m,)`` of the samples that ran all steps, and their loss float64 ``(m, t)``."""
    trace = result.diagnostics.loss_trace
    if trace is None or trace.shape[1] < 2:
        return np.zeros(0, np.int64), np.zeros((0, 2))
    rows = np.flatnonzero(result.attempted & np.isfinite(trace).all(1))
    return rows, trace[rows].astype(np.float64)


def late_rise(result: AttackResult) -> float:
    """The fraction in [0, 1] of the loss's rise that came in the last tenth of the steps; NaN where it did not rise.

    The mean over samples that are still robust, each at the highest loss so far: more steps could still succeed on
    these. A trace that rises evenly has 0.1, one of a single step 1.
    """
    rows, loss = complete_traces(result)
    best = np.maximum.accumulate(loss[result.robust[rows]], axis=1)
    steps = result.diagnostics.trace_steps
    if not len(best) or steps is None:
        return math.nan
    last_tenth = int(np.searchsorted(steps, 0.9 * steps[-1], side="right")) - 1
    rise = float(np.mean(best[:, -1] - best[:, 0]))
    return float(np.mean(best[:, -1] - best[:, last_tenth])) / rise if rise > _TOLERANCE else math.nan


def decreased(result: AttackResult) -> tuple[int, int]:
    """How many samples ended at a lower loss than they began with, and how many ran all steps.

    Samples that met a gradient of exactly zero are left out of both: no step of theirs had a direction.
    """
    rows, loss = complete_traces(result)
    if result.diagnostics.zero_gradient is not None:
        has_gradient = ~result.diagnostics.zero_gradient[rows].astype(bool)
        rows, loss = rows[has_gradient], loss[has_gradient]
    return int(np.count_nonzero(loss[:, -1] < loss[:, 0] - _TOLERANCE)), len(rows)


def missed_successes(result: AttackResult) -> np.ndarray:
    """bool ``(n,)``: misclassified at some query of the attack, and yet the returned image is not."""
    first = result.diagnostics.first_success
    if first is None:
        return np.zeros(len(result), bool)
    return np.asarray((first >= 0) & result.attempted & ~result.success)


def below_highest_loss(result: AttackResult) -> tuple[int, int]:
    """How many samples were returned at their last iterate, below their highest loss, and how many were compared.

    Only for an attack that returned the last iterate of nearly every sample, which shows in the loss itself: the
    log-odds of the returned probabilities are then the last of the trace. For any other loss or attack both are 0.
    """
    rows, loss = complete_traces(result)
    targeted = result.attack.threat.targeted
    classes = (result.targets if targeted else result.labels)[rows]
    probabilities = result.adversarial_probabilities[rows].astype(np.float64)
    class_probability = np.take_along_axis(probabilities, classes[:, None], 1)[:, 0]
    np.put_along_axis(probabilities, classes[:, None], 0, 1)
    with np.errstate(divide="ignore"):
        returned_loss = (np.log(probabilities.sum(1)) - np.log(class_probability)) * (-1 if targeted else 1)
    is_last = np.isclose(returned_loss, loss[:, -1], rtol=_TOLERANCE, atol=10 * _TOLERANCE)
    if not len(rows) or is_last.mean() < 0.99:
        return 0, 0
    lower = returned_loss < loss.max(1) - 10 * _TOLERANCE - _TOLERANCE * np.abs(loss.max(1))
    return int(np.count_nonzero(lower)), len(rows)
