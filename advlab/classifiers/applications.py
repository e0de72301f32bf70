"""The networks of keras.applications by name, with the classes of some weights, and how their images are prepared."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras

from advlab.classifiers.inputs import Size
from advlab.classifiers.settings import Settings
from advlab.errors import InvalidValue

# Module of keras.applications -> what its preprocess_input does; that of the others changes nothing in 0-255.
_MODES = {
    "densenet": "torch",
    "inception_resnet_v2": "tf",
    "inception_v3": "tf",
    "mobilenet": "tf",
    "mobilenet_v2": "tf",
    "nasnet": "tf",
    "resnet": "caffe",
    "resnet_v2": "tf",
    "vgg16": "caffe",
    "vgg19": "caffe",
    "xception": "tf",
}


def find_application(name: str) -> Callable[..., keras.Model] | None:
    """The function of a network, ``mobilenet_v2`` or ``MobileNetV2``; None where there is none of that name."""
    functions = {key: value for key, value in vars(keras.applications).items() if inspect.isfunction(value)}
    wanted = name.lower().replace("_", "").replace("-", "")
    return next((function for key, function in functions.items() if key.lower() == wanted), None)


def build_application(function: Callable[..., keras.Model], classes: int | None, size: Size | None) -> keras.Model:
    """The network with fresh weights; None: the 1,000 classes and the size of ImageNet.

    Raises ``InvalidValue`` for a size that it does not take.
    """
    options: dict[str, Any] = {} if size is None else {"input_shape": (*size, 3)}
    try:
        return function(weights=None, classes=classes or 1000, **options)
    except ValueError as error:
        raise InvalidValue(
            f"{function.__name__} of keras.applications takes no images of this size: {error} Give another one with "
            "--resize (resize= in Python)."
        ) from error


def application_settings(function: Callable[..., keras.Model]) -> Settings:
    """How the images of a network are prepared, as keras.applications documents it."""
    mode = _MODES.get(function.__module__.rpartition(".")[2])
    return Settings(scale=255.0) if mode is None else Settings(preprocess=mode)
