"""Images of an evaluation as pictures inside a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from advlab import figures
from advlab.evaluation.evaluation import Evaluation

SHOWN = 40
SIDE = 128
_BYTES = 2_500_000


class Seen(NamedTuple):
    """One picture and what the classifier makes of it."""

    source: str
    predicted: str
    confidence: float
    right: bool


class Sample(NamedTuple):
    """Clean image, perturbation and adversarial image of one row of an evaluation.

    ``position``: in the full split; ``amplified``: how many times as large the perturbation is shown, 0 where there is
    none; ``outcome``: ``fooled``, ``held``, ``wrong`` before any attack, or broken ``earlier``, by a part of the same
    cascade, so that this one left it out.
    """

    row: int
    position: int
    label: str
    clean: Seen
    perturbation: str
    amplified: float
    adversarial: Seen
    outcome: str


def samples(shown: Sequence[Evaluation]) -> list[list[Sample]]:
    """Of each evaluation the same random draw, so that attacks can be compared: as many images as a page can bear."""
    orders = [np.random.default_rng(0).permutation(len(evaluation)) for evaluation in shown]
    drawn: list[list[Sample]] = [[] for _ in shown]
    sources: set[str] = set()
    for i in range(SHOWN):
        for evaluation, order, own in zip(shown, orders, drawn, strict=True):
            own += [_sample(evaluation, int(row)) for row in order[i : i + 1]]
            for sample in own[i:]:
                sources |= {sample.clean.source, sample.perturbation, sample.adversarial.source}
        if sum(map(len, sources)) > _BYTES:
            break
    return [sorted(own, key=lambda sample: sample.row) for own in drawn]


def _sample(evaluation: Evaluation, row: int) -> Sample:
    result, threat = evaluation.result, evaluation.attack.threat
    x, x_adv = result.x[row], result.x_adv[row]
    bounded = threat.norm == "linf" and math.isfinite(threat.epsilon)
    scale = threat.epsilon if bounded else float(np.abs(x_adv - x).max())
    clean = _seen(evaluation, result.clean_probabilities[row], x, row)
    adversarial = _seen(evaluation, result.adversarial_probabilities[row], x_adv, row)
    return Sample(
        row=row,
        position=int(result.indices[row]),
        label=evaluation.per_class[result.labels[row]].name,
        clean=clean,
        perturbation=figures.data_uri(figures.perturbation_image(x, x_adv, scale), SIDE),
        amplified=1 / (2 * scale) if scale else 0.0,
        adversarial=adversarial,
        outcome=_outcome(clean, adversarial, bool(result.left_out[row])),
    )


def _outcome(clean: Seen, adversarial: Seen, left_out: bool) -> str:
    if not clean.right:
        return "wrong"
    return "earlier" if left_out else "held" if adversarial.right else "fooled"


def _seen(evaluation: Evaluation, probabilities: np.ndarray, image: np.ndarray, row: int) -> Seen:
    predicted = int(probabilities.argmax())
    name, right = evaluation.per_class[predicted].name, predicted == evaluation.result.labels[row]
    return Seen(figures.data_uri(image, SIDE), name, float(probabilities[predicted]), bool(right))
