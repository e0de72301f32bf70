"""Verify an archive: predict its images again on this machine, and measure its perturbations again."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from advlab.distances import distance, exceeds
from advlab.errors import Mismatch
from advlab.lazy import by_batches
from advlab.results.result import load_result
from advlab.workflows.inputs import recorded_classifier

if TYPE_CHECKING:
    from advlab.workflows.inputs import ClassifierLike

SCHEMA = 1
ALLOWED_FLIPS = 0.001  # the last bit of a logit depends on batch size and machine


class Verification(NamedTuple):
    """The outcome of a verification.

    ``flips`` are the rows whose perturbed image is now classified differently (with ``top``: correctly or not),
    ``margins`` the difference of their two highest probabilities now; ``outside`` are the rows outside the budget, the
    box or the mask.
    """

    samples: int
    recorded_accuracy: float
    accuracy: float
    flips: np.ndarray
    margins: np.ndarray
    outside: np.ndarray
    largest: float

    @property
    def holds(self) -> bool:
        """No row is outside, and at most 0.1 % of the rows flip (one row is always allowed)."""
        return not len(self.outside) and len(self.flips) <= max(1, ALLOWED_FLIPS * self.samples)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {
            **self._asdict(),
            "schema": SCHEMA,
            "flips": self.flips.tolist(),
            "margins": self.margins.tolist(),
            "outside": self.outside.tolist(),
            "holds": self.holds,
        }


def verify(path: str | PathLike[str], *, model: ClassifierLike | None = None, trust: bool = False) -> Verification:
    """Predict the images of an archive again on this machine, and measure its perturbations again.

    ``model`` is the classifier, its name or path (None: as recorded). Raises ``Mismatch`` for another classifier.
    """
    result = load_result(path)

    classifier = recorded_classifier(result, model, trust)
    if classifier.digest != result.classifier_digest:
        raise Mismatch(
            f"'{path}' was crafted against another '{result.classifier}' (digest {result.classifier_digest}; this one "
            f"has {classifier.digest}). Name the right file with --model, or craft it again. To evaluate its images "
            "on this model, use: advlab evaluate ARCHIVE --model NAME"
        )
    probabilities = classifier.probabilities(result.x_adv)
    threat = result.attack.threat
    accepted = threat.accepts(probabilities, result.labels)
    if threat.top > 1:
        flips = np.flatnonzero(accepted != threat.accepts(result.adversarial_probabilities, result.labels))
    else:
        flips = np.flatnonzero(probabilities.argmax(1) != result.adversarial_probabilities.argmax(1))
    highest = np.sort(probabilities[flips], axis=1)
    largest = distance(result.x, result.x_adv, "l2" if threat.norm == "none" else threat.norm).max(initial=0)
    outside = by_batches(lambda x: ~np.all((x >= 0) & (x <= 1), axis=(1, 2, 3)), result.x_adv)
    if threat.any_of:
        sizes = [(ball, distance(result.x, result.x_adv, ball.norm)) for ball in threat.any_of]
        outside |= np.all([exceeds(size, ball.norm, ball.epsilon) for ball, size in sizes], axis=0)
    elif threat.norm != "none":
        outside |= exceeds(distance(result.x, result.x_adv, threat.norm), threat.norm, result.epsilons)
    outside |= result.per_image.outside(result.x, result.x_adv)
    return Verification(
        samples=len(result),
        recorded_accuracy=float(np.mean(result.robust)),
        accuracy=float(np.mean(result.correct & accepted & ~result.left_out)),
        flips=flips,
        margins=highest[:, -1] - highest[:, -2],
        outside=np.flatnonzero(outside),
        largest=float(largest),
    )
