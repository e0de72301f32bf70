"""Saved classifiers: reads HDF5 files of every Keras generation, writes those of this Keras."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import keras

from advlab import writing
from advlab.classifiers import devices
from advlab.classifiers.card import ATTRIBUTE, write_card
from advlab.classifiers.formats import keras2_folder, layers, onnx_graph, saved_model, weights, weights_only
from advlab.classifiers.formats.config import MODELS, explain, refuse_code, require_held
from advlab.classifiers.formats.recognize import describe, require_hdf5
from advlab.classifiers.formats.values import FAILURES
from advlab.classifiers.outputs import loss_name
from advlab.errors import DAMAGE, InvalidFile, InvalidValue
from advlab.hdf5 import attribute, open_hdf5, stored_values
from advlab.validation import is_count, json_object, largest_content

_LOG = logging.getLogger(__name__)
_SUFFIXES = (".h5", ".hdf5")
_MAX_CONFIG = 1 << 24  # bytes; that of a network of a thousand layers takes a tenth

_OWN_ARCHITECTURE = (
    "it holds its own architecture; another one belongs to a file of weights alone. Leave out --architecture "
    "(architecture= in Python)."
)


def read_model(
    path: Path,
    *,
    trust: bool = False,
    custom_objects: Mapping[str, Any] | None = None,
    architecture: keras.Model | Path | None = None,
) -> keras.Model:
    """The uncompiled model in an HDF5 file of Keras 2 or 3, tf.keras or TensorFlow 1.x, a ``.keras`` or ``.onnx`` file.

    Its weights are those of the file, bit for bit; optimizer and training settings are not read. The SavedModel folder
    of Keras 2 is rebuilt like these. Code in the file runs only with ``trust``, which also opens other SavedModel
    folders. ``custom_objects`` are the user's own layers and functions by name, ``architecture`` what belongs to a file
    of weights alone (None: the JSON file beside it). Raises ``InvalidFile`` for a file that is missing, damaged, not a
    Keras model, or holds what this Keras cannot build, naming the layer.
    """
    devices.prepare()
    _LOG.info("opens the model '%s'", path)
    if architecture is not None and (path.is_dir() or path.suffix in (".keras", ".onnx")):
        raise InvalidFile(f"Cannot open '{path}': {_OWN_ARCHITECTURE}")
    if path.is_dir():
        return _read_folder(path, trust, custom_objects)
    if path.suffix == ".keras" and zipfile.is_zipfile(path):
        return _read_keras_archive(path, trust, custom_objects)
    if path.suffix == ".onnx" and path.is_file():
        return onnx_graph.read(path)
    require_hdf5(path)
    with open_hdf5(path) as file:
        try:
            if "model_config" not in file.attrs and weights_only.is_weights_only(file):
                return weights_only.read(file, path, architecture, trust=trust, custom_objects=custom_objects)
            config, generation = _configuration(file)
            if architecture is not None:
                raise InvalidFile(_OWN_ARCHITECTURE)
            require_held(config, stored_values(file["model_weights"]))
            model = layers.build_model(config, generation, trust=trust, custom_objects=custom_objects)
            weights.assign(file["model_weights"], model, config)
        except InvalidFile as error:
            raise InvalidFile(f"Cannot open '{path}': {error}") from error
    return model


def _read_folder(path: Path, trust: bool, custom_objects: Mapping[str, Any] | None) -> keras.Model:
    """The model in a SavedModel folder: rebuilt where Keras 2 wrote it, else its graph, which runs with ``trust``."""
    if keras2_folder.is_keras2(path):
        try:
            return keras2_folder.read(path, trust=trust, custom_objects=custom_objects)
        except InvalidFile as error:
            if not trust:
                advice = "If you trust its origin, its graph can be run as it is: --trust (trust=True in Python)."
                said = str(error) if "trust=True" in str(error) else f"{error} {advice}"
                raise InvalidFile(f"Cannot open '{path}': {said}") from error
    if trust and (path / "saved_model.pb").is_file():
        return saved_model.read(path)
    raise InvalidFile(f"'{path}' {describe(path)}.")


def read_loss(path: Path) -> str:
    """The name of the loss that a model file states it was trained with; "" where it states none."""
    try:
        settings: Any
        if path.is_dir():
            settings = keras2_folder.training_config(path)
        elif path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                _refuse_oversized(archive, path)
                settings = json_object(archive.read("config.json"), "its configuration").get("compile_config")
        else:
            with open_hdf5(path) as file:
                settings = json_object(attribute(file, "training_config") or "{}", "its settings of training")
        return loss_name(settings.get("loss")) if isinstance(settings, dict) else ""
    except (InvalidFile, *DAMAGE, zipfile.BadZipFile):
        return ""  # a folder, or settings of training that are damaged: the model itself opened


def write_model(model: keras.Model, path: Path, card: Mapping[str, Any]) -> None:
    """Write the model without optimizer state, and its card, whole or not at all.

    Equal models with equal names and equal cards give equal bytes. ``keras.models.load_model`` opens the file. Raises
    ``InvalidValue`` for a model that HDF5 cannot hold, and ``AdvlabError`` where the disk refuses it.
    """
    if path.suffix not in _SUFFIXES:
        raise InvalidValue(f"A classifier is saved as HDF5. Got '{path.name}'; end the name in .h5.")
    if type(model).__name__ not in MODELS:
        raise InvalidValue(
            f"Model '{model.name}' is of the class '{type(model).__name__}', whose code HDF5 cannot hold. Write it as "
            "a Sequential or functional model, or keep it in memory with advlab.Classifier.from_keras(model)."
        )
    if not model.built:
        raise InvalidValue(f"Model '{model.name}' has no weights yet. Call model.build(shape) before saving it.")
    with writing.atomic_write(path) as temporary:
        try:
            _write(model, temporary)
            _require_opens(model, temporary)
            write_card(temporary, card)
        except RuntimeError as error:
            # HDF5 reports a full disk this way when it closes the file.
            raise OSError(explain(error)) from error


def _write(model: keras.Model, path: Path) -> None:
    try:
        with _without_format_advice():
            keras.saving.save_model(model, path, include_optimizer=False)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise InvalidValue(
            f"Model '{model.name}' cannot be written as HDF5: {explain(error)}. Save it with "
            "model.save('model.keras'), or keep it in memory with advlab.Classifier.from_keras(model)."
        ) from error


def _require_opens(model: keras.Model, path: Path) -> None:
    """Raise ``InvalidValue`` where a written file would not open again, as with code of the user's own."""
    try:
        with open_hdf5(path) as file:
            layers.build_model(*_configuration(file), trust=True)
    except InvalidFile as error:
        reason = explain(error).partition(". ")[0]
        raise InvalidValue(
            f"Model '{model.name}' cannot be saved, since it would not open again: {reason}. Register what is yours "
            "with @keras.saving.register_keras_serializable(), build the model from Keras' own layers, or keep it in "
            "memory with advlab.Classifier.from_keras(model)."
        ) from error


def _configuration(file: h5py.File) -> tuple[Any, int]:
    """The model's configuration and the major version of the Keras that wrote it."""
    if "model_config" not in file.attrs:
        raise InvalidFile(_foreign_content(file))
    if "model_weights" not in file:
        raise InvalidFile("it holds a model without its weights. Save it again with model.save().")
    groups = (file, file["model_weights"])
    values = [attribute(group, key) or "" for key in ("backend", "keras_version") for group in groups]
    if "theano" in values[:2]:
        raise InvalidFile(
            "it was written by Keras on Theano, whose convolutions are mirrored. Open it there, convert the kernels "
            "with keras.utils.conv_utils.convert_kernel, and save it from Keras on TensorFlow."
        )
    version = values[2] or values[3]
    generation = int(version.split(".")[0]) if is_count(version.split(".")[0]) else 2
    if generation < 2:
        raise InvalidFile(f"it was written by Keras {version}. Open it with Keras 2.0 to 2.3 and save it again.")
    try:
        return json.loads(attribute(file, "model_config") or ""), generation
    except (ValueError, RecursionError) as error:
        raise InvalidFile(
            "its model configuration is not valid JSON. The file is damaged: copy or save it again."
        ) from error


def _foreign_content(file: h5py.File) -> str:
    if ATTRIBUTE in file.attrs:
        return "it is an archive of an attack, not a classifier. Use advlab evaluate or advlab report on it."
    return "it is an HDF5 file, but not of a Keras model. Give a file that model.save('model.h5') wrote."


def _read_keras_archive(path: Path, trust: bool, custom_objects: Mapping[str, Any] | None) -> keras.Model:
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_oversized(archive, path)
            config = json.loads(archive.read("config.json"))
            values = 0
            for name in archive.namelist():
                if name.endswith(".h5"):
                    with open_hdf5(path, io.BytesIO(archive.read(name))) as file:  # looks for links to other places
                        values += stored_values(file)
            require_held(config, values)
        if not trust:
            # Training settings of the outermost model are not read, so they may name anything.
            refuse_code({key: value for key, value in config.items() if key != "compile_config"}, custom_objects or {})
        return keras.saving.load_model(
            path, compile=False, safe_mode=not trust, custom_objects=dict(custom_objects or {})
        )
    except InvalidFile as error:
        raise InvalidFile(f"Cannot open '{path}': {error}") from error
    except (*FAILURES, zipfile.BadZipFile) as error:
        raise InvalidFile(
            f"Cannot open '{path}': {explain(error)}. If the file is complete, build the model in Python with the "
            "Keras that wrote it and use advlab.Classifier.from_keras(model), or save it there as .h5."
        ) from error


def _refuse_oversized(archive: zipfile.ZipFile, path: Path) -> None:
    """Raise where a file in the archive would unpack to more than it can reasonably hold."""
    sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    if sizes.get("config.json", 0) > _MAX_CONFIG or sum(sizes.values()) > largest_content(path.stat().st_size):
        raise InvalidFile(
            f"it would unpack to {sum(sizes.values()):,} bytes, of which its configuration takes "
            f"{sizes.get('config.json', 0):,}: no model is like that. Save it again with model.save()."
        )


@contextlib.contextmanager
def _without_format_advice() -> Iterator[None]:
    """Suppress Keras' warning that HDF5 is legacy: advlab uses it because it opens anywhere."""
    logger = logging.getLogger("absl")

    def is_other_message(record: logging.LogRecord) -> bool:
        return "HDF5" not in record.getMessage()

    logger.addFilter(is_other_message)
    try:
        yield
    finally:
        logger.removeFilter(is_other_message)
