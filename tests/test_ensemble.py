"""Several classifiers as one: their mean, or one drawn at each query; saved, and attacked as what it is."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import advlab
from advlab.classifiers.classifier import Classifier
from advlab.errors import InvalidValue, Mismatch


def member(seed, units=3, scale=None, shape=(6, 6, 3)):
    keras.utils.set_random_seed(seed)
    last = keras.layers.Dense(units, activation="softmax" if units > 1 else "sigmoid")
    model = keras.Sequential([keras.Input(shape), keras.layers.Flatten(), last])
    return Classifier.from_keras(model, name=f"member-{seed}", scale=scale)


@pytest.fixture
def images():
    return np.random.default_rng(0).random((20, 6, 6, 3)).astype(np.float32)


def test_it_says_the_mean_of_what_its_members_say_in_pixel_units_of_their_own(images):
    members = [member(1), member(2, scale=255.0), member(3)]
    together = advlab.ensemble(members)
    expected = np.mean([one.probabilities(images) for one in members], axis=0)
    np.testing.assert_allclose(together.probabilities(images), expected, atol=1e-5)


def test_its_logits_do_not_saturate_with_the_softmax_of_a_member():
    """Both members are surer than float32 can say; the gradient is that of logits all the same."""
    sure = member(1)
    kernel, bias = sure.keras_model.layers[-1].get_weights()
    sure.keras_model.layers[-1].set_weights([1000 * kernel, bias])
    together = advlab.ensemble([sure, sure])
    images = tf.constant(np.random.default_rng(0).random((20, 6, 6, 3)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = together.logits(images)
        lead = tf.reduce_max(logits, 1) - tf.sort(logits, 1)[:, 1]
    assert np.abs(tape.gradient(lead, images)).max((1, 2, 3)).min() > 0


def test_a_random_one_answers_each_image_by_one_member_and_all_in_turn(images):
    members = [member(1), member(2)]
    drawn = advlab.ensemble(members, random=True)
    answers = np.stack([one.probabilities(images) for one in members])
    chosen = []
    for _ in range(12):
        distance = np.abs(drawn.probabilities(images) - answers).max(-1)
        assert distance.min(0).max() < 1e-5
        chosen.append(distance.argmin(0))
    assert 0.3 < np.mean(chosen) < 0.7
    assert (np.std(chosen, axis=0) > 0).all()


@pytest.mark.parametrize("random", [False, True])
def test_it_is_saved_as_one_file(tmp_path, images, random):
    members = [member(1, scale=255.0), member(2)]
    together = advlab.ensemble(members, random=random, name="pair")
    loaded = advlab.load_classifier(together.save(tmp_path / "pair.h5"))
    assert loaded.digest == together.digest
    if random:
        answers = np.stack([one.probabilities(images) for one in members])
        assert np.abs(loaded.probabilities(images) - answers).max(-1).min(0).max() < 1e-5
    else:
        np.testing.assert_allclose(loaded.probabilities(images), together.probabilities(images), atol=1e-6)


def test_members_of_one_sigmoid_unit_have_two_classes(images):
    together = advlab.ensemble([member(1, units=1), member(2, units=1)])
    assert together.probabilities(images).shape == (20, 2)


def test_a_report_on_a_random_one_attacks_the_mean_of_its_draws(trained, digits):
    other = Classifier.from_keras(keras.models.clone_model(trained.keras_model), name="other")
    other.keras_model.set_weights([1.05 * weight for weight in trained.keras_model.get_weights()])
    drawn = advlab.ensemble([trained, other], random=True)
    report = advlab.defense_report(trained, drawn, digits.take(20), epsilon=0.1, samples=20, progress=False)
    assert max(e.attack.passes for e in report.evaluations["full"]) > 1


@pytest.mark.parametrize(
    ("members", "error", "message"),
    [
        (lambda: [member(1)], InvalidValue, "two classifiers or more. Got 1"),
        (lambda: [member(1), member(2, units=4)], Mismatch, "of 3 classes, model 'member-2'"),
        (lambda: [member(1), member(2, shape=(5, 5, 3))], Mismatch, r"\(5, 5, 3\)"),
    ],
)
def test_what_is_no_ensemble_is_refused(members, error, message):
    with pytest.raises(error, match=message):
        advlab.ensemble(members())
