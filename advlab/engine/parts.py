"""Attacks on more images than memory holds: crafted in parts, each kept in a file of its own as soon as it is whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from advlab import workspace
from advlab.data.dataset import Dataset, subset
from advlab.engine.resume import set_aside
from advlab.errors import InvalidFile
from advlab.lazy import Spool, parts, select
from advlab.results.combine import concatenate
from advlab.results.result import AttackResult, load_result, refuse_other


def craft_in_parts(
    dataset: Dataset,
    craft: Callable[[Dataset, slice, str], AttackResult],
    unfinished: Path | None = None,
    specification: Callable[[slice], Mapping[str, Any]] = lambda rows: {},
) -> AttackResult:
    """What ``craft`` returns for all images, where it is given some of them at a time; the images are read lazily.

    Args:
        dataset: All images.
        craft: Given a part, the rows of it, and its place in words.
        unfinished: The file where ``craft`` keeps its own unfinished work: the parts are kept beside it, and those
            that an earlier call left whole are taken. None keeps nothing.
        specification: Given the rows of a part, what must be equal in it for it to be taken.

    Raises:
        FileExists: Where a part is of another specification.
    """
    slices = list(parts(dataset.x))
    spool, results = Spool(len(dataset), dataset.shape, np.float32), []
    for number, rows in enumerate(slices):
        part = subset(dataset, rows)
        path = None if unfinished is None else workspace.part_path(unfinished, number)
        subject = {
            **specification(rows),
            "dataset": dataset.name,
            "dataset_digest": part.digest,
        }
        place = f"part {number + 1} of {len(slices)}"
        try:
            result = kept_or_crafted(path, subject, partial(craft, part, rows, place))
        except KeyboardInterrupt as interrupt:
            if path is None or not number or interrupt.args:
                raise
            raise KeyboardInterrupt(
                f"{number} of {len(slices)} parts are saved beside '{unfinished}'; the same command continues."
            ) from None
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)
        spool.append(np.asarray(result.x_adv))
        results.append(replace(result, x=select(dataset.x, rows), x_adv=select(dataset.x, rows)))
    return concatenate(results, dataset.digest, dataset.x, spool.images(len(dataset)))


def kept_or_crafted(
    path: Path | None, specification: Mapping[str, Any], craft: Callable[[], AttackResult], worth: float = 0.0
) -> AttackResult:
    """The part that an earlier call left, else one that is crafted and kept, if it took ``worth`` seconds.

    A damaged part is set aside with a warning, and crafted again; one of another specification raises ``FileExists``.
    None keeps nothing.
    """
    if path is not None and path.exists():
        try:
            refuse_other(path, specification)
            return load_result(path)
        except InvalidFile as error:
            set_aside(path, error)
    result = craft()
    if path is not None and result.seconds >= worth:
        result.save(path)
    return result
