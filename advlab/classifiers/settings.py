"""How a saved model is to be fed and read, in a small TOML file beside it: ``model.h5.toml`` for ``model.h5``."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from advlab import writing
from advlab.classifiers.inputs import Numbers, Size
from advlab.errors import InvalidFile, unknown
from advlab.validation import shown

_MAX_BYTES = 1 << 20  # the names of a thousand classes take a fiftieth


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a model file does not say about itself; None: nothing is said.

    ``scale`` and ``offset``: the model is given ``scale * x + offset`` for images in [0, 1], one number or one for each
    channel. ``preprocess``: ``tf``, ``torch`` or ``caffe``, as keras.applications calls them, instead. ``output``:
    ``probability``, ``logit`` or ``score``. ``output_layer``: the name of the layer that scores the classes.
    ``resize``: height and width that images of files are made to have where the model leaves them open. ``classes``:
    the names of the classes.
    """

    scale: Numbers | None = None
    offset: Numbers | None = None
    preprocess: str | None = None
    output: str | None = None
    output_layer: str | None = None
    resize: Size | None = None
    classes: Sequence[str] | None = None

    def over(self, other: Settings) -> Settings:
        """These settings, and those of ``other`` where nothing is said; the pixel units count as one."""
        has_units = any(value is not None for value in self.pixel_units)
        return Settings(
            *(self if has_units else other).pixel_units,
            self.output or other.output,
            self.output_layer or other.output_layer,
            self.resize or other.resize,
            other.classes if self.classes is None else self.classes,
        )

    @property
    def pixel_units(self) -> tuple[Numbers | None, Numbers | None, str | None]:
        """``scale``, ``offset`` and ``preprocess``."""
        return self.scale, self.offset, self.preprocess

    def to_dict(self) -> dict[str, Any]:
        """What is said, as numbers, strings and lists."""
        said = {key: value for key, value in vars(self).items() if value is not None}
        return {key: value if isinstance(value, str) else np.asarray(value).tolist() for key, value in said.items()}


def settings_path(model: str | PathLike[str]) -> Path:
    """Where the settings of a model file lie."""
    path = Path(model)
    return path.with_name(f"{path.name}.toml")


def read_settings(model: str | PathLike[str]) -> Settings:
    """The settings beside a model file, nothing where there are none; raises ``InvalidFile`` for damaged ones."""
    path = settings_path(model)
    if not path.is_file():
        return Settings()
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"they take more than {_MAX_BYTES:,} bytes")
        content = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidFile(f"The settings '{path}' are not valid TOML: {error}. Fix or remove the file.") from error
    names = [field.name for field in dataclasses.fields(Settings)]
    for key in content:
        if key not in names:
            raise unknown(f"setting in '{path}'", key, names)
    for key in ("preprocess", "output", "output_layer"):
        if not isinstance(content.get(key, ""), str):
            raise InvalidFile(f"The settings '{path}' have {key} = {shown(content[key])}. Give a string in quotes.")
    classes = content.get("classes", [])
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise InvalidFile(f"The settings '{path}' have classes = {shown(classes)}. Give a list of strings in quotes.")
    return Settings(**content)


def read_class_names(path: str | PathLike[str]) -> list[str]:
    """The names in a text file, one on each line; raises ``InvalidFile`` where there are none."""
    file = Path(path)
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it takes more than {_MAX_BYTES:,} bytes")
        names = [line.strip() for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidFile(
            f"Cannot read the class names '{file}': {reason}. Give a text file with one name on each line, in the "
            "order of the model's outputs."
        ) from error
    if not names:
        raise InvalidFile(
            f"'{file}' names no classes. Write one name on each line, in the order of the model's outputs."
        )
    return names


def write_settings(model: str | PathLike[str], settings: Settings) -> Path:
    """Write the settings beside a model file, whole or not at all; returns the path."""
    path = settings_path(model)
    lines = [f"# How advlab feeds and reads {Path(model).name}."]
    # What JSON writes for numbers, strings and lists of them is TOML as well.
    lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in settings.to_dict().items()]
    with writing.atomic_write(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", "utf-8")
    return path
