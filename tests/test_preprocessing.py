"""How images reach a model: pixel units, order of channels, and the settings beside a model file."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import advlab
from advlab import load_classifier
from advlab.classifiers.classifier import Classifier
from advlab.errors import AdvlabWarning, InvalidFile, InvalidValue, Mismatch, UnknownName

X = np.random.default_rng(0).random((4, 5, 6, 3)).astype(np.float32)


def network(shape=(5, 6, 3)) -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(3, activation="softmax")])


@pytest.mark.parametrize("mode", ["tf", "torch", "caffe"])
def test_preprocessing_is_that_of_keras_applications(mode):
    model = network()
    expected = model(keras.applications.imagenet_utils.preprocess_input(255 * X.copy(), mode=mode))
    np.testing.assert_allclose(Classifier.from_keras(model, preprocess=mode).probabilities(X), expected, atol=1e-5)


def test_preprocessing_is_given_instead_of_scale_and_offset():
    with pytest.raises(InvalidValue, match=r"preprocess='tf' sets scale and offset"):
        Classifier.from_keras(network(), preprocess="tf", scale=255)
    with pytest.raises(InvalidValue, match=r"one of tf, torch, caffe. Got 'pytorch'"):
        Classifier.from_keras(network(), preprocess="pytorch")


def test_scale_and_offset_may_be_given_for_each_channel():
    model = network()
    scale, offset = np.float32([1, 2, 3]), np.float32([-1, 0, 1])
    classifier = Classifier.from_keras(model, scale=scale, offset=offset)
    np.testing.assert_allclose(classifier.probabilities(X), model(X * scale + offset), atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 5, 6), (3, None, None), (1, 5, 6)])
def test_images_are_transposed_for_a_model_with_channels_first(shape):
    image = keras.Input(shape)
    hidden = layers.GlobalAveragePooling2D(data_format="channels_first")(image)
    model = keras.Model(image, layers.Dense(3, activation="softmax")(hidden))
    x = X[..., : shape[0]]
    classifier = Classifier.from_keras(model)
    np.testing.assert_allclose(classifier.probabilities(x), model(x.transpose(0, 3, 1, 2)), atol=1e-6)
    assert classifier.image_shape == (*shape[1:], shape[0])
    with pytest.raises(Mismatch, match=r"takes inputs of shape"):
        classifier.probabilities(X[:, :, :4, :2])


def test_where_the_shape_does_not_tell_the_layers_do():
    image = keras.Input((3, 5, 3))
    for data_format, expected in (("channels_first", (5, 3, 3)), ("channels_last", (3, 5, 3))):
        hidden = layers.GlobalAveragePooling2D(data_format=data_format)(image)
        assert Classifier.from_keras(keras.Model(image, layers.Dense(3)(hidden))).image_shape == expected


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((5, 6, 3), (5, 6, 3)), ((5, 6), (5, 6, 1)), ((36,), (6, 6, 1)), ((108,), (6, 6, 3)), ((50,), None)],
)
def test_the_shape_of_the_images_is_known_from_the_input(shape, expected):
    assert Classifier.from_keras(network(shape)).image_shape == expected


def test_the_gradient_reaches_the_channel_it_belongs_to():
    classifier = Classifier.from_keras(network(), preprocess="caffe")
    x = tf.constant(X)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = classifier.logits(x)[:, 0]
    kernel = classifier.keras_model.layers[-1].kernel.numpy()[:, 0].reshape(5, 6, 3)
    np.testing.assert_allclose(tape.gradient(y, x)[0], 255 * kernel[..., ::-1], rtol=1e-5)


@pytest.mark.parametrize("options", [{"preprocess": "caffe"}, {"scale": [1, 2, 3], "offset": -1}, {"output": "logit"}])
def test_a_saved_classifier_keeps_how_it_is_fed_and_read(options, tmp_path):
    classifier = Classifier.from_keras(network(), **options)
    loaded = load_classifier(classifier.save(tmp_path / "m.h5"))
    np.testing.assert_array_equal(loaded.probabilities(X), classifier.probabilities(X))
    assert loaded.digest == classifier.digest


class TestSettingsBesideAModel:
    def test_they_are_read_with_the_model(self, tmp_path):
        path = tmp_path / "m.keras"
        network().save(path)
        classifier = Classifier.from_keras(network(), preprocess="caffe", class_names=["cat", "dog", 'a "bird"'])
        written = classifier.save_settings(path)
        assert written.read_text("utf-8").splitlines() == [
            "# How advlab feeds and reads m.keras.",
            'preprocess = "caffe"',
            'classes = ["cat", "dog", "a \\"bird\\""]',
        ]
        loaded = load_classifier(path)
        np.testing.assert_array_equal(loaded.probabilities(X), classifier.probabilities(X))
        assert loaded.card["class_names"] == ["cat", "dog", 'a "bird"']

    def test_what_is_given_wins_over_them_and_they_win_over_the_card(self, tmp_path):
        path = Classifier.from_keras(network(), scale=2.0).save(tmp_path / "m.h5")
        assert load_classifier(path).scale == 2
        (tmp_path / "m.h5.toml").write_text("scale = 255\noffset = [1, 2, 3]\n")
        assert (load_classifier(path).scale, load_classifier(path).offset.tolist()) == (255, [1, 2, 3])
        given = load_classifier(path, scale=3)
        assert (given.scale, given.offset) == (3, 0), "pixel units are one setting"

    def test_they_are_no_recipe(self, tmp_path, monkeypatch):
        from advlab import workspace

        (tmp_path / "models").mkdir()
        path = Classifier.from_keras(network()).save(tmp_path / "models" / "mine.h5")
        Classifier.from_keras(network(), scale=255).save_settings(path)
        with workspace.using(tmp_path):
            assert not any("mine" in name for name in workspace.recipes())
            assert load_classifier("mine").scale == 255

    def test_damaged_and_unknown_settings_are_refused(self, tmp_path):
        path = Classifier.from_keras(network()).save(tmp_path / "m.h5")
        (tmp_path / "m.h5.toml").write_text("scale = ")
        with pytest.raises(InvalidFile, match=r"m\.h5\.toml' are not valid TOML"):
            load_classifier(path)
        for text in ("preprocess = 1", "output_layer = [1]", "classes = [1, 2]", "classes = 'a'"):
            (tmp_path / "m.h5.toml").write_text(text)
            with pytest.raises(InvalidFile, match=rf"have {text.split()[0]} = "):
                load_classifier(path)
        (tmp_path / "m.h5.toml").write_text("scale = 'much'")
        with pytest.raises(InvalidValue, match="scale must be a finite number"):
            load_classifier(path)
        (tmp_path / "m.h5.toml").write_text("scales = 255")
        with pytest.raises(UnknownName, match=r"Did you mean 'scale'"):
            load_classifier(path)


def test_images_in_0_to_255_are_noticed():
    classifier = Classifier.from_keras(network(), scale=255)
    whole = np.rint(255 * X)
    with pytest.raises(InvalidValue, match=r"pixels from .*, not in \[0, 1\].*scale=255"):
        classifier.probabilities(whole.astype("float32"))
    with pytest.warns(AdvlabWarning, match="uint8 are taken as 0-255"):
        found = classifier.probabilities(whole.astype("uint8"))
    np.testing.assert_array_equal(found, classifier.probabilities((whole / 255).astype("float32")))


def test_class_names_are_as_many_as_the_classes():
    with pytest.raises(InvalidValue, match=r"has 3 classes. Got 2 names"):
        Classifier.from_keras(network(), class_names=["a", "b"])


def test_the_digest_knows_the_operations_and_their_constants():
    def digest(divisor, slope):
        image = keras.Input((5, 6, 3))
        hidden = keras.ops.leaky_relu(layers.Flatten()(image / divisor), slope)
        dense = layers.Dense(3)
        model = keras.Model(image, dense(hidden))
        dense.set_weights([np.ones((90, 3)), np.ones(3)])
        return Classifier.from_keras(model).digest

    assert digest(255.0, 0.1) == digest(255.0, 0.1)
    assert len({digest(255.0, 0.1), digest(128.0, 0.1), digest(255.0, 0.2)}) == 3


def test_a_model_with_operations_is_attacked_in_both_precisions():
    image = keras.Input((5, 6, 3))
    hidden = layers.Dense(8, activation="relu")(layers.Flatten()(2.0 * image[:, 1:] - 1.0))
    classifier = Classifier.from_keras(keras.Model(image, layers.Dense(3, activation="softmax")(hidden + 1.0)))
    data = advlab.Dataset.from_arrays(X, classifier.probabilities(X).argmax(1), ["a", "b", "c"])
    for precision in ("float32", "bfloat16"):
        result = advlab.attack(classifier, data, "pgd", epsilon=0.2, steps=5, precision=precision, progress=False)
        assert np.abs(result.x_adv - result.x).max() > 0.1
