"""FAB as its authors run it, written down in NumPy from arXiv:1907.02044 and the order of steps in their AutoAttack.

One image at a time and in float64, nothing shared with ``advlab.methods``: what ``fab`` is compared with, step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Model = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # image (d,) -> logits (k,) and Jacobian (k, d)
NEGLIGIBLE = 1e-8  # a gradient below this leaves its pixel alone


class Walk(NamedTuple):
    """The nearest success, how far it is (infinite: none found), and the iterates before they step back."""

    nearest: np.ndarray
    distance: float
    iterates: list[np.ndarray]


def size(change: np.ndarray, norm: str) -> float:
    """The norm of a change."""
    return float(np.linalg.norm(change, {"linf": np.inf, "l2": 2, "l1": 1}[norm]))


def project(x: np.ndarray, normal: np.ndarray, height: float, norm: str) -> np.ndarray:
    """The smallest change within the box that takes ``height`` along ``normal`` to zero, as far as the box allows.

    By sorting the pixels by when they meet the box (linf, l2), or by how much they gain (l1).
    """
    normal = np.where(np.abs(normal) > NEGLIGIBLE, normal, 0.0)
    direction = -np.sign(height) * np.sign(normal)
    room = np.where(direction > 0, 1 - x, np.where(direction < 0, x, 0.0))
    gain, rise = np.abs(normal), abs(height)
    if rise >= (gain * room).sum():
        return direction * room
    if norm == "l1":
        order = np.argsort(-gain, kind="stable")
        before = np.cumsum((gain * room)[order]) - (gain * room)[order]
        needed = np.clip((rise - before) / np.maximum(gain[order], 1e-300), 0, room[order])
        change = np.zeros_like(x)
        change[order] = needed
        return direction * change
    speed = gain if norm == "l2" else np.sign(gain)
    met = np.where(speed > 0, room / np.maximum(speed, 1e-300), np.inf)
    order = np.argsort(met, kind="stable")
    # Between two meetings the height falls linearly.
    slope = np.cumsum((gain * speed)[order][::-1])[::-1]
    full = np.cumsum((gain * room)[order]) - (gain * room)[order]
    times = (rise - full) / np.maximum(slope, 1e-300)
    time = times[np.argmax(times <= met[order])]
    return direction * np.minimum(time * speed, room)


def fab(
    model: Model,
    x: np.ndarray,
    label: int,
    norm: str,
    *,
    steps: int,
    target: int | None = None,
    alpha: float = 0.1,
    eta: float = 1.05,
    beta: float = 0.9,
) -> Walk:
    """Linearise where the image is, step towards that boundary, and, if it is crossed, step back: ``steps`` times."""
    x = x.astype(np.float64)
    dual = {"linf": 1, "l2": 2, "l1": np.inf}[norm]
    iterate, nearest, shortest, iterates = x, x, np.inf, []
    for _ in range(steps):
        logits, jacobian = model(iterate)
        others = [k for k in range(len(logits)) if k != label] if target is None else [target]
        distances = [
            abs(logits[k] - logits[label]) / (1e-12 + np.linalg.norm(jacobian[k] - jacobian[label], dual))
            for k in others
        ]
        other = others[int(np.argmin(distances))]
        normal, height = jacobian[other] - jacobian[label], logits[other] - logits[label]
        move = project(iterate, normal, height, norm)
        clean_move = project(x, normal, height + normal @ (x - iterate), norm)
        length, clean_length = max(size(move, norm), 1e-8), max(size(clean_move, norm), 1e-8)
        bias = min(length / (length + clean_length), alpha)
        iterate = np.clip((1 - bias) * (iterate + eta * move) + bias * (x + eta * clean_move), 0, 1)
        iterates.append(iterate)
        if model(iterate)[0].argmax() != label:
            if size(iterate - x, norm) < shortest:
                nearest, shortest = iterate, size(iterate - x, norm)
            iterate = x + beta * (iterate - x)
    return Walk(nearest, shortest, iterates)
