"""What an attack has found so far: for each image the better of all its restarts, and what they cost together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def nothing(x: np.ndarray, points: int) -> dict[str, np.ndarray]:
    """Before the first step: each image, float32 ``(n, h, w, c)``, is its own best; ``points`` of the loss are kept."""
    n = len(x)
    return {
        "x": x.copy(),
        "loss": np.full(n, -np.inf, np.float32),
        "success": np.zeros(n, bool),
        "distance": np.full(n, np.inf, np.float32),
        "forward": np.zeros(n, np.int32),
        "backward": np.zeros(n, np.int32),
        "loss_trace": np.full((n, points), np.nan, np.float32),
        "first_success": np.full(n, -1, np.int32),
        "zero_gradient": np.zeros(n, bool),
        "nonfinite": np.zeros(n, bool),
    }


def merge(
    found: dict[str, np.ndarray], goal: str, rows: np.ndarray, carry: Mapping[str, Any], whole: bool | None = None
) -> None:
    """Keep, for each of the ``rows``, the better of this restart and those before.

    ``carry`` has the rows first and may have more of them; ``whole`` says that all shall be kept, or none.
    """
    new = {name: np.asarray(carry[name])[: len(rows)] for name in found if name in carry}
    loss, success = found["loss"][rows], found["success"][rows]
    gained = new["distance"] < found["distance"][rows] if goal == "minimal" else new["loss"] > loss
    better = (new["success"] & ~success) | ((new["success"] == success) & gained)
    better |= np.isneginf(loss) & ~success
    if whole is not None:
        better[:] = whole
    for name, value in new.items():
        if name in ("forward", "backward"):
            found[name][rows] += value
        elif name in ("zero_gradient", "nonfinite"):
            found[name][rows] |= value
        else:
            found[name][rows[better]] = value[better]
