"""Unfinished work: kept in a file beside the archives, and taken up by the same call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from advlab import storage
from advlab.errors import AdvlabError, Mismatch


class Work(NamedTuple):
    """How far an attack is: what it has found for each image, the rows in hand, and their state between chunks."""

    place: dict[str, int]
    seconds: float
    found: dict[str, np.ndarray]
    rows: np.ndarray
    carry: dict[str, Any] | None


def keep(partial: Path, specification: Mapping[str, Any], work: Work) -> bool:
    """Write the work to a file; False where that cannot be done, since it must not cost the result."""
    header = {"kind": "partial", **specification, "place": work.place, "seconds": work.seconds}
    arrays = {f"found/{name}": value for name, value in work.found.items()} | {"rows": work.rows}
    arrays |= {f"carry/{name}": np.asarray(value) for name, value in (work.carry or {}).items()}
    try:
        storage.write(partial, header, arrays)
    except AdvlabError:
        return False
    return True


def take_up(partial: Path, specification: Mapping[str, Any]) -> Work | None:
    """What an earlier call left, None where it left nothing; raises ``Mismatch`` for work of another kind."""
    if not partial.exists():
        return None
    header, arrays = storage.read(partial)
    differs = [name.replace("_", " ") for name in specification if header.get(name) != specification[name]]
    if differs:
        raise Mismatch(
            f"'{partial}' is an unfinished attack of another kind (it differs in: {', '.join(differs)}). "
            "Finish that one first, or delete the file; on the command line --force starts again."
        )
    inner: dict[str, dict[str, Any]] = {"found": {}, "carry": {}}
    for name, array in arrays.items():
        group, _, rest = name.partition("/")
        if group in inner:
            inner[group][rest] = array
    return Work(header["place"], header["seconds"], inner["found"], arrays["rows"], inner["carry"] or None)
