"""The work of a certificate done to its end, in this process or by others, each on some of the images."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from advlab.certification.unfinished import SAVE_EVERY, Unfinished
from advlab.certification.work import Work
from advlab.classifiers.classifier import Classifier
from advlab.data.dataset import Dataset, subset
from advlab.engine.executor import Executor
from advlab.engine.slices import shared_classifier
from advlab.progress import Progress, patient_interrupt

_IMAGES = 8  # of a slice: some take a thousand times as long as others


class Task(NamedTuple):
    """What a worker is sent: some images, and how they are certified; ``seconds`` are what is left of the time."""

    dataset: Dataset
    norm: str
    epsilon: float
    method: str
    smoothing: dict[str, Any]
    radii: bool
    seconds: float


def certify_slice(classifier: Classifier, task: Task) -> dict[str, np.ndarray]:
    """What a worker does: the answers of some images."""
    work = Work(classifier, task.dataset, task.norm, task.epsilon)
    now = time.perf_counter()
    complete(work, task.method, task.smoothing, task.radii, Unfinished(None, {}), now, now + task.seconds, False)
    return work.answers


def share(
    work: Work,
    method: str,
    smoothing: dict[str, Any],
    radii: bool,
    file: Unfinished,
    began: float,
    deadline: float,
    progress: bool | None,
    workers: Executor,
) -> None:
    """Let others do the work on open images; the file keeps the answers as they come, as ``complete`` does."""
    shared = shared_classifier(work.classifier)
    open_rows = np.flatnonzero(~work.finished if method == "smoothing" else (work.status == 0) & ~work.finished)
    if shared is None or len(open_rows) <= _IMAGES:
        return
    parts = np.array_split(open_rows, math.ceil(len(open_rows) / _IMAGES))

    def in_time() -> Iterator[int]:
        for number in range(len(parts)):
            if time.perf_counter() >= deadline:
                return
            yield number

    def task(number: int) -> Task:
        part = subset(work.dataset, parts[number])
        left = deadline - time.perf_counter()
        return Task(part, work.norm, work.epsilon, method, smoothing, radii, left)

    saved = time.perf_counter()
    label = f"{method} on {work.classifier.name}"
    with Progress(len(work.dataset), label, "image", show=progress) as bar:
        bar.advance(len(work.dataset) - len(open_rows))
        try:
            for number, answers in workers.map(certify_slice, shared, in_time(), task, bar.say):
                for name, values in answers.items():
                    work.answers[name][parts[number]] = values
                bar.advance(len(parts[number]))
                if (now := time.perf_counter()) - saved > SAVE_EVERY:
                    saved = now
                    file.save(work.answers, now - began)
        except KeyboardInterrupt:
            if file.save(work.answers, time.perf_counter() - began):
                raise KeyboardInterrupt(
                    f"The work so far is saved in '{file.path}'; the same command continues."
                ) from None
            raise


def complete(
    work: Work,
    method: str,
    smoothing: dict[str, Any],
    radii: bool,
    file: Unfinished,
    began: float,
    deadline: float,
    progress: bool | None,
) -> None:
    """Do the remaining work until it is done or the deadline is there, keeping it in a file where it is interrupted."""
    saved = time.perf_counter()
    label = f"{method} on {work.classifier.name}"
    with (
        Progress(len(work.dataset) * (1 + radii), label, "image", show=progress) as bar,
        patient_interrupt(file.path is not None) as interrupt,
    ):

        def report(decided: int) -> None:
            nonlocal saved
            bar.advance(decided)
            if (now := time.perf_counter()) - saved > SAVE_EVERY:
                saved = now
                file.save(work.answers, now - began)

        work.stop = lambda: interrupt.is_set() or time.perf_counter() >= deadline
        try:
            if method == "smoothing":
                work.smooth(smoothing, report)
            else:
                work.bound(method, report)
                if radii:
                    work.radii(method, report)
            if interrupt.is_set():
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            if file.save(work.answers, time.perf_counter() - began):
                raise KeyboardInterrupt(
                    f"The work so far is saved in '{file.path}'; the same command continues."
                ) from None
            raise
