"""Unfinished work: saved in a file beside the archives, and resumed by the same call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from advlab import storage
from advlab.errors import AdvlabError, Mismatch


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
        storage.write(partial, header, arrays)
    except AdvlabError:
        return False
    return True


def load(partial: Path, specification: Mapping[str, Any]) -> Checkpoint | None:
    """The checkpoint of an earlier call, None where it left none; raises ``Mismatch`` for one with other settings."""
    if not partial.exists():
        return None
    header, arrays = storage.read(partial, "unfinished attack")
    differs = [name.replace("_", " ") for name in specification if header.get(name) != specification[name]]
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
    return Checkpoint(header["position"], header["seconds"], groups["best"], arrays["rows"], groups["carry"] or None)
