"""Defences that mask gradients, each with the ways in which whoever knows it attacks it.

A way is the defended function itself where that can be climbed, or one that decides nearly alike and can be: a layer
passed straight through, made smooth, averaged over its randomness, or left out.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import keras
import tensorflow as tf

from tests.gallery import layers, nets
from tests.gallery.truth import Row, Way

Built = tuple[keras.Model, tuple[Way, ...]]


def probabilities(logits: keras.Model) -> keras.Model:
    """The network with a softmax."""
    return keras.Model(logits.inputs, keras.layers.Softmax()(logits.outputs[0]))


def behind(layer: keras.layers.Layer, net: keras.Model) -> keras.Model:
    """A network that sees images through a layer."""
    inputs = keras.Input(nets.SHAPE)
    return keras.Model(inputs, keras.layers.Softmax()(net(layer(inputs))))


def before(layer: keras.layers.Layer, net: keras.Model) -> keras.Model:
    """A network whose logits are seen through a layer."""
    return keras.Model(net.inputs, layer(net.outputs[0]))


def straight_through(layer: keras.layers.Layer, net: keras.Model) -> Way:
    """The defended function, with the layer's gradient taken for that of the identity (BPDA)."""
    return lambda x: net(x + tf.stop_gradient(layer(x) - x))


def mean_of(way: Way, passes: int = 8) -> Way:
    """The mean over so many random answers (EOT)."""
    return lambda x: tf.add_n([way(x) for _ in range(passes)]) / passes


def masked(layer: keras.layers.Layer, net: keras.Model, *more: Way) -> Built:
    """A layer before a network that neither changes what it shows by much, nor lets a gradient through."""
    return behind(layer, net), (net, straight_through(layer, net), *more)


def inside(layer: keras.layers.Layer, smooth: Way, hidden: int = 256, **settings: Any) -> Built:
    """A network trained with a layer behind its hidden units; ``smooth`` stands in for it, or its gradient alone."""
    model = nets.fit(
        lambda: nets.stacked(
            keras.layers.Flatten(), keras.layers.Dense(hidden), layer, keras.layers.Dense(nets.CLASSES)
        ),
        **settings,
    )
    first, last = model.layers[2], model.layers[4]

    def units(x: tf.Tensor) -> tf.Tensor:
        return first(tf.reshape(x, [-1, 784]))

    def replaced(x: tf.Tensor) -> tf.Tensor:
        return last(smooth(units(x)))

    def backward_only(x: tf.Tensor) -> tf.Tensor:
        value = smooth(units(x))
        return last(value + tf.stop_gradient(layer(units(x)) - value))

    return probabilities(model), (replaced, backward_only, model)


def soft_winners(units: tf.Tensor) -> tf.Tensor:
    """Units fade out as they fall behind the last that passes."""
    largest = tf.math.top_k(units, 17).values
    least = tf.stop_gradient(largest[:, 15:16] + largest[:, 16:17]) / 2
    return units * tf.sigmoid((units - least) / 0.1)


def steep_logits() -> Built:
    steep = keras.models.clone_model(nets.dense())
    steep.set_weights([1e4 * w if n > 1 else w for n, w in enumerate(nets.dense().get_weights())])
    return probabilities(steep), (nets.dense(),)


def distilled() -> Built:
    """Defensive distillation: trained on softened labels at temperature 30, used at temperature 1."""
    cold = nets.fit(
        lambda: nets.stacked(*nets.dense_layers()[:2], keras.layers.Dense(10), keras.layers.Rescaling(1 / 30))
    )
    return probabilities(keras.Model(cold.inputs, cold.layers[-2].output)), (cold,)


@cache
def members() -> list[keras.Model]:
    return [nets.dense(seed) for seed in range(5)]


def joined(layer: keras.layers.Layer) -> keras.Model:
    inputs = keras.Input(nets.SHAPE)
    return keras.Model(inputs, layer([member(inputs) for member in members()]))


def mean_logits(x: tf.Tensor) -> tf.Tensor:
    return tf.add_n([member(x) for member in members()]) / len(members())


def soft_votes(x: tf.Tensor) -> tf.Tensor:
    """Votes that pass smoothly from one class to the next."""
    return tf.add_n([tf.nn.softmax(member(x)) for member in members()])


def vote() -> Built:
    return joined(layers.Vote()), (soft_votes, mean_logits)


def one_of() -> Built:
    model = joined(layers.OneOf())
    return probabilities(model), (mean_logits, soft_votes)


def random_behind(layer: keras.layers.Layer, net: keras.Model, way: Way) -> Built:
    return behind(layer, net), (mean_of(way), net)


def dropout() -> Built:
    first, second = nets.dense().layers[2:]
    inputs = keras.Input(nets.SHAPE)
    units = layers.AlwaysDropout()(first(keras.layers.Flatten()(inputs)))
    model = keras.Model(inputs, second(units))
    return probabilities(model), (mean_of(model), nets.dense())


def thermometer() -> Built:
    inside_layers = (
        keras.layers.Flatten(),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(nets.CLASSES),
    )
    encoding = layers.Thermometer()
    model = nets.fit(lambda: nets.stacked(encoding, *inside_layers))

    def behind_encoding(encoded: tf.Tensor) -> tf.Tensor:
        for layer in inside_layers:
            encoded = layer(encoded)
        return encoded

    def smooth(x: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(20 * (x - layers.LEVELS))

    def backward_only(x: tf.Tensor) -> tf.Tensor:
        return behind_encoding(smooth(x) + tf.stop_gradient(encoding(x) - smooth(x)))

    return probabilities(model), (backward_only, lambda x: behind_encoding(smooth(x)))


def overfitted() -> Built:
    """Trained against one step without a random start, until that step alone is what it withstands."""
    model = nets.fit(lambda: nets.stacked(*nets.conv_layers()), epsilon=0.2, steps=1, epochs=30)
    return probabilities(model), (model, nets.conv())


def one_norm() -> Built:
    """Trained against Linf alone."""
    return probabilities(nets.robust()), (nets.robust(),)


def threshold(x: tf.Tensor) -> tf.Tensor:
    """Black or white, with the slope of a gentle sigmoid."""
    gentle = tf.sigmoid(20 * (x - 0.5))
    return nets.robust()(gentle + tf.stop_gradient(tf.round(x) - gentle))


ROWS = (
    Row("large weights before the softmax", "tuned", steep_logits),
    Row(
        "opaque softmax of logits x 1,000",
        "tuned",
        lambda: (before(layers.ScaledSoftmax(), nets.robust()), (nets.robust(),)),
    ),
    Row(
        "black-and-white input", "tuned", lambda: masked(layers.BlackAndWhite(), nets.robust(), threshold), epsilon=0.2
    ),
    Row("JPEG", "tuned", lambda: masked(layers.Jpeg(), nets.robust())),
    Row(
        "noise layer",
        "tuned",
        lambda: random_behind(layers.Noise(), nets.dense(), lambda x: nets.dense()(layers.Noise()(x))),
        epsilon=0.15,
        random=True,
    ),
    Row("dropout at test time", "tuned", dropout, epsilon=0.15, random=True),
    Row(
        "k winners take all",
        "tuned",
        lambda: inside(layers.Winners(), soft_winners),
    ),
    Row("flipped gradient", "tuned", lambda: masked(layers.Flipped(), nets.robust())),
    Row(
        "stopped gradient",
        "tuned",
        lambda: masked(
            layers.Stopped(),
            nets.dense(),
        ),
    ),
    Row(
        "rounded logits",
        "tuned",
        lambda: (probabilities(before(layers.RoundedLogits(), nets.robust())), (nets.robust(),)),
    ),
    Row("vote of five networks", "tuned", vote),
    Row("catastrophic overfitting", "tuned", overfitted, epsilon=0.2),
    Row("defensive distillation", "aside", distilled),
    Row("label only", "aside", lambda: (before(layers.LabelOnly(), nets.robust()), (nets.robust(),))),
    Row(
        "probabilities of two digits",
        "aside",
        lambda: (before(layers.RoundedProbabilities(), nets.robust()), (nets.robust(),)),
    ),
    Row("bit depth", "aside", lambda: masked(layers.BitDepth(), nets.robust())),
    Row("steep threshold", "aside", lambda: masked(layers.SteepThreshold(), nets.robust(), threshold), epsilon=0.2),
    Row("thermometer encoding", "aside", thermometer),
    Row("shattered gradient", "aside", lambda: masked(layers.Sawtooth(), nets.robust())),
    Row("noisy gradient", "aside", lambda: masked(layers.NoisyGradient(), nets.dense())),
    Row(
        "random resizing",
        "aside",
        lambda: random_behind(layers.Resized(), nets.conv(), lambda x: nets.conv()(layers.Resized()(x))),
        epsilon=0.15,
        random=True,
    ),
    Row(
        "dithered input",
        "aside",
        lambda: random_behind(layers.Dithered(), nets.dense(), straight_through(layers.Dithered(), nets.dense())),
        epsilon=0.15,
        random=True,
    ),
    Row("one network of five at random", "aside", one_of, epsilon=0.15, random=True),
    Row("steep hard sigmoid", "tuned", lambda: inside(layers.HardSigmoid(), lambda z: tf.sigmoid(4 * z))),
    Row("dead ReLUs", "tuned", lambda: inside(layers.DeadRelu(), lambda z: tf.sigmoid(4 * z))),
    Row("robust in one norm only", "aside", one_norm, norm="l2", epsilon=1.5),
)
