"""Texts as pictures: their words, those that an attack replaced made visible."""

from __future__ import annotations

import html
import math
from base64 import b64encode
from collections.abc import Sequence

_LINE, _CHARACTER, _MARGIN = 15, 7, 5  # of the picture, whose letters are 12 high
_LEAST, _MOST = 14, 40  # characters in a line
_WIDE = _LINE / _CHARACTER  # so many lines as make a square
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1f2430}.new{fill:#b3261e;font-weight:700}"
    "@media(prefers-color-scheme:dark){text{fill:#e6e6ea}.new{fill:#ff8a80}}"
)


def text_uri(words: Sequence[str], compared: Sequence[str] | None = None) -> str:
    """The words as an SVG for ``<img src>``, from shortly before the first that differs from ``compared``.

    ``""`` stands for an empty place, which is shown only where it was a word.
    """
    changed = [compared is not None and word != other for word, other in zip(words, compared or words, strict=True)]
    pieces = [(word or "∅" if new else word, new) for word, new in zip(words, changed, strict=True) if word or new]
    first = next((place for place, (_, new) in enumerate(pieces) if new), 0)
    return _svg(pieces[max(first - 12, 0) :])


def replacements_uri(words: Sequence[str], replaced: Sequence[str]) -> str:
    """What became of which word, a line for each, as an SVG for ``<img src>``."""
    pairs = [(old, new) for old, new in zip(words, replaced, strict=True) if old != new]
    return _svg([piece for old, new in pairs for piece in ((f"{old or '∅'} → ", False), (f"{new or '∅'}\n", True))])


def _svg(pieces: Sequence[tuple[str, bool]]) -> str:
    """A square that is as large as the words ask for: few words are easy to read in a small picture."""
    total = sum(len(word) + 1 for word, _ in pieces)
    characters = min(max(math.ceil((_WIDE * total) ** 0.5), *(len(word) + 2 for word, _ in pieces), _LEAST), _MOST)
    side = _MARGIN * 2 + _CHARACTER * characters
    lines: list[list[tuple[str, bool]]] = [[]]
    width = 0
    for word, new in pieces:
        if width + len(word) > characters and lines[-1]:
            lines.append([])
            width = 0
        lines[-1].append((word.strip("\n"), new))
        width = characters if word.endswith("\n") else width + len(word) + 1
    drawn = "".join(
        f'<text x="{_MARGIN}" y="{_LINE * (row + 1)}">{" ".join(_span(*piece) for piece in line)}</text>'
        for row, line in enumerate(lines[: side // _LINE])
    )
    picture = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}"><style>{_STYLE}</style>{drawn}</svg>'
    )
    return f"data:image/svg+xml;base64,{b64encode(picture.encode()).decode()}"


def _span(word: str, new: bool) -> str:
    text = html.escape("".join(c if c.isprintable() else "?" for c in word))
    return f'<tspan class="new">{text}</tspan>' if new else text
