"""Hardening: a copy becomes sturdier in its time, the model itself stays as it is, and bad ends lose nothing."""

import keras
import numpy as np
import pytest
from keras import layers

import advlab
from advlab import load_classifier
from advlab.classifiers.classifier import Classifier
from advlab.data.loading import load_dataset
from advlab.declarations.adversaries import Adversary
from advlab.errors import AdvlabError, FileExists, InvalidValue, UnknownName
from advlab.training import harden as training
from advlab.training.adversary import RobustValidation
from advlab.workflows.train import train
from tests.conftest import weights

PGD = Adversary("pgd", 0.1, steps=3)


@pytest.fixture
def small(recipe):
    """Classifies the images of thirds well, and not at all under attack."""
    return train(recipe(epochs=8, learning_rate=0.01), save=False)


def test_a_copy_is_more_robust_and_the_model_is_as_it_was(small, thirds, monkeypatch):
    seconds = iter(range(10**6))
    monkeypatch.setattr(training, "perf_counter", lambda: next(seconds))  # a step takes a second
    before = weights(small)
    found = training.harden(small, load_dataset(thirds, split="train"), PGD, seconds=300, progress=False)
    assert found.checks[found.kept] == max(found.checks)
    assert found.checks[found.kept] > found.checks[0] + 0.05
    assert len(found.checks) == 1 + training.CHECKS
    assert found.kept > 0
    np.testing.assert_array_equal(weights(small), before)


def scripted(monkeypatch, accuracies):
    values = iter(accuracies)
    monkeypatch.setattr(RobustValidation, "robust_accuracy", lambda self: next(values))


def test_the_most_robust_state_is_kept_even_where_it_is_the_first(small, thirds, monkeypatch):
    scripted(monkeypatch, [0.9, *[0.5] * 20])
    found = training.harden(small, load_dataset(thirds, split="train"), PGD, seconds=0.5, progress=False)
    assert found.kept == 0
    np.testing.assert_array_equal(weights(found.classifier), weights(small))


def test_batch_normalisation_keeps_its_statistics_and_the_pixel_units_stay(thirds):
    model = keras.Sequential([keras.Input((6, 6, 1)), layers.Flatten(), layers.Dense(9), layers.BatchNormalization()])
    model.add(layers.Dense(3))
    classifier = Classifier.from_keras(model, scale=255.0, output="logit")
    found = training.harden(classifier, load_dataset(thirds, split="train"), PGD, seconds=1, progress=False)
    assert found.classifier.scale == 255
    assert found.classifier.settings.output == "logit"
    kept = found.classifier.keras_model.layers[2]
    np.testing.assert_array_equal(kept.moving_mean.numpy(), np.zeros(9))


def test_a_loss_that_is_not_finite_at_once_says_what_to_do(small, thirds):
    with pytest.raises(
        AdvlabError, match=r"at learning rate 1e\+38: the loss became .* Choose a smaller learning_rate"
    ):
        training.harden(small, load_dataset(thirds, split="train"), PGD, seconds=60, learning_rate=1e38, progress=False)


def test_what_cannot_be_trained_is_refused(thirds):
    model = keras.Sequential([keras.Input((6, 6)), layers.Flatten(), layers.Dense(3, activation="softmax")])
    model.trainable = False
    with pytest.raises(InvalidValue, match="no weights that can be trained"):
        training.harden(Classifier.from_keras(model), load_dataset(thirds, split="train"), PGD, seconds=1)


@pytest.fixture
def quick(monkeypatch):
    """Measured by a suite that takes a second in place of ten."""
    monkeypatch.setattr("advlab.workflows.harden._SUITE", "quick")


def test_both_numbers_and_the_file_are_those_of_the_hardened_model(small, thirds, workspace, quick):
    result = advlab.harden(small, thirds, minutes=0.03, samples=20, progress=False)
    assert result.path == workspace / "models" / "thirds-hardened.h5"
    opened = load_classifier("thirds-hardened")
    assert opened.digest == result.classifier.digest != small.digest
    assert opened.card["hardened"]["from"] == small.digest
    assert opened.card["hardened"]["epsilon"] == 0.1
    test = load_dataset(thirds)
    assert opened.card["test_accuracy"] == pytest.approx(np.mean(opened.probabilities(test.x).argmax(1) == test.y))
    assert [e.classifier for e in (result.before, result.after)] == ["thirds", "thirds-hardened"]
    assert result.after.result.classifier_digest == opened.digest
    assert "thirds-hardened" in result.table()
    assert "robust accuracy" in repr(result)
    assert "<table>" in result._repr_html_()


def test_an_existing_file_is_refused_before_any_work(small, thirds, workspace, monkeypatch):
    path = workspace / "models" / "thirds-hardened.h5"
    path.parent.mkdir()
    path.write_bytes(b"mine")
    monkeypatch.setattr(training, "harden", None)
    with pytest.raises(FileExists, match="thirds-hardened"):
        advlab.harden(small, thirds, samples=5)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"minutes": 0}, InvalidValue, "minutes"),
        ({"epsilon": 0}, InvalidValue, "epsilon"),
        ({"epsilon": 25}, InvalidValue, r'write "25/255"'),
        ({"norm": "l1"}, UnknownName, "norm"),
        ({"method": "trades"}, UnknownName, "pgd"),
        ({"learning_rate": -1}, InvalidValue, "learning_rate"),
    ],
)
def test_bad_requests_are_refused(small, thirds, settings, error, message):
    with pytest.raises(error, match=message):
        advlab.harden(small, thirds, **settings)
