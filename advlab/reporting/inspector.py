"""The JSON-ready data with which the page's script shows one image after another."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from advlab.evaluation.curve import SecurityCurve
from advlab.evaluation.evaluation import Evaluation
from advlab.evaluation.table import epsilon_text, label
from advlab.reporting.phrases import NORMS, measure
from advlab.reporting.pictures import Sample
from advlab.reporting.sections import CurveGroup
from advlab.text import decode

MAX_BARS = 10
SLIDER_STEPS = 200


def inspector(
    evaluations: Sequence[Evaluation],
    names: Sequence[str],
    pictures: Sequence[Sequence[Sample]],
    curves: Sequence[CurveGroup],
) -> dict[str, Any]:
    """``pictures``, each data URI once, and ``choices``: those with a slider over epsilon, then each attack.

    A choice has ``name``, ``images`` as text, ``classes``, ``curve`` (null where epsilon is fixed) and ``samples``. A
    slider over the nearest images of a curve has samples with their ``distance``; one over an attack that was run at
    several epsilons has none of its own but in ``curve.steps``, for each epsilon from 0 on, the choice that shows them.
    """
    sources: dict[str, int] = {}
    by_evaluation = {id(e): samples for e, samples in zip(evaluations, pictures, strict=True)}
    single = {id(c.members[0]) for c in curves if len(c.members) == 1}
    several = len({e.classifier for e in evaluations}) > 1
    choices = []
    for group in curves:
        rows = zip(*(by_evaluation[id(e)] for e in group.members), strict=True)
        entries = [_nearest(group, row, sources) for row in rows]
        name = f"any epsilon, {NORMS[group.curve.norm]}"
        choices.append(_choice(group.members[0], name, several, entries) | {"curve": _slider(group.curve)})
    swept = _swept(evaluations)
    attacks: list[dict[str, Any]] = []
    numbers: dict[int, int] = {}
    for evaluation, name, samples in zip(evaluations, names, pictures, strict=True):
        if id(evaluation) not in single:
            numbers[id(evaluation)] = len(choices) + len(swept) + len(attacks)
            entries = [_entry(evaluation, sample, sources) for sample in samples]
            attacks.append(_choice(evaluation, name, several, entries) | {"curve": None})
    for members in swept:
        first, *_, last = members
        name = f"{label(first)} to {epsilon_text(last)}"
        choices.append(_choice(first, name, several, []) | {"curve": _steps(members, numbers)})
    return {"pictures": list(sources), "choices": choices + attacks}


def embedded(data: dict[str, Any]) -> Markup:
    """The data as JSON that an HTML parser never takes for markup, whatever the names in it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)  # ASCII, thus without U+2028 and U+2029
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _choice(evaluation: Evaluation, name: str, several: bool, samples: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": f"{evaluation.classifier}: {name}" if several else name,
        "images": evaluation.images,
        "classes": [score.name for score in evaluation.per_class],
        "samples": samples,
    }


def _nearest(group: CurveGroup, samples: Sequence[Sample], sources: dict[str, int]) -> dict[str, Any]:
    """The nearest adversarial image of one image, and its distance: null if no attack found one."""
    row = samples[0].row
    best = max(int(group.curve.misclassified_by[row]), 0)
    distance = float(group.curve.smallest[row])
    entry = _entry(group.members[best], samples[best], sources)
    # What is proven is so at one epsilon, and here the reader chooses it.
    return entry | {"distance": distance if math.isfinite(distance) else None, "certified": None}


def _entry(evaluation: Evaluation, sample: Sample, sources: dict[str, int]) -> dict[str, Any]:
    """One image; the classes with a bar are in the order of the classes."""
    result, row = evaluation.result, sample.row
    before, after = (
        np.clip(np.nan_to_num(p[row].astype(np.float64)), 0, 1)
        for p in (result.clean_probabilities, result.adversarial_probabilities)
    )
    label = int(result.labels[row])
    predicted = [int(result.clean_probabilities[row].argmax()), int(result.adversarial_probabilities[row].argmax())]
    likely = np.argsort(-np.maximum(before, after), kind="stable")
    classes = sorted(list(dict.fromkeys([label, *predicted, *likely.tolist()]))[:MAX_BARS])
    pictures = {
        "clean": sample.clean.source,
        "perturbation": sample.perturbation,
        "adversarial": sample.adversarial.source,
    }
    certified = evaluation.certified
    counts = [sources.setdefault(source, len(sources)) for source in sample.counts or ()]
    return {
        "position": sample.position,
        "label": label,
        "predicted": predicted,
        "bars": classes,
        "before": np.round(before[classes], 4).tolist(),
        "after": np.round(after[classes], 4).tolist(),
        "amplified": float(f"{sample.amplified:.3g}"),
        "outcome": sample.outcome,
        "certified": None if certified is None else str(certified[row]),
        "counts": counts,
        "words": _words(result.x[row], result.x_adv[row], result.vocabulary),
        **{name: sources.setdefault(source, len(sources)) for name, source in pictures.items()},
    }


def _words(x: np.ndarray, x_adv: np.ndarray, vocabulary: Sequence[str]) -> list[list[str]]:
    """Of a text each word, clean and perturbed; where it stays the same once. Empty for an image."""
    if not vocabulary:
        return []
    pairs = zip(decode(x, vocabulary), decode(x_adv, vocabulary), strict=True)
    return [[old] if old == new else [old, new] for old, new in pairs if old or new]


def _swept(evaluations: Sequence[Evaluation]) -> list[list[Evaluation]]:
    """The evaluations of each bounded attack that was run at several epsilons on the same images, by epsilon."""
    groups: dict[tuple[str, ...], dict[float, Evaluation]] = {}
    for evaluation in evaluations:
        result, attack = evaluation.result, evaluation.attack
        if attack.goal == "bounded" and math.isfinite(attack.threat.epsilon) and result.per_image.epsilon is None:
            asked = {key: value for key, value in attack.to_dict().items() if key != "epsilon"}
            of = (result.classifier_digest, result.dataset_digest, result.source_digest, json.dumps(asked))
            groups.setdefault(of, {})[attack.threat.epsilon] = evaluation
    return [[group[epsilon] for epsilon in sorted(group)] for group in groups.values() if len(group) > 1]


def _steps(members: Sequence[Evaluation], numbers: dict[int, int]) -> dict[str, Any]:
    """What the slider looks up: the images of each step were crafted for its epsilon; those of the first are clean."""
    rates = [members[0].clean_accuracy, *(e.robust_accuracy for e in members)]
    return {
        "norm": measure(members[0].attack.threat.norm, members[0].result.vocabulary),
        "total": len(members[0]),
        "epsilon": [0.0, *(e.attack.threat.epsilon for e in members)],
        "accuracy": [[rate.value, rate.low, rate.high] for rate in rates],
        "steps": [numbers[id(e)] for e in (members[0], *members)],
    }


def _slider(curve: SecurityCurve) -> dict[str, Any]:
    """The curve at no more than ``SLIDER_STEPS`` + 1 epsilons between 0 and its end: what the slider looks up."""
    finite = curve.smallest[np.isfinite(curve.smallest)]
    end = curve.limit if math.isfinite(curve.limit) else float(finite.max(initial=0.0))
    epsilons = np.linspace(0, end, SLIDER_STEPS + 1)
    if curve.norm == "l0":
        epsilons = np.unique(np.floor(epsilons))
    rates = [curve.robust_accuracy(float(epsilon)) for epsilon in epsilons]
    return {
        "norm": measure(curve.norm, curve.results[0].vocabulary),
        "total": len(curve.smallest),
        "epsilon": epsilons.tolist(),
        "accuracy": [[rate.value, rate.low, rate.high] for rate in rates],
    }
