"""The model card: what a saved classifier states about itself, as JSON in the root attribute ``advlab`` of its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from advlab.classifiers.formats.recognize import require_hdf5
from advlab.errors import InvalidFile, InvalidValue
from advlab.hdf5 import attribute, open_hdf5, read_array
from advlab.validation import is_number, json_object, shown

ATTRIBUTE = "advlab"
VOCABULARY = "vocabulary"  # of a model of texts; an attribute of HDF5 would be too small for it
_TYPES: dict[str, type | tuple[type, ...]] = {  # of what is read somewhere; a card may hold more
    "class_names": list,
    "classes": int,
    "data_digest": str,
    "dataset": str,
    "ended": str,
    "epochs_run": int,
    "history": dict,
    "name": str,
    "offset": (int, float, list),
    "output": str,
    "parameters": int,
    "preprocess": str,
    "published": dict,
    "recipe": dict,
    "resize": list,
    "scale": (int, float, list),
    "seconds": (int, float),
    "test_accuracy": (int, float),
    "train_accuracy": (int, float),
    "validation_accuracy": (int, float),
    "versions": dict,
    "vocabulary": list,
}
_MAY_BE_UNKNOWN = ("ended", "test_accuracy", "train_accuracy", "validation_accuracy")


def read_card(path: Path) -> dict[str, Any]:
    """The card of a saved classifier; ``{}`` for a Keras file that advlab did not write.

    Raises ``InvalidFile`` for a file that is not HDF5 or whose card is damaged.
    """
    require_hdf5(path)
    with open_hdf5(path) as file:
        if ATTRIBUTE not in file.attrs:
            return {}
        text = attribute(file, ATTRIBUTE)
        vocabulary = read_array(file[VOCABULARY], "u") if VOCABULARY in file else None
    try:
        card = json_object(text or "", "the model card", constants_as=None)
        if vocabulary is not None:
            card["vocabulary"] = vocabulary.astype(np.uint8).tobytes().decode("utf-8").split("\n")
        _require_types(card)
    except ValueError as error:
        raise InvalidFile(f"'{path}' cannot be read: {error}. The file is damaged: train or copy it again.") from error
    return card


def card_if_any(path: Path) -> dict[str, Any]:
    """The card of a saved classifier; ``{}`` also where its kind has none: a folder, ``.keras``, ``.onnx``."""
    return read_card(path) if path.is_file() and path.suffix not in (".keras", ".onnx") else {}


def _require_types(card: Mapping[str, Any]) -> None:
    for key, value in card.items():
        of_type = isinstance(value, _TYPES.get(key, object)) or (value is None and key in _MAY_BE_UNKNOWN)
        if not of_type or (isinstance(value, bool) and key in _TYPES):
            raise ValueError(f"the model card has '{key}' = {shown(value)}")
    if not all(isinstance(name, str) for name in card.get("class_names") or ()):
        raise ValueError("the model card names a class by something else than a text")
    if not all(isinstance(word, str) for word in card.get("vocabulary") or ()):
        raise ValueError("the model card has a word that is no text")
    for key in ("scale", "offset"):
        values = card.get(key)
        if isinstance(values, list) and not all(map(is_number, values)):
            raise ValueError(f"the model card has '{key}' = {shown(values)}")
    recipe = card.get("recipe") or {}
    if recipe and not all(isinstance(recipe.get(table), dict) for table in ("architecture", "training")):
        raise ValueError("the model card has a recipe without architecture or training")
    if not all(isinstance(recipe.get(key, ""), str) for key in ("title", "source")):
        raise ValueError("the model card has a recipe whose title or source is no text")
    published = card.get("published") or {}
    if not all(isinstance(v, str) if key == "note" else is_number(v) for key, v in published.items()):
        raise ValueError(f"the model card has 'published' = {shown(published)}")


def write_card(path: Path, card: Mapping[str, Any]) -> None:
    """Put the card into an existing HDF5 file, in place of the one it has; equal cards give equal bytes.

    Raises ``InvalidValue`` for what JSON cannot hold, such as an array.
    """
    vocabulary = card.get("vocabulary")
    try:
        text = json.dumps({key: value for key, value in card.items() if key != "vocabulary"}, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"A model card holds only what JSON can hold. Got a card with {error}.") from error
    with h5py.File(path, "r+") as file:
        file.attrs[ATTRIBUTE] = text
        if VOCABULARY in file:
            del file[VOCABULARY]
        if vocabulary:
            content = np.frombuffer("\n".join(vocabulary).encode(), np.uint8)
            file.create_dataset(VOCABULARY, data=content, compression="gzip")
