"""Accuracy on clean and perturbed images, and the shift of the confidence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np

from advlab.evaluation.metrics import Rate
from advlab.evaluation.table import as_evaluations
from advlab.figures.style import CLEAN, INK, MEAN, PROVEN, ROBUST, STYLE, WIDTH, Figure, names, remove_frame

if TYPE_CHECKING:
    from advlab.evaluation.evaluation import Evaluation


def confidence_shift(evaluations: Evaluation | Iterable[Evaluation]) -> Figure:
    """How the confidence in the label changes, p_adv - p_clean on initially correct samples: a histogram for each.

    All share one axis from -1 (certain to lost) to 1; the height is the fraction of samples; the line marks the mean.
    """
    evaluations = as_evaluations(evaluations)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.7 + 0.95 * len(evaluations)), layout="constrained")
        axes = figure.subplots(len(evaluations), 1, sharex=True, squeeze=False)[:, 0]
        for axis, evaluation, name in zip(axes, evaluations, names(evaluations), strict=True):
            counts = evaluation.shift_histogram
            edges = np.linspace(-1, 1, len(counts) + 1)
            heights = counts / max(counts.sum(), 1)
            axis.bar(edges[:-1], heights, np.diff(edges), align="edge", color=ROBUST, lw=0)
            if counts.any():
                axis.axvline(evaluation.shift.mean, color=MEAN, lw=1.6)
            axis.set_title(name, loc="left", fontsize=9)
            axis.yaxis.set_major_formatter("{x:.0%}")
            axis.locator_params(axis="y", nbins=3)
            remove_frame(axis)
        axes[-1].set_xlim(-1.02, 1.02)
        axes[-1].set_xlabel("change of the confidence in the true class")
    return figure


def accuracy_bars(evaluations: Evaluation | Iterable[Evaluation]) -> Figure:
    """Clean and robust accuracy of each evaluation as bars from 0 to 100 %, with their 95 % intervals.

    Where a certificate was given, the darker part of a bar is proven.
    """
    evaluations = as_evaluations(evaluations)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.9 + 0.42 * len(evaluations)), layout="constrained")
        axis = figure.subplots()
        rows = np.arange(len(evaluations))
        _bars(axis, rows - 0.19, [e.clean_accuracy for e in evaluations], CLEAN, "clean")
        _bars(axis, rows + 0.19, [e.robust_accuracy for e in evaluations], ROBUST, "perturbed")
        proven = [100 * e.bracket.low / e.bracket.total if e.bracket else 0.0 for e in evaluations]
        if any(e.bracket for e in evaluations):
            axis.barh(rows + 0.19, proven, 0.34, color=PROVEN, lw=0, label="of these proven")
        axis.set_yticks(rows, names(evaluations))
        axis.invert_yaxis()
        axis.set_xlim(0, 100)
        axis.xaxis.set_major_formatter("{x:.0f}%")
        axis.set_xlabel("classified correctly")
        figure.legend(loc="outside upper left", ncols=3, frameon=False, handlelength=1.0)
        remove_frame(axis)
    return figure


def _bars(axis: Any, rows: np.ndarray, rates: list[Rate], colour: str, label: str) -> None:
    values = np.nan_to_num([100 * rate.value for rate in rates])
    interval = np.array([[100 * rate.low for rate in rates], [100 * rate.high for rate in rates]])
    axis.barh(rows, values, 0.34, color=colour, lw=0, label=label)
    axis.errorbar(values, rows, xerr=np.abs(interval - values), fmt="none", ecolor=INK, elinewidth=1, capsize=2)
