"""The first screen: a headline for each classifier and threat model, never a number over several of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from advlab.evaluation.evaluation import Evaluation, WorstCase, worst_case
from advlab.evaluation.metrics import Rate
from advlab.reporting.pictures import Sample
from advlab.threat import ThreatModel

MAX_SHEET = 12
_CONTROLS = ("noise", "random_words", "fgsm")  # not the attack to show where another one is as strong
_Pair = tuple[Evaluation, Sequence[Sample]]


@dataclass(frozen=True)
class Headline:
    """What is left under one threat model: correct against every attack there, image by image.

    ``strongest`` is the suite's worst case or else the strongest attack, ``samples`` are its pictures, ``attacks`` how
    many were run, ``worst`` all of them together; ``accuracy`` is below that of ``strongest`` where others succeed on
    images that it does not.
    """

    strongest: Evaluation
    samples: Sequence[Sample]
    worst: WorstCase
    attacks: int

    @property
    def accuracy(self) -> Rate:
        """What is left of all images."""
        return self.worst.accuracy

    @property
    def threat(self) -> ThreatModel:
        """The threat model of all of them."""
        return self.strongest.attack.threat

    @property
    def joint(self) -> bool:
        """Whether the attacks together succeed on more images than the strongest alone."""
        return self.accuracy.count < self.strongest.robust_accuracy.count


@dataclass(frozen=True)
class Summary:
    """The evaluations of one classifier: the first sentence of the page.

    ``headline`` is that of the threat model in question; without any bounded attack ``bounded`` is False and it is that
    of a minimal one. ``others`` are those of the other threat models, ``sheet`` some samples of ``strongest`` and
    ``example`` the first adversarial one.
    """

    headline: Headline
    bounded: bool
    others: tuple[Headline, ...]
    smallest: Evaluation | None
    confidence: tuple[float, float] | None
    example: Sample | None
    sheet: Sequence[Sample]

    @property
    def strongest(self) -> Evaluation:
        """The evaluation whose images, confidence and flow the page shows."""
        return self.headline.strongest


def summarize(
    evaluations: Sequence[Evaluation], pictures: Sequence[Sequence[Sample]], asked: ThreatModel | None = None
) -> list[Summary]:
    """One summary for each classifier and split of a data set, in the order of the evaluations.

    ``asked`` is the threat model that an audit is about: its controls, under others, then have no headline. Where None,
    the threat model in question is one that all classifiers were attacked under, that a suite was run under, or that
    most attacks were run under; of equal ones the first. A union of several comes before each of them.
    """
    groups: dict[tuple[str, str, str], list[_Pair]] = {}
    for evaluation, samples in zip(evaluations, pictures, strict=True):
        result = evaluation.result
        key = (result.classifier_digest, result.dataset, result.split)
        groups.setdefault(key, []).append((evaluation, samples))
    headlines = [_headlines(group) for group in groups.values()]
    shared = set.intersection(*({line.threat for line in lines} for lines in headlines))
    return [_summary(group, lines, shared, asked) for group, lines in zip(groups.values(), headlines, strict=True)]


def _headlines(group: Sequence[_Pair]) -> list[Headline]:
    """One for each bounded threat model, on the images of its suite, or else on the largest set of images."""
    by_threat: dict[ThreatModel, dict[str, list[_Pair]]] = {}
    for pair in group:
        threat = pair[0].attack.threat
        if math.isfinite(threat.epsilon) or threat.any_of:
            by_threat.setdefault(threat, {}).setdefault(pair[0].result.dataset_digest, []).append(pair)
    return [
        _headline(max(sets.values(), key=lambda pairs: (any(e.joins for e, _ in pairs), len(pairs[0][0]))))
        for sets in by_threat.values()
    ]


def _headline(pairs: Sequence[_Pair]) -> Headline:
    """The one of attacks on the same images under the same threat model."""
    strongest, samples = min(pairs, key=lambda pair: _rank(pair[0]))
    worst = worst_case(e for e, _ in pairs)
    return Headline(strongest, samples, worst, len(_attacks(e for e, _ in pairs)))


def _attacks(evaluations: Iterable[Evaluation]) -> set[tuple[str, str | None]]:
    """The attacks that were run, those of a suite once each, whether its parts are there or not."""
    return {(variant, e.transfer_from) for e in evaluations for variant in (e.result.parts or (e.attack.variant,))}


def _rank(evaluation: Evaluation) -> tuple[float, bool, bool, bool]:
    """The strongest first; of equals the suite's worst case, then attacks on all images, controls last."""
    return (
        evaluation.robust_accuracy.value,
        not evaluation.joins,
        bool(evaluation.result.left_out.any()),
        evaluation.attack.method in _CONTROLS,
    )


def _summary(
    group: Sequence[_Pair], headlines: Sequence[Headline], shared: set[ThreatModel], asked: ThreatModel | None
) -> Summary:
    minimal = [e for e, _ in group if not math.isnan(e.median_distance) and math.isinf(e.attack.threat.epsilon)]
    main = max(
        headlines,
        key=lambda line: (
            line.threat == asked,
            bool(line.threat.any_of),
            not line.threat.targeted,
            line.threat in shared,
            line.strongest.joins,
            line.attacks,
        ),
        default=None,
    )
    headline = main
    if headline is None:
        strongest, samples = min(group, key=lambda pair: _rank(pair[0]))
        headline = Headline(strongest, samples, worst_case([strongest]), 1)
    samples = headline.samples
    return Summary(
        headline=headline,
        bounded=main is not None,
        others=() if asked else tuple(line for line in headlines if line is not main),
        smallest=min(minimal, key=lambda e: (e.median_distance, not e.joins), default=None),
        confidence=_confidence(headline.strongest) if main else None,
        example=next((sample for sample in samples if sample.outcome == "adversarial"), None),
        # The page must stay small with these and the inspector's.
        sheet=samples[: min(MAX_SHEET, math.ceil(len(samples) / 3))],
    )


def _confidence(evaluation: Evaluation) -> tuple[float, float] | None:
    """Mean confidence in the label before and after, where the clean image is correct."""
    correct = evaluation.result.correct & ~evaluation.result.left_out
    if evaluation.at_boundary or not correct.any():
        return None
    probabilities = evaluation.result.clean_probabilities[correct]
    before = float(np.take_along_axis(probabilities, evaluation.result.labels[correct][:, None], 1).mean())
    return before, before + evaluation.shift.mean
