"""Shared by all figures: colours, axes, names of evaluations, and SVG for a page."""

from __future__ import annotations

import hashlib
import io
import re
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib import figure as matplotlib_figure

from advlab.evaluation.table import labels

if TYPE_CHECKING:
    from advlab.evaluation.evaluation import Evaluation

INK = "#1b1c1e"  # becomes the text colour of the page around it, see ``svg``
CLEAN = "#8d929b"
ROBUST = "#4a86cf"
MEAN = "#d9624f"
PROVEN = "#2a5694"
COLOURS = (ROBUST, MEAN, "#3d9a78", "#9a6cc9", "#c08a2b", CLEAN)  # of lines beside each other
WIDTH = 4.7
_SCREEN_DPI = 110  # in a notebook: sharp, and a few tens of kilobytes
STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "advlab",
    "text.parse_math": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}
_NO_METADATA: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))


class Figure(matplotlib_figure.Figure):
    """A figure that a notebook shows as the last line of a cell, whether or not pyplot was imported there."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with matplotlib.rc_context(STYLE):
            self.savefig(buffer, format="png", dpi=_SCREEN_DPI, facecolor="white")
        return buffer.getvalue()


def svg(figure: matplotlib_figure.Figure) -> str:
    """The figure as one ``<svg>`` element for an HTML page: the same bytes every time, transparent, text as text.

    Ink takes the text colour around it (``currentColor``), so it reads in light and dark; ids are unique to the figure.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata=_NO_METADATA)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor").strip()
    prefix = f"f{hashlib.sha256(text.encode()).hexdigest()[:8]}-"
    return re.sub(r'(<[^>]*?\bid="|url\(#|href="#)', rf"\g<1>{prefix}", text)


def names(evaluations: list[Evaluation]) -> list[str]:
    """A short name of each attack, with the classifier if there are several."""
    several = len({e.classifier for e in evaluations}) > 1
    pairs = zip(evaluations, labels(evaluations), strict=True)
    return [f"{e.classifier}: {name}" if several else name for e, name in pairs]


def remove_frame(axis: Any) -> None:
    """Remove the background and all lines but the two axes."""
    axis.set_facecolor("none")
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(length=3)
