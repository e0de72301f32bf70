"""The report: one self-contained HTML page, without any request, from one or more evaluations."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from markupsafe import Markup

from advlab import figures, tables, workspace
from advlab.archive import AttackResult
from advlab.checks import CHECKS, SEVERITIES, Finding
from advlab.errors import InvalidValue
from advlab.evaluation import Evaluation, WorstCase, worst_case

SHOWN = 12
SIDE = 128
_BYTES = 2_500_000
_NORMS = {"linf": "L∞", "l2": "L2", "l1": "L1", "l0": "L0", "none": "box only"}


class Seen(NamedTuple):
    """One picture and what the classifier makes of it."""

    source: str
    predicted: str
    confidence: float
    right: bool


class Sample(NamedTuple):
    """One row of pictures: clean, perturbation, adversarial. ``outcome``: ``fooled``, ``held`` or ``wrong`` before."""

    position: int
    label: str
    clean: Seen
    perturbation: str
    amplified: float
    adversarial: Seen
    outcome: str


@dataclass(frozen=True)
class Answer:
    """What one classifier's evaluations say together: the first sentence of the page."""

    clean: Evaluation
    strongest: Evaluation | None
    joint: WorstCase | None
    smallest: Evaluation | None
    confidence: tuple[float, float] | None
    example: Sample | None


def report(evaluations: Evaluation | Sequence[Evaluation], path: str | PathLike[str] | None = None) -> str:
    """The page as HTML text; with ``path`` it is also written there, whole or not at all.

    It opens from disk without a server, adapts to light and dark, and stays below 5 MB: at most 12 sampled images of
    each attack are embedded, and it says so. Raises ``InvalidValue`` without any evaluation.
    """
    shown = list(evaluations) if isinstance(evaluations, Sequence) else [evaluations]
    if not shown:
        raise InvalidValue("A report needs at least one evaluation. Got none.")
    if path is not None and Path(path).suffix not in (".html", ".htm"):
        raise InvalidValue(f"A report is an HTML page. Got the name '{path}'; end it in .html.")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": _percent, "attack": attack_name, "budget": budget}
    text = environment.from_string(_resource("template.html")).render(_context(shown))
    if path is not None:
        with workspace.written(Path(path)) as temporary:
            temporary.write_bytes(text.encode("utf-8", "replace"))
    return text


def attack_name(evaluation: Evaluation) -> str:
    """The method as people write it: ``PGD``, ``DeepFool``, ``carlini wagner``."""
    method = evaluation.attack.method
    return {"deepfool": "DeepFool"}.get(method, method.upper() if len(method) <= 4 else method.replace("_", " "))


def budget(evaluation: Evaluation) -> str:
    """The threat model in a few words: ``L∞ 0.1``, ``smallest L2``, with the target's name."""
    threat = evaluation.attack.threat
    words = _NORMS[threat.norm]
    if math.isfinite(threat.epsilon):
        words = f"{words} {threat.epsilon:.4g}"
    elif threat.norm != "none":
        words = f"smallest {words}"
    return words if threat.target is None else f"{words}, towards {evaluation.per_class[threat.target].name}"


def _context(shown: list[Evaluation]) -> dict[str, Any]:
    names = tables.labels(shown)
    grids = [_samples(e, _affordable(shown)) for e in shown]
    return {
        "style": Markup(_resource("style.css")),
        "script": Markup(_resource("script.js")),
        "answers": _answers(shown, grids),
        "findings": _findings(shown, names),
        "checks": len(CHECKS),
        "rows": [(e, name, tables.cells(e, name)) for e, name in zip(shown, names, strict=True)],
        "caption": tables.caption(shown),
        "bars": Markup(figures.svg(figures.accuracy_bars(shown))),
        "shift": Markup(figures.svg(figures.confidence_shift(shown))),
        "boundary": any(e.at_boundary for e in shown),
        "grids": list(zip(shown, names, grids, strict=True)),
    }


def _answers(shown: list[Evaluation], grids: list[list[Sample]]) -> list[Answer]:
    groups: dict[tuple[str, str], list[tuple[Evaluation, list[Sample]]]] = {}
    for evaluation, grid in zip(shown, grids, strict=True):
        key = (evaluation.result.classifier_digest, evaluation.result.dataset_digest)
        groups.setdefault(key, []).append((evaluation, grid))
    return [_answer(group) for group in groups.values()]


def _answer(group: list[tuple[Evaluation, list[Sample]]]) -> Answer:
    bounded = [pair for pair in group if math.isfinite(pair[0].attack.threat.epsilon)]
    minimal = [e for e, _ in group if not math.isnan(e.median_distance) and math.isinf(e.attack.threat.epsilon)]
    smallest = min(minimal, key=lambda e: (e.median_distance, not e.joins), default=None)
    first, grid = min(bounded or group, key=lambda pair: (pair[0].robust_accuracy.value, not pair[0].joins))
    example = next((sample for sample in grid if sample.outcome == "fooled"), None)
    if not bounded:
        return Answer(first, None, None, smallest, None, example)
    joint = worst_case([e for e, _ in bounded if e.attack.threat == first.attack.threat])
    adds = joint.accuracy.count < first.robust_accuracy.count
    correct = first.result.correct
    confidence = None
    if correct.any() and not first.at_boundary:
        probabilities = first.result.clean_probabilities[correct]
        before = float(np.take_along_axis(probabilities, first.result.labels[correct][:, None], 1).mean())
        confidence = (before, before + first.shift.mean)
    return Answer(first, first, joint if adds else None, smallest, confidence, example)


def _findings(shown: list[Evaluation], names: list[str]) -> list[tuple[Finding, list[tuple[str, str]]]]:
    """Each code once, gravest first, with the attacks that raised it and their evidence."""
    found: dict[str, tuple[Finding, list[tuple[str, str]]]] = {}
    for evaluation, name in zip(shown, names, strict=True):
        for finding in evaluation.findings:
            where = f"{evaluation.classifier}, {name}"
            found.setdefault(finding.code, (finding, []))[1].append((where, finding.evidence))
    return sorted(found.values(), key=lambda item: SEVERITIES.index(item[0].severity))


def _affordable(shown: list[Evaluation]) -> int:
    """How many images of each attack fit into the size of the page."""
    pixels = max(min(e.result.x.shape[1], SIDE) * min(e.result.x.shape[2], SIDE) for e in shown)
    return int(np.clip(_BYTES // (len(shown) * 3 * 4 * pixels), 1, SHOWN))


def _samples(evaluation: Evaluation, count: int) -> list[Sample]:
    """The same draw for every attack on the same number of samples, so that pictures can be compared."""
    rows = np.random.default_rng(0).permutation(len(evaluation))[:count]
    return [_sample(evaluation, int(row)) for row in np.sort(rows)]


def _sample(evaluation: Evaluation, row: int) -> Sample:
    result, threat = evaluation.result, evaluation.attack.threat
    x, x_adv = _small(result.x[row]), _small(result.x_adv[row])
    scale = (
        threat.epsilon if threat.norm == "linf" and math.isfinite(threat.epsilon) else float(np.abs(x_adv - x).max())
    )
    clean = _seen(result, result.clean_probabilities[row], x, row, evaluation)
    adversarial = _seen(result, result.adversarial_probabilities[row], x_adv, row, evaluation)
    outcome = "wrong" if not clean.right else "held" if adversarial.right else "fooled"
    return Sample(
        position=int(result.indices[row]),
        label=evaluation.per_class[result.labels[row]].name,
        clean=clean,
        perturbation=_data(figures.perturbation_image(x, x_adv, scale)),
        amplified=1 / (2 * scale) if scale else 0.0,
        adversarial=adversarial,
        outcome=outcome,
    )


def _seen(result: AttackResult, probabilities: np.ndarray, image: np.ndarray, row: int, evaluation: Evaluation) -> Seen:
    predicted = int(probabilities.argmax())
    name = evaluation.per_class[predicted].name
    return Seen(_data(image), name, float(probabilities[predicted]), predicted == result.labels[row])


def _small(image: np.ndarray) -> np.ndarray:
    """Every k-th pixel, so that no side is longer than ``SIDE``."""
    k = math.ceil(max(image.shape[:2]) / SIDE)
    return image[::k, ::k]


def _data(image: np.ndarray) -> str:
    return f"data:image/png;base64,{b64encode(figures.png(image)).decode()}"


def _percent(share: float, digits: int = 1) -> str:
    return "unknown" if math.isnan(share) else f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")
