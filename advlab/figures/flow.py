"""The confusion under attack: the flow from true class to prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb

from advlab.figures.style import ROBUST, STYLE, WIDTH, Figure, names, remove_frame

if TYPE_CHECKING:
    from advlab.evaluation.evaluation import Evaluation

_MAX_LABELLED = 12  # names and numbers of more classes do not fit
_MAX_OPACITY = 0.75  # text stays legible on it, in light and in dark


def class_flow(evaluation: Evaluation) -> Figure:
    """The predictions of initially correct samples when perturbed: a row per true class, a column per prediction.

    A cell has the number of samples and, in small print below, their median distance in the norm of the threat where
    the attack succeeded. The diagonal, still robust, is not coloured. Above 12 classes there are colours only.
    """
    counts, k = evaluation.transitions, len(evaluation.per_class)
    changed = np.where(np.eye(k, dtype=bool), 0, counts)
    colours = np.empty((k, k, 4))
    colours[..., :3] = to_rgb(ROBUST)
    colours[..., 3] = _MAX_OPACITY * changed / max(changed.max(initial=0), 1)
    norm = evaluation.attack.threat.norm
    labelled = k <= _MAX_LABELLED
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.25 * WIDTH, 1.2 * WIDTH), layout="constrained")
        axis = figure.subplots()
        axis.imshow(colours, interpolation="none")
        axis.set_title(names([evaluation])[0], loc="left", fontsize=9)
        axis.set_ylabel("true class")
        axis.set_xlabel("class of the perturbed image" + ("" if norm == "none" else f"; small: median {norm} distance"))
        if labelled:
            classes = [_short(score.name) for score in evaluation.per_class]
            axis.set_xticks(range(k), classes)
            if max(map(len, classes)) > 3:
                axis.tick_params("x", rotation=40)
                for label in axis.get_xticklabels():
                    label.set(ha="right", rotation_mode="anchor")
            axis.set_yticks(range(k), classes)
            for row, column in np.argwhere(counts > 0):
                _cell(axis, row, column, counts[row, column], evaluation.flow_distance[row, column])
        remove_frame(axis)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0 if labelled else 3)
    return figure


def _cell(axis: Any, row: int, column: int, count: int, distance: float) -> None:
    has_distance = not np.isnan(distance)
    axis.text(column, row - 0.16 * has_distance, f"{count:,}", ha="center", va="center", fontsize=8)
    if has_distance:
        axis.text(column, row + 0.26, f"{distance:.2g}", ha="center", va="center", fontsize=5.5)


def _short(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"
