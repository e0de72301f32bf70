"""Options of adversarial training: MART, the fixed set of the book, perturbed weights, and recovery from a collapse."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from advlab.classifiers.classifier import Classifier
from advlab.data.loading import load_dataset
from advlab.declarations.adversaries import Adversary
from advlab.declarations.recipes import EarlyStopping
from advlab.problem import random
from advlab.training import adversary as crafting
from advlab.training import checkpoint, fit
from advlab.training.train import build
from advlab.workflows.attack import attack
from advlab.workflows.train import train
from tests.conftest import weights

PGD = Adversary("pgd", 0.1, steps=3)
FGSM = Adversary("fgsm-rs", 0.05, recovery=True)


def first_batch(small):
    """Images, labels and the untrained network of a recipe whose first batch is the whole of its training images."""
    data = load_dataset(small.dataset, split="train")
    keras.utils.set_random_seed(0)
    rows = fit.order(240, 0, 0)
    return data.x[rows], data.y[rows], build(small, data)


def crafted(adversary, model, x, y):
    logits = Classifier.from_keras(model).logits
    batch = crafting.untargeted(tf.constant(x), tf.constant(y), random.streams(0, 0, tf.range(len(x))))
    return tf.function(lambda b: crafting.craft(adversary, logits, b), autograph=False)(batch).numpy()


def one_step(recipe, adversary, rate):
    settings = {"optimizer": "sgd", "learning_rate": rate, "batch_size": 240, "epochs": 1, "validation_split": 0.2}
    return recipe(adversary=adversary, **settings)


def test_the_loss_of_mart_weighs_the_divergence_by_the_doubt_about_the_clean_image(recipe):
    """One step at rate 0: the epoch's loss is that of the first weights, written out here in NumPy."""
    adversary = Adversary("mart", 0.1, beta=3)
    small = one_step(recipe, adversary, 1e-12)
    loss = train(small, save=False).card["history"]["loss"][0]
    x, y, model = first_batch(small)
    classifier, rows = Classifier.from_keras(model), np.arange(240)
    p, q = (classifier.probabilities(images).astype(np.float64) for images in (x, crafted(adversary, model, x, y)))
    others = np.where(np.eye(3, dtype=bool)[y], -1, q).max(1)
    boosted = -np.log(q[rows, y]) - np.log(1.0001 - others)
    expected = np.mean(boosted + 3 * (1.0001 - p[rows, y]) * (p * np.log(p / q)).sum(1))
    assert loss == pytest.approx(expected, rel=1e-4)


def test_with_perturbed_weights_the_gradient_is_that_of_the_worst_weights_nearby(recipe):
    """One step of gradient descent, written out."""
    adversary = replace(PGD, weight_perturbation=0.2)
    small = one_step(recipe, adversary, 0.1)
    ours = train(small, save=False)
    x, y, model = first_batch(small)
    x_adv = tf.reshape(crafted(PGD, model, x, y), [-1, 6, 6])

    def gradients():
        with tf.GradientTape() as tape:
            p = model(x_adv, training=True)
            loss = -tf.reduce_mean(tf.math.log(tf.gather(p, y, batch_dims=1)))
        return tape.gradient(loss, model.trainable_variables)

    before = [v.numpy() for v in model.trainable_variables]
    for variable, gradient in zip(model.trainable_variables, gradients(), strict=True):
        if len(variable.shape) == 2:
            variable.assign_add(0.2 * tf.norm(variable) / tf.norm(gradient) * gradient)
    expected = [w - 0.1 * g.numpy() for w, g in zip(before, gradients(), strict=True)]
    np.testing.assert_allclose(weights(ours), np.concatenate([np.ravel(w) for w in expected]), atol=1e-6)


def test_the_average_of_weights_does_not_see_their_perturbation(recipe):
    """The same weights after each step, averaged here."""
    settings = {"optimizer": "sgd", "learning_rate": 0.1, "batch_size": 300, "validation_split": 0.2}
    settings["adversary"] = replace(PGD, weight_perturbation=0.2)
    last = [weights(train(recipe(epochs=n, **settings), save=False)) for n in (1, 2)]
    averaged = train(recipe(epochs=2, weight_averaging=0.8, **settings), save=False)
    np.testing.assert_allclose(weights(averaged), 0.8 * last[0] + 0.2 * last[1], atol=1e-6)


def test_perturbed_weights_leave_statistics_and_dropout_alone(recipe):
    """A perturbation too small to matter changes nothing, though each step makes one more pass in training mode."""
    architecture = {"name": "mlp", "hidden": [8], "dropout": 0.3, "batch_normalization": True}
    plain = recipe(architecture, validation_split=0.2, adversary=PGD)
    tiny = recipe(architecture, validation_split=0.2, adversary=replace(PGD, weight_perturbation=1e-30))
    np.testing.assert_allclose(weights(train(tiny, save=False)), weights(train(plain, save=False)), atol=1e-6)


def test_the_fixed_set_is_of_fgsm_images_of_the_plain_network_and_is_trained_on_besides(recipe, monkeypatch):
    seen = []
    monkeypatch.setattr(
        fit, "fit", lambda model, x, y, *v, fit=fit.fit, **o: (seen.append((x, y)), fit(model, x, y, *v, **o))
    )
    stopping = EarlyStopping(patience=2, monitor="val_robust_accuracy")
    adversary = Adversary("augment", 0.1, augment_images=50)
    small = recipe(validation_split=0.2, adversary=adversary, early_stopping=stopping)
    card = train(small, save=False).card
    plain = replace(small.training, adversary=None, early_stopping=replace(stopping, monitor="val_accuracy"))
    base = train(replace(small, training=plain), save=False)
    data = load_dataset(small.dataset, split="train").take(50)
    x, y = seen[1]
    assert len(seen[0][0]) == 240
    np.testing.assert_array_equal(y[240:], data.y)
    np.testing.assert_allclose(x[240:].reshape(data.x.shape), attack(base, data, "fgsm", epsilon=0.1).x_adv, atol=1e-6)
    assert len(card["history"]["val_robust_accuracy"]) == 2


@pytest.fixture
def scripted(monkeypatch):
    """Robust validation reports these accuracies, one for each epoch; and which method crafted each train step."""
    methods = []

    def craft(adversary, logits, batch, epsilon=None, craft=crafting.craft):
        tf.numpy_function(lambda: methods.append(adversary.method), [], [])
        return craft(adversary, logits, batch, epsilon)

    def report(accuracies):
        values = iter(accuracies)

        def on_epoch_end(self, epoch, logs=None):
            logs["val_robust_accuracy"] = next(values)

        monkeypatch.setattr(crafting.RobustValidation, "on_epoch_end", on_epoch_end)
        monkeypatch.setattr(crafting, "craft", craft)
        return methods

    return report


def test_after_a_collapse_training_recovers_from_the_weights_before_it_against_pgd(recipe, scripted):
    methods = scripted([0.4, 0.5, 0.1, 0.55, 0.6])
    settings = {"validation_split": 0.2, "learning_rate": 0.01, "batch_size": 120, "adversary": FGSM}
    card = train(recipe(epochs=5, **settings), save=False).card
    assert card["ended"] is None
    assert methods == ["fgsm-rs"] * 6 + ["pgd"] * 2 + ["fgsm-rs"] * 2


def test_the_collapsed_epoch_leaves_nothing_behind_but_its_figures(recipe, scripted):
    settings = {"validation_split": 0.2, "learning_rate": 0.01, "adversary": FGSM}
    scripted([0.4, 0.5])
    two = train(recipe(epochs=2, **settings), save=False)
    scripted([0.4, 0.5, 0.1])
    three = train(recipe(epochs=3, **settings), save=False)
    assert np.array_equal(weights(three), weights(two))
    assert len(three.card["history"]["loss"]) == 3


def test_a_run_interrupted_in_a_collapse_resumes_to_the_same_weights(recipe, scripted, monkeypatch):
    class Stop(Exception):
        pass

    settings = {"validation_split": 0.2, "weight_averaging": 0.9, "learning_rate": 0.01, "adversary": FGSM}
    small = recipe(epochs=4, **settings)
    scripted([0.4, 0.5, 0.1, 0.55])
    uninterrupted = train(small, save=False)
    scripted([0.4, 0.5, 0.1, 0.55])

    def save(path, specification, state, model, save=checkpoint.save):
        save(path, specification, state, model)
        if state.epochs == 3:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", save)
        with pytest.raises(Stop):
            train(small)
    scripted([0.55])
    resumed = train(small, resume=True)
    assert np.array_equal(weights(resumed), weights(uninterrupted))
    assert resumed.card["history"] == uninterrupted.card["history"]
