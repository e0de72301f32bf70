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
    the attack succeeded, unless it is the same in all cells. The diagonal, still robust, is not coloured. Above 12
    classes there are colours only.
    """
    counts, k = evaluation.transitions, len(evaluation.per_class)
    changed = np.where(np.eye(k, dtype=bool), 0, counts)
    colours = np.empty((k, k, 4))
    colours[..., :3] = to_rgb(ROBUST)
    colours[..., 3] = _MAX_OPACITY * changed / max(changed.max(initial=0), 1)
    distances = np.array([["" if np.isnan(d) else f"{d:.2g}" for d in row] for row in evaluation.flow_distance])
    different = set(distances.ravel()) - {""}
    labelled = k <= _MAX_LABELLED
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.25 * WIDTH, 1.2 * WIDTH), layout="constrained")
        axis = figure.subplots()
        axis.imshow(colours, interpolation="none")
        axis.set_title(names([evaluation])[0], loc="left", fontsize=9)
        axis.set_ylabel("true class")
        norm, same = evaluation.attack.threat.norm, min(different, default="")
        distance = f"small: median {norm} distance" if len(different) > 1 else f"median {norm} distance {same}"
        axis.set_xlabel("class predicted when perturbed" + (f"; {distance}" if same else ""))
        if labelled:
            classes = [_short(score.name) for score in evaluation.per_class]
            axis.set_xticks(range(k), classes)
            if max(map(len, classes)) > 3:
                axis.tick_params("x", rotation=40)
                for label in axis.get_xticklabels():
                    label.set(ha="right", rotation_mode="anchor")
            axis.set_yticks(range(k), classes)
            for row, column in np.argwhere(counts > 0):
                _cell(axis, row, column, counts[row, column], distances[row, column] if len(different) > 1 else "")
        remove_frame(axis)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0 if labelled else 3)
    return figure


def _cell(axis: Any, row: int, column: int, count: int, distance: str) -> None:
    axis.text(column, row - 0.16 * bool(distance), f"{count:,}", ha="center", va="center", fontsize=8)
    if distance:
        axis.text(column, row + 0.26, distance, ha="center", va="center", fontsize=5.5)


def _short(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"
