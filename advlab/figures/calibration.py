"""Reliability diagrams: whether a classifier is as accurate as it is confident."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import matplotlib

from advlab.evaluation.table import as_evaluations
from advlab.figures.style import CLEAN, INK, ROBUST, STYLE, WIDTH, Figure, names, remove_frame
from advlab.formatting import shortened

if TYPE_CHECKING:
    from advlab.evaluation.calibration import Reliability
    from advlab.evaluation.evaluation import Evaluation

_COLUMNS = 2
_HEIGHT = {1: 2.5, 2: 2.2}  # inches of a row, by columns: the diagrams are square
_MAX_LETTERS = 32  # a longer name would shrink the diagram


def reliability(evaluations: Evaluation | Iterable[Evaluation]) -> Figure:
    """Confidence against accuracy on clean and on perturbed images: a reliability diagram for each evaluation.

    A point is a bin of images, its area their number: mean confidence, and the fraction classified as the label. On the
    dotted diagonal the classifier is calibrated; below it, overconfident. The legend has the expected calibration
    error.
    """
    evaluations = as_evaluations(evaluations)
    columns = min(len(evaluations), _COLUMNS)
    rows = math.ceil(len(evaluations) / columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH * (1 + columns) / 3, 0.5 + _HEIGHT[columns] * rows), layout="constrained")
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axis, evaluation, name in zip(axes, evaluations, names(evaluations), strict=False):
            axis.plot([0, 100], [0, 100], color=INK, lw=0.8, ls=":")
            _points(axis, evaluation.calibration_clean, CLEAN, "clean")
            _points(axis, evaluation.calibration, ROBUST, "perturbed")
            place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "alignment": "left"}
            axis.legend(
                **place, title=shortened(name, _MAX_LETTERS), frameon=False, fontsize=8, handlelength=1.4, borderpad=0
            )
            axis.set_aspect("equal")
            remove_frame(axis)
            axis.tick_params(labelbottom=True, labelleft=True)
        for axis in axes[len(evaluations) :]:
            axis.remove()
        axes[0].set(xlim=(0, 101), ylim=(0, 101))
        for direction in (axes[0].xaxis, axes[0].yaxis):
            direction.set_major_formatter("{x:.0f}%")
        figure.supxlabel("confidence in the prediction", fontsize=9)
        figure.supylabel("classified correctly", fontsize=9)
    return figure


def _points(axis: Any, bins: Reliability, colour: str, label: str) -> None:
    is_filled = bins.count > 0
    error = "unknown" if math.isnan(bins.error) else f"{bins.error:.1%}"
    confidence, accuracy = 100 * bins.confidence[is_filled], 100 * bins.accuracy[is_filled]
    axis.plot(confidence, accuracy, color=colour, lw=1.2, label=f"{label}, ECE {error}", clip_on=False)
    areas = 6 + 70 * bins.count[is_filled] / max(bins.count.sum(), 1)
    axis.scatter(confidence, accuracy, areas, colour, lw=0, zorder=3, clip_on=False)
