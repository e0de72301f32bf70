"""A defence under attackers who know more and more of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib
import numpy as np

from advlab.figures.style import CLEAN, INK, MEAN, ROBUST, STYLE, WIDTH, Figure, remove_frame

if TYPE_CHECKING:
    from advlab.evaluation.defense import DefenseReport


def defense(report: DefenseReport) -> Figure:
    """Robust accuracy as a bar for each attacker, clean accuracy above them; the number that counts in red."""
    rates = [report.clean_accuracy, *(attacker.robust_accuracy for attacker in report.attackers)]
    knowledge = [f"knowledge: {attacker.knowledge}" for attacker in report.attackers[:-1]]
    values = np.array([100 * rate.value for rate in rates])
    reach = np.abs(np.array([[100 * rate.low for rate in rates], [100 * rate.high for rate in rates]]) - values)
    colours = [CLEAN, *[ROBUST] * (len(rates) - 2), MEAN]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.7 + 0.3 * len(rates)), layout="constrained")
        axis = figure.subplots()
        rows = np.arange(len(rates))
        axis.barh(rows, values, 0.66, color=colours, lw=0)
        axis.errorbar(values, rows, xerr=reach, fmt="none", ecolor=INK, elinewidth=1, capsize=2)
        axis.set_yticks(rows, ["clean images", *knowledge, "worst of all"])
        axis.invert_yaxis()
        axis.set_xlim(0, 100)
        axis.xaxis.set_major_formatter("{x:.0f}%")
        axis.set_xlabel(f"classified correctly by {report.defended}")
        remove_frame(axis)
    return figure
