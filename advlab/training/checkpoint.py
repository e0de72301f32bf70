"""The whole state of a training between two epochs, so that an interrupted one goes on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from advlab import storage
from advlab.data.dataset import Dataset
from advlab.declarations.recipes import Recipe, settings
from advlab.errors import InvalidFile, Mismatch


@dataclass
class Progressed:
    """How far a training is: figures of each epoch, and the weights that it would keep if it ended here.

    ``ended`` is None, or a sentence why the training ended before its last epoch.
    """

    history: dict[str, list[float]] = field(default_factory=dict)
    kept: list[np.ndarray] = field(default_factory=list)
    kept_epoch: int = -1
    seconds: float = 0.0
    ended: str | None = None

    @property
    def epochs(self) -> int:
        """Epochs that are done."""
        return len(self.history.get("loss", ()))


def specification(recipe: Recipe, data: Dataset) -> dict[str, Any]:
    """What must be equal for a training to go on; it may go on for more epochs than it set out for."""
    told = settings(recipe)
    del told["dataset"], told["training"]["epochs"]
    return {**told, "data": data.digest, "classes": list(data.classes), "keras": keras.__version__}


def keep(path: Path, told: Mapping[str, Any], done: Progressed, model: keras.Model) -> None:
    """Write the state whole or not at all; raises ``AdvlabError`` where the disk refuses it."""
    header = {"kind": "checkpoint", "told": dict(told), "history": done.history, "kept_epoch": done.kept_epoch}
    header |= {"seconds": done.seconds, "ended": done.ended}
    arrays = {f"state/{number:04}": value for number, value in enumerate(_state(model))}
    arrays |= {f"kept/{number:04}": value for number, value in enumerate(done.kept)}
    # Weights hardly shrink, and an epoch can be shorter than their compression.
    storage.write(path, header, arrays, compress=False)


def take_up(path: Path, told: Mapping[str, Any], model: keras.Model) -> Progressed:
    """Bring the model and its optimizer into the stored state, and say how far that is.

    Raises ``InvalidFile`` for a file that holds no checkpoint and ``Mismatch`` for one of another recipe or data.
    """
    do = "Leave out --resume and use --force to start over."
    try:
        header, arrays = storage.read(path)
        if header.get("kind") != "checkpoint":
            raise InvalidFile(f"'{path}' is not a checkpoint of a training. {do}")
        differs = _differences(header["told"], told)
        if differs:
            raise Mismatch(
                f"'{path}' is the checkpoint of another training (it differs in: {', '.join(differs)}). "
                f"Resume the recipe and data it belongs to, or start over. {do}"
            )
        for variable, name in zip(_variables(model), sorted(n for n in arrays if n.startswith("state/")), strict=True):
            variable.assign(arrays[name])
        kept = [arrays[name] for name in sorted(n for n in arrays if n.startswith("kept/"))]
        return Progressed(header["history"], kept, header["kept_epoch"], header["seconds"], header["ended"])
    except (KeyError, ValueError) as error:
        raise InvalidFile(f"'{path}' is a damaged checkpoint ({error}). {do}") from error


def _differences(stored: Mapping[str, Any], told: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The keys in which a stored table and one that is told differ, those of inner tables by their path."""
    found = []
    for key in dict.fromkeys((*told, *stored)):
        here, there = told.get(key), stored.get(key)
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            found += _differences(there, here, f"{prefix}{key}.")
        elif here != there:
            found.append(f"{prefix}{key}")
    return found


def _variables(model: keras.Model) -> list[keras.Variable]:
    """Weights, statistics, the state of dropout's generators, and the optimizer's moments."""
    return [*model.trainable_variables, *model.non_trainable_variables, *model.optimizer.variables]


def _state(model: keras.Model) -> list[np.ndarray]:
    return [np.asarray(variable.numpy()) for variable in _variables(model)]
