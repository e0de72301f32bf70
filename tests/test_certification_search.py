"""Branch and bound: the same answers as a mixed-integer program, and counterexamples that are ones."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from advlab.certification.branch import search
from advlab.certification.crown import crown, margins
from advlab.certification.milp import least_margin
from advlab.certification.region import region_of, rows_of
from advlab.certification.translate import network_of
from advlab.classifiers.classifier import Classifier

SHAPE = (4, 4, 1)
layers = keras.layers


@pytest.fixture(autouse=True)
def eager():
    """Without tracing: each network here is searched twice only."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def small_network(seed: int) -> Classifier:
    """Two hidden layers of ReLUs, or a convolution with leaky ReLUs, max-pooling and a hidden layer."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(SHAPE)
    if seed % 2:
        hidden = layers.Conv2D(2, 2, strides=2, activation="leaky_relu")(inputs)
        hidden = layers.Flatten()(layers.MaxPooling2D(2)(hidden))
    else:
        hidden = layers.Dense(6, activation="relu")(layers.Flatten()(inputs))
    model = keras.Model(inputs, layers.Dense(3)(layers.Dense(6, activation="relu")(hidden)))
    model.set_weights([2 * weight + 0.1 for weight in model.get_weights()])
    return Classifier.from_keras(model)


@pytest.mark.parametrize("seed", range(3))
def test_it_decides_every_image_as_a_mixed_integer_program_does(seed):
    classifier = small_network(seed)
    x = np.random.default_rng(seed).random((5, *SHAPE)).astype(np.float32)
    labels = classifier.probabilities(x).argmax(1)
    network = network_of(classifier, SHAPE)
    targets = margins(network, tf.constant(labels)).numpy()
    for epsilon in (0.05, 0.15):
        region = region_of(x, "linf", epsilon)
        bound, known = crown(network, region, tf.constant(labels))
        exact = np.array(
            [
                [
                    least_margin(network, rows_of(region, [row]), target, one_row(known, row))[0]
                    for target in targets[row]
                ]
                for row in range(len(x))
            ]
        )
        assert (bound.numpy() <= exact + 1e-5).all()

        def verify(images: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            pictures = images.reshape(-1, *SHAPE).astype(np.float32)
            return pictures, classifier.probabilities(pictures).argmax(1) != labels[rows]

        found = search(network, region, labels, bound.numpy(), known, verify)
        np.testing.assert_array_equal(found.proven, exact.min(1) > 0)
        np.testing.assert_array_equal(found.misclassified, ~found.proven)
        for row in np.flatnonzero(found.misclassified):
            assert np.abs(found.images[row] - x[row]).max() <= epsilon + 1e-7
            assert classifier.probabilities(found.images[row : row + 1]).argmax(1) != labels[row]


def one_row(known, row: int):
    return {number: tuple(end[row : row + 1].numpy() for end in ends) for number, ends in known.items()}


def test_a_search_without_time_decides_nothing():
    classifier = small_network(0)
    x = np.random.default_rng(0).random((4, *SHAPE)).astype(np.float32)
    labels = classifier.probabilities(x).argmax(1)
    network, region = network_of(classifier, SHAPE), region_of(x, "linf", 0.3)
    bound, known = crown(network, region, tf.constant(labels))
    assert (bound.numpy().min(1) <= 0).all()
    found = search(
        network, region, labels, bound.numpy(), known, lambda images, rows: (images, rows < 0), stop=lambda: True
    )
    assert not found.proven.any()
    assert not found.misclassified.any()
