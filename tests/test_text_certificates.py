"""Certificates of texts against every replacement of a few words, and the attack that must agree with them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from texts import best_of_one_word

import advlab
from advlab.certification.words import word_subject
from advlab.classifiers.words import word_model
from advlab.errors import InvalidValue
from advlab.text import SCALE, as_numbers


@pytest.mark.parametrize("method", ["ibp", "crown"])
def test_what_is_proven_of_texts_no_replacement_undoes(tiny, sentences, method):
    certificate = advlab.certify(tiny, sentences, method, norm="l0", epsilon=1)
    offered = word_model(tiny).neighbours(50, "substitute", "", "")
    largest, succeeds = best_of_one_word(tiny, sentences, offered, range(len(sentences)))
    correct = certificate.correct
    assert not (certificate.proven & succeeds).any()
    assert (certificate.margin[correct] <= -largest[correct] + 1e-4).all()
    assert (
        advlab.certify(tiny, sentences, method, norm="l0", epsilon=3).margin[correct] <= certificate.margin[correct]
    ).all()


def test_a_few_words_of_many_texts_never_pass_the_bound(tiny, sentences):
    words = word_subject(tiny)
    offered, clean = word_model(tiny).neighbours(50, "substitute", "", ""), as_numbers(sentences.x)
    draw = np.random.default_rng(0)
    for count in (1, 2, 5):
        region = words.region(sentences.x, count)
        for _ in range(200):
            texts = clean.copy()
            for text in texts:
                for position in draw.choice(len(text), count, replace=False):
                    choices = offered[text[position]][offered[text[position]] >= 0]
                    text[position] = draw.choice(choices) if len(choices) else text[position]
            pooled = words.table[texts].max(1)
            assert (pooled >= region.lower.numpy()).all()
            assert (pooled <= region.upper.numpy()).all()
    exact = words.region(sentences.x, 0)
    assert (exact.lower.numpy() == exact.upper.numpy()).all()
    assert (exact.lower.numpy() == words.table[clean].max(1)).all()


def test_texts_are_certified_where_they_have_bounds(tiny, sentences, trained, digits):
    with pytest.raises(InvalidValue, match=r"norm='l0', epsilon=1"):
        advlab.certify(tiny, sentences, epsilon=0.1)
    with pytest.raises(InvalidValue, match="Images have no bounds under norm 'l0'"):
        advlab.certify(trained, digits.take(2), norm="l0", epsilon=1)
    with pytest.raises(InvalidValue, match="no bounds under norm 'l0'"):
        advlab.certify(tiny, sentences, "exact", norm="l0", epsilon=1)
    layers = [keras.Input((1, 16, 1)), keras.layers.Rescaling(SCALE), keras.layers.Reshape((16,))]
    layers += [keras.layers.Embedding(200, 4), keras.layers.LSTM(4), keras.layers.Dense(1, activation="sigmoid")]
    other = advlab.Classifier.from_keras(keras.Sequential(layers), card={"vocabulary": list(tiny.vocabulary)})
    with pytest.raises(InvalidValue, match=r"a LSTM does.*hotflip"):
        advlab.certify(other, sentences, norm="l0", epsilon=1)
    assert 0 <= advlab.attack(other, sentences, "hotflip", epsilon=2).robust.mean() <= 1


def test_attack_and_certificate_bracket_the_truth(tiny, sentences):
    result = advlab.attack(tiny, sentences, "hotflip", epsilon=1)
    certificate = advlab.certify(tiny, sentences, norm="l0", epsilon=1)
    assert certificate.proven.mean() <= result.robust.mean()
    assert "proven" in certificate.table({"hotflip": result})
