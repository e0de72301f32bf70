"""Certified training of texts: its box is that of certificates, and what it reaches they prove."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import advlab
from advlab.certification.words import word_subject
from advlab.declarations.certified import Certified
from advlab.declarations.recipes import load_recipe
from advlab.errors import AdvlabError, InvalidValue, Mismatch
from advlab.training.certified import CertifiedValidation, worst_within
from advlab.training.certified_words import WordSubject
from advlab.workflows.train import train


def recipe(name="sentiment-tiny", **settings):
    declared = load_recipe(name)
    training = dataclasses.replace(declared.training, **({"validation_split": 0.2} | settings))
    return dataclasses.replace(declared, training=training)


@pytest.fixture(scope="module")
def certified():
    return train(recipe(epochs=60, certified=Certified(1, 5, 30, norm="l0")), save=False)


@pytest.mark.parametrize("count", [1, 2, 16])
def test_the_box_is_that_of_certificates(tiny, sentences, count):
    region = word_subject(tiny).region(sentences.x, count)
    subject = WordSubject(tiny.keras_model, tiny.vocabulary, count)
    low, high = (end.numpy().reshape(24, -1) for end in subject.box(sentences.x, 1.0))
    np.testing.assert_allclose(low, region.lower, atol=1e-6)
    np.testing.assert_allclose(high, region.upper, atol=1e-6)
    center = region.center.numpy()
    for size in (0.0, 0.5):
        low, high = (end.numpy().reshape(24, -1) for end in subject.box(sentences.x, size))
        np.testing.assert_allclose(low, center + size * (region.lower - center), atol=1e-6)
        np.testing.assert_allclose(high, center + size * (region.upper - center), atol=1e-6)


def test_the_bounds_have_gradients_with_respect_to_the_vectors(tiny, sentences):
    subject = WordSubject(tiny.keras_model, tiny.vocabulary, 1)
    positive = sentences.x[sentences.y == 1]
    with tf.GradientTape() as tape:
        worst = worst_within(subject.network(), *subject.box(positive, 1.0), tf.ones(len(positive), tf.int32))
        total = tf.reduce_sum(worst)
    gradients = tape.gradient(total, [weight.value for weight in tiny.keras_model.trainable_weights])
    assert all(np.isfinite(tf.convert_to_tensor(gradient)).all() for gradient in gradients)
    assert all(np.any(tf.convert_to_tensor(gradient)) for gradient in gradients)


def test_what_is_measured_is_what_certificates_prove(certified, sentences):
    subject = WordSubject(certified.keras_model, certified.vocabulary, 1)
    logs = {}
    CertifiedValidation(subject, sentences.x, sentences.y.astype(np.int32)).on_epoch_end(0, logs)
    proven = advlab.certify(certified, sentences, "ibp", norm="l0", epsilon=1).proven.mean()
    assert logs["val_certified_accuracy"] == pytest.approx(proven)
    assert 0 < proven < 1


def test_training_makes_texts_provable(certified, tiny, sentences):
    assert certified.card["test_accuracy"] > 0.8
    proven = [advlab.certify(c, sentences, "ibp", norm="l0", epsilon=1).proven.mean() for c in (certified, tiny)]
    assert proven[0] > 0.3 > proven[1]
    result = advlab.attack(certified, sentences, "hotflip", epsilon=1)
    assert proven[0] <= (result.robust & result.correct).mean()
    assert len(certified.card["history"]["val_certified_accuracy"]) == 60
    assert certified.card["certified_validation_accuracy"] > 0.3


def test_neighbours_are_found_anew_before_each_epoch(tiny, sentences):
    subject = WordSubject(tiny.keras_model, tiny.vocabulary, 1)
    judge = CertifiedValidation(subject, sentences.x, sentences.y.astype(np.int32))
    calls = []
    subject.refresh = lambda: calls.append(1)
    judge.on_epoch_begin(0)
    judge.on_epoch_end(0, {})
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"epsilon": 0.5}, "epsilon must be a whole number of words, 1 or more, with norm 'l0'. Got 0.5"),
        ({"epsilon": 1.5}, "whole number of words"),
        ({"norm": "l2"}, r"training\.certified\.norm"),
        ({"norm": "linf", "epsilon": 2}, "at most 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, said):
    with pytest.raises(AdvlabError, match=said):
        Certified(**({"epsilon": 1, "norm": "l0"} | settings))


def test_texts_are_bounded_by_words_and_images_by_pixels():
    with pytest.raises(Mismatch, match=r"training\.certified\.norm is for images"):
        train(recipe(certified=Certified(0.1)), save=False)
    with pytest.raises(Mismatch, match=r"training\.certified\.norm 'l0' is for texts.*'digits' holds images"):
        train(recipe("digits", certified=Certified(1, norm="l0")), save=False)


def test_a_network_without_a_maximum_behind_its_words_has_no_bounds():
    declared = recipe(certified=Certified(1, norm="l0"))
    other = {"name": "recurrent_words", "words": 200, "embedding": 4, "units": 4}
    with pytest.raises(InvalidValue, match="maximum over all positions follows the embedding"):
        train(dataclasses.replace(declared, architecture=other), save=False)
