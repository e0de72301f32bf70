"""The logits of a Keras image classifier, whatever its input shape, pixel scale and last layer."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from advlab.classifiers import devices
from advlab.classifiers.backward import StandIn, check_stand_ins, replaced_calls, stand_in
from advlab.classifiers.card import card_if_any
from advlab.classifiers.digest import network_digest
from advlab.classifiers.files import read_loss, read_model, write_model
from advlab.classifiers.input_defenses import defenses_of, make_defense
from advlab.classifiers.inputs import ImageShape, InputAdapter, Numbers, Size, preprocessing
from advlab.classifiers.logits import strip_softmax
from advlab.classifiers.outputs import loss_name, select_output
from advlab.classifiers.settings import Settings, read_settings, settings_path, write_settings
from advlab.data.conversion import to_unit_range
from advlab.data.dataset import Dataset
from advlab.errors import InvalidValue, Mismatch
from advlab.lazy import Images, LazyImages

_IN_CARD = ("scale", "offset", "preprocess", "output", "resize")  # settings that the card of a saved classifier keeps
_MAX_OUTSIDE = 0.5  # images crafted elsewhere may leave [0, 1] by their budget


class Classifier:
    """A classifier of ``k`` classes over images float32 ``(n, h, w, c)`` in [0, 1].

    The model behind it is given ``scale * image + offset`` (numbers, or one for each channel), in the shape and order
    it expects: ``(h, w, c)``, ``(c, h, w)``, ``(h, w)`` or flat. It always runs in inference mode. A final softmax is
    stripped, so ``logits`` are pre-activations; one unit ``z`` becomes the two logits ``(0, z)``. What cannot be
    stripped falls back to log p, recorded in ``notes`` as ``log-probabilities``.
    """

    def __init__(
        self,
        keras_model: keras.Model,
        *,
        name: str,
        settings: Settings | None = None,
        card: dict[str, Any] | None = None,
        loss: str = "",
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
        devices.prepare()
        self.name = name
        self.source = name  # the argument of load_classifier: how to find it again
        self.settings = settings or Settings()
        self.keras_model = select_output(keras_model, name, self.settings.output_layer)
        pixels = preprocessing(*self.settings.pixel_units)
        self.adapted = InputAdapter(self.keras_model, name, pixels, self.settings.resize)
        self.card = dict(card or {})
        self.backward: dict[str, StandIn] = {}
        self._bfloat16: Classifier | None = None
        self._plain, self._with_stand_ins = self, dict[Any, Classifier]()
        self.compiled: dict[Any, Any] = {}  # functions traced for this model; they live and die with it
        self.loss = loss or loss_name(getattr(keras_model, "loss", None))  # what it was trained with, "" where unknown
        self._model_logits, self.notes = strip_softmax(
            self.keras_model, name, output=self.settings.output, loss=self.loss
        )
        for weight in self.keras_model.weights:
            if not np.all(np.isfinite(np.asarray(weight, "float32"))):
                raise InvalidValue(f"Model '{name}' has NaN or infinite weights in '{weight.path}'. Train it again.")
        if self.settings.classes is not None:
            class_names = [str(class_name) for class_name in self.settings.classes]
            if len(class_names) != self.classes:
                raise InvalidValue(
                    f"Model '{name}' has {self.classes} classes. Got {len(class_names)} names for them; give one for "
                    "each, in the order of the model's outputs."
                )
            self.card["class_names"] = class_names
        self._require_vocabulary_that_fits()
        self._predict = tf.function(self._probabilities, autograph=False, reduce_retracing=True)

    @classmethod
    def from_keras(
        cls,
        model: keras.Model,
        *,
        scale: Numbers | None = None,
        offset: Numbers | None = None,
        preprocess: str | None = None,
        output: str | None = None,
        output_layer: str | None = None,
        resize: Size | None = None,
        class_names: Sequence[str] | None = None,
        name: str | None = None,
        card: dict[str, Any] | None = None,
    ) -> Classifier:
        """Wrap a model in memory.

        Args:
            model: A Keras 3 model with one input, the image.
            scale: The model is given ``scale * x + offset`` for images x in [0, 1]; one number, or one for each
                channel. A model trained on 0-255 pixels needs ``scale=255``; on pixels in [-1, 1], ``scale=2,
                offset=-1``; on standardised pixels, ``scale=1/std, offset=-mean/std``.
            offset: See ``scale``.
            preprocess: Instead of both: ``"tf"`` ([-1, 1]), ``"torch"`` (standardised by ImageNet) or ``"caffe"``
                (0-255, blue first, less the mean of ImageNet), the modes of keras.applications.
            output: What the last layer outputs where its activation does not tell: ``"probability"``, ``"logit"``, or
                ``"score"`` for one number whose sign decides.
            output_layer: The layer that scores the classes, where that is not the only output.
            resize: Height and width that images of files are made to have, where the model leaves them open.
            class_names: A name for each class.
            name: How the classifier is called in results; the model's own name by default.
            card: A model card, as JSON holds it.

        Raises:
            InvalidValue: For what is no classifier of images, naming the output or input that is in the way.
        """
        return cls(
            model,
            name=name or str(getattr(model, "name", "model")),
            settings=Settings(scale, offset, preprocess, output, output_layer, resize, class_names),
            card=card,
        )

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        trust: bool = False,
        *,
        custom_objects: Mapping[str, Any] | None = None,
        architecture: keras.Model | str | PathLike[str] | None = None,
        settings: Settings | None = None,
    ) -> Classifier:
        """Read a saved model: HDF5 of any Keras generation, ``.keras``, weights with their architecture, a SavedModel.

        Args:
            path: The file, or the folder of a SavedModel.
            trust: Allows code embedded in the file (Lambda layers, a SavedModel) to run.
            custom_objects: Your own layer classes and functions, by the names that the file gives them.
            architecture: For a file of weights alone: the model, or the file that holds ``model.to_json()``; by default
                the JSON file beside the weights.
            settings: How it is fed and read. What is not given is taken from the settings beside the file
                (``save_settings``), else from its model card.
        """
        file = Path(path)
        network = architecture if architecture is None or isinstance(architecture, keras.Model) else Path(architecture)
        model = read_model(file, trust=trust, custom_objects=custom_objects, architecture=network)
        card = card_if_any(file)
        recorded = Settings(**{key: card.get(key) for key in _IN_CARD})
        settings = (settings or Settings()).over(read_settings(file)).over(recorded)
        return cls(model, name=file.stem, settings=settings, card=card, loss=read_loss(file))

    @property
    def scale(self) -> np.ndarray:
        """float32: one number, or one for each channel, by which images are multiplied."""
        return np.asarray(self.adapted.pixels.scale)

    @property
    def offset(self) -> np.ndarray:
        """float32: one number, or one for each channel, which is added after that."""
        return np.asarray(self.adapted.pixels.offset)

    @property
    def record(self) -> dict[str, Any]:
        """What an archive keeps of it: where it was loaded from, how it is fed and read."""
        said = {key: getattr(self.settings, key) or "" for key in ("preprocess", "output", "output_layer")}
        return {"model": self.source, "scale": self.scale.tolist(), "offset": self.offset.tolist(), **said}

    @property
    def image_shape(self) -> ImageShape | None:
        """Height, width and channels of the images (None: any), or None where the model's input does not tell."""
        return self.adapted.image_shape

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the Keras model as HDF5 with its model card, whole or not at all.

        ``load_classifier`` opens the file with the same pixel units and output. Raises ``InvalidValue`` for a model
        that would not open, such as one with an own layer that is not registered with Keras.
        """
        file = Path(path)
        stated = {key: value for key, value in self.settings.to_dict().items() if key in _IN_CARD}
        if "preprocess" not in stated:
            stated |= {"scale": self.scale.tolist(), "offset": self.offset.tolist()}
        # The layer that scores the classes is the only output of what is written.
        write_model(self.keras_model, file, {k: v for k, v in self.card.items() if k not in _IN_CARD} | stated)
        if settings_path(file).is_file():
            self.save_settings(file)  # those of the file that was there would win over the card
        return file

    def save_settings(self, path: str | PathLike[str]) -> Path:
        """Write how this classifier is fed and read into a small TOML file beside the model file ``path``.

        ``load_classifier`` reads it whenever it opens that model. Returns the path written.
        """
        return write_settings(path, dataclasses.replace(self.settings, classes=self.card.get("class_names")))

    def with_network(self, network: keras.Model, *, name: str | None = None, output: str | None = None) -> Classifier:
        """Another network of the same input in place of this one's; what is None is kept."""
        settings = dataclasses.replace(
            self.settings, output=output or self.settings.output, output_layer=None, classes=None
        )
        other = Classifier(network, name=name or self.name, settings=settings, card=self.card)
        other.source = self.source
        return other

    def with_defense(self, defense: str | Callable[..., Any], **settings: Any) -> Classifier:
        """This classifier behind an input defence, which is saved with it: ``with_defense("jpeg", quality=50)``.

        Args:
            defense: ``bit-depth`` (``bits``), ``median-smoothing`` (``size``), ``jpeg`` (``quality``),
                ``total-variation`` (``weight``, ``steps``) or ``random-resizing`` (``smallest``); or a preprocessor of
                the adversarial-robustness-toolbox, which has no gradient and cannot be saved.
            **settings: Those in brackets.

        Raises:
            UnknownName: For another defence or setting.
            InvalidValue: For a setting out of range, a classifier that has this defence already, or one whose image
                shape is open.
        """
        self.require_images("An input defence")
        layer = make_defense(defense, settings)
        called = layer.name.replace("_", "-")
        if any(type(present) is type(layer) for present in defenses_of(self.keras_model)):
            raise InvalidValue(
                f"Model '{self.name}' has the input defence '{called}' already. Wrap the undefended model, with the "
                "settings that you want."
            )
        shape = self.image_shape
        if shape is None or None in shape:
            raise InvalidValue(
                f"An input defence needs to know the shape of the images; model '{self.name}' leaves it open "
                f"({self.adapted.shape}). Build the model with a fixed input shape."
            )
        layer.check(shape)
        inputs = keras.Input(shape, name="image")
        model = keras.Model(inputs, self.keras_model(self.adapted.as_layers(layer(inputs))), name=f"{layer.name}_model")
        stated = Settings(output=self.settings.output)
        return Classifier(model, name=f"{self.name}-{called}", settings=stated, card=self.card)

    def in_bfloat16(self) -> Classifier:
        """A copy that computes in bfloat16, with weights and logits in float32.

        It is created once; each call updates its weights.
        """

        def clone(layer: Any) -> Any:
            if not isinstance(layer, keras.Layer):
                return layer  # an operation computes in the type of its inputs
            return type(layer).from_config({**layer.get_config(), "dtype": "mixed_bfloat16"})

        self.require_images("Arithmetic in bfloat16")  # the numbers of words would be rounded
        if self._bfloat16 is None:
            model = keras.models.clone_model(self.keras_model, clone_function=clone)
            self._bfloat16 = self.with_network(model).with_backward(self.backward)
        self._bfloat16.keras_model.set_weights(self.keras_model.get_weights())
        return self._bfloat16

    def with_backward(self, stand_ins: Mapping[str, StandIn]) -> Classifier:
        """The same classifier, with gradients that are taken from a stand-in where a layer has none of use (BPDA).

        It predicts the same and has the same digest and weights; the model itself is not changed. An attack on it
        records the stand-ins, as ``advlab.attack(..., backward=...)`` does. Earlier stand-ins are replaced.

        Args:
            stand_ins: Name of a layer, also of one inside another model -> ``"identity"`` (the gradient passes
                straight through), ``"smoothed"`` (the slope of each unit, measured over steps that span its jumps and
                flats) or a TensorFlow function of the layer's inputs, of the layer's output shape.

        Raises:
            UnknownName: For a layer that the model does not have.
        """
        plain = self._plain
        if not stand_ins:
            return plain
        key = tuple(sorted(stand_ins.items(), key=lambda item: item[0]))
        if key not in plain._with_stand_ins:
            check_stand_ins(plain.keras_model, stand_ins)
            wrappers = {layer: stand_in(layer, function) for layer, function in key}

            def logits(x: tf.Tensor) -> tf.Tensor:
                with replaced_calls(plain.keras_model, wrappers):
                    return plain._model_logits(x)

            other = copy.copy(plain)
            other.backward, other._model_logits, other.compiled, other._bfloat16 = dict(key), logits, {}, None
            other._predict = tf.function(other._probabilities, autograph=False, reduce_retracing=True)
            plain._with_stand_ins[key] = other
        return plain._with_stand_ins[key]

    def __repr__(self) -> str:
        return f"Classifier {self.name}: {self.keras_model.count_params():,} parameters, {self.classes} classes"

    def to_dict(self) -> dict[str, Any]:
        """Name, digest and model card, ready for JSON."""
        card = {key: value for key, value in self.card.items() if key != "vocabulary"}
        return {"schema": 1, "name": self.name, "digest": self.digest, "card": card}

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Of a model of texts the word of each number, see ``advlab.text``; empty for images."""
        return tuple(self.card.get("vocabulary", ()))

    @property
    def classes(self) -> int:
        """The number of classes."""
        return max(2, self.keras_model.output_shape[-1])

    @property
    def dataset(self) -> str:
        """The data set that the model card names; raises ``InvalidValue`` for a model without one."""
        if "dataset" not in self.card:
            raise InvalidValue(
                f"Model '{self.name}' does not state which data set it was trained on. Name one with --dataset (in "
                "Python give its name, its path, or a pair of images and labels)."
            )
        return self.card["dataset"]

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that depend on layers, their settings, weights and pixel scaling; not on names."""
        pixels = self.adapted.pixels
        extra = f"{pixels.reverse} {self.settings.output}" if pixels.reverse or self.settings.output else ""
        return network_digest(self.keras_model, self.scale.tobytes() + self.offset.tobytes() + extra.encode())

    @property
    def activation_size(self) -> int:
        """Numbers computed for one image, over all layers: what a batch costs in memory."""
        shapes = [getattr(getattr(layer, "output", None), "shape", ()) for layer in _all_layers(self.keras_model)]
        return max(sum(math.prod(d or 1 for d in shape[1:]) for shape in shapes), 1000)

    def logits(self, x: tf.Tensor) -> tf.Tensor:
        """float32 ``(n, k)`` from images ``(n, h, w, c)``; differentiable, and traceable in a ``tf.function``."""
        logits = tf.cast(self._model_logits(self.adapted(x)), tf.float32)
        return tf.concat([tf.zeros_like(logits), logits], 1) if logits.shape[-1] == 1 else logits

    def probabilities(self, x: Images, batch_size: int | None = None, in_box: bool = True) -> np.ndarray:
        """float32 ``(n, k)`` from images float32 ``(n, h, w, c)`` in [0, 1], in batches of bounded memory.

        Integers up to 255 are divided by 255, with a warning. Raises ``InvalidValue`` for pixels far outside [0, 1],
        unless ``in_box`` is False, and ``Mismatch`` for images of another shape.
        """
        if not isinstance(x, LazyImages):
            x = to_unit_range(x, f"Images for model '{self.name}'")
        self.check_images(x.shape[1:])
        fitting = min(2**25 // self.activation_size, 2**23 // max(math.prod(x.shape[1:]), 1))
        size = batch_size or int(np.clip(fitting, 16, 2000))
        batches, start = [np.zeros((0, self.classes), np.float32)], 0
        while start < len(x):
            images = x[start : start + size]
            if in_box:
                self._require_near_box(images)
            try:
                batches.append(self._predict(tf.constant(images, tf.float32)).numpy())
                start += size
            except tf.errors.ResourceExhaustedError:  # the memory of the device
                if size == 1:
                    raise
                size //= 2
        return np.concatenate(batches)

    def repeat_difference(self, x: Images, before: np.ndarray) -> np.ndarray:
        """float32 ``(m,)``: the largest change of each image's probabilities, ``before (n, k)``, when predicted again.

        Only for the first 1,000 images: a classifier with random layers differs on nearly all.
        """
        return np.abs(self.probabilities(x[:1000]) - before[:1000]).max(1, initial=0)

    def check(self, dataset: Dataset) -> None:
        """Raise ``Mismatch`` where the images or labels of a data set do not fit this classifier."""
        self.check_images(dataset.x.shape[1:])
        if bool(dataset.vocabulary) != bool(self.vocabulary):
            kinds = {True: "texts", False: "images"}
            raise Mismatch(
                f"Model '{self.name}' is one of {kinds[bool(self.vocabulary)]}, and data set '{dataset.name}' holds "
                f"{kinds[bool(dataset.vocabulary)]}. Choose the data set that the model was trained on with --dataset."
            )
        if dataset.vocabulary != self.vocabulary:
            raise Mismatch(
                f"Model '{self.name}' numbers {len(self.vocabulary):,} words otherwise than data set '{dataset.name}' "
                f"does its {len(dataset.vocabulary):,}. Load the texts with the model's: "
                "load_dataset(path, vocabulary=classifier.vocabulary)."
            )
        if len(dataset.y) and dataset.y.max() >= self.classes:
            raise Mismatch(
                f"Model '{self.name}' has {self.classes} classes, but data set '{dataset.name}' has the label "
                f"{dataset.y.max()}. Choose the data set that the model was trained on with --dataset."
            )

    def require_images(self, what: str) -> None:
        """Raise ``InvalidValue`` for a model of texts; ``what`` works on pixels."""
        if self.vocabulary:
            raise InvalidValue(
                f"{what} works on pixels, and model '{self.name}' is one of texts. Attack it with 'hotflip', or run "
                "the suite 'text'."
            )

    def _require_vocabulary_that_fits(self) -> None:
        known = [
            layer.input_dim for layer in _all_layers(self.keras_model) if isinstance(layer, keras.layers.Embedding)
        ]
        if known and (size := len(self.vocabulary)) > min(known):
            raise InvalidValue(
                f"Model '{self.name}' has vectors for {min(known):,} words, and its vocabulary has {size:,}. Give it "
                "the one that it was trained with."
            )

    def check_images(self, shape: Sequence[int]) -> None:
        """Raise ``Mismatch`` where images of shape ``(h, w, c)`` do not fit the model's input."""
        self.adapted.check(shape)

    def _require_near_box(self, x: np.ndarray) -> None:
        if x.min() < -_MAX_OUTSIDE or x.max() > 1 + _MAX_OUTSIDE:
            raise InvalidValue(
                f"Images for model '{self.name}' have pixels from {x.min():g} to {x.max():g}, not in [0, 1]. Divide "
                "images in 0-255 by 255; a model that was trained on other pixels is opened with --scale 255 "
                "(scale=255 in Python)."
            )

    def _probabilities(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(self.logits(x))


def _all_layers(model: keras.Model) -> list[keras.Layer]:
    """The layers of a model, and of the models in it."""
    return [inner for layer in model.layers for inner in (_all_layers(layer) if hasattr(layer, "layers") else [layer])]
