"""What an archive holds of attributions: which pixels speak for the class predicted, on clean and perturbed images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Attributions(NamedTuple):
    """Of ``r`` images of a result, those in ``rows``: int64 ``(r,)``, ascending.

    ``clean`` and ``adversarial``, float32 ``(r, h, w, c)``, are the attributions to the class that the clean and the
    perturbed image is predicted as; ``method`` is ``saliency`` or ``integrated-gradients``.
    """

    method: str
    rows: np.ndarray
    clean: np.ndarray
    adversarial: np.ndarray

    def of(self, row: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Those of one image of the result, clean and perturbed, each ``(h, w, c)``; None where there are none."""
        place = int(np.searchsorted(self.rows, row))
        if place == len(self.rows) or self.rows[place] != row:
            return None
        return self.clean[place], self.adversarial[place]
