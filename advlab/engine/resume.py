"""Unfinished work: saved in a file beside the archives, and resumed by the same call."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from advlab import storage
from advlab.errors import AdvlabError, AdvlabWarning, InvalidFile, Mismatch
from advlab.storage import Array, Layout
from advlab.validation import is_int

UNFINISHED = Layout(
    noun="unfinished attack",
    kind="partial",
    fix="Use --force to start over, or delete the file.",
    header={"position": dict, "seconds": (int, float)},
    signed=True,
    arrays={"best/": Array("biuf"), "rows": Array("i", "r", 0), "carry/": Array("biuf")},
)
_NAMES = {"classifier_digest": "classifier", "dataset_digest": "images", "dataset": "data set", "size": "batch size"}


class Checkpoint(NamedTuple):
    """How far an attack is: the best of each image so far, the rows in progress, and their state between chunks."""

    position: dict[str, int]
    seconds: float
    best: dict[str, np.ndarray]
    rows: np.ndarray
    carry: dict[str, Any] | None


def save(partial: Path, specification: Mapping[str, Any], checkpoint: Checkpoint) -> bool:
    """Write a checkpoint; False where that cannot be done, since it must not cost the result."""
    header = {"kind": "partial", **specification, "position": checkpoint.position, "seconds": checkpoint.seconds}
    arrays = {f"best/{name}": value for name, value in checkpoint.best.items()} | {"rows": checkpoint.rows}
    arrays |= {f"carry/{name}": np.asarray(value) for name, value in (checkpoint.carry or {}).items()}
    try:
        # Written often, read once.
        storage.write(partial, header, arrays, compress=False)
    except AdvlabError:
        return False
    return True


def load(
    partial: Path,
    specification: Mapping[str, Any],
    best: Mapping[str, np.ndarray],
    end: Mapping[str, float],
    carry: Mapping[str, np.ndarray] | None = None,
) -> Checkpoint | None:
    """The checkpoint of an earlier call, None where it left none.

    ``best`` is the best of each image before the first step, ``end`` the largest value of each part of the position,
    ``carry`` the state of one perturbation of all images before its first epoch, None where each image has its own.
    A damaged file is set aside with a warning, and the attack starts over; one with other settings raises ``Mismatch``.
    """
    if not partial.exists():
        return None
    try:
        header, arrays = storage.read(partial, UNFINISHED)
        differs = [_NAMES.get(name, name) for name in specification if header.get(name) != specification[name]]
        if differs:
            raise Mismatch(
                f"'{partial}' is an unfinished attack with other settings (it differs in: {', '.join(differs)}). "
                "Finish that one first, or delete the file; on the command line --force starts again."
            )
        groups: dict[str, dict[str, Any]] = {"best": {}, "carry": {}}
        for name, array in arrays.items():
            group, _, key = name.partition("/")
            if group in groups:
                groups[group][key] = array
        checkpoint = Checkpoint(
            header["position"], header["seconds"], groups["best"], arrays["rows"], groups["carry"] or None
        )
        _require_consistent(checkpoint, best, end, carry)
    except InvalidFile as error:
        set_aside(partial, error)
        return None
    return checkpoint


def _require_consistent(
    checkpoint: Checkpoint,
    best: Mapping[str, np.ndarray],
    end: Mapping[str, float],
    carry: Mapping[str, np.ndarray] | None,
) -> None:
    """Raise ``InvalidFile`` unless the checkpoint is one that this attack can have written."""
    position = checkpoint.position
    if position.keys() != end.keys() or not all(is_int(position[n]) and 0 <= position[n] <= end[n] for n in end):
        raise InvalidFile(f"its position is {position}")
    if _forms(checkpoint.best) != _forms(best):
        raise InvalidFile("it lacks an array, or has one of another shape or type")
    rows = checkpoint.rows
    if len(np.unique(rows)) < len(rows) or rows.max(initial=-1) >= len(best["x"]):
        raise InvalidFile("it names images that there are not")
    if carry is not None:
        if checkpoint.carry is not None and _forms(checkpoint.carry) != _forms(carry):
            raise InvalidFile("its state between two epochs has parts of another shape or type")
        return
    lengths = {array.shape[:1] for array in (checkpoint.carry or {}).values()}
    if checkpoint.carry is not None and (len(lengths) != 1 or "success" not in checkpoint.carry):
        raise InvalidFile("its state between two steps has parts of another length")
    if checkpoint.carry is not None and not 0 < len(rows) <= len(checkpoint.carry["success"]):
        raise InvalidFile("its state between two steps is of other images")


def _forms(arrays: Mapping[str, Any]) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def set_aside(partial: Path, error: InvalidFile, noun: str = "attack") -> None:
    """Move what is damaged out of the way, with a warning."""
    aside = partial.with_suffix(".damaged")
    os.replace(partial, aside)
    warnings.warn(
        f"The unfinished {noun} in '{partial}' cannot be continued ({error}). It was moved to '{aside.name}' beside "
        f"it, and the {noun} starts over.",
        AdvlabWarning,
        stacklevel=2,
    )
