"""Classifiers of texts: their vocabulary, the vectors of their words, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from texts import trained_with

import advlab
from advlab import workspace as advlab_workspace
from advlab.classifiers.card import read_card, write_card
from advlab.classifiers.words import FUNCTION_WORDS, word_model
from advlab.errors import InvalidFile, InvalidValue, Mismatch
from advlab.text import FIRST, as_numbers


def test_the_vocabulary_travels_in_the_file(tiny, tmp_path):
    copy = advlab.load_classifier(str(tiny.save(tmp_path / "copy.h5")))
    assert copy.vocabulary == tiny.vocabulary
    assert copy.digest == tiny.digest
    assert "vocabulary" not in json.dumps(copy.to_dict())


def test_a_card_written_twice_has_the_last_vocabulary(tiny, tmp_path):
    path = tiny.save(tmp_path / "copy.h5")
    write_card(path, {**tiny.card, "vocabulary": ["", "other"]})
    assert read_card(path)["vocabulary"] == ["", "other"]
    write_card(path, {"name": "without"})
    assert "vocabulary" not in read_card(path)


def test_a_vocabulary_that_does_not_fit_the_model_is_refused(tiny):
    words = [*tiny.vocabulary, *(f"w{number}" for number in range(100))]
    with pytest.raises(InvalidValue, match="vectors for 200 words, and its vocabulary has 287"):
        advlab.Classifier.from_keras(tiny.keras_model, card={"vocabulary": words})


def test_words_are_not_rounded_to_sixteen_bits(tiny, sentences, tmp_path):
    with pytest.raises(InvalidValue, match="bfloat16"):
        advlab.attack(tiny, sentences, "hotflip", epsilon=1, precision="bfloat16")
    with pytest.raises(InvalidValue, match="precision must be 'float32' for texts"):
        trained_with('precision = "mixed_bfloat16"\n', tmp_path)


def test_texts_are_not_judged_by_a_model_of_another_vocabulary(tiny, sentences):
    result = advlab.attack(tiny, sentences, "hotflip", epsilon=1)
    words = [*tiny.vocabulary[:4], *tiny.vocabulary[:3:-1]]
    other = advlab.Classifier.from_keras(tiny.keras_model, name="other", card={"vocabulary": words})
    with pytest.raises(Mismatch, match="'other' numbers words otherwise"):
        advlab.evaluate(result, other)


def test_the_two_halves_of_a_network_are_the_network(tiny, sentences):
    model = word_model(tiny)
    vectors = tf.gather(model.table, as_numbers(sentences.x))
    np.testing.assert_allclose(model.logits(vectors), tiny.logits(tf.constant(sentences.x)), atol=1e-5)


def test_neighbours_are_those_of_the_largest_cosine(tiny):
    model = word_model(tiny)
    found = model.neighbours(5, "substitute", "lovely", "")
    words = tiny.vocabulary
    assert (found[words.index("lovely")] == -1).all()
    assert (found[words.index("the")] == -1).all()
    free = [n for n in range(FIRST, len(words)) if words[n] not in FUNCTION_WORDS | {"lovely"}]
    row = words.index("brilliant")
    unit = model.table / np.linalg.norm(model.table, axis=1, keepdims=True)
    expected = sorted((n for n in free if n != row), key=lambda n: -float(unit[n] @ unit[row]))[:5]
    assert found[row].tolist() == expected
    assert not {words[n] for n in np.unique(found) if n >= 0} & (FUNCTION_WORDS | {"lovely"})


def test_a_file_of_vectors_decides_which_words_are_neighbours(tiny, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("great 1 0\nlovely 0.9 0.1\n\nawful -1 0\nunheard 1 1\n")
    found = word_model(tiny).neighbours(1, "substitute", "", str(path))
    words = tiny.vocabulary
    assert words[found[words.index("great")][0]] == "lovely"
    assert (found[words.index("brilliant")] == -1).all()
    path.write_text("great one\n")
    before = advlab.Attack("hotflip", vectors=str(path))
    path.write_text(path.read_text() + "\n")
    assert advlab.Attack("hotflip", vectors=str(path)).to_dict() != before.to_dict()  # another archive
    with pytest.raises(InvalidFile, match=r"vectors\.txt"):
        word_model(tiny).neighbours(1, "substitute", "", str(path))


@pytest.mark.parametrize("name", ["pgd", "noise", "square", "universal", "newtonfool"])
def test_an_attack_on_pixels_is_refused_on_texts(tiny, sentences, name):
    with pytest.raises(InvalidValue, match=rf"'{name}' attacks images.*holds texts.*hotflip"):
        advlab.attack(tiny, sentences, name)


def test_what_works_on_pixels_is_refused(tiny, sentences):
    result = advlab.attack(tiny, sentences.take(3), "hotflip", epsilon=1)
    calls = [
        lambda: advlab.certify(tiny, sentences, epsilon=0.01),
        lambda: advlab.audit(tiny, sentences, samples=5),
        lambda: advlab.selftest(tiny, sentences, samples=1),
        lambda: advlab.evaluate_noise(tiny, samples=5),
        lambda: advlab.harden(tiny, minutes=0.01),
        lambda: advlab.evaluate_detector(tiny, "energy", sentences),
        lambda: advlab.explain(result, model=tiny),
        lambda: advlab.import_images(np.asarray(sentences.x), tiny, sentences),
        lambda: tiny.with_defense("jpeg"),
        lambda: advlab.figures.addition(result),
    ]
    for call in calls:
        with pytest.raises(InvalidValue, match=r"pixels.*texts"):
            call()


def test_an_attack_on_words_is_refused_on_images(trained, digits):
    with pytest.raises(InvalidValue, match=r"'hotflip' attacks texts.*holds images.*pgd"):
        advlab.attack(trained, digits.take(3), "hotflip")


def test_data_and_model_of_different_kinds_or_vocabularies_are_refused(tiny, sentences, trained, digits):
    with pytest.raises(Mismatch):
        advlab.attack(trained, sentences, "hotflip")
    with pytest.raises(Mismatch):
        advlab.attack(tiny, digits.take(3), "hotflip")
    other = advlab.Dataset(
        "other", "test", sentences.x, sentences.y, sentences.indices, sentences.classes, "", sentences.vocabulary[::-1]
    )
    with pytest.raises(Mismatch, match="numbers 187 words otherwise"):
        advlab.attack(tiny, other, "hotflip")


def test_an_architecture_of_images_is_not_trained_on_texts(tmp_path):
    recipes = advlab_workspace.recipes()
    texts, images = (recipes[name].read_text("utf-8") for name in ("sentiment-tiny", "digits"))
    for text, said in {
        texts.replace("words = 200", "words = 100"): "for texts of at most 100 words.*holds texts of 187 words",
        texts.replace("sentences", "digits").replace("classes = 2\n", ""): "at most 200 words.*holds images",
        images.replace('dataset = "digits"', 'dataset = "sentences"'): "for images.*holds texts of 187 words",
    }.items():
        (tmp_path / "own.toml").write_text(text)
        with pytest.raises(Mismatch, match=said):
            advlab.train(tmp_path / "own.toml", save=False)
