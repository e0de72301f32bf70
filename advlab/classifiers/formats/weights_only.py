"""Files of weights alone, with the architecture beside them: ``model.json`` and ``weights.h5``, or ``.weights.h5``."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import keras

from advlab.classifiers.formats import layers, weights
from advlab.classifiers.formats.config import explain
from advlab.classifiers.formats.recognize import is_architecture
from advlab.classifiers.formats.values import FAILURES
from advlab.errors import InvalidFile
from advlab.validation import is_count, json_object

_KERAS_3 = ("layers", "_layer_checkpoint_dependencies", "_layers", "vars")


def is_weights_only(file: h5py.File) -> bool:
    """Whether a file holds weights as ``model.save_weights`` of any Keras writes them."""
    return any(key in file.attrs for key in ("layer_names", "layer_names0", "nb_layers")) or _is_of_keras_3(file)


def read(
    file: h5py.File,
    path: Path,
    architecture: keras.Model | Path | None,
    *,
    trust: bool,
    custom_objects: Mapping[str, Any] | None,
) -> keras.Model:
    """The model of an architecture with the weights of ``file``, which lies at ``path``.

    ``architecture``: an unweighted model, a JSON file, or None for the JSON file beside the weights. Raises
    ``InvalidFile`` where none is found or where weights and architecture do not fit each other.
    """
    if "nb_layers" in file.attrs:
        raise InvalidFile(
            "it holds weights of Keras 0.x or 1, of numbered layers without names. "
            "Build the model in Python, set each layer's weights from the file with layer.set_weights, and use "
            "advlab.Classifier.from_keras(model)."
        )
    if isinstance(architecture, keras.Model):
        model, config, origin = architecture, None, "the model given"
    else:
        source = architecture or _beside(path)
        config, origin = _parsed(source), f"'{source}'"
        model = layers.build_model(config, _generation(config), trust=trust, custom_objects=custom_objects)
    try:
        if _is_of_keras_3(file):
            _load_keras_3(path, model)
        elif config is None:
            weights.assign_in_order(file, model)
        else:
            weights.assign(file, model, config)
    except InvalidFile as error:
        raise InvalidFile(f"its weights do not fit {origin}: {error}") from error
    return model


def _is_of_keras_3(file: h5py.File) -> bool:
    return any(key in file for key in _KERAS_3) and "model_weights" not in file


def _beside(path: Path) -> Path:
    stem = path.name.removesuffix(path.suffix).removesuffix(".weights")
    for name in (stem, stem.replace("weights", "model"), "model", "architecture"):
        if is_architecture(path.with_name(f"{name}.json")):
            return path.with_name(f"{name}.json")
    found = [file for file in sorted(path.parent.glob("*.json")) if is_architecture(file)]
    if len(found) == 1:
        return found[0]
    several = f"Beside it lie {', '.join(file.name for file in found[:4])}: " if found else ""
    raise InvalidFile(
        f"it holds weights only (save_weights), and its architecture is not known. {several}"
        "Put what model.to_json() returns into model.json beside it, or name that file or a recipe: --architecture "
        "model.json (architecture= in Python). Or build the model in Python, call model.load_weights(path) and "
        "model.save('model.h5'), and give that."
    )


def _parsed(path: Path) -> Mapping[str, Any]:
    if not is_architecture(path):
        reason = "is not the architecture of a Keras model" if path.is_file() else "does not exist"
        raise InvalidFile(f"the architecture '{path}' {reason}. Write it with open(path, 'w').write(model.to_json()).")
    return json_object(path.read_bytes(), "the architecture")


def _generation(config: Mapping[str, Any]) -> int:
    version = str(config.get("keras_version", "")).split(".")[0]
    return int(version) if is_count(version) else 3 if "module" in config else 2


def _load_keras_3(path: Path, model: keras.Model) -> None:
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, "model.weights.h5")  # the name by which Keras knows this layout
        link.symlink_to(path.resolve())
        try:
            model.load_weights(link)
        except FAILURES as error:
            raise InvalidFile(f"{explain(error)}. Save both again from one model.") from error
