"""The logits of a Keras image classifier, whatever its input shape, pixel scale and last layer."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from advlab import workspace
from advlab.classifiers.card import read_card
from advlab.classifiers.files import read_model, write_model
from advlab.classifiers.logits import strip_softmax
from advlab.data.dataset import Dataset
from advlab.errors import InvalidValue, Mismatch

Numbers = float | Sequence[float] | np.ndarray


class Classifier:
    """A classifier of ``k`` classes over images float32 ``(n, h, w, c)`` in [0, 1].

    The model behind it is given ``scale * image + offset`` (numbers, or one for each channel), reshaped to the input
    it expects: ``(h, w, c)``, ``(h, w)`` or flat. It always runs in inference mode. A final softmax is stripped, so
    ``logits`` are pre-activations; one sigmoid unit ``z`` becomes the two logits ``(0, z)``. What cannot be stripped
    falls back to log p, recorded in ``notes`` as ``log-probabilities``.
    """

    def __init__(
        self,
        keras_model: keras.Model,
        *,
        name: str,
        scale: Numbers = 1.0,
        offset: Numbers = 0.0,
        card: dict[str, Any] | None = None,
    ):
        if not isinstance(keras_model, keras.Model):
            raise InvalidValue(
                f"A classifier needs a keras.Model (Keras {keras.__version__}). Got {type(keras_model).__module__}."
                f"{type(keras_model).__name__}. Save a model of another Keras as .h5 and load that file."
            )
        if not getattr(keras_model, "inputs", None) or not getattr(keras_model, "outputs", None):
            raise InvalidValue(
                f"Model '{name}' is a subclass of keras.Model that does not state its input shape. Wrap it: "
                "inputs = keras.Input((28, 28, 1)); keras.Model(inputs, model(inputs))."
            )
        if len(keras_model.inputs) != 1 or len(keras_model.outputs) != 1:
            raise InvalidValue(f"Model '{name}' must have one input and one output to be a classifier.")
        self.keras_model = keras_model
        self.name = name
        self.source = name  # the argument of load_classifier: how to find it again
        self.scale, self.offset = _finite("scale", scale), _finite("offset", offset)
        self.card = dict(card or {})
        self._bfloat16: Classifier | None = None
        self.compiled: dict[Any, Any] = {}  # functions traced for this model; they live and die with it
        shape = tuple(keras_model.input_shape[1:])
        self._input_shape = shape
        self._model_logits, self.notes = strip_softmax(keras_model)
        for weight in keras_model.weights:
            if not np.all(np.isfinite(np.asarray(weight, "float32"))):
                raise InvalidValue(f"Model '{name}' has NaN or infinite weights in '{weight.path}'. Train it again.")
        self._predict = tf.function(self._probabilities, autograph=False, reduce_retracing=True)

    @classmethod
    def from_keras(
        cls,
        model: keras.Model,
        *,
        scale: Numbers = 1.0,
        offset: Numbers = 0.0,
        name: str | None = None,
        card: dict[str, Any] | None = None,
    ) -> Classifier:
        """Wrap a model in memory.

        A model trained on 0-255 pixels needs ``scale=255``; on pixels in [-1, 1], ``scale=2, offset=-1``; on
        standardised pixels, ``scale=1/std, offset=-mean/std``.
        """
        return cls(model, name=name or str(getattr(model, "name", "model")), scale=scale, offset=offset, card=card)

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        trust: bool = False,
        *,
        custom_objects: Mapping[str, Any] | None = None,
        architecture: keras.Model | str | PathLike[str] | None = None,
    ) -> Classifier:
        """Read a saved model: HDF5 of any Keras generation, ``.keras``, weights with their architecture, a SavedModel.

        Args:
            path: The file, or the folder of a SavedModel.
            trust: Allows code embedded in the file (Lambda layers, a SavedModel) to run.
            custom_objects: Your own layer classes and functions, by the names that the file gives them.
            architecture: For a file of weights alone: the model, or the file that holds ``model.to_json()``; by default
                the JSON file beside the weights.
        """
        file = Path(path)
        network = architecture if architecture is None or isinstance(architecture, keras.Model) else Path(architecture)
        model = read_model(file, trust=trust, custom_objects=custom_objects, architecture=network)
        card = read_card(file) if file.is_file() and file.suffix != ".keras" else {}
        scale, offset = card.get("scale", 1.0), card.get("offset", 0.0)
        return cls(model, name=file.stem, scale=scale, offset=offset, card=card)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the Keras model as HDF5 with its model card, whole or not at all."""
        file = Path(path)
        scaling = {"scale": self.scale.tolist(), "offset": self.offset.tolist()}
        write_model(self.keras_model, file, self.card | scaling)
        return file

    def rescaled(self, scale: Numbers | None, offset: Numbers | None) -> Classifier:
        """The same model fed with other pixel units; None keeps what it has."""
        if scale is None and offset is None:
            return self
        other = Classifier(
            self.keras_model,
            name=self.name,
            scale=self.scale if scale is None else scale,
            offset=self.offset if offset is None else offset,
            card=self.card,
        )
        other.source = self.source
        return other

    def in_bfloat16(self) -> Classifier:
        """A copy that computes in bfloat16, with weights and logits in float32.

        It is created once; each call updates its weights.
        """

        def clone(layer: keras.Layer) -> keras.Layer:
            return type(layer).from_config({**layer.get_config(), "dtype": "mixed_bfloat16"})

        if self._bfloat16 is None:
            model = keras.models.clone_model(self.keras_model, clone_function=clone)
            self._bfloat16 = Classifier(model, name=self.name, scale=self.scale, offset=self.offset)
        self._bfloat16.keras_model.set_weights(self.keras_model.get_weights())
        return self._bfloat16

    def __repr__(self) -> str:
        return f"Classifier {self.name}: {self.keras_model.count_params():,} parameters, {self.classes} classes"

    def to_dict(self) -> dict[str, Any]:
        """Name, digest and model card, ready for JSON."""
        return {"schema": 1, "name": self.name, "digest": self.digest, "card": self.card}

    @property
    def classes(self) -> int:
        """The number of classes."""
        return max(2, self.keras_model.output_shape[-1])

    @property
    def dataset(self) -> str:
        """The data set that the model card names; raises ``InvalidValue`` for a model without one."""
        if "dataset" not in self.card:
            raise InvalidValue(
                f"Model '{self.name}' does not state which data set it was trained on. "
                "Load one with advlab.load_dataset and pass it."
            )
        return self.card["dataset"]

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that depend on layers, their settings, weights and pixel scaling; not on names."""
        sha = hashlib.sha256()
        for layer in self.keras_model.layers:
            sha.update(json.dumps([type(layer).__name__, _settings(layer)], sort_keys=True).encode())
        for weight in self.keras_model.weights:
            array = np.ascontiguousarray(weight)
            sha.update(f"{array.shape} {array.dtype}".encode())
            sha.update(array.tobytes())
        sha.update(self.scale.tobytes() + self.offset.tobytes())
        return sha.hexdigest()[:16]

    @property
    def activation_size(self) -> int:
        """Numbers computed for one image, over all layers: what a batch costs in memory."""
        shapes = [getattr(getattr(layer, "output", None), "shape", ()) for layer in self.keras_model.layers]
        return max(sum(math.prod(d or 1 for d in shape[1:]) for shape in shapes), 1000)

    def adapted(self, x: tf.Tensor) -> tf.Tensor:
        """The input of the Keras model for images ``(n, h, w, c)``: scaled, and in the shape it expects."""
        scaled = x * self.scale + self.offset if np.any(self.scale != 1) or np.any(self.offset != 0) else x
        shape = [-1 if d is None else d for d in self._input_shape]
        return scaled if len(shape) == 3 else tf.reshape(scaled, [tf.shape(x)[0], *shape])

    def logits(self, x: tf.Tensor) -> tf.Tensor:
        """float32 ``(n, k)`` from images ``(n, h, w, c)``; differentiable, and traceable in a ``tf.function``."""
        logits = tf.cast(self._model_logits(self.adapted(x)), tf.float32)
        return tf.concat([tf.zeros_like(logits), logits], 1) if logits.shape[-1] == 1 else logits

    def probabilities(self, x: np.ndarray, batch_size: int | None = None) -> np.ndarray:
        """float32 ``(n, k)`` from images float32 ``(n, h, w, c)`` in [0, 1], in batches of bounded memory."""
        self.check_images(x.shape[1:])
        size = batch_size or int(np.clip(2**25 // self.activation_size, 16, 2000))
        batches = [self._predict(tf.constant(x[i : i + size], tf.float32)).numpy() for i in range(0, len(x), size)]
        return np.concatenate(batches) if batches else np.zeros((0, self.classes), np.float32)

    def repeat_difference(self, x: np.ndarray, before: np.ndarray) -> np.ndarray:
        """float32 ``(m,)``: the largest change of each image's probabilities, ``before (n, k)``, when predicted again.

        Only for the first 1,000 images: a classifier with random layers differs on nearly all.
        """
        return np.abs(self.probabilities(x[:1000]) - before[:1000]).max(1, initial=0)

    def check(self, dataset: Dataset) -> None:
        """Raise ``Mismatch`` where the images or labels of a data set do not fit this classifier."""
        self.check_images(dataset.x.shape[1:])
        if len(dataset.y) and dataset.y.max() >= self.classes:
            raise Mismatch(
                f"Model '{self.name}' has {self.classes} classes, but data set '{dataset.name}' has the label "
                f"{dataset.y.max()}. Choose the data set that the model was trained on with --dataset."
            )

    def check_images(self, shape: Sequence[int]) -> None:
        """Raise ``Mismatch`` where images of shape ``(h, w, c)`` do not fit the model's input."""
        expected = self._input_shape
        if len(expected) == 3:
            fits = len(shape) == 3 and all(e is None or e == s for e, s in zip(expected, shape, strict=True))
        else:
            fits = len(shape) == 3 and (None in expected or int(np.prod(expected)) == int(np.prod(shape)))
        if not fits:
            raise Mismatch(
                f"Model '{self.name}' takes inputs of shape {expected}, but the images have shape {tuple(shape)}. "
                "Choose the data set that the model was trained on with --dataset."
            )
        for name, values in (("scale", self.scale), ("offset", self.offset)):
            if values.ndim and len(values) != shape[-1]:
                raise Mismatch(
                    f"Model '{self.name}' has {len(values)} values of {name}, the images {shape[-1]} channels. "
                    "Give one value, or one for each channel."
                )

    def _probabilities(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(self.logits(x))


def load_classifier(
    name_or_path: str | PathLike[str],
    *,
    trust: bool = False,
    custom_objects: Mapping[str, Any] | None = None,
    architecture: keras.Model | str | PathLike[str] | None = None,
) -> Classifier:
    """A saved classifier by name (``fashion``: produced in the workspace, else shipped) or by path.

    The other arguments are those of ``Classifier.load``. Raises ``UnknownName`` with the nearest name, or
    ``InvalidFile``.
    """
    path = workspace.find_weights(str(name_or_path))
    classifier = Classifier.load(path, trust, custom_objects=custom_objects, architecture=architecture)
    classifier.source = str(name_or_path)
    return classifier


def _finite(name: str, value: Numbers) -> np.ndarray:
    array = np.asarray(value, np.float32)
    if array.ndim > 1 or not np.all(np.isfinite(array)) or (name == "scale" and np.any(array == 0)):
        raise InvalidValue(f"{name} must be a finite number, or one for each channel. Got {value!r}.")
    return array


def _settings(layer: keras.Layer) -> Any:
    """The configuration of a layer without names and what only training uses: what determines its output for inputs."""
    try:
        return _inference_config(layer.get_config())
    except NotImplementedError:
        return None


_NAMES = {"name", "registered_name", "module", "inbound_nodes", "input_layers", "output_layers", "build_config"}
_IGNORED = _NAMES | {"dtype", "seed", "trainable", "batch_shape", "batch_input_shape", "build_input_shape"}
_TRAINING_SUFFIXES = ("_initializer", "_regularizer", "_constraint")


def _inference_config(value: Any) -> Any:
    if isinstance(value, dict):
        relevant = {k: v for k, v in value.items() if k not in _IGNORED and not k.endswith(_TRAINING_SUFFIXES)}
        return {key: _inference_config(inner) for key, inner in relevant.items()}
    if isinstance(value, list | tuple):
        return [_inference_config(inner) for inner in value]
    return value if isinstance(value, bool | int | float | str | None) else type(value).__name__
