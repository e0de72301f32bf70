"""The networks of the gallery: small, trained in seconds on the embedded digits, each once in a process.

All return logits; ``defences.py`` and ``honest.py`` put a softmax behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import keras
import numpy as np
import tensorflow as tf

import advlab

SHAPE, CLASSES = (28, 28, 1), 10
Layers = Sequence[keras.Layer]


@cache
def images(split: str) -> advlab.Dataset:
    """The embedded digits."""
    return advlab.load_dataset("digits", split=split)


def stacked(*layers: keras.Layer) -> keras.Model:
    """A network of these layers."""
    inputs = keras.Input(SHAPE)
    outputs = inputs
    for layer in layers:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


def fit(
    build: Callable[[], keras.Model],
    *,
    epochs: int = 20,
    seed: int = 0,
    epsilon: float = 0.0,
    steps: int = 0,
    smoothing: float = 0.0,
    noise: float = 0.0,
    parity: bool = False,
) -> keras.Model:
    """A network trained by Adam in batches of 32.

    ``steps`` of the sign of the gradient within ``epsilon`` replace each batch before it is learned: many make the
    adversarial training of Madry et al., one without a random start that which overfits. ``smoothing`` spreads labels,
    ``noise`` is added to each image, and with ``parity`` even and odd digits are all that there is to tell apart.
    """
    keras.utils.set_random_seed(seed)
    model, data = build(), images("train")
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)

    def loss_of(x: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        logits = model(x, training=True)
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))

    @tf.function
    def learn(x: tf.Tensor, y: tf.Tensor) -> None:
        targets = tf.one_hot(y, model.output_shape[-1]) * (1 - smoothing) + smoothing / model.output_shape[-1]
        low, high = tf.maximum(x - epsilon, 0.0), tf.minimum(x + epsilon, 1.0)
        if noise:
            x = tf.clip_by_value(x + tf.random.normal(tf.shape(x), stddev=noise), 0.0, 1.0)
        if steps > 1:
            x = tf.clip_by_value(x + tf.random.uniform(tf.shape(x), -epsilon, epsilon), low, high)
        for _ in range(steps):
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = loss_of(x, targets)
            x = tf.clip_by_value(x + max(1.0, 2.5 / steps) * epsilon * tf.sign(tape.gradient(loss, x)), low, high)
        with tf.GradientTape() as tape:
            loss = loss_of(x, targets)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    generator, labels = np.random.default_rng(seed), data.y % 2 if parity else data.y
    for _ in range(epochs):
        order = generator.permutation(len(data))
        for start in range(0, len(order) - 31, 32):
            rows = order[start : start + 32]
            learn(tf.constant(data.x[rows]), tf.constant(labels[rows], tf.int32))
    return model


def dense_layers(hidden: int = 64, activation: str = "relu") -> Layers:
    """One hidden layer between pixels and logits."""
    layers = keras.layers
    return layers.Flatten(), layers.Dense(hidden, activation=activation), layers.Dense(CLASSES)


@cache
def dense(seed: int = 0) -> keras.Model:
    """The ordinary network that most defences stand before."""
    return fit(lambda: stacked(*dense_layers()), seed=seed)


@cache
def robust() -> keras.Model:
    """The shipped network trained against PGD, without its softmax: here a mask hides what is known to be there."""
    model = keras.models.clone_model(advlab.load_classifier("digits-robust").keras_model)
    model.set_weights(advlab.load_classifier("digits-robust").keras_model.get_weights())
    model.layers[-1].activation = keras.activations.linear
    return model


def conv_layers() -> Layers:
    """Two small convolutions, each before a pooling."""
    layers = keras.layers
    blocks = [(layers.Conv2D(f, 3, padding="same", activation="relu"), layers.MaxPooling2D()) for f in (8, 16)]
    return *blocks[0], *blocks[1], layers.Flatten(), layers.Dense(CLASSES)


@cache
def conv() -> keras.Model:
    """An ordinary convolutional network."""
    return fit(lambda: stacked(*conv_layers()))
