"""A security curve from one run: by a minimal method, or by a bisection with a bounded one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from advlab import workspace
from advlab.data.dataset import Dataset, subset
from advlab.declarations.attack import Attack
from advlab.declarations.methods import describe, load_method
from advlab.distances import distance
from advlab.errors import InvalidValue
from advlab.evaluation.curve import SecurityCurve
from advlab.lazy import choose, equal, fits_in_memory
from advlab.lock import exclusive
from advlab.progress import Progress
from advlab.results.combine import similarity_without
from advlab.results.diagnostics import Diagnostics
from advlab.results.result import AttackResult, load_result
from advlab.threat import DEFAULT_EPSILON, parse_norm
from advlab.validation import as_int
from advlab.workflows.attack import finish
from advlab.workflows.inputs import (
    MethodLike,
    require_archive,
    resolve_attack,
    resolve_classifier,
    resolve_dataset,
    resolve_method,
)

if TYPE_CHECKING:
    from advlab.classifiers.classifier import Classifier
    from advlab.workflows.inputs import ClassifierLike, DatasetLike

METHODS = {"linf": "fmn", "l2": "ddn", "l1": "fmn", "l0": "sigma_zero"}  # the default of each norm
EPSILON_FACTOR = 3  # a bisection searches up to this many default epsilons
MAX_ROUNDS = 16
_WORTH = 0.2  # seconds of an attack that are worth a file


def curve(
    classifier: ClassifierLike,
    dataset: DatasetLike | None = None,
    method: MethodLike | None = None,
    *,
    norm: str | float | None = None,
    epsilon: float | str | None = None,
    rounds: int = 6,
    samples: int = 1000,
    seed: int | None = None,
    save: bool = False,
    force: bool = False,
    trust: bool = False,
    progress: bool | None = None,
    **parameters: Any,
) -> SecurityCurve:
    """Robust accuracy at every epsilon, from one run.

    Args:
        classifier: A ``Classifier``, a Keras model, or the name or path of a saved one.
        dataset: As ``advlab.attack`` takes it.
        method: A name, a function, or an ``advlab.Attack``. None: fmn, for l2 ddn, for l0 sigma_zero. A minimal method
            is run once; a bounded one in a bisection over ``2**rounds - 1`` levels of epsilon, once in each round.
        norm: ``linf``, ``l2``, ``l1`` or ``l0``; None: the method's first.
        epsilon: Where a bisection ends; None: linf 0.3, l2 4.5, l1 30. A minimal method takes none.
        rounds: Of a bisection, in [1, 16].
        samples: The first so many images of a data set that is named.
        seed: Of all random draws; None: 0.
        save: Whether to write the archive, or to load the one of the same specification that is there.
        force: Whether to craft it again in any case.
        trust: Whether code in a model file may run.
        progress: Whether to show a bar; None: on a terminal.
        **parameters: Those of the method.

    Raises:
        InvalidValue: For a value out of range, or a norm without distances.
    """
    spec = _specification(method, norm, epsilon, seed, parameters)
    if spec.threat.norm == "none":
        raise InvalidValue("Norm 'none' has no distance to draw a curve over. Choose one of: linf, l2, l1, l0.")
    whole = _with_rounds(spec, rounds) if spec.goal == "bounded" else spec

    from advlab.engine.attack import craft
    from advlab.engine.parts import craft_in_parts

    classifier = resolve_classifier(classifier, trust)
    data = resolve_dataset(dataset, classifier, samples)
    path = workspace.archive_path(classifier.name, whole.slug)
    unfinished = workspace.partial_path(classifier.name, whole.slug) if save else None
    with exclusive(unfinished):
        if save and not force:
            require_archive(path, whole, data, classifier.digest, force)
            if path.exists():
                return SecurityCurve.from_results([load_result(path)])
        if force and unfinished is not None:
            workspace.forget_unfinished(unfinished)
        if spec.goal == "minimal":
            result = craft(classifier, data, spec, unfinished=unfinished, progress=progress)
        elif fits_in_memory(data.x.shape):
            result = _bisect(classifier, data, spec, whole, int(rounds), unfinished, progress)
        else:

            def bisect(images: Dataset, *_: Any) -> AttackResult:
                return _bisect(classifier, images, spec, whole, int(rounds), None, progress)

            asked = {"attack": whole.to_dict(), "classifier_digest": classifier.digest}
            result = craft_in_parts(data, bisect, unfinished, lambda rows: asked)
        return SecurityCurve.from_results([finish(result, path, unfinished, force) if save else result])


def _specification(
    method: MethodLike | None,
    norm: str | float | None,
    epsilon: float | str | None,
    seed: int | None,
    parameters: Mapping[str, Any],
) -> Attack:
    """The attack of a curve; a bounded one begins at the largest epsilon, and each image ends at its first success."""
    settings = {"norm": norm, "epsilon": epsilon, "seed": seed}
    method = method if method is None else resolve_method(method)
    if isinstance(method, Attack):
        spec = resolve_attack(method, settings, parameters)
        return spec.replace(early_stop=True) if spec.goal == "bounded" else spec
    if method is None:
        method = METHODS.get(parse_norm(norm or "linf"), METHODS["linf"])
    declaration = load_method(method) if isinstance(method, str) else describe(method)
    if declaration.goal == "bounded":
        chosen = parse_norm(norm or declaration.norms[0])
        if epsilon is None and chosen in DEFAULT_EPSILON:
            settings["epsilon"] = min(EPSILON_FACTOR * DEFAULT_EPSILON[chosen], 1.0 if chosen == "linf" else math.inf)
        settings["early_stop"] = True
    return resolve_attack(method, settings, parameters)


def _with_rounds(spec: Attack, rounds: int) -> Attack:
    """The specification of the whole bisection, which looks for the smallest change: with the rounds as a parameter."""
    rounds = as_int("rounds", rounds, 1, MAX_ROUNDS)
    if not spec.threat.epsilon:
        raise InvalidValue(
            "The epsilon of a curve is its largest and must be above 0. Got 0. Leave it out, or try 0.3."
        )
    return spec.replace(
        goal="minimal",
        parameters={**spec.parameters, "rounds": rounds},
        overrides=tuple(sorted((*spec.overrides, "rounds"))),
    )


def _bisect(
    classifier: Classifier,
    data: Dataset,
    spec: Attack,
    whole: Attack,
    rounds: int,
    unfinished: Path | None,
    progress: bool | None,
) -> AttackResult:
    """The nearest adversarial image of each sample, by a bisection over epsilon: each round attacks at the midpoint.

    The levels are 1 to ``2**rounds - 1``, the last one epsilon itself. Level 0 counts as robust, ``2**rounds`` means
    never misclassified: so every sample is attacked once in each round, and those at one level together. Attacks that
    took a while are kept beside ``unfinished``, and those that an earlier call left are taken.
    """
    from advlab.engine.attack import craft
    from advlab.engine.parts import kept_or_crafted

    norm, largest = spec.threat.norm, spec.threat.epsilon
    robust_level, broken_level = np.zeros(len(data), np.int64), np.full(len(data), 2**rounds)

    with Progress(len(data) * rounds, f"curve of {spec.method} on {classifier.name}", show=progress) as bar:

        def attack_at(rows: np.ndarray, level: int) -> AttackResult:
            epsilon = largest * level / (2**rounds - 1)
            radius = math.ceil(epsilon) if norm == "l0" else epsilon
            images = subset(data, rows)
            at_level = spec.replace(threat=replace(spec.threat, epsilon=float(radius)))
            # Named by what is attacked: the last bit of a logit may move an image to another group.
            number = int(hashlib.sha256(f"{images.digest} {level}".encode()).hexdigest()[:8], 16)
            result = kept_or_crafted(
                None if unfinished is None else workspace.part_path(unfinished, number),
                {"attack": at_level.to_dict(), "classifier_digest": classifier.digest, "dataset_digest": images.digest},
                # Groups have all sizes, and XLA would compile each.
                lambda: craft(classifier, images, at_level, compile="graph", progress=False),
                worth=_WORTH,
            )
            broken_level[rows[result.success]] = level
            robust_level[rows[~result.success]] = level
            bar.advance(len(rows))
            return result

        merged = attack_at(np.arange(len(data)), 2 ** (rounds - 1))
        seconds = merged.seconds
        for _ in range(rounds - 1):
            midpoints = (robust_level + broken_level) // 2
            for level in np.unique(midpoints[merged.correct]):
                rows = np.flatnonzero(merged.correct & (midpoints == level))
                part = attack_at(rows, int(level))
                _merge_nearer(merged, part, rows)
                seconds += part.seconds

    # As with any minimal method, x_adv is the clean image where no attack succeeded.
    success = merged.success
    x_adv = choose([merged.x, merged.x_adv], success)
    return replace(
        merged,
        attack=whole,
        x_adv=x_adv,
        adversarial_probabilities=np.where(
            success[:, None], merged.adversarial_probabilities, merged.clean_probabilities
        ),
        seconds=round(seconds, 3),
        diagnostics=Diagnostics(
            zero_gradient=merged.diagnostics.zero_gradient,
            nonfinite=merged.diagnostics.nonfinite,
            repeat_difference=merged.diagnostics.repeat_difference,
            unchanged=equal(x_adv, merged.x),
            similarity=similarity_without(~success, merged),
        ),
    )


def _merge_nearer(merged: AttackResult, part: AttackResult, rows: np.ndarray) -> None:
    """Write into ``merged``, whose arrays the bisection owns, where another round on ``rows`` found a nearer image."""
    norm = part.attack.threat.norm
    old_distance = np.where(merged.success[rows], distance(merged.x[rows], merged.x_adv[rows], norm), np.inf)
    new_distance = np.where(part.success, distance(part.x, part.x_adv, norm), np.inf)
    nearer = new_distance < old_distance
    np.asarray(merged.x_adv)[rows[nearer]] = part.x_adv[nearer]
    merged.adversarial_probabilities[rows[nearer]] = part.adversarial_probabilities[nearer]
    merged.forward_passes[rows] += part.forward_passes
    merged.backward_passes[rows] += part.backward_passes
    if merged.diagnostics.similarity is not None and part.diagnostics.similarity is not None:
        merged.diagnostics.similarity[rows[nearer]] = part.diagnostics.similarity[nearer]
    for flag in ("zero_gradient", "nonfinite"):
        getattr(merged.diagnostics, flag)[rows] |= getattr(part.diagnostics, flag)
