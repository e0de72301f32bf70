"""An attack cut into slices of images that other processes work on; each finished one is kept as soon as it comes."""

from __future__ import annotations

import itertools
import math
import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from advlab import workspace
from advlab.classifiers.classifier import Classifier
from advlab.classifiers.transport import Parcel
from advlab.data.dataset import Dataset, subset
from advlab.declarations.attack import Attack
from advlab.engine.compile import rows_at_once, xla_pays
from advlab.engine.executor import Executor, Shared
from advlab.engine.resume import set_aside
from advlab.errors import AdvlabError, AdvlabWarning, FileExists, InvalidFile
from advlab.lazy import Spool, fits_in_memory, select
from advlab.progress import Progress
from advlab.provenance import command_line
from advlab.results.combine import concatenate
from advlab.results.per_image import PerImage
from advlab.results.result import AttackResult, load_result, refuse_other
from advlab.threat import ThreatModel

_SLICES = 64  # of a run, unless batches are smaller
_MIN_ROWS = 64  # images that are worth sending
_MIN_WORK = 2.5e7  # activations: a tenth of a second, against the hundredth that a slice costs by itself
_sent: WeakKeyDictionary[Classifier, Shared] = WeakKeyDictionary()


class Task(NamedTuple):
    """What a worker is sent: some images, and how they are attacked; ``None`` as in ``craft``."""

    dataset: Dataset
    spec: Attack
    batch_size: int | None
    compile: str
    attempted: np.ndarray | None
    judged: ThreatModel | None
    per_image: PerImage
    rows: int | None = None  # of each batch, filled up with repeated ones, so that XLA compiles one size for all slices


def slices_of(
    classifier: Classifier, dataset: Dataset, attempted: np.ndarray | None, least: int = _MIN_ROWS
) -> list[slice]:
    """Rows that follow each other, with as many images to attack in each slice, ``least`` where there are as many.

    They depend on nothing else. So a run that is continued with more or fewer workers finds the same slices.
    """
    wanted = np.ones(len(dataset), bool) if attempted is None else attempted
    total = int(wanted.sum())
    size = max(min(math.ceil(total / _SLICES), rows_at_once(classifier, dataset.shape)), 1)
    size = max(size, min(least, rows_at_once(classifier, dataset.shape)))
    ends = np.searchsorted(wanted.cumsum(), np.arange(size, total, size)) + 1
    edges = [0, *map(int, ends), len(dataset)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges) if stop > start]


def worth_sending(classifier: Classifier, steps: int) -> int:
    """The least images of a slice, of which each takes so many steps: more where a step is as cheap as dense layers."""
    if not xla_pays(classifier, 10**9):
        return _MIN_ROWS
    return max(_MIN_ROWS, math.ceil(_MIN_WORK / (classifier.activation_size * max(steps, 1))))


def can_travel(spec: Attack) -> bool:
    """Whether an attack can be sent to other processes; one with a function of the user's own cannot."""
    try:
        pickle.dumps(spec)
    except (AttributeError, TypeError, pickle.PicklingError):
        return False
    return True


def shared_classifier(classifier: Classifier) -> Shared | None:
    """The classifier as workers get it; None, with an ``AdvlabWarning``, where it holds code that HDF5 does not."""
    digest = classifier.digest
    known = _sent.get(classifier)
    if known is None or known.key != digest:
        try:
            known = Shared(digest, pickle.dumps(Parcel(classifier)))
        except AdvlabError as error:
            warnings.warn(f"It stays in this process. {error}", AdvlabWarning, stacklevel=3)
            return None
        _sent[classifier] = known
    return known


def craft_in_slices(
    shared: Shared,
    dataset: Dataset,
    rows: Sequence[slice],
    executor: Executor,
    work: Callable[[Classifier, Task], AttackResult],
    task: Callable[[Dataset, slice], Task],
    unfinished: Path | None,
    specification: Callable[[slice], Mapping[str, Any]],
    progress: bool | None,
    label: str,
) -> AttackResult:
    """The result of all slices as that of one attack; ``seconds`` is the sum over all workers.

    Args:
        shared: The classifier, as workers get it.
        dataset: All images, which may be lazy: a slice is read when a worker is free.
        rows: The slices.
        executor: Who works on them.
        work: Run by a worker.
        task: Of the images of a slice, and its rows.
        unfinished: Finished slices are kept beside this file, and those of an earlier call are taken; None keeps none.
        specification: Given the rows of a slice, what must be equal in a kept one.
        progress: Whether to show a bar over the images.
        label: What the bar is about.
    """
    adversarial = _Adversarial(dataset)
    results: dict[int, AttackResult] = {}

    def keep(number: int, result: AttackResult) -> None:
        adversarial.put(rows[number], np.asarray(result.x_adv))
        x = select(dataset.x, rows[number])
        results[number] = replace(result, x=x, x_adv=x)  # of all images there is one array

    def part(number: int) -> Dataset:
        return subset(dataset, rows[number])

    def made(number: int) -> Task:
        return task(part(number), rows[number])

    with Progress(len(dataset), label, show=progress) as bar:

        def advance(number: int) -> None:
            robust = sum(int(result.robust.sum()) for result in results.values())
            bar.advance(rows[number].stop - rows[number].start, robust=f"{robust / len(dataset):.1%} so far")

        for number in range(len(rows)) if unfinished is not None else ():
            kept = _kept(unfinished, number, specification(rows[number]), part) if unfinished else None
            if kept is not None:
                keep(number, kept)
                advance(number)
        remaining = [number for number in range(len(rows)) if number not in results]
        try:
            for number, result in executor.map(work, shared, remaining, made, bar.say):
                whole = replace(result, x=part(number).x, command=command_line())
                if unfinished is not None:
                    whole.save(workspace.part_path(unfinished, number), force=True)
                keep(number, whole)
                advance(number)
        except KeyboardInterrupt:
            message = (
                f"{len(results)} of {len(rows)} slices are saved beside '{unfinished}'; the same command continues."
            )
            raise KeyboardInterrupt(message if unfinished is not None and results else "") from None
    ordered = [results[number] for number in range(len(rows))]
    whole = concatenate(ordered, dataset.digest, dataset.x, adversarial.images())
    return replace(whole, execution=replace(whole.execution, workers=executor.workers))


def _kept(
    unfinished: Path, number: int, specification: Mapping[str, Any], part: Callable[[int], Dataset]
) -> AttackResult | None:
    """The slice that an earlier call left; None where it left none, or another one."""
    path = workspace.part_path(unfinished, number)
    if not path.exists():
        return None
    try:
        refuse_other(path, {**specification, "dataset_digest": part(number).digest})
        return load_result(path)
    except FileExists:
        return None
    except InvalidFile as error:
        set_aside(path, error)
        return None


class _Adversarial:
    """The adversarial images of all slices, which come in any order: an array, or a file where they are many."""

    def __init__(self, dataset: Dataset):
        self._count = len(dataset)
        shape = (self._count, *dataset.shape)
        self._array = np.empty(shape, np.float32) if fits_in_memory(shape) else None
        self._spool = None if self._array is not None else Spool(self._count, dataset.shape, np.float32)
        self._place = np.zeros(self._count, np.int64)  # of each row in the file
        self._written = 0

    def put(self, rows: slice, images: np.ndarray) -> None:
        if self._array is not None:
            self._array[rows] = images
        elif self._spool is not None:
            self._spool.append(images)
            self._place[rows] = np.arange(self._written, self._written + len(images))
            self._written += len(images)

    def images(self) -> Any:
        if self._spool is None:
            return self._array
        return self._spool.images(self._count).select(self._place)
