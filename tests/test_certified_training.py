"""Certified training: the loss is that of the worst logits which bounds allow, and what it reaches is proven."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import advlab
from advlab.certification.intervals import propagate
from advlab.certification.region import region_of
from advlab.certification.translate import network_of
from advlab.classifiers.classifier import Classifier
from advlab.errors import AdvlabError, InvalidValue
from advlab.training import checkpoint
from advlab.training.certified import ImageSubject, worst_within

RECIPE = """
title = "Certified"
source = "a test"
dataset = "digits"

[architecture]
name = "mlp"
hidden = [64]

[training]
optimizer = "adam"
learning_rate = 0.002
batch_size = 64
epochs = 16
validation_split = 0.1
train_samples = 600
{training}
{certified}
"""
CERTIFIED = """
[training.certified]
epsilon = 0.05
warmup_epochs = 1
ramp_epochs = 8
"""


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Train a recipe with these settings."""
    monkeypatch.setenv("ADVLAB_WORKSPACE", str(tmp_path))

    def run(training="", certified=CERTIFIED, name="certified", resume=False):
        path = tmp_path / f"{name}.toml"
        path.write_text(RECIPE.format(training=training, certified=certified))
        return advlab.train(path, progress=False, resume=resume, force=not resume)

    return run


def layers():
    return [
        keras.layers.Conv2D(3, 3, activation="relu"),
        keras.layers.MaxPooling2D(2),
        keras.layers.Flatten(),
        keras.layers.Dense(8, activation="tanh"),
        keras.layers.Dense(4),
    ]


@pytest.mark.parametrize("softmax", [False, True])
def test_the_worst_logits_hold_for_every_image_and_are_no_looser_than_interval_bounds(softmax):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((8, 8, 2)), *layers(), *([keras.layers.Softmax()] if softmax else [])])
    classifier = Classifier.from_keras(model, scale=2.0, offset=-1.0, output="probability" if softmax else "logit")
    generator = np.random.default_rng(0)
    x, labels = generator.random((6, 8, 8, 2)).astype(np.float32), np.arange(6) % 4
    subject = ImageSubject(classifier, (8, 8, 2), 0.1)
    worst = worst_within(subject.network(), *subject.box(x, 0.5), tf.constant(labels)).numpy()
    np.testing.assert_allclose(worst[np.arange(6), labels], 0, atol=1e-6)
    bounds = propagate(network_of(classifier, (8, 8, 2)), region_of(x, "linf", 0.05), {})
    loosest = bounds.high[-1].numpy() - bounds.low[-1].numpy()[np.arange(6), labels][:, None]
    others = np.arange(4) != labels[:, None]
    assert (worst[others] <= loosest[others] + 1e-4).all()
    for _ in range(200):
        near = np.clip(x + generator.choice([-0.05, 0.05], x.shape), 0, 1).astype(np.float32)
        logits = classifier.logits(tf.constant(near)).numpy()
        assert (logits - logits[np.arange(6), labels][:, None] <= worst + 1e-4).all()


def test_it_proves_what_plain_training_does_not(train):
    """The card's share of validation images is that of the bounds; certify proves as much of the test images."""
    options = {"epsilon": 0.05, "samples": 200, "method": "ibp", "progress": False}
    certified, plain = train(), train(certified="", name="plain")
    proven = {one.name: advlab.certify(one, **options).proven.mean() for one in (certified, plain)}
    assert proven["plain"] < 0.05
    assert proven["certified"] > 0.5
    assert abs(certified.card["certified_validation_accuracy"] - proven["certified"]) < 0.2
    history = certified.card["history"]
    assert history["val_certified_accuracy"][0] < history["val_certified_accuracy"][-1]


def test_training_in_a_larger_ball_proves_more_in_the_larger_ball(train):
    smaller, larger = train(), train(certified=CERTIFIED + "train_epsilon = 0.15", name="larger")
    proven = [
        advlab.certify(one, epsilon=0.15, samples=200, method="ibp", progress=False).proven.mean()
        for one in (smaller, larger)
    ]
    assert proven[0] + 0.05 < proven[1]


def test_the_epoch_that_proves_most_is_kept(train):
    stopping = 'early_stopping = { patience = 16, monitor = "val_certified_accuracy" }'
    card = train(stopping).card
    assert card["certified_validation_accuracy"] == pytest.approx(
        max(card["history"]["val_certified_accuracy"]), abs=1e-4
    )


def test_interrupted_training_continues_as_if_it_had_not_been(train, monkeypatch):
    whole = train(name="whole")

    def save(path, specification, state, model, save=checkpoint.save):
        save(path, specification, state, model)
        if state.epochs == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", save)
        with pytest.raises(KeyboardInterrupt):
            train()
    assert train(resume=True).digest == whole.digest


@pytest.mark.parametrize(
    ("training", "certified", "message"),
    [
        ("", CERTIFIED.replace("0.05", "0"), "training.certified.epsilon"),
        ("", CERTIFIED.replace("0.05", "8"), "at most 1"),
        ("", CERTIFIED + "clean_weight = 1.5", "clean_weight"),
        ("", CERTIFIED + "train_epsilon = 0.01", "at least epsilon, 0.05"),
        ("", CERTIFIED + "train_epsilon = 2", "training.certified.train_epsilon"),
        ("", CERTIFIED + "ramp_epoch = 3", "Did you mean 'training.certified.ramp_epochs'"),
        ("", CERTIFIED + '\n[training.adversary]\nmethod = "pgd"\nepsilon = 0.1', "a training of its own"),
        ("gaussian_noise = 0.1", CERTIFIED, "a training of its own"),
        ('early_stopping = { patience = 2, monitor = "val_certified_accuracy" }', "", r"\[training.certified\]"),
    ],
)
def test_what_cannot_be_certified_is_refused_before_anything_is_trained(train, training, certified, message):
    with pytest.raises(AdvlabError, match=message):
        train(training, certified)


def test_a_layer_without_bounds_and_one_that_depends_on_the_batch_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVLAB_WORKSPACE", str(tmp_path))
    for architecture, message in (
        ('"rnn"\nunits = 4', "No bounds for layer"),
        ('"resnet"\nfilters = [4]\nblocks = 1', "BatchN"),
    ):
        text = RECIPE.format(training="", certified=CERTIFIED).replace('"mlp"\nhidden = [64]', architecture)
        (tmp_path / "other.toml").write_text(text)
        with pytest.raises(InvalidValue, match=message):
            advlab.train(tmp_path / "other.toml", progress=False)
