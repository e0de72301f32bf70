"""Security curves: robust accuracy over epsilon."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np

from advlab.figures.style import COLOURS, STYLE, WIDTH, Figure, remove_frame
from advlab.formatting import as_list

if TYPE_CHECKING:
    from advlab.evaluation.curve import SecurityCurve

_MAX_STEPS = 200  # a page shows no more, and all steps of 10,000 images would take megabytes


def security_curve(curves: SecurityCurve | Iterable[SecurityCurve]) -> Figure:
    """Robust accuracy over epsilon, a step line for each curve in a light band, its 95 % Wilson interval.

    With a certificate a dotted line below it is what is proven, and what is unknown between both is hatched.
    Curves of one norm share an axis, which ends at the last step, or at the limit of the search.
    """
    curves = as_list(curves, "smallest", "security curves, such as advlab.curve(classifier) returns")
    norms = list(dict.fromkeys(curve.norm for curve in curves))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.3 + 2.6 * len(norms)), layout="constrained")
        axes = figure.subplots(len(norms), 1, squeeze=False)[:, 0]
        for axis, norm in zip(axes, norms, strict=True):
            group = [curve for curve in curves if curve.norm == norm]
            end = max(_end(curve) for curve in group)
            for number, (curve, name) in enumerate(zip(group, _names(group), strict=True)):
                _line(axis, curve, min(end, curve.limit), name, number)
            axis.set_xlim(0, end)
            axis.set_ylim(0, 100)
            axis.yaxis.set_major_formatter("{x:.0f}%")
            axis.set_xlabel(f"epsilon ({norm})")
            axis.set_ylabel("robust accuracy")
            axis.legend(loc="best", frameon=False, handlelength=1.4)
            remove_frame(axis)
    return figure


def _line(axis: Any, curve: SecurityCurve, end: float, name: str, number: int) -> None:
    epsilons = curve.points()[0]
    indices = np.unique(np.linspace(0, len(epsilons) - 1, min(len(epsilons), _MAX_STEPS)).round().astype(int))
    epsilons = np.append(epsilons[indices], end)
    rates = [curve.robust_accuracy(epsilon) for epsilon in epsilons]
    colour, style = COLOURS[number % len(COLOURS)], ("-", "--", ":")[number // len(COLOURS) % 3]
    low, high = [100 * rate.low for rate in rates], [100 * rate.high for rate in rates]
    axis.fill_between(epsilons, low, high, step="post", color=colour, alpha=0.18, lw=0)
    values = [100 * rate.value for rate in rates]
    axis.step(epsilons, values, where="post", color=colour, ls=style, lw=1.6, label=name)
    if curve.proven is not None:
        _unknown(axis, curve, end, colour)


def _unknown(axis: Any, curve: SecurityCurve, end: float, colour: str) -> None:
    """What is proven, and the gap between it and what attacks leave."""
    epsilons = np.linspace(0, end, _MAX_STEPS)
    proven, robust = (
        [100 * rate.value for rate in map(measure, epsilons) if rate]
        for measure in (curve.proven_accuracy, curve.robust_accuracy)
    )
    axis.plot(epsilons, proven, color=colour, ls=":", lw=1.6, label=f"{curve.classifier}: proven")
    axis.fill_between(epsilons, proven, robust, facecolor="none", edgecolor=colour, hatch="////", alpha=0.3, lw=0)


def _end(curve: SecurityCurve) -> float:
    """The largest smallest change of an image; the limit of the search if some images are still robust there."""
    finite = curve.smallest[np.isfinite(curve.smallest)]
    last = float(finite.max(initial=0))
    any_robust = len(finite) < len(curve) and math.isfinite(curve.limit)
    return (curve.limit if any_robust else min(1.02 * last, curve.limit)) or 1.0


def _names(curves: list[SecurityCurve]) -> list[str]:
    several = len({curve.classifier for curve in curves}) > 1
    names = [", ".join(dict.fromkeys(attack.variant for attack in curve.attacks)) for curve in curves]
    return [f"{c.classifier}: {name}" if several else name for c, name in zip(curves, names, strict=True)]
