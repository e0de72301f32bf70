"""Several results on the same images as one: the worst case of a cascade, the smallest change of minimal methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from advlab.declarations.attack import Attack
from advlab.distances import distance, exceeds
from advlab.errors import InvalidValue, Mismatch
from advlab.lazy import Images, choose, equal
from advlab.results.diagnostics import Diagnostics
from advlab.results.per_image import PerImage
from advlab.results.result import ROWS, AttackResult
from advlab.threat import ThreatModel


def within(result: AttackResult, threat: ThreatModel) -> AttackResult:
    """A minimal method's result as that of a bounded attack: images beyond epsilon become their clean image."""
    if result.attack.threat == threat:
        return result
    sizes = distance(result.x, result.x_adv, threat.norm)
    beyond = exceeds(sizes, threat.norm, threat.epsilon)
    x_adv = choose([result.x_adv, result.x], beyond)
    return replace(
        result,
        location=None,
        attack=result.attack.replace(threat=threat),
        x_adv=x_adv,
        adversarial_probabilities=np.where(
            beyond[:, None], result.clean_probabilities, result.adversarial_probabilities
        ),
        diagnostics=replace(
            result.diagnostics, unchanged=equal(x_adv, result.x), similarity=similarity_without(beyond, result)
        ),
    )


def similarity_without(rows: np.ndarray, result: AttackResult) -> np.ndarray | None:
    """float32 ``(n,)``: the similarity of texts, of which the ``rows`` become their clean text; None for images."""
    known = result.diagnostics.similarity
    return None if known is None else np.where(rows, np.float32(1), known)


def worst_case(results: Sequence[AttackResult], name: str) -> AttackResult:
    """The per-sample worst of several bounded attacks, as the result of a method called ``name``.

    A sample on which an attack succeeded has that attack's image (the first one's); one that is still robust, the image
    on which the classifier is least confident. ``misclassified_by`` int64 ``(n,)`` in its diagnostics is the number of
    the attack, -1 where none succeeded; ``parts`` names them. Raises ``Mismatch`` where classifier,
    samples or threat model differ.
    """
    refuse_different(results)
    return _worst(results, joined([r.attack for r in results], name, results[0].attack.threat))


def union(results: Sequence[AttackResult], name: str) -> AttackResult:
    """The per-sample worst of results under different threat models, one for each, as in ``worst_case``.

    Its threat model is their union, and ``parts`` names them.
    """
    refuse_different(results, threats_differ=True)
    threat = ThreatModel.union(r.attack.threat for r in results)
    worst = _worst(results, joined([r.attack for r in results], name, threat))
    return replace(worst, parts=tuple(r.attack.threat.text for r in results))


def _worst(results: Sequence[AttackResult], attack: Attack) -> AttackResult:
    labels = results[0].labels[:, None]
    success = np.stack([r.success & r.attempted for r in results])
    confidence = np.stack([np.take_along_axis(r.adversarial_probabilities, labels, 1)[:, 0] for r in results])
    numbers = np.where(success.any(0), success.argmax(0), confidence.argmin(0))
    return _join(results, attack, numbers, np.where(success.any(0) & results[0].correct, numbers, -1))


def smallest(results: Sequence[AttackResult], name: str) -> AttackResult:
    """The nearest image that any of several minimal attacks found, as the result of a method called ``name``.

    ``misclassified_by`` is the number of the attack that found it; everything else as in ``worst_case``.
    """
    refuse_different(results)
    norm = results[0].attack.threat.norm
    sizes = np.stack([np.where(r.success, distance(r.x, r.x_adv, norm), np.inf) for r in results])
    numbers = sizes.argmin(0)
    success = np.isfinite(sizes.min(0)) & results[0].correct
    attack = joined([r.attack for r in results], name, results[0].attack.threat)
    return _join(results, attack, numbers, np.where(success, numbers, -1))


def concatenate(results: Sequence[AttackResult], dataset_digest: str, x: Images, x_adv: Images) -> AttackResult:
    """One attack that was run on several parts of a data set, as one result; ``x`` and ``x_adv`` are of all of them."""
    first, total = results[0], sum(map(len, results))
    common = [name for name in first.diagnostics.arrays() if all(name in r.diagnostics.arrays() for r in results)]
    stored = {name: [getattr(r.diagnostics, name) for r in results] for name in common}
    trace_steps = stored.pop("trace_steps", [None])[0]
    rows: dict[str, Any] = {name: np.concatenate([getattr(r, name) for r in results]) for name in ROWS}
    computed = sum(len(r) * r.execution.computed_fraction for r in results) / total
    return replace(
        first,
        dataset_digest=dataset_digest,
        x=x,
        x_adv=x_adv,
        **rows,
        per_image=PerImage.join([r.per_image for r in results], [len(r) for r in results]),
        seconds=round(sum(r.seconds for r in results), 3),
        execution=replace(
            first.execution,
            batch_size=max(r.execution.batch_size for r in results),
            computed_fraction=round(computed, 4),
        ),
        diagnostics=Diagnostics(**{n: np.concatenate(a) for n, a in stored.items()}, trace_steps=trace_steps),
        location=None,
    )


def _join(
    results: Sequence[AttackResult], attack: Attack, numbers: np.ndarray, misclassified_by: np.ndarray
) -> AttackResult:
    """The result that has of each sample the image of the attack in ``numbers``."""
    first, rows = results[0], np.arange(len(numbers))
    x_adv = choose([r.x_adv for r in results], numbers)
    return replace(
        first,
        attack=attack,
        x_adv=x_adv,
        adversarial_probabilities=np.stack([r.adversarial_probabilities for r in results])[numbers, rows],
        attempted=np.any([r.attempted for r in results], axis=0),
        forward_passes=np.sum([r.forward_passes for r in results], axis=0),
        backward_passes=np.sum([r.backward_passes for r in results], axis=0),
        seconds=round(sum(r.seconds for r in results), 3),
        location=None,
        parts=tuple(r.attack.variant for r in results),
        diagnostics=Diagnostics(
            zero_gradient=_any([r.diagnostics.zero_gradient for r in results]),
            nonfinite=_any([r.diagnostics.nonfinite for r in results]),
            misclassified_by=misclassified_by,
            unchanged=equal(x_adv, first.x),
            repeat_difference=_largest([r.diagnostics.repeat_difference for r in results]),
            similarity=_chosen([r.diagnostics.similarity for r in results], numbers),
        ),
    )


def joined(attacks: Sequence[Attack], name: str, threat: ThreatModel) -> Attack:
    """What several attacks are together: a method called ``name``, with those settings of the first that all share."""
    first = attacks[0]
    shared = {s: getattr(first, s) for s in ("early_stop", "precision", "passes", "backward")}
    return Attack.recorded(name, threat, first.goal, **shared)


def _any(flags: Sequence[np.ndarray | None]) -> np.ndarray | None:
    known = [flag for flag in flags if flag is not None]
    return np.any(known, axis=0) if known else None


def _chosen(values: Sequence[np.ndarray | None], numbers: np.ndarray) -> np.ndarray | None:
    known = [value for value in values if value is not None]
    return np.stack(known)[numbers, np.arange(len(numbers))] if len(known) == len(values) else None


def _largest(values: Sequence[np.ndarray | None]) -> np.ndarray | None:
    known = [value for value in values if value is not None]
    return np.max(known, axis=0) if known else None


def refuse_different(results: Sequence[AttackResult], threats_differ: bool = False) -> None:
    """Raise ``Mismatch``, naming what differs, unless classifier, samples and threat model are equal."""
    if not results:
        raise InvalidValue("Joining attacks needs at least one result. Got none.")
    first = results[0]
    for other in results[1:]:
        pairs = {
            "classifier": (first.classifier_digest, other.classifier_digest),
            "samples": (first.dataset_digest, other.dataset_digest),
            "threat model": (first.attack.threat, first.attack.threat if threats_differ else other.attack.threat),
        }
        differ = [f"{name} ({one} and {two})" for name, (one, two) in pairs.items() if one != two]
        if differ:
            raise Mismatch(
                f"'{first.attack.slug}' and '{other.attack.slug}' cannot be joined; they differ in: "
                f"{', '.join(differ)}. Join attacks on one classifier, the same samples and one threat model."
            )
