"""Some images of a result, which a notebook draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from advlab.results.result import AttackResult


class Shown(NamedTuple):
    """Images of a result at the positions ``rows``, int64 ``(n,)``."""

    result: AttackResult
    rows: np.ndarray

    def __repr__(self) -> str:
        lines = []
        for row in self.rows:
            before, after = (p[row] for p in (self.result.clean_probabilities, self.result.adversarial_probabilities))
            names = self.result.class_names
            lines.append(
                f"image {self.result.indices[row]}, a {names[self.result.labels[row]]}: {names[before.argmax()]} "
                f"{before.max():.0%} -> {names[after.argmax()]} {after.max():.0%}"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from advlab.figures.notebook import result_html

        return result_html(self.result, self.rows)
