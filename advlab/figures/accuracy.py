"""Accuracy before and after, and the confidence behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from advlab.evaluation.metrics import Rate
from advlab.figures.style import CLEAN, INK, MEAN, ROBUST, STYLE, WIDTH, as_list, bare, names

if TYPE_CHECKING:
    from advlab.evaluation.evaluation import Evaluation


def confidence_shift(evaluations: Evaluation | Sequence[Evaluation]) -> Figure:
    """How the confidence in the label changes, p_adv - p_clean on initially correct samples: a histogram for each.

    All share one axis from -1 (certain to lost) to 1; the height is the share of samples; the line marks the mean.
    """
    shown = as_list(evaluations)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.7 + 0.95 * len(shown)), layout="constrained")
        axes = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        for axis, evaluation, name in zip(axes, shown, names(shown), strict=True):
            counts = evaluation.shift_histogram
            edges = np.linspace(-1, 1, len(counts) + 1)
            heights = counts / max(counts.sum(), 1)
            axis.bar(edges[:-1], heights, np.diff(edges), align="edge", color=ROBUST, lw=0)
            if counts.any():
                axis.axvline(evaluation.shift.mean, color=MEAN, lw=1.6)
            axis.set_title(name, loc="left", fontsize=9)
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
            axis.locator_params(axis="y", nbins=3)
            bare(axis)
        axes[-1].set_xlim(-1.02, 1.02)
        axes[-1].set_xlabel("change of the confidence in the true class")
    return figure


def accuracy_bars(evaluations: Evaluation | Sequence[Evaluation]) -> Figure:
    """Clean and robust accuracy of each evaluation as bars from 0 to 100 %, with their 95 % intervals."""
    shown = as_list(evaluations)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.9 + 0.42 * len(shown)), layout="constrained")
        axis = figure.subplots()
        rows = np.arange(len(shown))
        _bars(axis, rows - 0.19, [e.clean_accuracy for e in shown], CLEAN, "clean images")
        _bars(axis, rows + 0.19, [e.robust_accuracy for e in shown], ROBUST, "perturbed images")
        axis.set_yticks(rows, names(shown))
        axis.invert_yaxis()
        axis.set_xlim(0, 100)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}%")
        axis.set_xlabel("classified correctly")
        figure.legend(loc="outside upper left", ncols=2, frameon=False, handlelength=1.0)
        bare(axis)
    return figure


def _bars(axis: Any, rows: np.ndarray, rates: list[Rate], colour: str, label: str) -> None:
    values = np.nan_to_num([100 * rate.value for rate in rates])
    reach = np.array([[100 * rate.low for rate in rates], [100 * rate.high for rate in rates]])
    axis.barh(rows, values, 0.34, color=colour, lw=0, label=label)
    axis.errorbar(values, rows, xerr=np.abs(reach - values), fmt="none", ecolor=INK, elinewidth=1, capsize=2)
