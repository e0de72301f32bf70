"""From results of attacks to the scores that a comparison is made of."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from advlab.errors import InvalidValue
from advlab.evaluation.comparison import Column, Model, Score
from advlab.evaluation.evaluation import Evaluation, evaluate
from advlab.results import combine
from advlab.results.result import AttackResult
from advlab.threat import ThreatModel, parse_epsilon

_DIGITS = 16


def score_of(evaluations: Sequence[Evaluation], attack: str, threat: ThreatModel | None, seed: int) -> Score:
    """Several attacks on one classifier and the same images as one number: an image counts where none succeeded.

    ``threat`` None takes each as it is; otherwise what a minimal method found beyond its epsilon does not count.
    """
    results = [_within(evaluation.result, threat) for evaluation in evaluations]
    first, last = results[0], results[-1]
    cost = [last] if evaluations[-1].joins else results
    column = Column(
        first.dataset,
        first.dataset_digest,
        attack,
        "union" if threat is None else threat.text,
        "" if threat is None else threat.norm,
        math.inf if threat is None else threat.epsilon,
    )
    return Score(
        Model(first.classifier, first.classifier_digest),
        column,
        seed,
        correct=first.correct,
        robust=np.all([result.robust for result in results], axis=0),
        passes=float(sum(r.forward_passes.mean() + r.backward_passes.mean() for r in cost)),
        seconds=round(sum(r.seconds for r in cost), 3),
        findings=tuple(sorted({f.code for e in evaluations for f in e.findings if f.severity != "info"})),
        command=last.command,
        versions=dict(last.versions),
    )


def _within(result: AttackResult, threat: ThreatModel | None) -> AttackResult:
    if threat is None or not result.minimal:
        return result
    return combine.within(result, replace(result.attack.threat, norm=threat.norm, epsilon=threat.epsilon))


def scores_of_archive(path: Path, epsilons: Sequence[float | str]) -> list[tuple[Score, Evaluation]]:
    """The score of an archive; of one that looks for the smallest change a score at each epsilon.

    Raises ``InvalidValue`` for such an archive without an epsilon.
    """
    evaluation = evaluate(path)
    attack = evaluation.attack
    name = attack.replace(seed=0).variant
    if not evaluation.result.minimal:
        threat = None if attack.threat.any_of else attack.threat
        return [(with_archive(score_of([evaluation], name, threat, attack.seed), path, str(path)), evaluation)]
    if not epsilons:
        raise InvalidValue(
            f"'{path}' looks for the smallest change. Say which changes count: --epsilon 0.1 (epsilon=0.1 in Python)."
        )
    scores = []
    for given in epsilons:
        threat = ThreatModel(attack.threat.norm, float(parse_epsilon(given) or 0))
        score = score_of([evaluation], name, threat, attack.seed)
        scores.append((with_archive(score, path, str(path)), evaluate(_within(evaluation.result, threat))))
    return scores


def with_archive(score: Score, path: Path, name: str) -> Score:
    """The score, with what its archive is called and the start of the SHA-256 of the file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]
    return replace(score, archive=name, archive_digest=digest)
