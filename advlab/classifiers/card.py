"""The model card: what a saved classifier states about itself, as JSON in the root attribute ``advlab`` of its file."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py

from advlab.errors import InvalidFile, InvalidValue

ATTRIBUTE = "advlab"


def read_card(path: Path) -> dict[str, Any]:
    """The card of a saved classifier; ``{}`` for a Keras file that advlab did not write.

    Raises ``InvalidFile`` for a file that is not HDF5 or whose card is damaged.
    """
    with open_hdf5(path) as file:
        text = file.attrs.get(ATTRIBUTE)
    if text is None:
        return {}
    try:
        card = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidFile(
            f"The model card in '{path}' is not valid JSON. The file is damaged: train or copy it again."
        ) from error
    if not isinstance(card, dict):
        raise InvalidFile(
            f"The model card in '{path}' is not a JSON object. The file is damaged: train or copy it again."
        )
    return card


def write_card(path: Path, card: Mapping[str, Any]) -> None:
    """Put the card into an existing HDF5 file, in place of the one it has; equal cards give equal bytes.

    Raises ``InvalidValue`` for what JSON cannot hold, such as an array.
    """
    try:
        text = json.dumps(card, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"A model card holds only what JSON can hold. Got a card with {error}.") from error
    with h5py.File(path, "r+") as file:
        file.attrs[ATTRIBUTE] = text


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; ``InvalidFile`` where it is missing, not HDF5, truncated or damaged inside."""
    if not path.is_file():
        reason = "is a folder, not an HDF5 file" if path.is_dir() else "does not exist"
        raise InvalidFile(f"'{path}' {reason}. Give the path of a saved .h5 file.")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except PermissionError as error:
        raise InvalidFile(f"'{path}' cannot be read: {error.strerror}. Change its permissions.") from error
    except (OSError, RuntimeError, KeyError, UnicodeDecodeError) as error:
        raise InvalidFile(f"'{path}' is {_damage(path)}. Copy, download or train it again.") from error


def _damage(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
    except OSError:
        return "unreadable"
    if not start:
        return "empty"
    return "a truncated or damaged HDF5 file" if start == b"\x89HDF\r\n\x1a\n" else "not an HDF5 file"
