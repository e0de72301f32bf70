"""Run a suite: several attacks on one classifier, independent, in cascade, or for the smallest change."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from advlab import workspace
from advlab.data.dataset import Dataset
from advlab.declarations.attack import Attack
from advlab.declarations.suites import load_suite
from advlab.evaluation.evaluation import Evaluation, evaluate
from advlab.progress import Progress
from advlab.results import combine
from advlab.results.result import AttackResult, load_result
from advlab.threat import ThreatModel
from advlab.workflows.attack import finish
from advlab.workflows.inputs import require_archive, resolve_classifier, resolve_dataset
from advlab.workflows.selftest import SelfTest, run_selftest

if TYPE_CHECKING:
    from advlab.classifiers.classifier import Classifier
    from advlab.workflows.inputs import ClassifierLike, DatasetLike


def run(
    classifier: ClassifierLike,
    dataset: DatasetLike | None = None,
    suite: str | PathLike[str] = "standard",
    *,
    norm: str | None = None,
    epsilon: float | str | None = None,
    samples: int = 1000,
    save: bool = False,
    force: bool = False,
    trust: bool = False,
    precision: str = "float32",
    selftest: int | None = None,
    progress: bool | None = None,
) -> list[Evaluation]:
    """Attack a classifier with every attack of a suite and evaluate each.

    Args:
        classifier: A ``Classifier``, a Keras model, or the name or path of a saved one.
        dataset: As ``advlab.attack`` takes it.
        suite: A name, see ``advlab.available("suites")``, or the path of a TOML file.
        norm: None: the suite's own.
        epsilon: In pixel units; None: the suite's own.
        samples: The first so many images of a data set that is named.
        save: Whether to write each archive as soon as it is crafted, and to take those that an earlier run of the same
            suite wrote.
        force: Whether to craft all of them again, and to replace archives of something else.
        trust: Whether code in a model file may run.
        precision: Of gradients, ``float32`` or ``bfloat16``.
        selftest: Images around which a cascade's self-test plants an adversarial example; None: as the suite says.
        progress: Whether to show bars; None: on a terminal.

    Returns:
        An evaluation for each attack, last that of the cascade's worst case or of the smallest change.

    Raises:
        UnknownName, InvalidValue, InvalidFile, Mismatch: Before any work.
        FileExists: Where an archive of something else is in the way.
    """
    declaration = load_suite(str(suite))
    specs = [spec.replace(precision=precision) for spec in declaration.under(norm, epsilon)]
    threat = None if declaration.mode == "each" else declaration.threat(norm, epsilon)

    from advlab.engine.attack import craft

    classifier = resolve_classifier(classifier, trust)
    data = resolve_dataset(dataset, classifier, samples)
    slug = "" if threat is None else Attack.recorded(declaration.name, threat, "bounded", precision=precision).slug
    folder = slug if declaration.mode == "cascade" else ""
    # What a part of a cascade leaves is judged within the epsilon of the whole.
    recorded = [spec.replace(threat=threat) for spec in specs] if threat is not None and folder else specs
    paths = [workspace.archive_path(classifier.name, spec.slug, folder) for spec in recorded]
    for path, spec in zip(paths, recorded, strict=True) if save else ():
        require_archive(path, spec, data, classifier.digest, force)

    results: list[AttackResult] = []
    for spec, path in zip(specs, paths, strict=True):
        # In a cascade each attack gets only the images that are still robust after those before it.
        attempted = results[-1].robust if folder and results else None
        result = _load_saved(path, attempted, progress) if save and not force else None
        if result is None:
            unfinished = _unfinished(classifier, spec, attempted) if save else None
            if force and unfinished is not None:
                workspace.forget_unfinished(unfinished)
            judged = threat if folder else None
            result = craft(
                classifier,
                data,
                spec,
                attempted=attempted,
                judged=judged,
                unfinished=unfinished,
                progress=progress,
            )
            if threat is not None and folder:
                result = combine.within(result, threat)
            if save:
                result = finish(result, path, unfinished, force)
        results.append(result)
    if threat is not None:
        combined = (combine.worst_case if folder else combine.smallest)(results, declaration.name)
        count = declaration.selftest if selftest is None else selftest
        if count:
            self_test = _selftest(classifier, data.take(count), declaration.name, specs, threat, progress)
            combined = replace(combined, selftest=self_test.counts)
        if save:
            combined = finish(combined, workspace.archive_path(classifier.name, slug), None, force)
        results.append(combined)
    return [evaluate(result) for result in results]


def _selftest(
    classifier: Classifier,
    data: Dataset,
    name: str,
    specs: Sequence[Attack],
    threat: ThreatModel,
    progress: bool | None,
) -> SelfTest:
    """The self-test of a cascade: its attacks run one after another until one finds the planted example."""
    from advlab.engine.attack import craft

    def run(head: Classifier, image: Dataset, mask: np.ndarray | None) -> AttackResult:
        for spec in specs:
            result = combine.within(craft(head, image, spec.replace(precision="float32"), progress=False), threat)
            if result.success.all():
                break
        return result

    return run_selftest(classifier, data, threat, run, name, progress=progress)


def _unfinished(classifier: Classifier, spec: Attack, attempted: np.ndarray | None) -> Path:
    """Where the work of one attack is kept: what a part of a cascade attacks belongs to its name."""
    if attempted is None:
        return workspace.partial_path(classifier.name, spec.slug)
    digest = hashlib.sha256(np.packbits(attempted).tobytes()).hexdigest()[:8]
    return workspace.partial_path(classifier.name, f"{spec.slug}-{digest}")


def _load_saved(path: Path, attempted: np.ndarray | None, progress: bool | None) -> AttackResult | None:
    """The archive of an earlier run of the same suite; None unless it attacked the same images."""
    if not path.exists():
        return None
    result = load_result(path)
    if attempted is not None and not np.array_equal(result.attempted, attempted):
        return None
    with Progress(len(result), f"{result.attack.method} on {result.classifier}, loaded", show=progress) as bar:
        bar.advance(len(result))
    return result
