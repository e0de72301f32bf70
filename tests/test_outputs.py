"""What the outputs of a model mean: read from its last layer, said by the user, or refused by name."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import advlab
from advlab.classifiers.classifier import Classifier
from advlab.errors import InvalidValue, UnknownName

X = np.random.default_rng(0).random((8, 6, 6, 1)).astype(np.float32)


def model(*ends, shape=(6, 6, 1)) -> keras.Model:
    image = keras.Input(shape)
    y = layers.Flatten()(image)
    for end in ends:
        y = end(y)
    return keras.Model(image, y)


def logits(classifier: Classifier) -> np.ndarray:
    return classifier.logits(tf.constant(X)).numpy()


def with_activation(activation, units=1, **options):
    """A classifier whose last layer has this activation, and what the layer computes before it."""
    network = model(layers.Dense(units, activation=activation, name="last"))
    before = model(layers.Dense(units))
    before.set_weights(network.get_weights())
    return Classifier.from_keras(network, **options), before(X).numpy()


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "softsign", "linear", "hard_sigmoid"])
def test_one_unit_decides_by_the_sign_of_what_comes_before_its_activation(activation):
    classifier, before = with_activation(activation)
    np.testing.assert_allclose(logits(classifier), np.concatenate([0 * before, before], 1), atol=1e-6)
    assert classifier.notes == ()


def test_a_tanh_unit_is_no_probability_whatever_it_says_of_noise():
    network = model(layers.Dense(1, activation="tanh", bias_initializer="ones", kernel_initializer="zeros"))
    assert network(X).numpy().min() > 0, "outputs that look like probabilities"
    np.testing.assert_allclose(logits(Classifier.from_keras(network))[:, 1], 1, atol=1e-6)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("probability", lambda y: np.log(y) - np.log(1 - y)),
        ("logit", lambda y: y),
        ("score", lambda y: y),
    ],
)
def test_a_unit_that_cannot_be_read_is_asked_about(output, expected):
    network = model(layers.Dense(1), layers.Lambda(ops.sigmoid, name="own"))
    with pytest.raises(InvalidValue, match=r"Output 'own' .*--output-type probability .*logit .*score"):
        Classifier.from_keras(network)
    found = logits(Classifier.from_keras(network, output=output))[:, 1:]
    np.testing.assert_allclose(found, expected(network(X).numpy()), atol=1e-5)


def test_what_is_said_wins_over_what_is_read():
    probability, before = with_activation("linear", output="probability")
    inside = (before[:, 0] > 0) & (before[:, 0] < 1)
    np.testing.assert_allclose(probability.probabilities(X)[inside, 1], before[inside, 0], atol=1e-5)
    logit, before = with_activation("sigmoid", output="logit")
    np.testing.assert_allclose(logits(logit)[:, 1:], 1 / (1 + np.exp(-before)), atol=1e-6)
    score, before = with_activation("tanh", output="score")
    np.testing.assert_allclose(logits(score)[:, 1:], before, atol=1e-6)
    with pytest.raises(InvalidValue, match=r"output must be one of probability, logit, score. Got 'odds'"):
        with_activation("linear", output="odds")


def test_a_softmax_over_one_unit_has_one_class():
    with pytest.raises(
        InvalidValue, match=r"'last' .*softmax over one unit, which is always 1: the model has one class"
    ):
        with_activation("softmax")


@pytest.mark.parametrize("loss", ["mse", "mean_absolute_error", keras.losses.Huber(), keras.losses.mean_squared_error])
def test_a_regression_is_refused_unless_it_is_said_how_it_decides(loss, tmp_path):
    network = model(layers.Dense(1, name="age"))
    network.compile("sgd", loss)
    with pytest.raises(InvalidValue, match=r"Output 'age' .*a regression.*--output-type probability"):
        Classifier.from_keras(network)
    for suffix in (".h5", ".keras"):
        network.save(tmp_path / f"m{suffix}")
        with pytest.raises(InvalidValue, match=r"Output 'age' .*a regression"):
            advlab.load_classifier(tmp_path / f"m{suffix}")
        advlab.load_classifier(tmp_path / f"m{suffix}", output="score")
    network.compile("sgd", "hinge")
    Classifier.from_keras(network)


END_OPERATIONS = {
    "ops.softmax": ops.softmax,
    "activations.softmax": keras.activations.softmax,
    "softmax, reshaped": lambda y: ops.reshape(ops.reshape(ops.softmax(y), (-1, 1, 3)), (-1, 3)),
    "softmax, squeezed": lambda y: ops.squeeze(layers.Reshape((3, 1))(ops.softmax(y)), -1),
}


@pytest.mark.parametrize("name", END_OPERATIONS)
def test_a_softmax_that_is_an_operation_is_stripped(name):
    image = keras.Input((6, 6, 1))
    hidden = layers.Dense(3)(layers.Flatten()(image))
    classifier = Classifier.from_keras(keras.Model(image, END_OPERATIONS[name](hidden)))
    np.testing.assert_allclose(logits(classifier), keras.Model(image, hidden)(X), atol=1e-6)
    assert classifier.notes == ()


def test_a_softmax_over_another_axis_is_not_stripped():
    image = keras.Input((6, 6, 1))
    network = keras.Model(image, layers.Softmax(axis=0)(layers.Dense(3)(layers.Flatten()(image))))
    np.testing.assert_allclose(logits(Classifier.from_keras(network)), network(X), atol=1e-6)


def test_the_activation_of_a_recurrent_layer_is_not_that_of_its_output():
    network = keras.Sequential([keras.Input((6, 6)), layers.SimpleRNN(3, activation="softmax")])
    classifier = Classifier.from_keras(network)
    np.testing.assert_allclose(classifier.probabilities(X), network(X[..., 0]), atol=1e-6)
    assert classifier.notes == ("log-probabilities",)


def test_an_output_of_one_position_is_flattened():
    network = keras.Sequential([keras.Input((6, 6, 1)), layers.Conv2D(3, 6, activation="softmax")])
    assert network.output_shape == (None, 1, 1, 3)
    classifier = Classifier.from_keras(network)
    np.testing.assert_allclose(classifier.probabilities(X), network(X).numpy()[:, 0, 0], atol=1e-6)
    assert (classifier.classes, classifier.notes) == (3, ())


def two_outputs() -> keras.Model:
    image = keras.Input((6, 6, 1))
    hidden = layers.Flatten()(image)
    return keras.Model(
        image, [layers.Dense(4, name="box")(hidden), layers.Dense(3, activation="softmax", name="class")(hidden)]
    )


REFUSED = {
    "a map": (lambda: layers.Conv2D(2, 3, name="mask"), r"'mask' .*\(4, 4, 2\).*a map.*GlobalAveragePooling2D"),
    "a map of open size": (lambda: layers.Reshape((-1, 1, 2), name="mask"), r"'mask' .*\(None|18, 1, 2\).*a map"),
    "a sequence": (lambda: layers.Reshape((6, 6), name="rows"), r"'rows' .*\(6, 6\).*a sequence"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_outputs_that_are_no_classes_are_refused_by_name(name):
    make, message = REFUSED[name]
    with pytest.raises(InvalidValue, match=message):
        Classifier.from_keras(keras.Sequential([keras.Input((6, 6, 1)), make()]))


def test_of_several_outputs_one_is_named():
    network = two_outputs()
    with pytest.raises(InvalidValue, match=r"has 2 outputs: 'box' 4, 'class' 3.*output_layer="):
        Classifier.from_keras(network)
    classifier = Classifier.from_keras(network, output_layer="class")
    np.testing.assert_allclose(classifier.probabilities(X), network(X)[1], atol=1e-6)
    with pytest.raises(UnknownName, match=r"Unknown layer 'clas'. Did you mean 'class'"):
        Classifier.from_keras(network, output_layer="clas")


def test_an_inner_layer_may_be_the_output():
    network = model(layers.Dense(5, name="classes"), layers.Dense(2))
    assert Classifier.from_keras(network, output_layer="classes").classes == 5


def test_several_inputs_are_refused_by_name():
    first, second = keras.Input((6, 6, 1), name="photo"), keras.Input((3,), name="age")
    network = keras.Model([first, second], layers.Dense(2)(layers.Concatenate()([layers.Flatten()(first), second])))
    with pytest.raises(InvalidValue, match=r"has 2 inputs: 'photo' 6 x 6 x 1, 'age' 3.*takes one"):
        Classifier.from_keras(network)
