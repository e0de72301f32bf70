"""Images of an evaluation as pictures embedded in a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from advlab import figures
from advlab.evaluation.evaluation import Evaluation

MAX_SAMPLES = 40
SIDE = 128
_MAX_BYTES = 2_500_000


class Picture(NamedTuple):
    """One image as a data URI, and its prediction."""

    source: str
    predicted: str
    confidence: float
    correct: bool


class Sample(NamedTuple):
    """Clean image, perturbation and adversarial image of one row of an evaluation.

    ``position``: in the full split; ``amplified``: the factor of the perturbation as shown, 0 where there is none;
    ``outcome``: ``adversarial``, still ``robust``, ``misclassified`` when clean, or ``skipped``, because an earlier
    attack of the same cascade had succeeded; ``counts``: what counts in the clean and in the adversarial image, as
    data URIs, None where the archive does not hold it; ``is_text``: the perturbation shows which words were replaced.
    """

    row: int
    position: int
    label: str
    clean: Picture
    perturbation: str
    amplified: float
    adversarial: Picture
    outcome: str
    counts: tuple[str, str] | None
    is_text: bool


def samples(evaluations: Sequence[Evaluation]) -> list[list[Sample]]:
    """The same random images of each evaluation, so that attacks can be compared: as many as fit in a page."""
    orders = [evaluation.result.shown_order for evaluation in evaluations]
    groups: list[list[Sample]] = [[] for _ in evaluations]
    sources: set[str] = set()
    for i in range(MAX_SAMPLES):
        for evaluation, order, group in zip(evaluations, orders, groups, strict=True):
            group += [_sample(evaluation, int(row)) for row in order[i : i + 1]]
            for sample in group[i:]:
                sources |= {sample.clean.source, sample.perturbation, sample.adversarial.source, *(sample.counts or ())}
        if sum(map(len, sources)) > _MAX_BYTES:
            break
    return [sorted(group, key=lambda sample: sample.row) for group in groups]


def _sample(evaluation: Evaluation, row: int) -> Sample:
    result, threat = evaluation.result, evaluation.attack.threat
    x, x_adv = result.x[row], result.x_adv[row]
    bounded = threat.norm == "linf" and math.isfinite(threat.epsilon)
    scale = threat.epsilon if bounded else float(np.abs(x_adv - x).max())
    clean = picture(evaluation, result.clean_probabilities[row], x, row)
    adversarial = picture(evaluation, result.adversarial_probabilities[row], x_adv, row, compared=x)
    return Sample(
        row=row,
        position=int(result.indices[row]),
        label=evaluation.per_class[result.labels[row]].name,
        clean=clean,
        perturbation=figures.change_uri(x, x_adv, result.vocabulary, scale, SIDE),
        amplified=1 / (2 * scale) if scale and not result.vocabulary else 0.0,
        adversarial=adversarial,
        outcome=_outcome(clean, adversarial, bool(result.left_out[row])),
        counts=_counts(evaluation, row),
        is_text=bool(result.vocabulary),
    )


def _counts(evaluation: Evaluation, row: int) -> tuple[str, str] | None:
    found = evaluation.result.attributions
    values = None if found is None else found.of(row)
    if values is None:
        return None
    clean, adversarial = (figures.data_uri(figures.attribution_image(each), SIDE) for each in values)
    return clean, adversarial


def _outcome(clean: Picture, adversarial: Picture, skipped: bool) -> str:
    if not clean.correct:
        return "misclassified"
    return "skipped" if skipped else "robust" if adversarial.correct else "adversarial"


def picture(
    evaluation: Evaluation, probabilities: np.ndarray, image: np.ndarray, row: int, compared: np.ndarray | None = None
) -> Picture:
    """One image, clean or perturbed, with what the classifier makes of it; in a text what differs is marked."""
    predicted = int(probabilities.argmax())
    correct = evaluation.attack.threat.accepts(probabilities[None], evaluation.result.labels[row : row + 1])[0]
    name = evaluation.per_class[predicted].name
    source = figures.sample_uri(image, evaluation.result.vocabulary, compared, SIDE)
    return Picture(source, name, float(probabilities[predicted]), bool(correct))
