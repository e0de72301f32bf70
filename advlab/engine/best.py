"""What an attack has found so far: for each image the better of all its restarts, and what they cost together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from advlab.lazy import Images


def empty(x: Images, trace_points: int) -> dict[str, np.ndarray]:
    """Before the first step: each image, float32 ``(n, h, w, c)``, is its own best."""
    n = len(x)
    return {
        "x": np.array(x),
        "loss": np.full(n, -np.inf, np.float32),
        "success": np.zeros(n, bool),
        "distance": np.full(n, np.inf, np.float32),
        "forward": np.zeros(n, np.int32),
        "backward": np.zeros(n, np.int32),
        "loss_trace": np.full((n, trace_points), np.nan, np.float32),
        "first_success": np.full(n, -1, np.int32),
        "zero_gradient": np.zeros(n, bool),
        "nonfinite": np.zeros(n, bool),
    }


def merge(
    best: dict[str, np.ndarray], goal: str, rows: np.ndarray, carry: Mapping[str, Any], replace_all: bool | None = None
) -> None:
    """Keep, for each of the ``rows``, the better of this restart and those before.

    ``carry`` has the rows first and may have more of them; ``replace_all`` takes them all over, or none.
    """
    new = {name: np.asarray(carry[name])[: len(rows)] for name in best if name in carry}
    loss, success = best["loss"][rows], best["success"][rows]
    improves = new["distance"] < best["distance"][rows] if goal == "minimal" else new["loss"] > loss
    is_better = (new["success"] & ~success) | ((new["success"] == success) & improves)
    is_better |= np.isneginf(loss) & ~success
    if replace_all is not None:
        is_better[:] = replace_all
    for name, value in new.items():
        if name in ("forward", "backward"):
            best[name][rows] += value
        elif name in ("zero_gradient", "nonfinite"):
            best[name][rows] |= value
        else:
            best[name][rows[is_better]] = value[is_better]
