"""The replaced gradients add up the same numbers as TensorFlow's own."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from advlab.problem.gradients import value_and_gradient

LAYERS = {
    "pooling": [keras.layers.MaxPooling2D(2)],
    "pooling that leaves a remainder": [keras.layers.MaxPooling2D((3, 2))],
    "overlapping pooling": [keras.layers.MaxPooling2D(3, strides=2)],
    "padded pooling": [keras.layers.MaxPooling2D(2, padding="same")],
    "few channels": [keras.layers.Conv2D(16, (3, 2))],
    "many channels": [keras.layers.Conv2D(16, 1), keras.layers.Conv2D(3, 3)],
    "strides": [keras.layers.Conv2D(16, 3, strides=2)],
    "dilation": [keras.layers.Conv2D(16, 3, dilation_rate=2)],
    "padding": [keras.layers.Conv2D(16, 3, padding="same")],
    "a whole network": [keras.layers.Conv2D(16, 3, activation="relu"), keras.layers.MaxPooling2D(2)],
}


@pytest.mark.parametrize("ties", [False, True], ids=["", "with equal pixels"])
@pytest.mark.parametrize("name", LAYERS)
def test_the_gradient_is_tensorflows_own(name, ties):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((11, 10, 2)), *LAYERS[name], keras.layers.Flatten(), keras.layers.Dense(3)])
    images = np.random.default_rng(0).random((4, 11, 10, 2)).astype(np.float32)
    images = np.round(images) if ties else images
    weights = tf.constant(np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32))

    def network(x):
        return x, weights * model(x, training=False)

    _, value, expected = value_and_gradient(network, tf.constant(images))
    _, graph_value, gradient = tf.function(lambda x: value_and_gradient(network, x), autograph=False)(images)
    np.testing.assert_allclose(graph_value, value, atol=1e-5)
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


def test_a_kernel_that_depends_on_the_image_keeps_its_gradient():
    images = tf.constant(np.random.default_rng(0).random((1, 6, 6, 1)).astype(np.float32))

    def network(x):
        kernel = tf.reshape(x[0, :2, :2], [2, 2, 1, 1]) * tf.ones([1, 1, 1, 8])
        return x, tf.reduce_sum(tf.nn.conv2d(x, kernel, 1, "VALID"), [1, 2])

    expected = value_and_gradient(network, images)[2]
    gradient = tf.function(lambda x: value_and_gradient(network, x), autograph=False)(images)[2]
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)
