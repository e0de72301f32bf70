"""Pictures of an evaluation: the only user of matplotlib, without pyplot and without a global backend.

Figures are plain ``matplotlib.figure.Figure`` objects: a notebook shows them, ``svg`` puts them into a page.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imsave

from advlab.metrics import Rate
from advlab.metrics import confidence_shift as label_shift
from advlab.tables import labels

if TYPE_CHECKING:
    from advlab.evaluation import Evaluation

INK = "#1b1c1e"  # becomes the text colour of the page around it, see ``svg``
CLEAN = "#8d929b"
ROBUST = "#4a86cf"
MEAN = "#d9624f"
_STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "advlab",
    "text.parse_math": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}
_NO_METADATA: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_NO_SOFTWARE: dict[str, Any] = {"Software": None}
_WIDTH = 4.7


def confidence_shift(evaluations: Evaluation | Sequence[Evaluation]) -> Figure:
    """How the confidence in the label changes, p_adv - p_clean on initially correct samples: a histogram for each.

    All share one axis from -1 (certain to lost) to 1; the height is the share of samples; the line marks the mean.
    """
    shown = _as_list(evaluations)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, 0.7 + 0.95 * len(shown)), layout="constrained")
        axes = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        for axis, evaluation, name in zip(axes, shown, _names(shown), strict=True):
            result = evaluation.result
            shift = label_shift(result.clean_probabilities, result.adversarial_probabilities, result.labels)
            shift = shift[result.correct]
            heights, edges = np.histogram(np.clip(np.nan_to_num(shift), -1, 1), bins=40, range=(-1, 1))
            axis.bar(edges[:-1], heights / max(len(shift), 1), np.diff(edges), align="edge", color=ROBUST, lw=0)
            if len(shift):
                axis.axvline(evaluation.shift.mean, color=MEAN, lw=1.6)
            axis.set_title(name, loc="left", fontsize=9)
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
            axis.locator_params(axis="y", nbins=3)
            _bare(axis)
        axes[-1].set_xlim(-1.02, 1.02)
        axes[-1].set_xlabel("change of the confidence in the true class")
    return figure


def accuracy_bars(evaluations: Evaluation | Sequence[Evaluation]) -> Figure:
    """Clean and robust accuracy of each evaluation as bars from 0 to 100 %, with their 95 % intervals."""
    shown = _as_list(evaluations)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, 0.9 + 0.42 * len(shown)), layout="constrained")
        axis = figure.subplots()
        rows = np.arange(len(shown))
        _bars(axis, rows - 0.19, [e.clean_accuracy for e in shown], CLEAN, "clean images")
        _bars(axis, rows + 0.19, [e.robust_accuracy for e in shown], ROBUST, "perturbed images")
        axis.set_yticks(rows, _names(shown))
        axis.invert_yaxis()
        axis.set_xlim(0, 100)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}%")
        axis.set_xlabel("classified correctly")
        figure.legend(loc="outside upper left", ncols=2, frameon=False, handlelength=1.0)
        _bare(axis)
    return figure


def svg(figure: Figure) -> str:
    """The figure as one ``<svg>`` element for an HTML page: the same bytes every time, transparent, text as text.

    Ink takes the text colour around it (``currentColor``), so it reads in light and dark; ids are unique to the figure.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata=_NO_METADATA)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor").strip()
    prefix = f"f{hashlib.sha256(text.encode()).hexdigest()[:8]}-"
    return re.sub(r'(<[^>]*?\bid="|url\(#|href="#)', rf"\g<1>{prefix}", text)


def png(image: np.ndarray) -> bytes:
    """An image ``(h, w, c)`` in [0, 1] as PNG; other than one or three channels are averaged to grey."""
    colours = image if image.shape[-1] in (1, 3) else image.mean(-1, keepdims=True)
    levels = np.rint(255 * np.clip(np.nan_to_num(colours), 0, 1)).astype(np.uint8)
    buffer = io.BytesIO()
    imsave(buffer, np.broadcast_to(levels, (*levels.shape[:2], 3)), format="png", metadata=_NO_SOFTWARE)
    return buffer.getvalue()


def perturbation_image(x: np.ndarray, x_adv: np.ndarray, scale: float | None = None) -> np.ndarray:
    """The signed change of one image ``(h, w, c)`` as an image in [0, 1]: 0.5 is unchanged.

    1 shows a change of ``scale``, 0 of ``-scale``; ``scale`` is the Linf budget, or None for the largest change in
    this image. Changes are shown 1 / (2 scale) times as large as they are.
    """
    change = x_adv.astype(np.float64) - x.astype(np.float64)
    full = (float(np.abs(change).max(initial=0.0)) if scale is None else scale) or 1.0
    return np.clip(0.5 + change / (2 * full), 0, 1)


def _as_list(evaluations: Evaluation | Sequence[Evaluation]) -> list[Evaluation]:
    return list(evaluations) if isinstance(evaluations, Sequence) else [evaluations]


def _names(evaluations: list[Evaluation]) -> list[str]:
    several = len({e.classifier for e in evaluations}) > 1
    pairs = zip(evaluations, labels(evaluations), strict=True)
    return [f"{e.classifier}: {name}" if several else name for e, name in pairs]


def _bars(axis: Any, rows: np.ndarray, rates: list[Rate], colour: str, label: str) -> None:
    values = np.nan_to_num([100 * rate.value for rate in rates])
    reach = np.array([[100 * rate.low for rate in rates], [100 * rate.high for rate in rates]])
    axis.barh(rows, values, 0.34, color=colour, lw=0, label=label)
    axis.errorbar(values, rows, xerr=np.abs(reach - values), fmt="none", ecolor=INK, elinewidth=1, capsize=2)


def _bare(axis: Any) -> None:
    axis.set_facecolor("none")
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(length=3)
