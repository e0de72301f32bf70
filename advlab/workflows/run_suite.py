"""Run a suite: several attacks on one classifier, each for itself, in cascade, or for the smallest change."""

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
from advlab.workflows.selftest import SelfTest, planted

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
    set that is loaded here, the first ``samples`` test images are used. ``norm`` and ``epsilon`` None are the suite's
    own. The last evaluation of a cascade is its worst case, that of a suite of minimal methods the smallest change.

    ``save`` writes each archive as soon as it is there, and takes up what an earlier run of the same suite has saved;
    ``force`` crafts everything again and lets it replace archives of something else. ``trust`` is
    ``load_classifier``'s. ``selftest`` says around how many images a cascade's self-test plants an adversarial example
    (None: as the suite says).
    """
    chosen = load_suite(str(suite))
    entries = chosen.entries(norm, epsilon)
    threat = None if chosen.mode == "each" else chosen.threat(norm, epsilon)

    classifier = resolve_classifier(classifier, trust)
    data = resolve_dataset(dataset, classifier, samples)
    specs = [replace(entry.attack(), precision=precision) for entry in entries]
    whole = "" if threat is None else Attack(chosen.name, threat, precision=precision).slug
    inside = whole if chosen.mode == "cascade" else ""
    if threat is not None and inside:
        specs = [replace(spec, threat=threat) for spec in specs]
    places = [workspace.archive_path(classifier.name, spec.slug, inside) for spec in specs]
    known = {"classifier_digest": classifier.digest, "dataset_digest": data.digest}
    if save and not force:
        for place, spec in zip(places, specs, strict=True):
            workspace.require_writable(place)
            refuse_other(place, {"attack": spec.to_dict(), **known})

    results: list[AttackResult] = []
    for entry, place in zip(entries, places, strict=True):
        # In a cascade each attack sees only what those before it left standing.
        attempted = results[-1].robust if inside and results else None
        result = _kept(place, attempted, progress) if save and not force else None
        if result is None:
            result = _craft(classifier, data, entry, precision, attempted, progress)
            if threat is not None and inside:
                result = combine.within(result, threat)
            if save:
                result.save(place, force=force)
        results.append(result)
    if threat is not None:
        joined = (combine.worst_case if inside else combine.smallest)(results, chosen.name)
        count = chosen.selftest if selftest is None else selftest
        if count:
            tested = _tested(classifier, data.take(count), chosen, entries, threat, progress)
            joined = replace(joined, settings={**joined.settings, "selftest": tested.to_dict()})
        if save:
            joined.save(workspace.archive_path(classifier.name, whole), force=force)
        results.append(joined)
    return [evaluate(result) for result in results]


def _tested(
    classifier: Classifier,
    data: Dataset,
    suite: Suite,
    entries: tuple[Entry, ...],
    threat: ThreatModel,
    progress: bool | None,
) -> SelfTest:
    """Whether the cascade finds what is planted: its attacks take turns until one does."""

    def run(head: Classifier, one: Dataset) -> AttackResult:
        for entry in entries:
            result = combine.within(_craft(head, one, entry, "float32", None, False), threat)
            if result.success.all():
                break
        return result

    return planted(classifier, data, threat, run, suite.name, progress=progress)


def _kept(place: Path, attempted: np.ndarray | None, progress: bool | None) -> AttackResult | None:
    """What an earlier run of the same suite has saved, where it attacked the same images."""
    if not place.exists():
        return None
    result = load_result(place)
    if attempted is not None and not np.array_equal(result.attempted, attempted):
        return None
    with Progress(len(result), f"{result.attack.method} on {result.classifier}, kept", show=progress) as bar:
        bar.advance(len(result))
    return result


def _craft(
    classifier: Classifier,
    data: Dataset,
    entry: Entry,
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
