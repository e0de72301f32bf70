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


def write(path: Path, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray], compress: bool = True) -> None:
    """Write a header and arrays as HDF5, whole or not at all."""
    # In memory first: HDF5 ends the process where a disk fills up under an open file.
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file.attrs["advlab"] = json.dumps({"format": FORMAT, **header})
        for name, array in arrays.items():
            array = np.asarray(array)
            packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
            file.create_dataset(name, data=array, **(packed if compress and array.nbytes > 4096 else {}))
    with workspace.written(path) as temporary:
        temporary.write_bytes(memory.getbuffer())


def read_header(path: Path) -> dict[str, Any]:
    """The header of an archive, finished or not, without its arrays."""
    return _read(path, arrays=False)[0]


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of an archive, finished or not."""
    return _read(path, arrays=True)


def _read(path: Path, arrays: bool) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if not path.is_file():
        raise InvalidFile(f"No archive at '{path}'. 'advlab list archives' shows those of the workspace.")
    try:
        with h5py.File(path, "r") as file:
            if "model_config" in file.attrs or "advlab" not in file.attrs:
                what = "a saved model" if "model_config" in file.attrs else "an HDF5 file of something else"
                raise InvalidFile(f"'{path}' is {what}, not an archive. 'advlab attack' writes archives.")
            header = json.loads(file.attrs["advlab"])
            if not isinstance(header, dict):
                raise ValueError("its header is no table")
            found: dict[str, np.ndarray] = {}
            if arrays:
                file.visititems(lambda name, node: found.update({name: node[()]}) if hasattr(node, "dtype") else None)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InvalidFile(f"'{path}' cannot be read as an archive ({error}). Craft it again.") from error
    if header.get("format") not in READABLE:
        raise InvalidFile(f"'{path}' has archive format {header.get('format')}; this advlab reads formats {READABLE}.")
    return header, found
