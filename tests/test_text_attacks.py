"""Attacks on words: against the exact answer, within their budget, and against each other."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from texts import best_of_one_word

import advlab
from advlab.classifiers.words import FUNCTION_WORDS, word_model
from advlab.declarations.methods import load_method, method_names
from advlab.text import FIRST, as_images, as_numbers

METHODS = [name for name in method_names() if load_method(name).data == "texts"]


def test_an_attack_follows_weights_that_changed_since_the_last_one(tiny, sentences):
    def copied(weights):
        network = keras.models.clone_model(tiny.keras_model)
        network.set_weights(weights)
        return advlab.Classifier.from_keras(network, card=tiny.card)

    before = tiny.keras_model.get_weights()
    draw = np.random.default_rng(0)
    after = [draw.normal(size=before[0].shape).astype(np.float32), *before[1:]]
    changing = copied(before)
    advlab.attack(changing, sentences, "hotflip", epsilon=2)
    changing.keras_model.set_weights(after)
    found, expected = (advlab.attack(c, sentences, "hotflip", epsilon=2) for c in (changing, copied(after)))
    assert (found.x_adv == expected.x_adv).all()


def test_the_passes_that_importance_takes_are_counted(tiny, sentences):
    result = advlab.attack(tiny, sentences, "word_importance", epsilon=16, candidates=1)
    length, steps = 16, 16
    assert result.forward_passes.max() <= length + steps * (1 + 1) + 1
    assert result.forward_passes.min() > length
    cost = advlab.cost(tiny, sentences, "word_importance", epsilon=16, candidates=1).attacks[0].passes
    assert cost == length + steps * (1 + 1) + 1


def test_two_processes_attack_texts_as_one(tiny, sentences, monkeypatch):
    from advlab.engine import slices

    alone = advlab.attack(tiny, sentences, "hotflip", epsilon=2)
    monkeypatch.setattr(slices, "_MIN_WORK", 1.0)
    monkeypatch.setattr(slices, "_MIN_ROWS", 8)
    with advlab.use_workers(2):
        together = advlab.attack(tiny, sentences, "hotflip", epsilon=2)
    assert (together.execution.workers, together.vocabulary) == (2, sentences.vocabulary)
    assert (together.success == alone.success).all()


@pytest.mark.parametrize(("candidates", "edit"), [(4, "substitute"), (50, "substitute"), (10, "any")])
def test_one_word_is_the_best_one(tiny, sentences, candidates, edit):
    """Every replacement is queried where ``tries`` covers them all; with fewer it may miss, but not by much."""
    offered = word_model(tiny).neighbours(candidates, edit, "", "")
    largest, succeeds = best_of_one_word(tiny, sentences, offered, range(len(sentences)))
    options = {"epsilon": 1, "candidates": candidates, "edit": edit, "revisions": 1}
    exact = advlab.attack(tiny, sentences, "hotflip", tries=2 * 16 * (candidates + 2), **options)
    margins = np.log(exact.adversarial_probabilities)
    rows = np.arange(len(sentences))
    reached = margins[rows, 1 - sentences.y] - margins[rows, sentences.y]
    np.testing.assert_allclose(reached, largest, atol=1e-3)
    assert (exact.success == succeeds).all()
    assert succeeds.any()
    assert not succeeds.all()
    usual = advlab.attack(tiny, sentences, "hotflip", **options)
    assert usual.success.sum() >= succeeds.sum() - 1


@pytest.mark.parametrize("name", METHODS)
def test_every_method_stays_in_its_budget_and_changes_words_for_words(tiny, sentences, name):
    result = advlab.attack(tiny, sentences, name, epsilon=2, seed=3)
    before, after = as_numbers(result.x), as_numbers(result.x_adv)
    assert (result.x_adv == as_images(after)).all()
    assert ((before != after).sum(1) <= 2).all()
    assert after.max() < len(tiny.vocabulary)
    changed = before != after
    if name != "trigger":
        offered = word_model(tiny).neighbours(50, "substitute", "", "")
        assert all(new in offered[old] for old, new in zip(before[changed], after[changed], strict=True))
    again = advlab.attack(tiny, sentences, name, epsilon=2, seed=3, batch_size=5)
    assert name == "trigger" or (again.success == result.success).all()


@pytest.mark.parametrize("name", ["hotflip", "word_importance", "random_words"])
def test_words_are_inserted_right_before_the_text(tiny, sentences, name):
    result = advlab.attack(tiny, sentences, name, epsilon=2, edit="insert", candidates=30, protect="film")
    before, after = as_numbers(result.x), as_numbers(result.x_adv)
    frequent = [n for n in range(FIRST, 60) if tiny.vocabulary[n] not in FUNCTION_WORDS | {"film"}][:30]
    for old, new in zip(before, after, strict=True):
        begins = int((old != 0).argmax())
        (places,) = np.nonzero(old != new)
        assert set(places) <= set(range(max(begins - 2, 0), begins))
        assert set(new[places]) <= set(frequent)
    assert (before != after).any()


def test_one_inserted_word_is_the_best_one(tiny, sentences):
    frequent = [n for n in range(FIRST, len(tiny.vocabulary)) if tiny.vocabulary[n] not in FUNCTION_WORDS]
    result = advlab.attack(tiny, sentences, "hotflip", epsilon=1, edit="insert", candidates=len(frequent), tries=500)
    for row, old in enumerate(as_numbers(sentences.x)):
        begins = int((old != 0).argmax())
        texts = np.repeat(old[None], len(frequent) + 1, 0)
        texts[1:, max(begins - 1, 0)] = frequent if begins else old[0]
        wrong = tiny.logits(tf.constant(as_images(texts))).numpy().argmax(1) != sentences.y[row]
        assert result.robust[row] == ~wrong.any()
    assert result.success.any()


def test_gradients_beat_importance_and_that_beats_chance(tiny, sentences):
    robust = {name: advlab.attack(tiny, sentences, name, epsilon=3).robust.sum() for name in METHODS}
    assert robust["hotflip"] <= robust["word_importance"] < robust["random_words"]
    assert robust["trigger"] < robust["random_words"]
    wide = advlab.attack(tiny, sentences, "hotflip", epsilon=3, beam=4, tries=64)
    assert wide.robust.sum() <= robust["hotflip"]


def test_a_target_is_reached_by_the_class_that_it_is_not(tiny, sentences):
    result = advlab.attack(tiny, sentences, "hotflip", epsilon=6, target="positive")
    assert result.attempted.sum() == 12
    assert result.success.sum() > 6


@pytest.mark.parametrize("name", METHODS)
def test_the_same_attack_is_taken_from_its_archive(tiny, sentences, name):
    first = advlab.attack(tiny, sentences, name, epsilon=2, save=True)
    assert (advlab.attack(tiny, sentences, name, epsilon=2, save=True).x_adv == first.x_adv).all()
    assert advlab.load_result(first.path).attack == first.attack


def test_protected_words_stay(tiny, sentences):
    words = "lovely,superb,great,brilliant"
    result = advlab.attack(tiny, sentences, "hotflip", epsilon=4, protect=words)
    before, after = as_numbers(result.x), as_numbers(result.x_adv)
    kept = np.isin(before, [tiny.vocabulary.index(word) for word in words.split(",")])
    assert kept.any()
    assert (before == after)[kept].all()


@pytest.mark.parametrize("name", ["hotflip", "word_importance", "random_words"])
def test_a_share_of_its_own_words_bounds_what_changes_in_each_text(tiny, sentences, name):
    words = (as_numbers(sentences.x) > 1).sum(1)
    allowed = np.floor(0.375 * words + 1e-9).astype(int)
    result = advlab.attack(tiny, sentences, name, epsilon=16, share=0.375)
    changed = (as_numbers(result.x) != as_numbers(result.x_adv)).sum(1)
    assert (changed <= allowed).all()
    assert changed.max() == allowed.max() > allowed.min()
    for count in np.unique(allowed):
        fixed = advlab.attack(tiny, sentences, name, epsilon=int(count))
        assert (result.x_adv == fixed.x_adv)[allowed == count].all()
    assert (
        advlab.attack(tiny, sentences, name, epsilon=1, share=0.9).x_adv
        == advlab.attack(tiny, sentences, name, epsilon=1).x_adv
    ).all()


def test_a_trigger_stands_before_every_text(tiny, sentences):
    result = advlab.attack(tiny, sentences, "trigger", epsilon=3)
    before, after = as_numbers(result.x), as_numbers(result.x_adv)
    trigger = as_numbers(result.patch[None])[0]
    for old, new in zip(before, after, strict=True):
        start = max(int((old != 0).argmax()) - 3, 0)
        assert (new[start : start + 3] == trigger).all()
        assert (np.delete(new, np.s_[start : start + 3]) == np.delete(old, np.s_[start : start + 3])).all()
