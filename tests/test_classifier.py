"""Classifiers: logits for any last layer, any input shape, any pixel scale."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from advlab import load_classifier
from advlab.classifiers.classifier import Classifier
from advlab.errors import InvalidValue, Mismatch, UnknownName

X = np.random.default_rng(0).random((8, 6, 6, 1)).astype(np.float32)


def functional(*ends, shape=(6, 6, 1), first=layers.Flatten):
    inputs = keras.Input(shape)
    y = layers.Dense(7, activation="relu")(first()(inputs))
    for end in ends:
        y = end(y)
    return keras.Model(inputs, y)


def nested_functional() -> keras.Model:
    inner = functional(layers.Dense(3, activation="softmax"))
    outer = keras.Input((6, 6, 1))
    return keras.Model(outer, inner(layers.Rescaling(2.0)(outer)))


def nested() -> keras.Model:
    inner = keras.Sequential([keras.Input((6, 6, 1)), layers.Flatten(), layers.Dense(3, activation="softmax")])
    outer = keras.Input((6, 6, 1))
    return keras.Model(outer, inner(layers.Rescaling(2.0)(outer)))


ENDS = {
    "softmax inside the last layer": lambda: functional(layers.Dense(3, activation="softmax")),
    "softmax as an activation layer": lambda: functional(layers.Dense(3), layers.Activation("softmax")),
    "softmax as a layer of its own": lambda: functional(layers.Dense(3), layers.Softmax()),
    "a model inside a model": nested,
    "a sequential model": lambda: keras.Sequential(
        [keras.Input((6, 6)), layers.Flatten(), layers.Dense(3, activation="softmax")]
    ),
    "softmax before a cast to float32": lambda: functional(
        layers.Dense(3, activation="softmax"), layers.Activation("linear", dtype="float32")
    ),
    "softmax before a reshape": lambda: functional(
        layers.Dense(3), layers.Softmax(), layers.Reshape((1, 3)), layers.Flatten()
    ),
    "softmax before dropout": lambda: functional(layers.Dense(3, activation="softmax"), layers.Dropout(0.5)),
    "a functional model inside a model": lambda: nested_functional(),
    "a convolution that ends in softmax": lambda: keras.Sequential(
        [keras.Input((6, 6, 1)), layers.Conv2D(3, 6, activation="softmax"), layers.Flatten()]
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_softmax_of_the_logits_is_the_model(name):
    model = ENDS[name]()
    classifier = Classifier.from_keras(model)
    expected = model(X if len(model.input_shape) == 4 else X[..., 0]).numpy()
    np.testing.assert_allclose(classifier.probabilities(X), expected, atol=1e-6)
    assert classifier.notes == ()
    normaliser = tf.reduce_logsumexp(classifier.logits(tf.constant(X)), -1)
    assert np.abs(normaliser).max() > 1e-3, "logits, not log-probabilities, whose exponentials add up to one"


class Halved(layers.Layer):
    """Probabilities from which no rule recovers logits."""

    def call(self, x):
        return keras.ops.softmax(x) * 0.5 + 0.5 / 3


def test_probabilities_whose_softmax_cannot_be_stripped_become_their_logarithms():
    model = functional(layers.Dense(3), Halved())
    classifier = Classifier.from_keras(model)
    assert classifier.notes == ("log-probabilities",)
    np.testing.assert_allclose(classifier.probabilities(X), model(X), atol=1e-6)


def test_mixed_precision_keeps_its_logits_finite():
    model = functional(layers.Dense(3, dtype="mixed_float16"), layers.Softmax(dtype="mixed_float16"), Halved())
    assert np.all(np.isfinite(Classifier.from_keras(model).logits(tf.constant(X))))


def test_a_model_that_ends_in_logits_is_used_as_it_is():
    model = functional(layers.Dense(3))
    np.testing.assert_allclose(Classifier.from_keras(model).logits(tf.constant(X)), model(X), atol=1e-6)


def test_one_sigmoid_unit_becomes_two_logits():
    model = functional(layers.Dense(1, activation="sigmoid"))
    classifier = Classifier.from_keras(model)
    assert classifier.classes == 2
    np.testing.assert_allclose(classifier.probabilities(X)[:, 1:], model(X), atol=1e-6)
    np.testing.assert_array_equal(classifier.logits(tf.constant(X))[:, 0], 0)


def test_several_sigmoids_are_noted():
    assert Classifier.from_keras(functional(layers.Dense(3, activation="sigmoid"))).notes == ("independent-sigmoids",)


def test_logits_follow_the_weights_when_training_continues():
    model = functional(layers.Dense(3, activation="softmax"))
    classifier = Classifier.from_keras(model)
    before, digest = classifier.probabilities(X), classifier.digest
    model.layers[-1].set_weights([w + 1.5 * np.arange(3) for w in model.layers[-1].get_weights()])
    assert np.abs(classifier.probabilities(X) - before).max() > 0.01
    np.testing.assert_allclose(classifier.probabilities(X), model(X), atol=1e-6)
    assert classifier.digest != digest


@pytest.mark.parametrize("shape", [(6, 6, 1), (6, 6), (36,), (None, None, 1)])
def test_images_are_reshaped_to_the_input_of_the_model(shape):
    first = layers.GlobalAveragePooling2D if None in shape else layers.Flatten
    model = functional(layers.Dense(3, activation="softmax"), shape=shape, first=first)
    inner = X.reshape(-1, *[6 if d is None else d for d in shape])
    np.testing.assert_allclose(Classifier.from_keras(model).probabilities(X), model(inner), atol=1e-6)


def test_pixels_are_scaled_as_the_model_expects():
    model = functional(layers.Dense(3, activation="softmax"))
    classifier = Classifier.from_keras(model, scale=255, offset=-3)
    np.testing.assert_allclose(classifier.probabilities(X), model(255 * X - 3), atol=1e-5)
    plain = Classifier.from_keras(model)
    assert plain.digest != classifier.digest


def test_dropout_and_batch_normalisation_never_train():
    model = functional(layers.Dropout(0.5), layers.BatchNormalization(), layers.Dense(3, activation="softmax"))
    classifier = Classifier.from_keras(model)
    np.testing.assert_array_equal(classifier.probabilities(X), classifier.probabilities(X))
    np.testing.assert_allclose(classifier.probabilities(X), model(X, training=False), atol=1e-6)


def test_the_digest_does_not_depend_on_names():
    first, second = (functional(layers.Dense(3, activation="softmax")) for _ in range(2))
    second.set_weights(first.get_weights())
    assert first.layers[1].name != second.layers[1].name
    assert Classifier.from_keras(first).digest == Classifier.from_keras(second).digest
    assert Classifier.from_keras(nested_functional()).digest != Classifier.from_keras(first).digest
    leaky = [functional(layers.Dense(3, activation=layers.LeakyReLU(slope))) for slope in (0.1, 0.3)]
    leaky[1].set_weights(leaky[0].get_weights())
    assert Classifier.from_keras(leaky[0]).digest != Classifier.from_keras(leaky[1]).digest


def test_batches_of_prediction_do_not_matter(trained, digits):
    np.testing.assert_allclose(trained.probabilities(digits.x, 7), trained.probabilities(digits.x), atol=1e-6)


def test_a_saved_classifier_comes_back_bit_for_bit(trained, tmp_path):
    classifier = Classifier.from_keras(trained.keras_model, scale=0.5, offset=0.25, card=trained.card)
    loaded = Classifier.load(classifier.save(tmp_path / "saved.h5"))
    for before, after in zip(classifier.keras_model.get_weights(), loaded.keras_model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert loaded.digest == classifier.digest
    assert loaded.card["dataset"] == "digits"
    plain = keras.models.load_model(tmp_path / "saved.h5")
    np.testing.assert_allclose(plain(np.zeros((1, 28, 28))).numpy().sum(), 1, atol=1e-6)


def test_what_is_not_a_classifier_is_refused():
    with pytest.raises(InvalidValue, match=r"needs a keras\.Model"):
        Classifier.from_keras(lambda x: x)
    model = functional(layers.Dense(3))
    model.layers[-1].set_weights([np.full(w.shape, np.nan) for w in model.layers[-1].get_weights()])
    with pytest.raises(InvalidValue, match="NaN or infinite weights"):
        Classifier.from_keras(model)
    with pytest.raises(InvalidValue, match="scale must be a finite number"):
        Classifier.from_keras(functional(layers.Dense(3)), scale=0)


def test_a_subclassed_model_is_refused_until_wrapped():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3, activation="softmax")

        def call(self, x):
            return self.dense(keras.ops.reshape(x, (-1, 36)))

    model = Own()
    with pytest.raises(InvalidValue, match="Wrap it"):
        Classifier.from_keras(model)
    inputs = keras.Input((6, 6, 1))
    wrapped = keras.Model(inputs, model(inputs))
    np.testing.assert_allclose(Classifier.from_keras(wrapped).probabilities(X), model(X), atol=1e-6)


def test_one_value_for_each_channel():
    model = functional(layers.Dense(3, activation="softmax"))
    with pytest.raises(Mismatch, match="3 values of scale, the images 1 channels"):
        Classifier.from_keras(model, scale=[1.0, 2.0, 3.0]).probabilities(X)


def test_names_that_do_not_exist():
    with pytest.raises(UnknownName, match=r"Unknown model 'fashin'. Did you mean 'fashion'\?"):
        load_classifier("fashin")
    with pytest.raises(UnknownName, match=r"not trained yet\. Train it first: advlab train mnist-lstm"):
        load_classifier("mnist-lstm")


def test_the_layer_of_the_user_keeps_its_activation_while_the_softmax_is_stripped():
    seen = []

    class Watching(keras.layers.Dense):
        def call(self, x):
            seen.append((self.activation, model.layers[-1].activation))
            return super().call(x)

    model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), Watching(10, activation="softmax")])
    seen.clear()
    classifier = Classifier.from_keras(model)
    x = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    logits = classifier.logits(tf.constant(x)).numpy()
    assert (keras.activations.linear, keras.activations.softmax) in seen
    assert {users for _, users in seen} == {keras.activations.softmax}
    model.layers[-1].set_weights([2 * weight for weight in model.layers[-1].get_weights()])
    np.testing.assert_allclose(classifier.logits(tf.constant(x)).numpy(), 2 * logits, rtol=1e-5)


def test_the_layers_of_a_model_in_a_model_count_as_memory():
    inside = [keras.layers.Conv2D(16, 3, padding="same"), keras.layers.Flatten(), keras.layers.Dense(10)]
    flat = keras.Sequential([keras.Input((28, 28, 1)), *inside])
    nested = keras.Sequential([keras.Input((28, 28, 1)), keras.Sequential([keras.Input((28, 28, 1)), *inside])])
    assert Classifier.from_keras(nested).activation_size == Classifier.from_keras(flat).activation_size > 25_000
