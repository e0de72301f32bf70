"""HDF5 files of one layout: a JSON header in the root attribute ``advlab``, and one data set for each array.

Archives of attacks, unfinished attacks and checkpoints of training runs are such files. The header can be read without
the arrays.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from advlab import workspace
from advlab.errors import InvalidFile

FORMAT = 2
READABLE = (1, FORMAT)
_FIXES = {  # what a file holds: what to do where it cannot be read
    "archive": "Craft one with 'advlab attack'; 'advlab list archives' shows those of the workspace.",
    "checkpoint": "Leave out --resume and use --force to start over.",
    "unfinished attack": "Use --force to start over, or delete the file.",
}


def write(path: Path, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray], compress: bool = True) -> None:
    """Write a header and arrays as HDF5, whole or not at all."""
    # In memory first: HDF5 ends the process where a disk fills up under an open file.
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file.attrs["advlab"] = json.dumps({"format": FORMAT, **header})
        for name, array in arrays.items():
            array = np.asarray(array)
            options = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
            file.create_dataset(name, data=array, **(options if compress and array.nbytes > 4096 else {}))
    with workspace.atomic_write(path) as temporary:
        temporary.write_bytes(memory.getbuffer())


def read_header(path: Path) -> dict[str, Any]:
    """The header of an archive, without its arrays; raises ``InvalidFile``."""
    return _read(path, "archive", with_arrays=False)[0]


def read(path: Path, content: str = "archive") -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays. Raises ``InvalidFile``, worded for ``content``: archive, checkpoint or unfinished attack."""
    return _read(path, content, with_arrays=True)


def _read(path: Path, content: str, with_arrays: bool) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    fix = _FIXES[content]
    noun = f"{'an' if content[0] in 'aeiou' else 'a'} {content}"
    if not path.is_file():
        raise InvalidFile(f"No {content} at '{path}'. {fix}")
    arrays: dict[str, np.ndarray] = {}
    try:
        with h5py.File(path, "r") as file:
            if "model_config" in file.attrs or "advlab" not in file.attrs:
                actual = "a saved model" if "model_config" in file.attrs else "an HDF5 file of something else"
                raise InvalidFile(f"'{path}' is {actual}, not {noun}. {fix}")
            header = json.loads(file.attrs["advlab"])
            if not isinstance(header, dict):
                raise ValueError("its header is not a JSON object")
            if with_arrays:
                file.visititems(lambda name, node: arrays.update({name: node[()]}) if hasattr(node, "dtype") else None)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InvalidFile(f"'{path}' cannot be read as {noun} ({error}). {fix}") from error
    if header.get("format") not in READABLE:
        formats = " and ".join(map(str, READABLE))
        raise InvalidFile(
            f"'{path}' has format {header.get('format')}; this advlab reads formats {formats}. Update advlab."
        )
    return header, arrays
