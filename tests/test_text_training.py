"""Training of texts: against an attack on words in every batch, with words replaced at random, and what is refused."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from texts import trained_with

import advlab
from advlab import workspace
from advlab.classifiers.words import word_model
from advlab.declarations.adversaries import Adversary
from advlab.declarations.recipes import load_recipe
from advlab.errors import InvalidValue, Mismatch
from advlab.methods import hotflip
from advlab.problem import random
from advlab.text import as_numbers
from advlab.training import adversary as crafting
from advlab.training import checkpoint
from advlab.training.trainable_words import TrainableWords
from advlab.workflows.train import train

HOTFLIP = Adversary("hotflip", 2, "l0")


def recipe(**settings):
    declared = load_recipe("sentiment-tiny")
    training = dataclasses.replace(declared.training, **({"validation_split": 0.25} | settings))
    return dataclasses.replace(declared, training=training)


def copied(classifier, vectors=None):
    network = keras.models.clone_model(classifier.keras_model)
    network.set_weights(classifier.keras_model.get_weights())
    return advlab.Classifier.from_keras(network, card=classifier.card)


def flips(problem, *, tries: int = 8):
    """The attack hotflip without the revisions that it makes in the end."""
    return hotflip.craft(problem, tries=tries, revisions=0)


flips.NORMS, flips.GOAL = ("l0",), "bounded"


def crafted(classifier, words, data, adversary=HOTFLIP, epsilon=None):
    streams = random.streams(0, 0, tf.range(len(data)))
    batch = crafting.untargeted(tf.constant(data.x), tf.constant(data.y, tf.int32), streams)
    radius = None if epsilon is None else tf.constant(epsilon, tf.float64)
    function = tf.function(lambda: crafting.craft(adversary, classifier.logits, batch, radius, words.now()))
    return function().numpy()


def test_the_batch_is_that_of_the_attack(tiny, sentences):
    words = TrainableWords(tiny.keras_model, tiny.vocabulary)
    public = advlab.attack(tiny, sentences, flips, epsilon=2)
    assert (crafted(tiny, words, sentences) == public.x_adv).all()
    assert (public.x_adv != public.x).any((1, 2, 3)).all()
    more = advlab.attack(tiny, sentences, flips, epsilon=2, tries=32)
    assert (crafted(tiny, words, sentences, Adversary("hotflip", 2, "l0", tries=32)) == more.x_adv).all()


def test_the_batch_follows_the_vectors_and_after_a_refresh_their_neighbours(tiny, sentences):
    changing = copied(tiny)
    words = TrainableWords(changing.keras_model, changing.vocabulary)
    before = np.asarray(words.now().neighbours(1, "", "", ""))
    weights = changing.keras_model.get_weights()
    vectors = np.random.default_rng(0).normal(size=weights[0].shape).astype(np.float32)
    changing.keras_model.set_weights([vectors, *weights[1:]])
    assert (words.now().table.numpy() == vectors).all()
    assert (np.asarray(words.now().neighbours(1, "", "", "")) == before).all()
    words.refresh()
    public = advlab.attack(changing, sentences, flips, epsilon=2)
    assert (crafted(changing, words, sentences) == public.x_adv).all()


def test_as_many_words_change_as_epsilon_has_grown_to(tiny, sentences):
    words = TrainableWords(tiny.keras_model, tiny.vocabulary)
    for epsilon, most in ((0.9, 0), (1.9, 1), (16.0, 16)):
        texts = crafted(tiny, words, sentences, Adversary("hotflip", 40, "l0"), epsilon)
        assert (as_numbers(texts) != as_numbers(sentences.x)).sum(1).max() <= most
    assert most == sentences.x.shape[2]


def test_what_an_epoch_measures_is_what_the_attack_finds(tiny, sentences):
    changing = copied(tiny)
    words = TrainableWords(changing.keras_model, changing.vocabulary)
    judge = crafting.RobustValidation(changing, HOTFLIP, sentences.x, sentences.y, 0, words)
    weights = changing.keras_model.get_weights()
    noise = np.random.default_rng(0).normal(size=weights[0].shape).astype(np.float32)
    changing.keras_model.set_weights([weights[0] + 0.3 * noise, *weights[1:]])
    found, fewer = (advlab.attack(changing, sentences, flips, epsilon=2, tries=tries) for tries in (32, 2))
    robust = [(result.robust & result.correct).mean() for result in (found, fewer)]
    assert judge.robust_accuracy() == pytest.approx(robust[0])
    assert robust[0] < robust[1]


def test_each_epoch_measures_robust_accuracy():
    trained = train(recipe(epochs=3, adversary=dataclasses.replace(HOTFLIP, warmup_epochs=3)), save=False)
    history = trained.card["history"]["val_robust_accuracy"]
    assert len(history) == 3
    assert trained.card["robust_validation_accuracy"] == pytest.approx(history[-1], abs=1e-4)


def test_a_network_learns_to_withstand_the_words_that_are_replaced():
    texts = advlab.load_dataset("sentences", split="train")

    def robust(**settings):
        trained = train(recipe(validation_split=0.05, epochs=60, **settings), save=False)
        found = advlab.attack(trained, texts, "hotflip", epsilon=1)
        return (found.robust & found.correct).mean()

    adversary = Adversary("hotflip", 1, "l0", tries=32, warmup_epochs=20)
    assert robust(adversary=adversary) > robust() + 0.04


@pytest.fixture
def stop_after_one_epoch(monkeypatch):
    """Trains until the first checkpoint is written."""

    class Stop(Exception):
        pass

    def save(*values, save=checkpoint.save):
        save(*values)
        raise Stop

    def run(recipe):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "save", save)
            with pytest.raises(Stop):
                train(recipe)

    return run


def test_an_interrupted_run_resumes_to_the_same_weights(stop_after_one_epoch):
    small = recipe(epochs=3, adversary=HOTFLIP)
    uninterrupted = train(small, save=False)
    stop_after_one_epoch(small)
    resumed = train(small, resume=True)
    assert resumed.digest == uninterrupted.digest
    assert resumed.card["history"] == uninterrupted.card["history"]


def test_texts_added_once_are_judged_after_each_epoch():
    added = Adversary("augment", 2, "l0", augment_images=20, validation_images=5)
    trained = train(recipe(epochs=2, adversary=added), save=False)
    assert len(trained.card["history"]["val_robust_accuracy"]) == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"norm": "linf"}, r"norm must be 'l0' with method 'hotflip'.*Got 'linf'"),
        ({"method": "pgd"}, "'l0' is for texts, with method 'hotflip' or 'augment'. Got 'pgd'"),
        ({"epsilon": 0.5}, r"epsilon must be a number of words, 1 or more.*Got 0.5"),
        ({"steps": 3}, "steps is of methods on pixels; 'hotflip' replaces as many words as epsilon says.*Leave it out"),
        ({"relative_step_size": 1.0}, "relative_step_size is of methods on pixels"),
        ({"tries": 1}, r"tries must be an int in the range \[2, "),
        ({"method": "augment", "tries": 4}, "tries belongs to method 'hotflip', not to 'augment'"),
        ({"beta": 1.0}, "beta belongs to"),
        ({"recovery": True}, "recovery is for methods of a single step"),
        ({"augment_images": 5}, "augment_images belongs to method 'augment'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, said):
    with pytest.raises(InvalidValue, match=said):
        Adversary(**({"method": "hotflip", "epsilon": 1, "norm": "l0"} | settings))


def test_images_are_not_trained_against_words():
    declared = load_recipe("digits")
    training = dataclasses.replace(declared.training, validation_split=0.1, adversary=HOTFLIP)
    with pytest.raises(Mismatch, match=r"adversary\.norm 'l0' is for texts, and data set 'digits' holds images"):
        train(dataclasses.replace(declared, training=training), save=False)


def test_texts_are_not_trained_against_pixels():
    with pytest.raises(Mismatch, match=r"adversary.norm is for images.*method 'hotflip' or 'augment'"):
        train(recipe(adversary=Adversary("pgd", 0.1)), save=False)


def test_words_of_training_texts_are_replaced_by_neighbours_with_the_probability_declared(tiny, monkeypatch):
    from advlab.declarations.recipes import load_recipe
    from advlab.training import augmentation

    seen = []

    class Model:
        optimizer = type("Optimizer", (), {"iterations": tf.constant(0)})

        def train_step(self, data):
            seen.append(as_numbers(data[0]))

    train = advlab.load_dataset("sentences", split="train")
    before, model = as_numbers(train.x), Model()
    neighbours = word_model(tiny).neighbours(5, "substitute", "", "")
    settings = dataclasses.replace(load_recipe("sentiment-tiny").training, word_substitution=0.4)
    augmentation.attach_words(model, settings, neighbours)
    for _ in range(2):
        model.train_step((tf.constant(train.x), train.y))
    after = seen[0]
    has_neighbours = (neighbours >= 0).any(1)[before]
    changed = before != after
    assert not changed[~has_neighbours].any()
    assert 0.3 < changed[has_neighbours].mean() < 0.5
    assert all(new in neighbours[old] for old, new in zip(before[changed], after[changed], strict=True))
    assert (seen[1] == after).all()  # a function of the seed and the number of the step


@pytest.mark.thorough
def test_a_model_of_texts_is_trained_with_substitutions_or_with_the_texts_of_hotflip(tmp_path, sentences):
    substituted = trained_with("word_substitution = 0.3\n", tmp_path)
    assert substituted.card["test_accuracy"] > 0.8
    adversary = 'validation_split = 0.1\n[training.adversary]\nmethod = "augment"\nnorm = "l0"\nepsilon = 2\n'
    augmented = trained_with(f"{adversary}augment_images = 40\n", tmp_path)
    assert augmented.card["test_accuracy"] > 0.7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'validation_split = 0.1\n[training.adversary]\nmethod = "pgd"\nepsilon = 0.1\n',
            "adversary.norm is for images",
        ),
        ("random_flip = true\n", "random_flip is for images"),
        (
            '[training.adversary]\nmethod = "pgd"\nnorm = "l0"\nepsilon = 1\n',
            "'l0' is for texts, with method 'hotflip' or 'augment'",
        ),
        ("word_substitution = 1.5\n", "word_substitution"),
    ],
)
def test_training_of_texts_takes_what_is_for_texts(tmp_path, text, said):
    with pytest.raises(advlab.AdvlabError, match=said):
        trained_with(text, tmp_path)


def test_training_on_images_takes_nothing_that_is_for_texts(tmp_path):
    text = (
        workspace.recipes()["digits"].read_text("utf-8").replace("epochs = 30", "epochs = 1\nword_substitution = 0.1")
    )
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(Mismatch, match="word_substitution is for texts"):
        advlab.train(tmp_path / "own.toml", save=False)
