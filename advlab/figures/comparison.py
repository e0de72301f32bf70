"""A comparison of classifiers: robust accuracy over epsilon, and against clean accuracy with the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib

from advlab.errors import InvalidValue
from advlab.evaluation.comparison import Column, Comparison, Model
from advlab.evaluation.comparison_tables import images, names_of
from advlab.figures.style import CLEAN, COLOURS, INK, STYLE, WIDTH, Figure, remove_frame

_LINES = ("-", "--", ":")
_MOST_ROWS = 12  # of axes; a figure of more is read by nobody


def comparison(result: Comparison) -> Figure:
    """A row of two axes for each set of images, attack and norm (the first twelve).

    On the left robust accuracy over epsilon with 95 % intervals, clean accuracy at 0; on the right robust against clean
    accuracy at the middle one of the epsilons, with a line through the models that no other beats in both. Raises
    ``InvalidValue`` without any score.
    """
    if not result.scores:
        raise InvalidValue("A figure needs at least one number. The comparison has none.")
    groups: dict[tuple[str, str, str], list[Column]] = {}
    for column in result.columns:
        groups.setdefault((column.dataset_digest, column.attack, column.norm), []).append(column)
    shown = list(groups.items())[:_MOST_ROWS]
    styles = {
        model: {"color": COLOURS[number % len(COLOURS)], "ls": _LINES[number // len(COLOURS) % len(_LINES)]}
        for number, model in enumerate(result.models)
    }
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.7 * WIDTH, 0.5 + 2.7 * len(shown)), layout="constrained")
        axes = figure.subplots(len(shown), 2, squeeze=False)
        for (left, right), ((digest, attack, norm), columns) in zip(axes, shown, strict=True):
            ordered = sorted(columns, key=lambda column: column.epsilon)
            middle = ordered[len(ordered) // 2]
            models = [model for model in result.models if result.summary(model, middle)]
            named = dict(zip(models, names_of(result, models), strict=True))
            _curves(left, result, ordered, named, styles)
            left.set_title(f"{attack}, {images(result, digest)}", loc="left", fontsize=9)
            left.set_xlabel(f"epsilon ({norm})" if norm else "")
            _front(right, result, middle, named, styles)
            right.set_title(middle.budget, loc="left", fontsize=9)
    return figure


def _curves(
    axis: Any, result: Comparison, columns: Sequence[Column], named: dict[Model, str], styles: dict[Model, Any]
) -> None:
    for model, name in named.items():
        clean = result.clean(model, columns[0].dataset_digest)
        points = [(0.0, clean)] if clean else []
        for number, column in enumerate(columns, 1):
            summary = result.summary(model, column)
            if summary:
                points.append((column.epsilon if math.isfinite(column.epsilon) else float(number), summary.rate))
        errors = [[100 * (r.value - r.low) for _, r in points], [100 * (r.high - r.value) for _, r in points]]
        values = [100 * rate.value for _, rate in points]
        x = [epsilon for epsilon, _ in points]
        axis.errorbar(x, values, yerr=errors, marker="o", ms=3.5, lw=1.4, capsize=2, label=name, **styles[model])
    if not math.isfinite(columns[0].epsilon):
        axis.set_xticks([0, *range(1, len(columns) + 1)], ["clean", *(column.budget for column in columns)])
    axis.set_ylim(0, 102)
    axis.yaxis.set_major_formatter("{x:.0f}%")
    axis.set_ylabel("robust accuracy")
    axis.legend(loc="best", frameon=False, handlelength=1.4, fontsize=7)
    remove_frame(axis)


def _front(axis: Any, result: Comparison, column: Column, named: dict[Model, str], styles: dict[Model, Any]) -> None:
    points: list[tuple[float, float]] = []
    for model, name in named.items():
        clean, summary = result.clean(model, column.dataset_digest), result.summary(model, column)
        if clean is None or summary is None:
            continue
        x, y = 100 * clean.value, 100 * summary.rate.value
        error = [[max(y - 100 * summary.rate.low, 0)], [max(100 * summary.rate.high - y, 0)]]
        axis.errorbar([x], [y], yerr=error, marker="o", ms=5, lw=1, capsize=2, color=styles[model]["color"])
        axis.annotate(name, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=7, color=INK)
        points.append((x, y))
    best = pareto_front(points)
    if len(best) > 1:
        axis.plot(*zip(*best, strict=True), color=CLEAN, lw=1, zorder=0)
    axis.set_xlabel("clean accuracy")
    axis.set_ylabel("robust accuracy")
    axis.margins(x=0.25)
    axis.set_xlim(right=min(axis.get_xlim()[1], 104))
    axis.set_ylim(-2, 102)
    axis.xaxis.set_major_formatter("{x:.0f}%")
    axis.yaxis.set_major_formatter("{x:.0f}%")
    remove_frame(axis)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats in both coordinates, by the first, ascending."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points, reverse=True):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front[::-1]
