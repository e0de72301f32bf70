"""Fitting: the loop in TensorFlow gives the weights of one Keras call per batch, and repeats them bit for bit."""

import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from advlab.data.loading import load_dataset
from advlab.training import fit
from advlab.training import train as training
from advlab.training.train import build
from advlab.workflows.train import train
from tests.conftest import weights


@pytest.mark.parametrize(
    "architecture",
    [
        {"name": "mlp", "hidden": [8], "dropout": 0.3},
        {"name": "convnet", "filters": [4, 4], "kernel_size": 2, "dropout": 0.3},
        pytest.param({"name": "rnn", "units": 8, "dropout": 0.3}, marks=pytest.mark.thorough),
    ],
    ids=lambda architecture: architecture["name"],
)
def test_equal_seeds_give_equal_weights_to_the_bit(recipe, architecture):
    first, repeated, other = (train(recipe(architecture), seed=seed, save=False) for seed in (5, 5, 6))
    assert np.array_equal(weights(first), weights(repeated))
    assert not np.array_equal(weights(first), weights(other))


def reference(recipe, seed=0):
    """The weights after one Keras call for each batch, in the order of the training run."""
    data, settings = load_dataset(recipe.dataset, split="train"), recipe.training
    keras.utils.set_random_seed(seed)
    model = build(recipe, data)
    model.compile(optimizer=settings.optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    x = data.x.reshape(-1, *model.input_shape[1:])
    for epoch in range(settings.epochs):
        rows = fit.order(len(x), seed, epoch)
        for start in range(0, len(x), settings.batch_size):
            batch = rows[start : start + settings.batch_size]
            model.train_on_batch(x[batch], data.y[batch])
    return np.concatenate([np.ravel(w) for w in model.get_weights()])


@pytest.mark.parametrize(
    ("batch_size", "xla"),
    [(2, False), (7, True), (300, False), (400, True)],
    ids=["2 graph", "7 xla", "300 graph", "400 xla"],
)
def test_every_epoch_uses_every_image_as_one_call_for_each_batch_does(recipe, monkeypatch, batch_size, xla):
    """300 images in batches of 2 are two full calls and one cut short; of 7, the last batch is a smaller one."""
    monkeypatch.setattr(fit, "_XLA_FROM_STEPS", 0 if xla else 10**9)
    small_recipe = recipe(batch_size=batch_size, optimizer="rmsprop")
    ours = train(small_recipe, save=False)
    np.testing.assert_allclose(weights(ours), reference(small_recipe), atol=2e-6)


@pytest.mark.parametrize(
    ("architecture", "steps", "xla"),
    [
        ({"name": "mlp", "hidden": [8, 9], "dropout": 0.3, "batch_normalization": True}, 1500, True),
        ({"name": "mlp", "hidden": [8, 9], "dropout": 0.3}, 1499, False),
        ({"name": "convnet", "filters": [2]}, 1500, False),
        ({"name": "rnn", "units": 8}, 1500, False),
    ],
)
def test_xla_is_for_long_training_runs_of_dense_networks(recipe, architecture, steps, xla):
    model = build(recipe(architecture), load_dataset(recipe().dataset, split="train"))
    assert fit._xla_pays(model, steps) is xla


def test_dropout_compiled_by_xla_drops_and_scales_as_keras_does():
    model = keras.Sequential([keras.Input((1000,)), keras.layers.Dropout(0.3)])
    ones = tf.ones((100, 1000))
    with fit._threefry(model):
        dropped = tf.function(lambda: model(ones, training=True), jit_compile=True)
        first, second = dropped().numpy(), dropped().numpy()
        np.testing.assert_array_equal(model(ones, training=False), ones)
    for mask in (first, second):
        assert np.mean(mask == 0) == pytest.approx(0.3, abs=0.006)  # four standard deviations of 100,000 draws
        np.testing.assert_allclose(mask[mask > 0], 1 / 0.7, rtol=1e-6)
    assert np.mean((first == 0) & (second == 0)) == pytest.approx(0.09, abs=0.004)
    assert vars(model.layers[0]).get("call") is None


def test_an_order_shows_every_image_once_and_differs_from_epoch_to_epoch():
    first, second = fit.order(100, 3, 0), fit.order(100, 3, 1)
    assert sorted(first) == sorted(second) == list(range(100))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, fit.order(100, 4, 0))


def test_the_figures_of_an_epoch_are_means_over_its_images_and_not_over_its_batches(recipe):
    """A learning rate near zero hardly changes the weights: the figures are those of a forward pass over all images."""
    small_recipe = recipe(batch_size=7, optimizer="sgd", learning_rate=1e-12, epochs=1, validation_split=0.1)
    card = train(small_recipe, save=False).card
    data = load_dataset(small_recipe.dataset, split="train")
    keras.utils.set_random_seed(0)
    probabilities = build(small_recipe, data).predict(data.x[..., 0], verbose=0)
    right = probabilities.argmax(1) == data.y
    losses = -np.log(probabilities[np.arange(300), data.y])
    assert card["train_accuracy"] == pytest.approx(right[:270].mean(), abs=1e-6)
    assert card["validation_accuracy"] == pytest.approx(right[270:].mean(), abs=1e-6)
    assert card["history"]["loss"] == pytest.approx([losses[:270].mean()], rel=1e-4)
    assert card["history"]["val_loss"] == pytest.approx([losses[270:].mean()], rel=1e-4)


def test_the_bar_moves_once_for_each_batch(recipe, monkeypatch):
    updates = []
    monkeypatch.setattr(
        training.Progress, "advance", lambda self, amount=1, **postfix: updates.append((amount, postfix))
    )
    train(recipe(batch_size=2), save=False)
    assert sum(amount for amount, _ in updates) == 2 * 150
    assert updates[-1][1].keys() == {"epoch", "loss", "accuracy"}
    assert updates[-1][1]["epoch"] == "2/2"


@pytest.mark.parametrize("precision", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.thorough)])
def test_mixed_precision_trains_like_float32_and_leaves_a_float32_classifier(recipe, precision):
    small_recipe = recipe(epochs=8, learning_rate=0.02)
    plain, mixed = (
        train(small_recipe, save=False),
        train(replace_training(small_recipe, precision=precision), save=False),
    )
    assert {str(w.dtype) for w in mixed.keras_model.weights} == {"float32"}
    assert {layer.compute_dtype for layer in mixed.keras_model.layers} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"
    assert mixed.card["test_accuracy"] == pytest.approx(plain.card["test_accuracy"], abs=0.1)
    assert not np.array_equal(weights(mixed), weights(plain))


def replace_training(recipe, **settings):
    return replace(recipe, training=replace(recipe.training, **settings))


_TWO_DEVICES = """
import sys
import numpy as np, tensorflow as tf
(processor,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
from advlab.training import train as training
from advlab.declarations.recipes import Recipe, Training
from advlab.workflows.train import train
from tests.conftest import weights

settings = Training("sgd", 20, 3, validation_split=0.1)
recipe = Recipe("thirds", "A test", sys.argv[1], {"name": "mlp", "hidden": [8]}, settings)
one = train(recipe, save=False)

replicas, run = set(), tf.distribute.Strategy.run
def counted(self, *arguments, **options):
    replicas.add(self.num_replicas_in_sync)
    return run(self, *arguments, **options)
tf.distribute.Strategy.run = counted
training._gpus = lambda: [device.name for device in tf.config.list_logical_devices("CPU")]
two = train(recipe, save=False)

assert replicas == {2}, replicas
for a, b in zip(one.keras_model.get_weights(), two.keras_model.get_weights(), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
assert one.card["history"]["accuracy"] == two.card["history"]["accuracy"]
"""


@pytest.mark.thorough
def test_several_devices_share_each_batch_and_reach_the_same_weights(thirds):
    """Two logical processors stand in for two GPUs, in a process of their own: devices are fixed at the start."""
    process = subprocess.run([sys.executable, "-c", _TWO_DEVICES, thirds], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
