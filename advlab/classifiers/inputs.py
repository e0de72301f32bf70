"""From images to the input of a Keras model: pixel units, order of the channels, and shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from advlab.errors import InvalidValue, Mismatch
from advlab.validation import is_int, shown

Numbers = float | Sequence[float] | np.ndarray
ImageShape = tuple[int | None, int | None, int | None]
Size = tuple[int, int]  # height and width
_MOST_PIXELS = 10_000  # of one side


class Preprocessing(NamedTuple):
    """What is done to the channels of images in [0, 1]: the order is reversed or kept, then ``scale * x + offset``."""

    scale: Numbers
    offset: Numbers
    reverse: bool = False


# Of ImageNet, as in keras.applications.
_MEAN, _STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
PREPROCESSING = {  # the modes of keras.applications.imagenet_utils.preprocess_input, for images in [0, 1]
    "tf": Preprocessing(2.0, -1.0),
    "torch": Preprocessing(1 / _STD, -_MEAN / _STD),
    "caffe": Preprocessing(255.0, np.array([-103.939, -116.779, -123.68]), reverse=True),
}


def preprocessing(scale: Numbers | None, offset: Numbers | None, mode: str | None) -> Preprocessing:
    """What ``scale`` and ``offset``, or one of the modes ``tf``, ``torch`` and ``caffe``, say; by default, nothing."""
    if mode is None:
        return Preprocessing(
            _finite("scale", 1.0 if scale is None else scale), _finite("offset", 0.0 if offset is None else offset)
        )
    if mode not in PREPROCESSING:
        raise InvalidValue(f"preprocess must be one of {', '.join(PREPROCESSING)}. Got {mode!r}.")
    if scale is not None or offset is not None:
        raise InvalidValue(f"preprocess='{mode}' sets scale and offset. Give it, or scale and offset, not both.")
    chosen = PREPROCESSING[mode]
    return Preprocessing(_finite("scale", chosen.scale), _finite("offset", chosen.offset), chosen.reverse)


class InputAdapter:
    """Images float32 ``(n, h, w, c)`` in [0, 1] as the input of a model: its pixel units, channel order and shape.

    ``size`` is the height and width of images where the model leaves them open; raises ``InvalidValue`` where the model
    has others.
    """

    def __init__(self, model: keras.Model, name: str, pixels: Preprocessing, size: Size | None = None):
        self.name = name
        self.pixels = pixels
        self.shape = tuple(model.input_shape[1:])
        self.channels_first = _is_channels_first(model, self.shape)
        self.image_shape = self._image_shape() if size is None else self._resized(as_size(size))
        if self.image_shape is not None and self.image_shape[2] is not None:
            self._check_channels(self.image_shape[2])

    def _resized(self, size: Size) -> ImageShape:
        """The shape of the images with a size that the model's input allows."""
        height, width = size
        shape = self._image_shape()
        if len(self.shape) == 1 and self.shape[0]:
            channels, rest = divmod(self.shape[0], height * width)
            shape = (height, width, channels) if channels in (1, 3) and not rest else shape
        if shape is not None and all(own in (None, given) for own, given in zip(shape, size, strict=False)):
            return height, width, shape[2]
        own = f"inputs of shape {self.shape}" if shape is None else f"images of {shape[0]} x {shape[1]} pixels"
        raise InvalidValue(
            f"Model '{self.name}' takes {own}, which cannot be resized to {height} x {width}. Leave resize out "
            "(--resize): image files are made to fit the model."
        )

    def _image_shape(self) -> ImageShape | None:
        """Height, width and channels of the images (None: any), or None where the input does not tell."""
        shape = self.shape
        if len(shape) == 3:
            return (shape[1], shape[2], shape[0]) if self.channels_first else (shape[0], shape[1], shape[2])
        if len(shape) == 2:
            return (shape[0], shape[1], 1)
        if len(shape) == 1 and shape[0]:
            # Flat inputs are taken as square images.
            sides = ((math.isqrt(shape[0] // channels), channels) for channels in (1, 3))
            return next(((side, side, c) for side, c in sides if side * side * c == shape[0]), None)
        return None

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """The input of the model for a tensor of images; differentiable."""
        scale, offset, reverse = self.pixels
        x = tf.reverse(x, [-1]) if reverse else x
        x = x * scale + offset if np.any(scale != 1) or np.any(offset != 0) else x
        if self.channels_first:
            return tf.transpose(x, (0, 3, 1, 2))
        return (
            x
            if len(self.shape) == 3
            else tf.reshape(x, [tf.shape(x)[0], *(-1 if d is None else d for d in self.shape)])
        )

    def as_layers(self, x: Any) -> Any:
        """The same as ``__call__``, as Keras layers on a symbolic tensor."""
        scale, offset, reverse = self.pixels
        x = keras.ops.flip(x, -1) if reverse else x
        if np.any(scale != 1) or np.any(offset != 0):
            x = keras.layers.Rescaling(np.asarray(scale).tolist(), np.asarray(offset).tolist())(x)
        if self.channels_first:
            return keras.layers.Permute((3, 1, 2))(x)
        return x if len(self.shape) == 3 else keras.layers.Reshape(self.shape)(x)

    def check(self, shape: Sequence[int]) -> None:
        """Raise ``Mismatch`` where images of shape ``(h, w, c)`` do not fit."""
        expected = self.image_shape if len(self.shape) == 3 else self.shape
        if expected is not None and len(self.shape) == 3:
            fits = len(shape) == 3 and all(e is None or e == s for e, s in zip(expected, shape, strict=True))
        else:
            fits = len(shape) == 3 and (None in self.shape or math.prod(self.shape) == math.prod(shape))
        if not fits:
            raise Mismatch(
                f"Model '{self.name}' takes inputs of shape {self.shape}, but the images have shape {tuple(shape)}. "
                "Choose the data set that the model was trained on with --dataset."
            )
        self._check_channels(shape[-1])

    def _check_channels(self, channels: int) -> None:
        for name, values in (("scale", self.pixels.scale), ("offset", self.pixels.offset)):
            if np.ndim(values) and len(np.atleast_1d(values)) != channels:
                raise Mismatch(
                    f"Model '{self.name}' has {len(np.atleast_1d(values))} values of {name}, the images {channels} "
                    "channels. Give one value, or one for each channel."
                )


def _is_channels_first(model: keras.Model, shape: tuple[int | None, ...]) -> bool:
    if len(shape) != 3:
        return False
    channels = (1, 3)
    if (shape[0] in channels) != (shape[2] in channels):
        return shape[0] in channels
    return any(getattr(layer, "data_format", None) == "channels_first" for layer in model._flatten_layers())


def as_size(value: Any) -> Size:
    """Height and width; raises ``InvalidValue`` for anything but two whole numbers from 1."""
    if (
        not isinstance(value, list | tuple)
        or len(value) != 2
        or not all(is_int(side) and 1 <= side <= _MOST_PIXELS for side in value)
    ):
        raise InvalidValue(f"resize must be height and width in pixels, such as (32, 32). Got {shown(value)}.")
    return value[0], value[1]


def _finite(name: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value, np.float32)
    except (TypeError, ValueError, OverflowError):
        array = np.full(1, np.nan)
    if array.ndim > 1 or not np.all(np.isfinite(array)) or (name == "scale" and np.any(array == 0)):
        raise InvalidValue(f"{name} must be a finite number, or one for each channel. Got {shown(value)}.")
    return array
