"""certify(): a certificate from beginning to end: time limit, progress, and answers kept where it is interrupted."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from advlab.certification.complete import complete, share
from advlab.certification.unfinished import Unfinished
from advlab.certification.work import Work
from advlab.classifiers.classifier import Classifier
from advlab.data.dataset import Dataset
from advlab.engine.executor import current
from advlab.provenance import command_line, versions
from advlab.results.certificate import Certificate


def certify(
    classifier: Classifier,
    dataset: Dataset,
    *,
    norm: str,
    epsilon: float,
    method: str,
    time_limit: float = math.inf,
    smoothing: dict[str, Any] | None = None,
    radii: bool = False,
    unfinished: Path | None = None,
    progress: bool | None = None,
) -> Certificate:
    """What ``method`` proves within ``epsilon`` of each image; ``smoothing`` are the settings of that method.

    ``radii``: also the largest radius that it proves of each, up to ``epsilon``. After ``time_limit`` seconds what is
    left stays unknown. An interrupted call leaves its answers in the file ``unfinished``, and the next one goes
    on from there. Raises ``InvalidValue`` for a layer without bounds, and where bounds overflow.
    """
    classifier.check(dataset)
    began = time.perf_counter()
    work = Work(classifier, dataset, norm, epsilon)
    specification = {
        "classifier_digest": classifier.digest,
        "dataset_digest": dataset.digest,
        "norm": norm,
        "epsilon": epsilon,
        "method": method,
        "smoothing": smoothing,
        "radii": radii,
    }
    file = Unfinished(unfinished, specification)
    began -= file.load(work.answers)
    if (workers := current()) is not None:
        share(work, method, smoothing or {}, radii, file, began, began + time_limit, progress, workers)
    complete(work, method, smoothing or {}, radii, file, began, began + time_limit, progress)
    settings: dict[str, Any] = {"smoothing": smoothing} if method == "smoothing" else {}
    settings |= {"radii": True} if radii else {}
    return Certificate(
        classifier=classifier.name,
        classifier_digest=classifier.digest,
        dataset=dataset.name,
        split=dataset.split,
        dataset_digest=dataset.digest,
        norm=norm,
        epsilon=epsilon,
        method=method,
        status=work.status,
        correct=work.correct,
        margin=work.margin,
        radius=work.radius,
        rounding=work.rounding,
        branches=work.branches,
        x_adv=work.x_adv,
        labels=dataset.y,
        indices=dataset.indices,
        seconds=round(time.perf_counter() - began, 3),
        settings=settings | {"time_limit": time_limit if math.isfinite(time_limit) else None},
        versions=versions(),
        command=command_line(),
    )
