"""Whether confidence can be believed: reliability diagrams."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure

from advlab.figures.style import CLEAN, INK, ROBUST, STYLE, WIDTH, as_list, bare, names
from advlab.formatting import shortened

if TYPE_CHECKING:
    from advlab.evaluation.calibration import Reliability
    from advlab.evaluation.evaluation import Evaluation

_COLUMNS = 2
_HEIGHT = {1: 2.5, 2: 2.2}  # inches of a row: its diagrams are square, so the narrower, the lower
_LETTERS = 32  # a longer name would take the room of the diagram


def reliability(evaluations: Evaluation | Sequence[Evaluation]) -> Figure:
    """Confidence against accuracy on clean and on perturbed images: a reliability diagram for each evaluation.

    A point is a bin of images, the larger the more: its mean confidence, and the share classified as the label. On the
    dotted diagonal confidence can be believed; below it the classifier is too sure. The legend has the expected
    calibration error.
    """
    shown = as_list(evaluations)
    columns = min(len(shown), _COLUMNS)
    rows = math.ceil(len(shown) / columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH * (1 + columns) / 3, 0.5 + _HEIGHT[columns] * rows), layout="constrained")
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axis, evaluation, name in zip(axes, shown, names(shown), strict=False):
            axis.plot([0, 100], [0, 100], color=INK, lw=0.8, ls=":")
            _points(axis, evaluation.calibration_clean, CLEAN, "clean")
            _points(axis, evaluation.calibration, ROBUST, "perturbed")
            above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "alignment": "left"}
            axis.legend(
                **above, title=shortened(name, _LETTERS), frameon=False, fontsize=8, handlelength=1.4, borderpad=0
            )
            axis.set_aspect("equal")
            bare(axis)
            axis.tick_params(labelbottom=True, labelleft=True)
        for axis in axes[len(shown) :]:
            axis.remove()
        axes[0].set(xlim=(0, 101), ylim=(0, 101))
        for along in (axes[0].xaxis, axes[0].yaxis):
            along.set_major_formatter(lambda value, _: f"{value:.0f}%")
        figure.supxlabel("confidence in the prediction", fontsize=9)
        figure.supylabel("classified correctly", fontsize=9)
    return figure


def _points(axis: Any, found: Reliability, colour: str, what: str) -> None:
    filled = found.count > 0
    error = "unknown" if math.isnan(found.error) else f"{found.error:.1%}"
    confidence, accuracy = 100 * found.confidence[filled], 100 * found.accuracy[filled]
    axis.plot(confidence, accuracy, color=colour, lw=1.2, label=f"{what}, ECE {error}", clip_on=False)
    areas = 6 + 70 * found.count[filled] / max(found.count.sum(), 1)
    axis.scatter(confidence, accuracy, areas, colour, lw=0, zorder=3, clip_on=False)
