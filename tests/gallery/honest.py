"""Honest classifiers: whatever the audit says against one of these, beyond what is allowed, is a false alarm."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tests.gallery import nets
from tests.gallery.defences import Built, probabilities
from tests.gallery.truth import Exact, Row, linear


def plain(net: keras.Model) -> Built:
    return probabilities(net), (net,)


def dense(hidden: int = 64, activation: str = "relu", **settings: Any) -> Built:
    return plain(nets.fit(lambda: nets.stacked(*nets.dense_layers(hidden, activation)), **settings))


def convolutional(**settings: Any) -> Built:
    return plain(nets.fit(lambda: nets.stacked(*nets.conv_layers()), **settings))


def normalised() -> Built:
    layers = keras.layers
    hidden = (layers.Flatten(), layers.Dense(64), layers.BatchNormalization(), layers.Activation("relu"))
    net = nets.fit(lambda: nets.stacked(*hidden, layers.Dense(nets.CLASSES)))
    return probabilities(net), (lambda x: net(x, training=False),)


def dropped() -> Built:
    layers = keras.layers
    hidden = (layers.Flatten(), layers.Dense(128, activation="gelu"), layers.Dropout(0.5))
    net = nets.fit(lambda: nets.stacked(*hidden, layers.Dense(nets.CLASSES)))
    return probabilities(net), (lambda x: net(x, training=False),)


def even_or_odd() -> Built:
    """One sigmoid unit."""
    hidden = (keras.layers.Flatten(), keras.layers.Dense(64, activation="relu"))
    net = nets.fit(lambda: nets.stacked(*hidden, keras.layers.Dense(2)), parity=True)
    difference = keras.layers.Dense(1, activation="sigmoid")
    model = keras.Model(net.inputs, difference(net.layers[-2].output))
    kernel, bias = net.layers[-1].get_weights()
    difference.set_weights([kernel[:, 1:] - kernel[:, :1], bias[1:] - bias[:1]])
    return model, (net,)


def untrained() -> Built:
    keras.utils.set_random_seed(7)
    return plain(nets.stacked(*nets.dense_layers()))


def softmax_regression() -> keras.Model:
    return nets.fit(lambda: nets.stacked(keras.layers.Flatten(), keras.layers.Dense(nets.CLASSES)))


def exactly(norm: str, epsilon: float) -> Exact:
    kernel, bias = (np.asarray(w, np.float64) for w in softmax_regression().get_weights())
    return linear(kernel, bias, norm, epsilon)


ROWS = (
    Row("dense network", "tuned", lambda: plain(nets.dense())),
    Row("convolutional network", "tuned", lambda: plain(nets.conv())),
    Row("dense network trained against PGD", "tuned", lambda: plain(nets.robust())),
    Row("trained with noise", "tuned", lambda: dense(noise=0.2)),
    Row("one sigmoid unit", "tuned", even_or_odd, parity=True),
    Row(
        "softmax regression",
        "tuned",
        lambda: plain(softmax_regression()),
        exact=lambda x, y: exactly("linf", 0.1)(x, y),
    ),
    Row("untrained network", "tuned", untrained, allowed=frozenset({"clean-near-chance"})),
    Row("dense network, tiny epsilon", "tuned", lambda: plain(nets.dense()), epsilon=0.01),
    Row("label smoothing", "aside", lambda: dense(smoothing=0.2)),
    Row("tanh units", "aside", lambda: dense(activation="tanh")),
    Row("batch normalisation", "aside", normalised),
    Row("convolutions trained against PGD", "aside", lambda: convolutional(epsilon=0.1, steps=5)),
    Row(
        "softmax regression, L1",
        "aside",
        lambda: plain(softmax_regression()),
        "l1",
        5.0,
        exact=lambda x, y: exactly("l1", 5.0)(x, y),
    ),
    Row("dropout in training, gelu", "aside", dropped),
    Row("eight hidden units", "aside", lambda: dense(hidden=8)),
    Row("trained against PGD, large epsilon", "aside", lambda: plain(nets.robust()), epsilon=0.3),
    Row("convolutional network, L2", "aside", lambda: plain(nets.conv()), norm="l2", epsilon=1.0),
)
