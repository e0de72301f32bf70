"""What an attack leaves beside its images, so that findings need no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np


class SelfTestCounts(NamedTuple):
    """Of ``planted`` adversarial examples, how many the attack found and how many a random search."""

    planted: int
    found: int
    random: int


@dataclass(frozen=True, eq=False)
class Diagnostics:
    """Arrays with rows first, one for each of ``n`` images; None where an attack does not have them.

    Attributes:
        loss_trace: float32 ``(n, t)``, the loss at queries ``trace_steps`` of each image's best restart.
        trace_steps: int32 ``(t,)``.
        first_success: int32 ``(n,)``, the query at which that restart first succeeded, -1 for never or not known.
        zero_gradient: bool ``(n,)``, in some query the gradient was exactly zero.
        nonfinite: bool ``(n,)``, in some query the gradient or the loss was NaN or infinite.
        unchanged: bool ``(n,)``, the result equals the clean image.
        repeat_difference: float32, the largest change of the probabilities between two predictions of a clean image,
            for the first 1,000.
        misclassified_by: int64 ``(n,)``, of a joined result the number of the attack that succeeded, -1 for none.
        similarity: float32 ``(n,)``, of texts the mean cosine between the vectors that the attacked model has for each
            replaced word and for what took its place; 1 where no word was replaced.
    """

    loss_trace: np.ndarray | None = None
    trace_steps: np.ndarray | None = None
    first_success: np.ndarray | None = None
    zero_gradient: np.ndarray | None = None
    nonfinite: np.ndarray | None = None
    unchanged: np.ndarray | None = None
    repeat_difference: np.ndarray | None = None
    misclassified_by: np.ndarray | None = None
    similarity: np.ndarray | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """Name -> array, of those that there are."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Diagnostics:
        """From name -> array; other names are left out."""
        return cls(**{f.name: arrays[f.name] for f in fields(cls) if f.name in arrays})
