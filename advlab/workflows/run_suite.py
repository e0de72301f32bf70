"""Run a suite: several attacks on one classifier, independent, in cascades, or for the smallest change."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from advlab import workspace
from advlab.data.dataset import Dataset
from advlab.declarations.attack import Attack
from advlab.declarations.suites import Suite, load_suite
from advlab.evaluation.evaluation import Evaluation, evaluate
from advlab.evaluation.table import Evaluations
from advlab.lock import exclusive
from advlab.results import combine
from advlab.results.result import AttackResult
from advlab.threat import ThreatModel
from advlab.workflows.attack import finish
from advlab.workflows.cost import require_room
from advlab.workflows.inputs import resolve_classifier, resolve_dataset
from advlab.workflows.kept import from_archive, require_archive_to_keep, require_independent
from advlab.workflows.selftest import SelfTest, run_selftest, within_layers

if TYPE_CHECKING:
    from advlab.classifiers.classifier import Classifier
    from advlab.workflows.inputs import ClassifierLike, DatasetLike


def run(
    classifier: ClassifierLike,
    dataset: DatasetLike | None = None,
    suite: str | PathLike[str] | Suite = "standard",
    *,
    norm: str | None = None,
    epsilon: float | str | None = None,
    samples: int = 1000,
    save: bool = False,
    force: bool = False,
    trust: bool = False,
    precision: str = "float32",
    passes: int | None = None,
    seed: int | None = None,
    backward: Mapping[str, str | Callable[..., Any]] | None = None,
    selftest: int | None = None,
    progress: bool | None = None,
) -> list[Evaluation]:
    """Attack a classifier with every attack of a suite and evaluate each.

    Args:
        classifier: A ``Classifier``, a Keras model, or the name or path of a saved one.
        dataset: As ``advlab.attack`` takes it.
        suite: A name, see ``advlab.available("suites")``, the path of a TOML file, or what ``load_suite`` returned.
        norm: None: the suite's own.
        epsilon: In pixel units; None: the suite's own.
        samples: The first so many images of a data set that is named.
        save: Whether to write each archive as soon as it is crafted, and to keep the images of those that an earlier
            run of the same suite wrote: only missing ones are crafted, and fewer are taken from them.
        force: Whether to craft all of them again, and to replace archives of something else.
        trust: Whether code in a model file may run.
        precision: Of gradients, ``float32`` or ``bfloat16``.
        passes: Of a random classifier, forward (and backward) passes that each query averages; None: as the suite says.
        seed: Of all random draws of every attack; None: as the suite says, else 0.
        backward: Name of a layer -> ``identity``, ``smoothed`` or a function of its inputs that its gradient is taken
            from.
        selftest: Images around which a cascade's self-test plants an adversarial example; None: as the suite says.
        progress: Whether to show bars; None: on a terminal.

    Returns:
        An evaluation for each attack; after those of a cascade that of its worst case, and last that of the union of
        several cascades, or of the smallest change.

    Raises:
        UnknownName, InvalidValue, InvalidFile, Mismatch: Before any work.
        FileExists: Where an archive of something else is in the way.
    """
    declaration = suite if isinstance(suite, Suite) else load_suite(str(suite))

    def adjusted(spec: Attack) -> Attack:
        spec = spec.replace(precision=precision, passes=passes or spec.passes)
        spec = spec if seed is None else spec.replace(seed=seed)
        return spec.with_backward(backward) if backward else spec

    cascades = declaration.cascades(norm, epsilon)
    groups: list[tuple[ThreatModel | None, Sequence[Attack]]] = [*cascades.items()]
    groups = groups or [(None, declaration.under(norm, epsilon))]
    name, count = declaration.name, declaration.selftest if selftest is None else selftest
    classifier = resolve_classifier(classifier, trust)
    data = resolve_dataset(dataset, classifier, samples)
    runs = [_Run(name, threat, [*map(adjusted, specs)], classifier, data, progress) for threat, specs in groups]
    for group in runs if save else ():
        group.require_archives(force)

    results: list[AttackResult] = []
    worst: list[AttackResult] = []
    for group in runs:
        parts = group.attack(save, force)
        results += parts
        if group.threat is not None:
            joined = combine.worst_case(parts, name)
            if count:
                joined = replace(joined, selftest=group.selftest(group.threat, count).counts)
            worst.append(group.saved(joined, force) if save else joined)
            results.append(worst[-1])
    if declaration.mode in ("smallest", "union"):
        joined = combine.union(worst, name) if worst else combine.smallest(results, name)
        results.append(runs[0].saved(joined, force) if save else joined)
    return Evaluations(evaluate(result) for result in results)


@dataclass(frozen=True)
class _Run:
    """Attacks that are run one after another: a cascade under ``threat``, or (None) each on all images."""

    name: str
    threat: ThreatModel | None
    specs: list[Attack]
    classifier: Classifier
    data: Dataset
    progress: bool | None

    @property
    def recorded(self) -> list[Attack]:
        """What a part of a cascade leaves is judged within the epsilon of the whole."""
        return self.specs if self.threat is None else [spec.replace(threat=self.threat) for spec in self.specs]

    @property
    def paths(self) -> list[Path]:
        """Of the archives; the parts of a cascade have a folder of their own."""
        whole = self.threat and combine.joined(self.specs, self.name, self.threat)
        folder = _archive_slug(whole) if whole else ""
        return [workspace.archive_path(self.classifier.name, spec.slug, folder) for spec in self.recorded]

    def require_archives(self, force: bool) -> None:
        """Raise where an archive of something else is in the way."""
        for path, spec in zip(self.paths, self.recorded, strict=True):
            stored = require_archive_to_keep(path, spec, self.data, self.classifier.digest, force)
            require_independent(path, spec, self.data, stored)
            require_room(path, len(self.data), self.data.shape, self.classifier.classes)

    def attack(self, save: bool, force: bool) -> list[AttackResult]:
        """The result of each attack; in a cascade each gets the images that are still robust after those before it."""
        results: list[AttackResult] = []
        for spec, recorded, path in zip(self.specs, self.recorded, self.paths, strict=True):
            attempted = results[-1].robust if self.threat is not None and results else None
            if save:
                results.append(self._from_archive(spec, recorded, path, attempted, force))
            else:
                results.append(self._craft(spec, self.data, attempted, None))
        return results

    def _from_archive(
        self, spec: Attack, recorded: Attack, path: Path, attempted: np.ndarray | None, force: bool
    ) -> AttackResult:
        """The result of one attack: what its archive has of it is kept, and what is missing crafted and saved."""
        unfinished = _unfinished(self.classifier, spec, attempted)

        def craft(images: Dataset, rows: slice) -> AttackResult:
            return self._craft(spec, images, None if attempted is None else attempted[rows], unfinished)

        with exclusive(unfinished):
            if force:
                workspace.forget_unfinished(unfinished)
            stored = require_archive_to_keep(path, recorded, self.data, self.classifier.digest, force)
            result = from_archive(path, self.data, stored, craft, attempted, self.progress) if stored else None
            if result is None:
                result = craft(self.data, slice(None))
            # Where the attacks before it left other images, an archive of more images is worth more than this one.
            if result.location is None and stored <= len(self.data):
                result = finish(result, path, unfinished, force or bool(stored))
        return result

    def _craft(
        self, spec: Attack, images: Dataset, attempted: np.ndarray | None, unfinished: Path | None
    ) -> AttackResult:
        from advlab.engine.attack import craft

        result = craft(
            self.classifier,
            images,
            spec,
            attempted=attempted,
            judged=self.threat,
            unfinished=unfinished,
            progress=self.progress,
        )
        return result if self.threat is None else combine.within(result, self.threat)

    def saved(self, combined: AttackResult, force: bool) -> AttackResult:
        """A joined result, once its archive is written; one of more images is left as it is."""
        path = workspace.archive_path(self.classifier.name, _archive_slug(combined.attack))
        stored = require_archive_to_keep(path, combined.attack, self.data, self.classifier.digest, force)
        if stored > len(combined):
            return replace(combined, location=path)
        return finish(combined, path, None, force or bool(stored))

    def selftest(self, threat: ThreatModel, count: int) -> SelfTest:
        """The self-test of a cascade: its attacks run one after another until one finds the planted example."""
        from advlab.engine.attack import craft

        def run(head: Classifier, image: Dataset, mask: np.ndarray | None) -> AttackResult:
            for spec in self.specs:
                spec = within_layers(spec.replace(precision="float32"), head)
                result = combine.within(craft(head, image, spec, progress=False), threat)
                if result.success.all():
                    break
            return result

        return run_selftest(self.classifier, self.data.take(count), threat, run, self.name, progress=self.progress)


def _archive_slug(joined: Attack) -> str:
    """How a joined result stops is that of its parts, and not in its name."""
    return joined.replace(early_stop=False).slug


def _unfinished(classifier: Classifier, spec: Attack, attempted: np.ndarray | None) -> Path:
    """Where the work of one attack is kept: what a part of a cascade attacks belongs to its name."""
    if attempted is None:
        return workspace.partial_path(classifier.name, spec.slug)
    digest = hashlib.sha256(np.packbits(attempted).tobytes()).hexdigest()[:8]
    return workspace.partial_path(classifier.name, f"{spec.slug}-{digest}")
