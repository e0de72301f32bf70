"""Robust accuracy from both sides: what a certificate proves, and what an attack breaks."""

from __future__ import annotations

from dataclasses import astuple, fields
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from advlab.errors import InvalidValue, Mismatch
from advlab.results.result import AttackResult

if TYPE_CHECKING:
    from advlab.results.certificate import Certificate


STATUSES = ("unknown", "proven", "misclassified")
UNKNOWN, PROVEN, MISCLASSIFIED = range(len(STATUSES))


class Bracket(NamedTuple):
    """Robust accuracy from both sides, in images: ``low`` proven, ``high`` still robust, of ``total``.

    ``found`` counts images, correct when clean, that the attack misclassifies (without one: the certificate itself),
    ``missed`` those with a counterexample that it did not find; ``unknown`` is ``high - low``.
    """

    low: int
    high: int
    total: int
    found: int
    missed: int

    @classmethod
    def of(cls, certificate: Certificate, correct: np.ndarray, robust: np.ndarray) -> Bracket:
        """From what attacks on the same images under the same threat left, bool ``(n,)`` each."""
        return cls(
            low=int((certificate.proven & robust).sum()),
            high=int((robust & ~certificate.misclassified).sum()),
            total=len(certificate),
            found=int((correct & ~robust).sum()),
            missed=int((certificate.misclassified & robust).sum()),
        )

    @property
    def unknown(self) -> int:
        """Images that are neither proven nor misclassified."""
        return self.high - self.low

    @property
    def misclassified(self) -> int:
        """Images with a counterexample, clean errors among them."""
        return self.total - self.high

    @property
    def score(self) -> str:
        """The attack judged by what the certificate knows."""
        return f"the attack found {self.found:,} of the {self.found + self.missed:,} adversarial images known to exist"

    def __str__(self) -> str:
        return (
            f"robust accuracy lies between {self.low / self.total:.1%} and {self.high / self.total:.1%}: "
            f"{self.misclassified:,} misclassified, {self.low:,} proven, {self.unknown:,} unknown"
        )


def bracket(certificate: Certificate, result: AttackResult | None = None) -> Bracket:
    """Count the images that are proven, and those without a counterexample of the certificate or an attack.

    Raises as ``statuses`` does.
    """
    if result is None:
        return Bracket.of(certificate, certificate.correct, ~certificate.misclassified)
    statuses(certificate, result)
    return Bracket.of(certificate, result.correct, result.robust)


def statuses(certificate: Certificate, result: AttackResult) -> np.ndarray:
    """What certificate and attack together know of each image: int8 ``(n,)``, indices of ``STATUSES``.

    An image that is proven by less than float32 rounds, and misclassified in float32, counts as misclassified. Raises
    ``Mismatch`` where the archive is of another classifier, other images or another threat, or where the two contradict
    each other, and ``InvalidValue`` for the smoothed classifier, of which no archive knows.
    """
    require_same(certificate, result)
    if (wrong := certificate.proven & ~result.robust & ~certificate.within_rounding).any():
        index = certificate.indices[wrong][0]
        raise Mismatch(
            f"'{result.attack.slug}' misclassifies image {index}, which '{certificate.slug}' proves by more than "
            "float32 rounds. One of them is at fault: verify the archive, or report this."
        )
    return np.where(result.robust, certificate.status, MISCLASSIFIED).astype(np.int8)


def require_same(certificate: Certificate, result: AttackResult) -> None:
    """Raise ``Mismatch``, naming what differs, or ``InvalidValue`` for the smoothed classifier."""
    differing = differences(certificate, result)
    if differing:
        raise Mismatch(
            f"'{result.attack.slug}' and '{certificate.slug}' differ in: {', '.join(differing)}. A bracket needs both "
            "to be about the same classifier, images and threat."
        )


def differences(certificate: Certificate, result: AttackResult) -> list[str]:
    """What keeps the two from being about the same; raises ``InvalidValue`` for the smoothed classifier."""
    if certificate.method == "smoothing":
        raise InvalidValue(
            "A certificate of 'smoothing' speaks of the smoothed classifier, an archive of the base classifier. "
            "Bracket with another method: ibp, crown, alpha, exact."
        )
    threat = result.attack.threat
    mine = (certificate.classifier_digest, certificate.dataset_digest, *astuple(certificate.threat))
    theirs = (result.classifier_digest, result.dataset_digest, *astuple(threat))
    names = ("classifier", "images", *(field.name.replace("_", " ") for field in fields(threat)))
    return [name for name, one, other in zip(names, mine, theirs, strict=True) if one != other]
