"""Which class is taken for which: the flow from true class to prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from advlab.figures.style import ROBUST, STYLE, WIDTH, bare, names

if TYPE_CHECKING:
    from advlab.evaluation.evaluation import Evaluation

_WRITTEN = 12  # up to this many classes their names and numbers fit
_DEEPEST = 0.75  # ink stays legible on it, in light and in dark


def class_flow(evaluation: Evaluation) -> Figure:
    """Where the perturbation moves initially correct samples: a row for each true class, a column for each prediction.

    A cell has the number of samples and, below in small, their median distance in the norm of the threat where the
    attack succeeded. The diagonal, those that stayed, is not coloured. Above 12 classes there are colours only.
    """
    counts, k = evaluation.transitions, len(evaluation.per_class)
    moved = np.where(np.eye(k, dtype=bool), 0, counts)
    colours = np.empty((k, k, 4))
    colours[..., :3] = to_rgb(ROBUST)
    colours[..., 3] = _DEEPEST * moved / max(moved.max(initial=0), 1)
    norm = evaluation.attack.threat.norm
    written = k <= _WRITTEN
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.25 * WIDTH, 1.2 * WIDTH), layout="constrained")
        axis = figure.subplots()
        axis.imshow(colours, interpolation="none")
        axis.set_title(names([evaluation])[0], loc="left", fontsize=9)
        axis.set_ylabel("true class")
        axis.set_xlabel("class of the perturbed image" + ("" if norm == "none" else f"; small: median {norm} distance"))
        if written:
            classes = [_short(score.name) for score in evaluation.per_class]
            axis.set_xticks(range(k), classes)
            if max(map(len, classes)) > 3:
                axis.tick_params("x", rotation=40)
                for label in axis.get_xticklabels():
                    label.set(ha="right", rotation_mode="anchor")
            axis.set_yticks(range(k), classes)
            for row, column in np.argwhere(counts > 0):
                _cell(axis, row, column, counts[row, column], evaluation.flow_distance[row, column])
        bare(axis)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0 if written else 3)
    return figure


def _cell(axis: Any, row: int, column: int, count: int, distance: float) -> None:
    below = not np.isnan(distance)
    axis.text(column, row - 0.16 * below, f"{count:,}", ha="center", va="center", fontsize=8)
    if below:
        axis.text(column, row + 0.26, f"{distance:.2g}", ha="center", va="center", fontsize=5.5)


def _short(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"
