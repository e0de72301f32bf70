"""A figure as a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from advlab import writing
from advlab.errors import InvalidValue
from advlab.figures.style import STYLE

# No dates: equal figures give equal files.
_METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}
_DOTS_PER_INCH = 150


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure, whole or not at all, in the format of its suffix: ``.png``, ``.svg`` or ``.pdf``.

    Raises ``InvalidValue`` for another suffix, and ``AdvlabError`` if it cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _METADATA:
        raise InvalidValue(f"A figure is written as .png, .svg or .pdf. Got '{path.name}'; change the suffix.")
    with writing.atomic_write(path) as temporary, matplotlib.rc_context(STYLE):
        figure.savefig(temporary, format=suffix[1:], dpi=_DOTS_PER_INCH, facecolor="white", metadata=_METADATA[suffix])
    return path
