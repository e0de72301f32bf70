"""Spatial transformation (no norm), by the adversarial-robustness-toolbox: rotations and translations on a grid.

Engstrom, Tran, Tsipras, Schmidt, Madry 2017, "Exploring the landscape of spatial robustness", arXiv:1712.02779,
section 3 (grid search). Angles reach ``rotation`` degrees either way, shifts ``translation`` of the image's height and
width; what leaves the image is lost, and what enters is black. The first of the grid that fools is returned.
"""

from __future__ import annotations

import numpy as np

from advlab.methods._art import adapt
from advlab.problem.problem import ExternalLoop, Problem

NORMS = ("none",)
GOAL = "bounded"


def craft(
    problem: Problem, *, rotation: float = 30.0, angles: int = 7, translation: float = 0.1, shifts: int = 3
) -> ExternalLoop:
    """Try ``angles`` x ``shifts`` x ``shifts`` queries for each image.

    Args:
        rotation: The largest angle either way, in degrees.
        angles: Angles on the grid.
        translation: The largest shift either way, relative to height and width.
        shifts: Shifts on the grid, in each direction.
    """
    # A grid of one would be its lowest end, not its middle.
    toolbox = adapt(
        "SpatialTransformation",
        max_rotation=rotation if angles > 1 else 0.0,
        num_rotations=angles,
        max_translation=100 * translation if shifts > 1 else 0.0,
        num_translations=shifts,
    )

    def run(batch: Problem) -> np.ndarray:
        # The toolbox seeks one transformation of all images; the authors, and so each call here, one of each image.
        rows = range(len(batch.x))
        per_row = ("x", "labels", "aim", "target", "streams")
        problems = (batch._replace(**{name: getattr(batch, name)[row : row + 1] for name in per_row}) for row in rows)
        return np.concatenate([toolbox.run(problem) for problem in problems])

    return ExternalLoop(run)
