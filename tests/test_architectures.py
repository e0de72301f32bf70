"""The networks of the zoo have the published sizes, the shapes that open anywhere, and a softmax at their end."""

import keras
import numpy as np
import pytest

from advlab.classifiers.architectures import convnet, mlp, resnet, rnn
from advlab.declarations.recipes import load_recipe
from advlab.errors import InvalidValue, Mismatch, UnknownName
from advlab.training.train import build

# Copied from the books' tables, apart from the recipes: a recipe that drifts from its source fails this test.
PUBLISHED = {
    "fashion": 47_722,
    "fashion-128": 101_770,
    "mnist": 80_266,
    "mnist-dense-sgd": 118_282,
    "mnist-dropout-adam": 118_282,
    "mnist-dropout-rmsprop": 118_282,
    "mnist-dropout-sgd": 118_282,
    "mnist-mlp-256": 269_322,
    "mnist-mlp-512": 669_706,
    "mnist-rnn": 75_530,
    "mnist-softmax": 7_850,
    "mnist-softmax-zeros": 7_850,
}


class Blank:
    """As much of a data set as building a network needs."""

    x = np.zeros((1, 28, 28, 1), np.float32)
    classes = tuple("0123456789")
    vocabulary = ()


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_a_recipe_builds_a_network_of_the_published_size(name, parameters):
    recipe = load_recipe(name)
    assert build(recipe, Blank()).count_params() == parameters == recipe.published["parameters"]


@pytest.mark.parametrize(
    "model",
    [
        mlp((5, 6, 1), 3, hidden=[4], dropout=0.5),
        mlp((5, 6, 3), 3, hidden=[]),
        convnet((8, 8, 3), 3, filters=[2, 2], dropout=0.2),
        convnet((8, 8), 3, filters=[2]),
        resnet((9, 8, 3), 3, filters=[2, 4], blocks=2),
        resnet((4, 4), 3, filters=[2]),
        convnet((7, 7), 3, filters=[2, 2], kernel_size=4, stride=2, padding="same", pool_size=1, hidden=[5]),
        rnn((5, 6), 3, units=4),
        rnn((5, 6, 3), 3, units=4, cell="gru"),
        rnn((5, 6, 1), 3, units=4, cell="lstm", bidirectional=True, dropout=0.2),
    ],
)
def test_every_network_ends_in_probabilities(model):
    images = np.random.default_rng(0).random((4, *model.input_shape[1:]), np.float32)
    outputs = model(images).numpy()
    assert outputs.shape == (4, 3)
    assert np.all(outputs >= 0)
    np.testing.assert_allclose(outputs.sum(1), 1, atol=1e-6)
    assert model.layers[-1].get_config()["activation"] == "softmax"


def test_the_network_of_fast_adversarial_training_has_the_size_of_its_authors():
    """Convolutions of 16 and 32 filters of 4x4 that halve the image, a dense layer of 100: arXiv:2001.03994."""
    sizes = [16 * 16 + 16, 32 * 16 * 16 + 32, 100 * 7 * 7 * 32 + 100, 10 * 100 + 10]
    for name in ("mnist-robust", "fashion-robust"):
        assert build(load_recipe(name), Blank()).count_params() == sum(sizes)


def test_grey_images_enter_dense_and_recurrent_layers_without_a_channel_and_convolutions_with_one():
    assert mlp((28, 28, 1), 10, hidden=[2]).input_shape == (None, 28, 28)
    assert rnn((28, 28, 1), 10, units=2).input_shape == (None, 28, 28)
    assert convnet((28, 28), 10, filters=[2]).input_shape == (None, 28, 28, 1)


def test_colour_images_keep_their_channels():
    assert mlp((5, 6, 3), 2, hidden=[]).input_shape == (None, 5, 6, 3)
    assert rnn((5, 6, 3), 2, units=2).layers[0].output.shape == (None, 5, 18)


def test_dropout_follows_each_hidden_layer_and_none_is_added_where_it_is_zero():
    names = [layer.name for layer in mlp((4, 4), 2, hidden=[3, 3], dropout=0.3).layers]
    assert names == ["flatten", "hidden_1", "dropout_1", "hidden_2", "dropout_2", "probabilities"]
    assert not any("dropout" in layer.name for layer in mlp((4, 4), 2, hidden=[3, 3]).layers)


def test_a_residual_block_adds_two_convolutions_to_what_it_is_given():
    """With the second normalisation at zero the sum is the input itself, and its ReLU too."""
    model = resnet((6, 6, 2), 3, filters=[4], blocks=2)
    for block in (1, 2):
        normalization = model.get_layer(f"stage_1_block_{block}_second_normalization")
        normalization.set_weights([np.zeros_like(w) if i < 3 else w for i, w in enumerate(normalization.get_weights())])
    stem = keras.Model(model.input, model.get_layer("stem_relu").output)
    last = keras.Model(model.input, model.get_layer("stage_1_block_2").output)
    images = np.random.default_rng(0).random((4, 6, 6, 2), np.float32)
    np.testing.assert_array_equal(stem(images), last(images))


def test_a_residual_network_needs_a_stage():
    with pytest.raises(InvalidValue, match="at least one stage"):
        resnet((6, 6), 3, filters=[])


def test_each_later_stage_halves_height_and_width():
    model = resnet((9, 8, 3), 3, filters=[2, 4, 6])
    shapes = [model.get_layer(f"stage_{stage}_block_1").output.shape[1:] for stage in (1, 2, 3)]
    assert shapes == [(9, 8, 2), (5, 4, 4), (3, 2, 6)]


def test_pooling_is_between_convolutions_and_not_after_the_last():
    names = [layer.name for layer in convnet((28, 28, 1), 10, filters=[2, 2]).layers]
    assert names == ["convolution_1", "pool_1", "convolution_2", "flatten", "probabilities"]


def test_initial_weights_follow_the_initializer():
    zeros, normal = (
        mlp((28, 28), 10, hidden=[], kernel_initializer=initializer).layers[-1].kernel.numpy()
        for initializer in ("zeros", {"class_name": "TruncatedNormal", "config": {"stddev": 1.0}})
    )
    assert not zeros.any()
    assert 0.8 < normal.std() < 1.0  # a normal cut at two deviations has a deviation of 0.88
    assert np.abs(normal).max() <= 2


def test_layers_of_equal_shape_start_from_different_weights():
    model = mlp((2, 2), 4, hidden=[4, 4], kernel_initializer={"class_name": "GlorotUniform", "config": {}})
    first, second = (model.get_layer(f"hidden_{n}").kernel.numpy() for n in (1, 2))
    assert np.any(first != second)


def test_what_keras_does_not_know_is_refused_by_name():
    with pytest.raises(UnknownName, match=r"Unknown activation 'rellu'. Did you mean 'relu'"):
        mlp((4, 4), 2, hidden=[3], activation="rellu")
    with pytest.raises(InvalidValue, match=r"kernel_initializer must be a Keras initializer.*'zerosss'"):
        mlp((4, 4), 2, hidden=[], kernel_initializer="zerosss")
    with pytest.raises(UnknownName, match=r"Unknown cell 'lst'. Did you mean 'lstm'"):
        rnn((4, 4), 2, units=3, cell="lst")


def test_images_too_small_for_the_convolutions_are_refused():
    assert convnet((18, 18), 2, filters=[2, 2, 2]).count_params() > 0
    with pytest.raises(Mismatch, match="Images of 17 pixels are too small for 3 convolutions"):
        convnet((17, 17), 2, filters=[2, 2, 2])
