"""What an archive that is there contributes to an attack: its images are kept, and only missing ones are crafted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from advlab import storage, writing
from advlab.data.dataset import Dataset
from advlab.declarations.attack import Attack
from advlab.errors import FileExists, InvalidFile
from advlab.lazy import select
from advlab.progress import say
from advlab.results.growth import extended, first
from advlab.results.layout import ARCHIVE
from advlab.results.result import AttackResult, load_result
from advlab.validation import is_int
from advlab.workflows.inputs import require_archive


def require_archive_to_keep(path: Path, spec: Attack, dataset: Dataset, digest: str | None, force: bool) -> int:
    """How many images the archive at ``path`` has that an attack can keep; 0 where there is none, or with ``force``.

    They are the first ones of the data set, or the data set is the first ones of them. Raises ``FileExists`` where the
    archive is of another attack, another classifier (``digest``; None: not loaded yet) or other images.
    """
    writing.require_writable(path)
    if force or not path.exists():
        require_archive(path, spec, dataset, digest, force)
        return 0
    header = storage.read_header(path, ARCHIVE)
    stored: Any = header.get("samples")
    shared = dataset
    if is_int(stored) and 0 < stored != len(dataset):
        if stored < len(dataset):
            shared = dataset.take(stored)
        elif header["dataset"] == dataset.name and header["split"] == dataset.split:
            larger = _images_of(load_result(path))
            shared = larger if larger.take(len(dataset)).digest == dataset.digest else dataset
        # Where the images are others, the message is about those that were asked for.
        shared = shared if shared.digest == header["dataset_digest"] else dataset
    require_archive(path, spec, shared, digest, force)
    return len(shared)


def from_archive(
    path: Path,
    dataset: Dataset,
    stored: int,
    craft: Callable[[Dataset, slice], AttackResult],
    attempted: np.ndarray | None = None,
    progress: bool | None = None,
) -> AttackResult | None:
    """The result of an attack on a data set from its archive, which is read and not written.

    Args:
        path: The archive.
        dataset: All images that are asked for.
        stored: What ``require_archive_to_keep`` returned, above 0.
        craft: Attacks images, given with their rows in the data set; called where the archive has too few.
        attempted: bool ``(n,)``, the images to attack; None: all.
        progress: Whether to say what is kept; None: yes.

    Returns:
        A result, whose ``location`` is the archive where nothing was crafted, and None where the archive does not have
        all of it yet. No result where others of its images were attempted.

    Raises:
        InvalidFile: Where the archive has other images than its header says.
    """
    archive, n = load_result(path), len(dataset)
    fewer = min(stored, n)
    if len(archive) != stored or _images_of(archive).take(fewer).digest != dataset.take(fewer).digest:
        raise InvalidFile(
            f"'{path}' is a damaged archive (its images are not those it names). Craft it again: --force."
        )
    kept = archive if stored <= n else first(archive, n, dataset.digest)
    rows = slice(len(kept))
    asked = kept.labels != kept.targets
    if attempted is not None and np.shape(attempted) != (n,):
        return None  # which whoever crafts refuses
    if not np.array_equal(kept.attempted, asked if attempted is None else asked & attempted[rows]):
        return None
    if stored >= n:
        which = f"All {n:,}" if stored == n else f"The first {n:,} of the {stored:,}"
        say(f"{which} images of the archive '{path.name}' are taken, none is crafted.", progress)
        return kept
    rows = slice(stored, n)
    say(f"{stored:,} images of the archive '{path.name}' are kept, {n - stored:,} are crafted.", progress)
    x = select(dataset.x, rows)
    missing = craft(replace(dataset, x=x, y=dataset.y[rows], indices=dataset.indices[rows]), rows)
    return extended(kept, missing, dataset.digest, dataset.x)


def _images_of(result: AttackResult) -> Dataset:
    """The clean images of an archive as the data set that they come from."""
    return Dataset(
        result.dataset,
        result.split,
        result.x,
        result.labels,
        result.indices,
        result.class_names,
        vocabulary=result.vocabulary,
    )


def require_independent(path: Path, spec: Attack, dataset: Dataset, stored: int) -> None:
    """Raise ``FileExists`` where of an archive of ``stored`` images none can be kept: they depend on another."""
    if stored in (0, len(dataset)):
        return

    from advlab.engine.steps import dependence

    reason = dependence(spec, dataset.shape)
    if reason:
        raise FileExists(
            f"'{path}' holds {stored:,} images, and {len(dataset):,} are asked for. Method '{spec.method}' {reason}: "
            "none of them can be kept. Name another place with --output, replace the archive with --force, or move it "
            "away."
        )
