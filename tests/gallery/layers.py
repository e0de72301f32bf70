"""What masks a gradient: a layer each, which hides the network behind it or before it from whoever climbs its loss."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import scipy.fft
import tensorflow as tf

# The luminance table of the JPEG standard, at quality 50.
QUANTA = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.float32,
).ravel()
LEVELS = np.linspace(0.1, 0.9, 9, dtype=np.float32)
_DCT = np.stack([scipy.fft.dctn(unit.reshape(8, 8), norm="ortho").ravel() for unit in np.eye(64)]).astype(np.float32)


class BlackAndWhite(keras.layers.Layer):
    """Pixels become black or white."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.round(x)


class BitDepth(keras.layers.Layer):
    """Four levels of grey."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.round(3 * x) / 3


class SteepThreshold(keras.layers.Layer):
    """Black or white by a sigmoid so steep that its slope is lost in rounding on most pixels."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(300 * (x - 0.5))


class Jpeg(keras.layers.Layer):
    """JPEG compression: blocks of 8 x 8, their cosine transform rounded to multiples of a quantum each."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        blocks = tf.nn.space_to_depth(255 * tf.pad(x, [[0, 0], [2, 2], [2, 2], [0, 0]]) - 128, 8)
        rounded = QUANTA * tf.round(tf.tensordot(blocks, _DCT, 1) / QUANTA)
        pixels = tf.nn.depth_to_space(tf.tensordot(rounded, _DCT.T, 1), 8)
        return tf.clip_by_value((tf.round(pixels) + 128) / 255, 0, 1)[:, 2:-2, 2:-2]


class Thermometer(keras.layers.Layer):
    """A channel for each of nine levels of grey, 1 where a pixel is above it (Buckman et al. 2018)."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.cast(x > LEVELS, tf.float32)


class Sawtooth(keras.layers.Layer):
    """A ripple too small to see, whose slope is fifty times that of the image and changes sign every thousandth."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x + 0.01 * tf.sin(5000 * x)


class Noise(keras.layers.Layer):
    """Noise at test time, drawn again at each query."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x + 0.15 * tf.random.normal(tf.shape(x))


class Dithered(keras.layers.Layer):
    """Four levels of grey, up or down at random by what lies between."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.floor(3 * x + tf.random.uniform(tf.shape(x))) / 3


class Resized(keras.layers.Layer):
    """An image shrunk to a random size and put at a random place on black (Xie et al. 2018)."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        size = tf.random.uniform([], 22, 29, tf.int32)
        top, left = tf.random.uniform([], 0, 29 - size, tf.int32), tf.random.uniform([], 0, 29 - size, tf.int32)
        small = tf.image.resize(x, [size, size])
        return tf.ensure_shape(tf.image.pad_to_bounding_box(small, top, left, 28, 28), [None, 28, 28, 1])


class AlwaysDropout(keras.layers.Layer):
    """Dropout that stays on at test time."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.dropout(x, 0.5)


class OneOf(keras.layers.Layer):
    """The answer of one of several networks, drawn at each query."""

    def call(self, answers: list[tf.Tensor]) -> tf.Tensor:
        return tf.stack(answers)[tf.random.uniform([], 0, len(answers), tf.int32)]


class Vote(keras.layers.Layer):
    """How many of several networks vote for each class."""

    def call(self, answers: list[tf.Tensor]) -> tf.Tensor:
        return tf.add_n([tf.one_hot(tf.argmax(a, -1), a.shape[-1]) for a in answers]) / len(answers)


class Winners(keras.layers.Layer):
    """Only the 16 largest units pass, the others are zero: k-winners-take-all (Xiao et al. 2020)."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        least = tf.math.top_k(x, 16).values[:, -1:]
        return tf.where(x >= least, x, tf.zeros_like(x))


class HardSigmoid(keras.layers.Layer):
    """A hard sigmoid so steep that most units lie on its flat ends."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(40 * x + 0.5, 0, 1)


class DeadRelu(keras.layers.Layer):
    """A pair of ReLUs, of which one is dead beyond a narrow band: its gradient is zero and stays so."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return 1 - tf.nn.relu(1 - 20 * tf.nn.relu(x))


class Stopped(keras.layers.Layer):
    """The image as it is, without its gradient."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.stop_gradient(x)


class Flipped(keras.layers.Layer):
    """The image as it is, with a gradient of the wrong sign."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.stop_gradient(2 * x) - x


class NoisyGradient(keras.layers.Layer):
    """The image as it is, with a random gradient."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        @tf.custom_gradient
        def identity(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            return tf.identity(x), lambda upstream: tf.random.normal(tf.shape(upstream))

        return identity(x)


class RoundedLogits(keras.layers.Layer):
    """Logits to the nearest multiple of a quarter."""

    def call(self, logits: tf.Tensor) -> tf.Tensor:
        return tf.round(4 * logits) / 4


class ScaledSoftmax(keras.layers.Layer):
    """A softmax of logits times 1,000 that cannot be stripped: nearly always exactly 0 or 1."""

    def call(self, logits: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(1000 * logits)


class RoundedProbabilities(keras.layers.Layer):
    """Probabilities to two digits, as a service prints them."""

    def call(self, logits: tf.Tensor) -> tf.Tensor:
        return tf.round(100 * tf.nn.softmax(logits)) / 100


class LabelOnly(keras.layers.Layer):
    """1 for the likeliest class, 0 for all others."""

    def call(self, logits: tf.Tensor) -> tf.Tensor:
        return tf.one_hot(tf.argmax(logits, -1), logits.shape[-1])
