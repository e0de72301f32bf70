"""The rows of a study: test accuracy and robust accuracy of each."""

from __future__ import annotations

import math
from typing import Any

import matplotlib
import numpy as np
from matplotlib.ticker import NullLocator

from advlab.declarations.studies import flat
from advlab.errors import InvalidValue
from advlab.evaluation.study import StudyResult
from advlab.figures.style import CLEAN, INK, ROBUST, STYLE, WIDTH, Figure, remove_frame


def study(result: StudyResult) -> Figure:
    """Test accuracy and robust accuracy of each finished row, with 95 % intervals; published test accuracy hollow.

    A study of one numeric setting is drawn as two lines over it, any other as a line of dots for each row. Raises
    ``InvalidValue`` if no row has a result.
    """
    finished = [row for row in result.rows if row.robust_accuracy is not None and row.test_accuracy is not None]
    if not finished:
        raise InvalidValue(f"Study '{result.study.name}' has no row with a result to draw. Run it first.")
    rows = {row.name: row for row in result.study.rows}
    rates = [row.robust_accuracy for row in finished]
    robust = 100 * np.array([[r.value, r.value - r.low, r.high - r.value] for r in rates if r is not None]).T
    clean = 100 * np.array([row.test_accuracy for row in finished], float)
    published = [rows[row.name].recipe.published.get("test_accuracy", math.nan) for row in finished]
    sweep = _sweep(result, [row.name for row in finished])
    with matplotlib.rc_context(STYLE):
        if sweep is None:
            names = [f"{list(rows).index(row.name) + 1} {row.name}" for row in finished]
            figure = _dots(names, clean, robust, 100 * np.array(published))
        else:
            figure = _lines(*sweep, clean, robust, 100 * np.array(published))
        figure.legend(loc="outside upper left", ncols=3, frameon=False, handlelength=1.2, columnspacing=1.2)
    return figure


def _dots(names: list[str], clean: np.ndarray, robust: np.ndarray, published: np.ndarray) -> Figure:
    figure = Figure(figsize=(1.4 * WIDTH, 0.9 + 0.24 * len(names)), layout="constrained")
    axis = figure.subplots()
    rows = np.arange(len(names))
    axis.hlines(rows, robust[0], clean, color=CLEAN, lw=0.8, alpha=0.5)
    axis.errorbar(robust[0], rows, xerr=robust[1:], color=ROBUST, label="robust accuracy", **_MARKERS)
    axis.plot(clean, rows, "o", ms=5, color=INK, label="test accuracy")
    if not np.isnan(published).all():
        axis.plot(published, rows, "o", mfc="none", mec=INK, ms=8, mew=0.9, label="published test accuracy")
    axis.set_yticks(rows, names)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlim(0, 102)
    axis.xaxis.set_major_formatter("{x:.0f}%")
    remove_frame(axis)
    return figure


def _lines(name: str, values: list[float], clean: np.ndarray, robust: np.ndarray, published: np.ndarray) -> Figure:
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    axis = figure.subplots()
    axis.errorbar(values, robust[0], yerr=robust[1:], color=ROBUST, label="robust accuracy", **{**_MARKERS, "ls": "-"})
    axis.plot(values, clean, "o-", ms=4, lw=1.4, color=INK, label="test accuracy")
    if not np.isnan(published).all():
        axis.plot(values, published, "o", mfc="none", mec=INK, ms=8, mew=0.9, label="published")
    if len(values) > 2 and min(values) > 0 and np.allclose(np.diff(np.log(values), 2), 0):
        axis.set_xscale("log")
        axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticks(values, [f"{value:g}" for value in values])
    axis.set_xlabel(name)
    axis.set_ylim(0, 102)
    axis.yaxis.set_major_formatter("{x:.0f}%")
    remove_frame(axis)
    return figure


_MARKERS: dict[str, Any] = {"marker": "o", "ms": 4, "lw": 1.4, "elinewidth": 1, "capsize": 2, "ls": "none"}


def _sweep(result: StudyResult, names: list[str]) -> tuple[str, list[float]] | None:
    """The one setting in which all rows differ, and its values if they are numbers (or layers of one width)."""
    keys = result.study.varied_settings()
    if len(keys) != 1:
        return None
    settings = [flat(row.recipe).get(keys[0]) for row in result.study.rows if row.name in names]
    values = [value[0] if isinstance(value, list) and len(set(value)) == 1 else value for value in settings]
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(set(numbers)) < max(len(values), 2):
        return None
    name = keys[0].partition(".")[2].replace("_", " ")
    return "units in each hidden layer" if isinstance(settings[0], list) else name, numbers
