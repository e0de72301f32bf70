"""The whole state of a training run between two epochs, so that an interrupted run resumes to the same weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

import keras
import numpy as np

from advlab import renamed, storage
from advlab.data.dataset import Dataset
from advlab.declarations.recipes import Recipe, settings
from advlab.errors import InvalidFile, Mismatch
from advlab.storage import Array, Layout
from advlab.validation import is_int, is_number

CHECKPOINT = Layout(
    noun="checkpoint",
    kind="checkpoint",
    fix="Leave out --resume and use --force to start over.",
    header={"history": dict, "seconds": (int, float)},
    arrays={name: Array("biuf") for name in ("state/", "weights/", "kept/")},
)


@dataclass
class TrainingState:
    """The progress of a training run: figures of each epoch, and the weights it would return if it ended here.

    ``ended`` is None, or a sentence why the run ended before its last epoch.
    """

    history: dict[str, list[float]] = field(default_factory=dict)
    weights: list[np.ndarray] = field(default_factory=list)
    weights_epoch: int = -1
    seconds: float = 0.0
    ended: str | None = None

    @property
    def epochs(self) -> int:
        """The number of completed epochs."""
        return len(self.history.get("loss", ()))


def specification(recipe: Recipe, data: Dataset) -> dict[str, Any]:
    """What must be equal for a run to be resumed: not the number of epochs, unless the learning rate depends on it."""
    table = settings(recipe)
    del table["dataset"]
    if recipe.training.schedule == "constant":
        del table["training"]["epochs"]
    return {**table, "data": data.digest, "classes": list(data.classes), "keras": keras.__version__}


def save(path: Path, specification: Mapping[str, Any], state: TrainingState, model: keras.Model) -> None:
    """Write the state whole or not at all; raises ``AdvlabError`` where the disk refuses it."""
    header = {
        "kind": "checkpoint",
        "specification": dict(specification),
        "history": state.history,
        "weights_epoch": state.weights_epoch,
        "seconds": state.seconds,
        "ended": state.ended,
    }
    arrays = {f"state/{number:04}": np.asarray(v.numpy()) for number, v in enumerate(_variables(model))}
    arrays |= {f"weights/{number:04}": value for number, value in enumerate(state.weights)}
    # Weights hardly shrink, and an epoch can be shorter than their compression.
    storage.write(path, header, arrays, compress=False)


def load(path: Path, specification: Mapping[str, Any], model: keras.Model) -> TrainingState:
    """Restore the model and its optimizer to the stored state, and return it.

    Raises ``InvalidFile`` for a file that holds no checkpoint and ``Mismatch`` for one of another recipe or data.
    """
    fix = CHECKPOINT.fix
    try:
        header, arrays = storage.read(path, CHECKPOINT)
        header, arrays = renamed.checkpoint(header, arrays)
        differences = _differences(header["specification"], specification)
        if differences:
            raise Mismatch(
                f"'{path}' is the checkpoint of another training run (it differs in: {', '.join(differences)}). "
                f"Resume the recipe and data it belongs to, or start over. {fix}"
            )
        _require_consistent(header)
        variables, weights = _variables(model), _group(arrays, "weights/")
        values = _group(arrays, "state/")
        shapes = [tuple(variable.shape) for variable in variables]
        if [value.shape for value in values] != shapes or [w.shape for w in weights] not in ([], _weight_shapes(model)):
            raise ValueError("its weights have other shapes than those of the model")
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return TrainingState(header["history"], weights, header["weights_epoch"], header["seconds"], header["ended"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidFile(f"'{path}' is a damaged checkpoint ({error}). {fix}") from error


def _require_consistent(header: Mapping[str, Any]) -> None:
    history = header["history"].values()
    if not all(isinstance(values, list) and all(map(is_number, values)) for values in history):
        raise ValueError("its history is not one of numbers")
    if len({len(values) for values in history}) > 1:
        raise ValueError("its history has another length for each figure")
    epoch = header["weights_epoch"]
    if not is_int(epoch) or not -1 <= epoch < len(header["history"].get("loss", ())):
        raise ValueError("its weights are of an epoch that it does not have")
    if not isinstance(header["ended"], str | NoneType):
        raise ValueError("the reason of its end is no text")


def _weight_shapes(model: keras.Model) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in model.weights]


def _differences(stored: Mapping[str, Any], current: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The keys whose values differ between two tables, those of inner tables by their path."""
    keys = []
    for key in dict.fromkeys((*current, *stored)):
        current_value, stored_value = current.get(key), stored.get(key)
        if isinstance(current_value, Mapping) and isinstance(stored_value, Mapping):
            keys += _differences(stored_value, current_value, f"{prefix}{key}.")
        elif current_value != stored_value:
            keys.append(f"{prefix}{key}")
    return keys


def _group(arrays: Mapping[str, np.ndarray], prefix: str) -> list[np.ndarray]:
    return [arrays[name] for name in sorted(arrays) if name.startswith(prefix)]


def _variables(model: keras.Model) -> list[keras.Variable]:
    """Weights, statistics, the state of dropout's generators, and the optimizer's moments."""
    return [*model.trainable_variables, *model.non_trainable_variables, *model.optimizer.variables]
