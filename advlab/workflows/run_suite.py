"""Run a suite: several attacks on one classifier, independent, in cascade, or for the smallest change."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from advlab import workspace
from advlab.data.dataset import Dataset
from advlab.declarations.suites import Entry, Suite, load_suite
from advlab.evaluation.evaluation import Evaluation, evaluate
from advlab.progress import Progress
from advlab.results import combine
from advlab.results.result import AttackResult, load_result, refuse_other
from advlab.threat import Attack, ThreatModel
from advlab.workflows.inputs import resolve_classifier, resolve_dataset
from advlab.workflows.selftest import SelfTest, run_selftest

if TYPE_CHECKING:
    from advlab.classifiers.classifier import Classifier


def run(
    suite: str | PathLike[str],
    classifier: Classifier | str | PathLike[str],
    dataset: Dataset | str | None = None,
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
    """Attack a classifier with every attack of a suite (a name, or a path to a TOML file) and evaluate each.

    ``classifier`` and ``dataset`` may be names or paths; None means the data set that the model card names. Of a data
    set given so, the first ``samples`` test images are used. ``norm`` and ``epsilon`` None are the suite's. The last
    evaluation of a cascade is its worst case, that of a suite of minimal methods the smallest change.

    ``save`` writes each archive as soon as it is crafted, and reuses those that an earlier run of the same suite saved;
    ``force`` crafts all of them again and may replace archives of other results. ``trust`` is ``load_classifier``'s.
    ``selftest`` is the number of images around which a cascade's self-test plants an adversarial example (None: the
    suite's).
    """
    declaration = load_suite(str(suite))
    entries = declaration.entries(norm, epsilon)
    threat = None if declaration.mode == "each" else declaration.threat(norm, epsilon)

    classifier = resolve_classifier(classifier, trust)
    data = resolve_dataset(dataset, classifier, samples)
    specs = [replace(entry.attack(), precision=precision) for entry in entries]
    slug = "" if threat is None else Attack(declaration.name, threat, precision=precision).slug
    folder = slug if declaration.mode == "cascade" else ""
    if threat is not None and folder:
        specs = [replace(spec, threat=threat) for spec in specs]
    paths = [workspace.archive_path(classifier.name, spec.slug, folder) for spec in specs]
    digests = {"classifier_digest": classifier.digest, "dataset_digest": data.digest}
    if save and not force:
        for path, spec in zip(paths, specs, strict=True):
            workspace.require_writable(path)
            refuse_other(path, {"attack": spec.to_dict(), **digests})

    results: list[AttackResult] = []
    for entry, path in zip(entries, paths, strict=True):
        # In a cascade each attack gets only the images that are still robust after those before it.
        attempted = results[-1].robust if folder and results else None
        result = _load_saved(path, attempted, progress) if save and not force else None
        if result is None:
            result = _attack_with(entry, classifier, data, precision, attempted, progress)
            if threat is not None and folder:
                result = combine.within(result, threat)
            if save:
                result.save(path, force=force)
        results.append(result)
    if threat is not None:
        combined = (combine.worst_case if folder else combine.smallest)(results, declaration.name)
        count = declaration.selftest if selftest is None else selftest
        if count:
            self_test = _selftest(classifier, data.take(count), declaration, entries, threat, progress)
            combined = replace(combined, settings={**combined.settings, "selftest": self_test.to_dict()})
        if save:
            combined.save(workspace.archive_path(classifier.name, slug), force=force)
        results.append(combined)
    return [evaluate(result) for result in results]


def _selftest(
    classifier: Classifier,
    data: Dataset,
    suite: Suite,
    entries: tuple[Entry, ...],
    threat: ThreatModel,
    progress: bool | None,
) -> SelfTest:
    """The self-test of a cascade: its attacks run one after another until one finds the planted example."""

    def run(head: Classifier, image: Dataset) -> AttackResult:
        for entry in entries:
            result = combine.within(_attack_with(entry, head, image, "float32", None, False), threat)
            if result.success.all():
                break
        return result

    return run_selftest(classifier, data, threat, run, suite.name, progress=progress)


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


def _attack_with(
    entry: Entry,
    classifier: Classifier,
    data: Dataset,
    precision: str,
    attempted: np.ndarray | None,
    progress: bool | None,
) -> AttackResult:
    from advlab.engine.attack import attack

    return attack(
        classifier,
        data,
        entry.method,
        norm=entry.norm,
        epsilon=entry.epsilon,
        target=entry.target,
        early_stop=entry.early_stop,
        restarts=entry.restarts,
        seed=entry.seed,
        precision=precision,
        attempted=attempted,
        progress=progress,
        **entry.parameters,
    )
