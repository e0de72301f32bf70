"""Input defences: layers that change an image before a classifier sees it, and that many attacks cannot see through.

All take and give images float32 ``(n, h, w, c)`` in [0, 1]. They are layers of the saved model, so that whoever loads
the classifier attacks it with its defence. None makes a network robust: the first three have gradients that say
nothing, the last one draws anew at each query. Attack them with a stand-in for that layer's gradient (BPDA), averaged
over passes (EOT), or with the images of the undefended network, and see what is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from advlab.errors import InvalidValue, unknown
from advlab.validation import as_int, invalid, is_number

_STEP = 0.25  # of Chambolle's projections; they converge in practice up to here
_TINY = 1e-12  # under a root, whose gradient at zero is infinite


class InputDefense(keras.layers.Layer):
    """What all share: they compute in float32 whatever the network does, and have a setting to be saved."""

    random = False

    def __init__(self, settings: dict[str, Any], **options: Any):
        super().__init__(**{"trainable": False, "name": _layer_name(type(self)), **options, "autocast": False})
        self.settings = settings

    def check(self, shape: tuple[Any, ...]) -> None:
        """Raise ``InvalidValue`` where images of shape ``(h, w, c)`` are too small."""

    def get_config(self) -> dict[str, Any]:
        """Name and settings."""
        return {**super().get_config(), **self.settings}

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the images."""
        return input_shape


@keras.saving.register_keras_serializable("advlab")
class BitDepth(InputDefense):
    """Each pixel is rounded to one of ``2 ** bits`` values. Xu et al. 2017, arXiv:1704.01155, section 3.1."""

    def __init__(self, bits: int = 1, **options: Any):
        super().__init__({"bits": as_int("bits", bits, 1, 8)}, **options)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Round; the gradient is zero."""
        levels = float(2 ** self.settings["bits"] - 1)
        return tf.round(x * levels) / levels


@keras.saving.register_keras_serializable("advlab")
class MedianSmoothing(InputDefense):
    """Each pixel becomes the median of a square of ``size`` pixels. Xu et al. 2017, arXiv:1704.01155, section 3.2."""

    def __init__(self, size: int = 2, **options: Any):
        super().__init__({"size": as_int("size", size, 2, 15)}, **options)

    def check(self, shape: tuple[Any, ...]) -> None:
        """A mirrored edge is no wider than the image."""
        if self.settings["size"] // 2 > min(shape[:2]):
            raise invalid("size", self.settings["size"], f"an int in the range [2, {2 * min(shape[:2]) + 1}]")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """The image is mirrored at its edges; of an even number of pixels, the upper of the two in the middle."""
        size, (height, width) = self.settings["size"], x.shape[1:3]
        before, after = size // 2, size - 1 - size // 2
        padded = tf.pad(x, [[0, 0], [before, after], [before, after], [0, 0]], "SYMMETRIC")
        shifted = [padded[:, i : i + height, j : j + width] for i in range(size) for j in range(size)]
        return tf.sort(tf.stack(shifted, -1), -1)[..., size * size // 2]


@keras.saving.register_keras_serializable("advlab")
class JPEG(InputDefense):
    """JPEG compression at a ``quality`` from 1 to 100. Dziugaite et al. 2016, arXiv:1608.00853.

    Colours keep their resolution. Its arithmetic is written out here, without the lossless coding that follows it.
    """

    def __init__(self, quality: int = 75, **options: Any):
        super().__init__({"quality": as_int("quality", quality, 1, 100)}, **options)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Cosine transform, quantisation, and back; the gradient is zero."""
        height, width, channels = x.shape[1:]
        rows, columns = (np.minimum(np.arange(-(-side // 8) * 8), side - 1) for side in (height, width))
        pixels = tf.gather(tf.gather(255.0 * x - 128.0, rows, axis=1), columns, axis=2)
        if channels == 3:
            pixels = tf.round(tf.einsum("nhwc,dc->nhwd", pixels, tf.constant(_TO_LUMA, tf.float32)))
        blocks = tf.reshape(pixels, [-1, len(rows) // 8, 8, len(columns) // 8, 8, channels])
        steps = tf.constant(_quantisation(self.settings["quality"], channels), tf.float32)[:, None]
        cosines = tf.constant(_COSINES, tf.float32)
        spectrum = tf.einsum("ui,nhiwjc,vj->nhuwvc", cosines, blocks, cosines)
        spectrum = tf.round(spectrum / steps) * steps
        pixels = tf.reshape(tf.einsum("ui,nhuwvc,vj->nhiwjc", cosines, spectrum, cosines), tf.shape(pixels))
        pixels = tf.clip_by_value(tf.round(pixels), -128.0, 127.0)
        if channels == 3:
            pixels = tf.einsum("nhwd,cd->nhwc", pixels, tf.constant(np.linalg.inv(_TO_LUMA), tf.float32))
        return tf.clip_by_value(tf.round(pixels[:, :height, :width] + 128.0), 0.0, 255.0) / 255.0


@keras.saving.register_keras_serializable("advlab")
class TotalVariation(InputDefense):
    """The image y with the least ``|y - x|^2 / 2 + weight * (sum of the lengths of its gradients)``.

    Guo et al. 2017, arXiv:1711.00117, without their random pixels; by ``steps`` of Chambolle's projections (2004).
    """

    def __init__(self, weight: float = 0.1, steps: int = 20, **options: Any):
        if not (is_number(weight) and 0 < weight < math.inf):
            raise invalid("weight", weight, "a number above 0")
        super().__init__({"weight": float(weight), "steps": as_int("steps", steps, 1, 200)}, **options)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Differentiable."""
        weight = self.settings["weight"]
        down, right = tf.zeros_like(x), tf.zeros_like(x)
        for _ in range(self.settings["steps"]):
            force = _divergence(down, right) - x / weight
            ahead_down, ahead_right = _differences(force)
            length = tf.sqrt(ahead_down**2 + ahead_right**2 + _TINY)
            down = (down + _STEP * ahead_down) / (1 + _STEP * length)
            right = (right + _STEP * ahead_right) / (1 + _STEP * length)
        return x - weight * _divergence(down, right)


@keras.saving.register_keras_serializable("advlab")
class RandomResizing(InputDefense):
    """Each image is shrunk to a random size, down to ``smallest`` of its own, and put at a random place on black.

    Xie et al. 2017, arXiv:1711.01991, where the larger size is that of the image.
    """

    random = True

    def __init__(self, smallest: float = 0.8, **options: Any):
        if not (is_number(smallest) and 0 < smallest < 1):
            raise invalid("smallest", smallest, "a float between 0 and 1")
        super().__init__({"smallest": float(smallest)}, **options)
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Bilinear, as a product with a matrix for rows and one for columns, so that sizes may differ in a batch."""
        draws = keras.random.uniform((tf.shape(x)[0], 3), seed=self.seed_generator)
        smallest = self.settings["smallest"]
        fraction = smallest + (1 - smallest) * draws[:, 0]
        rows, columns = (
            _resampling(side, tf.round(fraction * side), draws[:, 1 + axis]) for axis, side in enumerate(x.shape[1:3])
        )
        return tf.einsum("nih,nhwc,njw->nijc", rows, x, columns)


class ArtPreprocessor(InputDefense):
    """A preprocessor of the adversarial-robustness-toolbox, ``preprocessor(x) -> (x, y)`` on arrays: no gradient."""

    def __init__(self, preprocessor: Callable[[np.ndarray], tuple[np.ndarray, Any]]):
        # The toolbox lists the names of its settings; by them digests tell preprocessors apart.
        stated = {name: str(getattr(preprocessor, name)) for name in getattr(preprocessor, "params", ())}
        super().__init__(stated, name=f"art_{type(preprocessor).__name__.lower()}")
        self._preprocessor = preprocessor
        self.supports_jit = False

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Run in NumPy."""
        y = tf.numpy_function(lambda x: np.asarray(self._preprocessor(x)[0], np.float32), [x], tf.float32)
        return tf.ensure_shape(y, x.shape)


DEFENSES: dict[str, Callable[..., InputDefense]] = {
    "bit-depth": BitDepth,
    "median-smoothing": MedianSmoothing,
    "jpeg": JPEG,
    "total-variation": TotalVariation,
    "random-resizing": RandomResizing,
}


def make_defense(name: str | Callable[..., Any], settings: dict[str, Any]) -> InputDefense:
    """The layer of that name, or around a preprocessor of the adversarial-robustness-toolbox.

    Raises ``UnknownName`` for another name, or for a setting that the defence does not have.
    """
    if not isinstance(name, str):
        if not callable(name) or settings:
            raise InvalidValue(
                "An input defence is a name with its settings, or a preprocessor of the adversarial-robustness-toolbox "
                f"by itself. Got {type(name).__name__}{' and ' if settings else ''}{', '.join(settings)}."
            )
        return ArtPreprocessor(name)
    if name not in DEFENSES:
        raise unknown("input defence", name, DEFENSES)
    own = DEFENSES[name]().settings
    for key in settings:
        if key not in own:
            raise unknown(f"setting of input defence '{name}'", key, own)
    return DEFENSES[name](**settings)


def defenses_of(model: keras.Model) -> list[InputDefense]:
    """The input defences in a model, and in the models inside it."""
    return [layer for layer in model._flatten_layers() if isinstance(layer, InputDefense)]


def _layer_name(cls: type[InputDefense]) -> str:
    return next((name for name, defense in DEFENSES.items() if defense is cls), "art").replace("-", "_")


def _resampling(side: int, size: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """float32 ``(n, side, side)``: rows of weights that shrink to ``size (n,)`` pixels, at ``place (n,)`` in [0, 1)."""
    start = tf.floor(place * (side - size + 1))[:, None]
    target = tf.range(side, dtype=tf.float32)[None]
    source = (target - start + 0.5) * side / size[:, None] - 0.5
    inside = (target >= start) & (target < start + size[:, None])
    weights = tf.nn.relu(1 - tf.abs(tf.clip_by_value(source, 0.0, side - 1.0)[:, :, None] - target[:, None]))
    return weights * tf.cast(inside, tf.float32)[:, :, None]


def _differences(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """To the pixel below and to the one on the right; zero at the last."""
    below = tf.pad(x[:, 1:] - x[:, :-1], [[0, 0], [0, 1], [0, 0], [0, 0]])
    return below, tf.pad(x[:, :, 1:] - x[:, :, :-1], [[0, 0], [0, 0], [0, 1], [0, 0]])


def _divergence(down: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Minus the transpose of ``_differences``."""
    inner_down = tf.pad(down[:, :-1], [[0, 0], [1, 1], [0, 0], [0, 0]])
    inner_right = tf.pad(right[:, :, :-1], [[0, 0], [0, 0], [1, 1], [0, 0]])
    return inner_down[:, 1:] - inner_down[:, :-1] + inner_right[:, :, 1:] - inner_right[:, :, :-1]


def _quantisation(quality: int, channels: int) -> np.ndarray:
    """float64 ``(8, 8, c)``: the steps of the coefficients, of the standard's annex K scaled as libjpeg does."""
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    tables = np.stack([_LUMA_STEPS, *[_COLOUR_STEPS] * (channels - 1)], -1)
    return np.clip(np.floor((tables * scale + 50) / 100), 1, 255)


# Colour differences of equal channels are zero: what is subtracted from all three leaves them as they are.
_TO_LUMA = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
_COSINES = np.array(
    [[math.sqrt((1 + (u > 0)) / 8) * math.cos((2 * i + 1) * u * math.pi / 16) for i in range(8)] for u in range(8)]
)
_LUMA_STEPS = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
_COLOUR_STEPS = np.full((8, 8), 99)
_COLOUR_STEPS[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
