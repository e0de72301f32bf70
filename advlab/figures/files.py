"""A figure as a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from advlab import workspace
from advlab.errors import InvalidValue
from advlab.figures.style import STYLE

# Nothing that differs from day to day: equal figures give equal files.
_METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}
_DOTS_PER_INCH = 150


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure, whole or not at all, as what its name ends in: ``.png``, ``.svg`` or ``.pdf``.

    Raises ``InvalidValue`` for another ending, and ``AdvlabError`` where the disk refuses it.
    """
    place = Path(path)
    kind = place.suffix.lower()
    if kind not in _METADATA:
        raise InvalidValue(f"A figure is written as .png, .svg or .pdf. Got '{place.name}'; end the name so.")
    with workspace.written(place) as temporary, matplotlib.rc_context(STYLE):
        figure.savefig(temporary, format=kind[1:], dpi=_DOTS_PER_INCH, facecolor="white", metadata=_METADATA[kind])
    return place
