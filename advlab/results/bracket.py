"""Robust accuracy from both sides: what a certificate proves, and what an attack breaks."""

from __future__ import annotations

from dataclasses import astuple, fields
from typing import TYPE_CHECKING, NamedTuple

from advlab.errors import InvalidValue, Mismatch
from advlab.results.result import AttackResult
from advlab.threat import ThreatModel

if TYPE_CHECKING:
    from advlab.results.certificate import Certificate


class Bracket(NamedTuple):
    """Robust accuracy from both sides, in images: ``low`` proven, ``high`` still robust, of ``total``.

    ``missed`` counts images with a counterexample that the attack did not find, ``unknown`` is ``high - low``.
    """

    low: int
    high: int
    total: int
    missed: int

    @property
    def unknown(self) -> int:
        """Images that are neither proven nor misclassified."""
        return self.high - self.low

    def __str__(self) -> str:
        return (
            f"robust accuracy lies between {self.low / self.total:.1%} and {self.high / self.total:.1%}: "
            f"{self.total - self.high:,} misclassified, {self.low:,} proven, {self.unknown:,} unknown"
        )


def bracket(certificate: Certificate, result: AttackResult | None = None) -> Bracket:
    """Count the images that are proven, and those without a counterexample of the certificate or an attack.

    An image that is proven by less than float32 rounds, and misclassified in float32, counts as misclassified. Raises
    ``Mismatch`` where the archive is of another classifier, other images or another threat, or where the two contradict
    each other, and ``InvalidValue`` for the smoothed classifier, of which no archive knows.
    """
    misclassified, missed = certificate.misclassified, 0
    if result is not None:
        _require_same(certificate, result)
        missed = int((misclassified & result.robust).sum())
        misclassified = misclassified | ~result.robust
        if (wrong := misclassified & certificate.proven & ~certificate.within_rounding).any():
            index = certificate.indices[wrong][0]
            raise Mismatch(
                f"'{result.attack.slug}' misclassifies image {index}, which '{certificate.slug}' proves by more than "
                "float32 rounds. One of them is at fault: verify the archive, or report this."
            )
    low, high = certificate.proven & ~misclassified, ~misclassified
    return Bracket(int(low.sum()), int(high.sum()), len(certificate), missed)


def _require_same(certificate: Certificate, result: AttackResult) -> None:
    if certificate.method == "smoothing":
        raise InvalidValue(
            "A certificate of 'smoothing' speaks of the smoothed classifier, an archive of the base classifier. "
            "Bracket with another method: ibp, crown, alpha, exact."
        )
    threat = result.attack.threat
    certified = ThreatModel(certificate.norm, certificate.epsilon)
    mine = (certificate.classifier_digest, certificate.dataset_digest, *astuple(certified))
    theirs = (result.classifier_digest, result.dataset_digest, *astuple(threat))
    names = ("classifier", "images", *(field.name.replace("_", " ") for field in fields(threat)))
    differing = [name for name, one, other in zip(names, mine, theirs, strict=True) if one != other]
    if differing:
        raise Mismatch(
            f"'{result.attack.slug}' and '{certificate.slug}' differ in: {', '.join(differing)}. A bracket needs both "
            "to be about the same classifier, images and threat."
        )
