"""A Keras 3 model from the configuration that a file of any Keras generation holds.

Nothing in a file can name code to run: each class is looked up in a Keras namespace, or among the custom objects that
the user gives, and called with settings that its constructor accepts. What older generations called differently is
renamed, what no longer has a meaning is dropped, and what is not understood is refused by name.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import keras

from advlab.classifiers.formats import config as saved
from advlab.classifiers.formats import values
from advlab.classifiers.formats.config import Entry, explain, name_of, parts, plain, valid_name
from advlab.classifiers.formats.graph import connect
from advlab.classifiers.formats.operations import build_operation, is_operation
from advlab.classifiers.input_defenses import InputDefense
from advlab.classifiers.mixture import Mixture
from advlab.errors import InvalidFile

_RENAMED = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "CuDNNGRU": "GRU",
    "CuDNNLSTM": "LSTM",
    "UnifiedGRU": "GRU",
    "UnifiedLSTM": "LSTM",
}
# These read other files or process text; none is part of an image classifier.
_NOT_FOR_IMAGES = ("StringLookup", "IntegerLookup", "TextVectorization", "HashedCrossing", "Hashing")
_OF_OTHER_LIBRARIES = ("TorchModuleWrapper", "FlaxLayer", "JaxLayer")
_RENAMED_SETTINGS = {("LeakyReLU", "alpha"): "negative_slope"}
# Settings that not every class has, and that do not change what a layer computes on one batch.
_WITHOUT_EFFECT = {
    "batch_input_shape",
    "batch_shape",
    "dtype",
    "fused",
    "implementation",
    "input_dtype",
    "input_length",
    "key_shape",
    "query_shape",
    "renorm_momentum",
    "rng_type",
    "seed",
    "stateful",
    "trainable",
    "value_shape",
}


def build_model(
    config: Entry, generation: int, *, trust: bool, custom_objects: Mapping[str, Any] | None = None
) -> keras.Model:
    """The model that ``config`` describes, with fresh weights. ``generation`` is the major version of its Keras.

    ``custom_objects`` are the user's own layer classes and functions by the name in the file. Raises ``InvalidFile``
    that names the layer where one is unknown, damaged, or holds code and ``trust`` is False.
    """
    class_name, _ = parts(config)
    if class_name not in saved.MODELS or saved.is_foreign(config):
        raise saved.unknown_model(class_name)
    custom = dict(custom_objects or {})
    # An empty scope would hide the one that the caller may be in.
    with keras.saving.custom_object_scope(custom) if custom else contextlib.nullcontext():
        return _Builder(generation, trust, custom).model(config)


@dataclass(frozen=True)
class _Builder:
    generation: int
    trust: bool
    custom: Mapping[str, Any]

    def model(self, entry: Entry) -> keras.Model:
        class_name, config = parts(entry)
        name = valid_name(str(config["name"])) if isinstance(config, Mapping) and config.get("name") else None
        layers = [saved.without_operator(layer) for layer in saved.layers_of(config)]
        try:
            if class_name == "Sequential":
                return keras.Sequential(self._stack(entry, layers), name=name)
            inputs, outputs = connect(config, layers, {name_of(layer): self._operation(layer) for layer in layers})
            return keras.Model(*(ends[0] if len(ends) == 1 else ends for ends in (inputs, outputs)), name=name)
        except values.FAILURES as error:
            raise InvalidFile(f"the layers of model '{name}' do not fit each other: {explain(error)}.") from error

    def _stack(self, entry: Entry, layers: list[Any]) -> list[Any]:
        first, shape = name_of(layers[0]), saved.shape_of(entry)
        if shape is None:
            raise InvalidFile(
                f"the model states no input shape: its first layer '{first}' has none. Open it "
                "with the Keras that wrote it, call model.build(shape) and save it again."
            )
        if parts(layers[0])[0] == "InputLayer":
            return [_input(layers[0]["config"], first, shape), *map(self.layer, layers[1:])]
        return [_input({}, f"{first}_input", shape), *map(self.layer, layers)]

    def _operation(self, entry: Entry) -> Any:
        if parts(entry)[0] != "InputLayer":
            is_keras_operation = is_operation(entry) and not saved.is_foreign(entry)
            return build_operation(entry) if is_keras_operation else self.layer(entry)
        name, shape = name_of(entry), saved.shape_of(entry)
        if shape is None:
            raise InvalidFile(f"the input '{name}' of the model has no shape. Save the model again.")
        return _input(entry["config"], name, shape)

    def layer(self, entry: Entry) -> keras.Layer:
        class_name, config = parts(entry)
        name = name_of(entry)
        given = self._given(entry)
        if given is not None:
            return _from_config(given, entry)
        if class_name == "Lambda":
            return self._lambda(config, name)
        if class_name in saved.CODE and not self.trust:
            raise saved.code(class_name, name)
        if saved.is_foreign(entry):
            return self._registered(entry)
        if class_name in saved.MODELS:
            return self.model(entry)
        current_name = _RENAMED.get(class_name, class_name)
        if current_name in _NOT_FOR_IMAGES:
            raise InvalidFile(f"layer '{name}' ({class_name}) processes text, and this is for classifiers of images.")
        if current_name in _OF_OTHER_LIBRARIES:
            raise InvalidFile(
                f"layer '{name}' ({class_name}) calls code of another library, which the file does not hold. Build the "
                "model in Python and use advlab.Classifier.from_keras(model)."
            )
        cls = _layer_classes().get(current_name)
        if cls is None:
            return self._registered(entry)
        settings = self._settings(cls, config, name) | {"name": valid_name(name)}
        if current_name == "BatchNormalization" and isinstance(settings.get("axis"), list):
            settings["axis"] = settings["axis"][0]
        if current_name == "GRU" and self.generation < 3:
            settings.setdefault("reset_after", class_name == "CuDNNGRU")
        try:
            # Bidirectional copies its layer through a configuration of its own, which must find this function again.
            with keras.saving.custom_object_scope({"keras2_hard_sigmoid": values.keras2_hard_sigmoid}):
                return cls(**settings)
        except values.FAILURES as error:
            raise InvalidFile(f"layer '{name}' ({class_name}) cannot be built: {explain(error)}.") from error

    def _settings(self, cls: type, config: Entry, name: str) -> dict[str, Any]:
        accepted = values.accepted(cls)
        settings = {}
        for saved_key, value in config.items():
            key = _RENAMED_SETTINGS.get((cls.__name__, saved_key), saved_key)
            if key in accepted and key != "stateful":
                settings[key] = self._setting(key, value, name)
            elif not _is_neutral(key, value):
                raise InvalidFile(
                    f"layer '{name}' ({cls.__name__}) has the setting '{key}' = {str(value)[:40]}, which this Keras "
                    "does not have. Build the model in Python and use advlab.Classifier.from_keras(model)."
                )
        return {key: value for key, value in settings.items() if value is not values.DEFAULT}

    def _setting(self, key: str, value: Any, name: str) -> Any:
        if key in ("layer", "backward_layer", "cell") and isinstance(value, Mapping):
            return self.layer(value)
        if key in ("cell", "cells", "layers") and isinstance(value, list):
            return [self.layer(layer) for layer in value]
        if key.endswith("activation"):
            is_layer = isinstance(value, Mapping) and value.get("class_name") != "function"
            return self.layer(value) if is_layer else values.activation(value, name, self.generation, self.own)
        if values.is_helper(key):
            return values.helper(key, value)
        return values.dtype(value) if key == "dtype" else plain(value)

    def own(self, name: str) -> Any:
        """A class or function that the user gives or, where the file is trusted, has registered with Keras; or None."""
        return self.custom.get(name) or (keras.saving.get_registered_object(name) if self.trust else None)

    def _given(self, entry: Entry) -> Any:
        """The class among the custom objects that an entry names; None where it names another."""
        names = [str(entry.get("registered_name")), str(entry["class_name"])]
        for name in [*names, *(name.rpartition(">")[2] for name in names)]:
            cls = self.custom.get(name)
            if inspect.isclass(cls) and issubclass(cls, keras.Operation):
                return cls
        return None

    def _registered(self, entry: Entry) -> keras.Layer:
        """A class that this process has registered with Keras: the file chooses it by name, so only with ``trust``."""
        class_name = str(entry["class_name"])
        cls: Any = keras.saving.get_registered_object(str(entry.get("registered_name") or class_name))
        if inspect.isclass(cls) and issubclass(cls, (InputDefense, Mixture)):
            return self._own_layer(cls, entry)
        if not self.trust or not inspect.isclass(cls) or not issubclass(cls, keras.Layer):
            raise saved.unknown_layer(class_name, name_of(entry))
        return _from_config(cls, entry)

    def _own_layer(self, cls: Any, entry: Entry) -> keras.Layer:
        """One of our own, which needs no trust: of the file it takes its settings and its name."""
        _, config = parts(entry)
        settings = {key: plain(config[key]) for key in cls().settings if key in config}
        return _from_config(cls, {**entry, "config": {**settings, "name": valid_name(name_of(entry))}})

    def _lambda(self, config: Entry, name: str) -> keras.Layer:
        function = config.get("function")
        named = saved.named_function(config)
        if named is not None:
            if not callable(self.own(named)):
                raise saved.unknown_function(named, name)
            return keras.layers.Lambda(self.own(named), name=valid_name(name))
        if not self.trust:
            raise saved.code("Lambda", name)
        if isinstance(function, list) and len(function) == 3:
            function = _as_lambda(*function)
        if not isinstance(function, Mapping) or function.get("class_name") != "__lambda__":
            raise InvalidFile(f"the function of layer '{name}' (Lambda) is damaged: {str(function)[:60]}.")
        settings = {key: plain(config[key]) for key in ("trainable", "arguments") if key in config}
        shape = config.get("output_shape")
        if isinstance(shape, list) and all(size is None or isinstance(size, int) for size in shape):
            settings["output_shape"] = tuple(shape)
        settings |= {"name": valid_name(name), "dtype": values.dtype(config.get("dtype")), "function": function}
        try:
            return keras.layers.Lambda.from_config(settings, safe_mode=False)
        except values.FAILURES as error:
            raise InvalidFile(
                f"the code in layer '{name}' (Lambda) cannot be loaded, most likely because another version of Python "
                f"wrote it: {explain(error)}. Build the model in Python and use advlab.Classifier.from_keras(model)."
            ) from error


@cache
def _layer_classes() -> dict[str, Any]:
    """Keras' layers by the name that files give them: that of the class, which is not always the public one."""
    public = {name: cls for name, cls in vars(keras.layers).items() if inspect.isclass(cls)}
    classes = {name: cls for name, cls in public.items() if issubclass(cls, keras.Layer)}
    return {cls.__name__: cls for cls in classes.values()} | classes


def _from_config(cls: Any, entry: Entry) -> Any:
    class_name, config = parts(entry)
    name = name_of(entry)
    try:
        layer = cls.from_config(dict(config))
    except values.FAILURES as error:
        raise InvalidFile(f"layer '{name}' ({class_name}) cannot be built: {explain(error)}.") from error
    layer.name = valid_name(name)
    return layer


def _is_neutral(key: str, value: Any) -> bool:
    return (
        value in (None, False, [], {}, "")
        or key in _WITHOUT_EFFECT
        or values.is_helper(key)
        or (key == "groups" and value == 1)
    )


def _as_lambda(code: Any, defaults: Any, closure: Any) -> Entry:
    return {"class_name": "__lambda__", "config": {"code": code, "defaults": defaults, "closure": closure}}


def _input(config: Entry, name: str, shape: list[int | None]) -> Any:
    try:
        return keras.Input(batch_shape=tuple(shape), dtype=values.dtype(config.get("dtype")), name=valid_name(name))
    except values.FAILURES as error:
        raise InvalidFile(f"the input '{name}' of shape {shape} cannot be built: {explain(error)}.") from error
