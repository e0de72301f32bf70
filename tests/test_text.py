"""Texts: how they are read and numbered, attacks on words against the exact answer, predictions, reports, refusals."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import re
import tarfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import advlab
from advlab import workspace as advlab_workspace
from advlab.certification.words import word_subject
from advlab.classifiers.card import read_card, write_card
from advlab.classifiers.words import FUNCTION_WORDS, word_model
from advlab.cli import main
from advlab.data import imdb, official, sentences
from advlab.declarations.methods import load_method, method_names
from advlab.errors import InvalidFile, InvalidValue, Mismatch
from advlab.evaluation import records
from advlab.results import combine
from advlab.text import FIRST, SCALE, as_images, as_numbers, decode, encode, vocabulary_of, words_of

METHODS = [name for name in method_names() if load_method(name).data == "texts"]


@pytest.fixture(scope="module")
def tiny():
    return advlab.load_classifier("sentiment-tiny")


@pytest.fixture(scope="module")
def data():
    return advlab.load_dataset("sentences")


def test_words_are_split_as_keras_splits_them():
    text = "It's a MASTERPIECE!<br /><br />10/10, don't miss (it)."
    expected = keras.src.legacy.preprocessing.text.text_to_word_sequence(text)
    assert words_of(text) == expected == ["it's", "a", "masterpiece", "br", "br", "10", "10", "don't", "miss", "it"]


def test_numbers_go_by_frequency_and_survive_as_pixels():
    vocabulary = vocabulary_of([["b", "a", "b"], ["c", "a", "b"]], 6)
    assert vocabulary == ("", "<start>", "<unknown>", "<free>", "b", "a")
    x = encode([["a", "b"], ["c", "b", "a", "b", "b"]], vocabulary, 4)
    assert x.dtype == np.float32
    assert as_numbers(x).tolist() == [[0, 1, 5, 4], [4, 5, 4, 4]]  # filled up in front; the last words are kept
    assert decode(x[0], vocabulary) == ["", "", "a", "b"]
    every = np.arange(SCALE)[None]
    assert (as_numbers(as_images(every)) == every).all()


def test_the_sentences_are_balanced_and_known_words(data, tiny):
    assert (np.bincount(data.y) == [12, 12]).all()
    assert tiny.card["test_accuracy"] > 0.9
    train = advlab.load_dataset("sentences", split="train")
    assert len(train) == 48
    assert train.vocabulary == data.vocabulary == tiny.vocabulary
    assert {decode(x, train.vocabulary).count("<unknown>") for x in train.x} == {0}
    assert not set(map(tuple, as_numbers(train.x))) & set(map(tuple, as_numbers(data.x)))


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


def test_words_are_not_rounded_to_sixteen_bits(tiny, data, tmp_path):
    with pytest.raises(InvalidValue, match="bfloat16"):
        advlab.attack(tiny, data, "hotflip", epsilon=1, precision="bfloat16")
    with pytest.raises(InvalidValue, match="precision must be 'float32' for texts"):
        trained_with('precision = "mixed_bfloat16"\n', tmp_path)


def test_an_attack_follows_weights_that_changed_since_the_last_one(tiny, data):
    def copied(weights):
        network = keras.models.clone_model(tiny.keras_model)
        network.set_weights(weights)
        return advlab.Classifier.from_keras(network, card=tiny.card)

    before = tiny.keras_model.get_weights()
    draw = np.random.default_rng(0)
    after = [draw.normal(size=before[0].shape).astype(np.float32), *before[1:]]
    changing = copied(before)
    advlab.attack(changing, data, "hotflip", epsilon=2)
    changing.keras_model.set_weights(after)
    found, expected = (advlab.attack(c, data, "hotflip", epsilon=2) for c in (changing, copied(after)))
    assert (found.x_adv == expected.x_adv).all()


def test_the_passes_that_importance_takes_are_counted(tiny, data):
    result = advlab.attack(tiny, data, "word_importance", epsilon=16, candidates=1)
    length, steps = 16, 16
    assert result.forward_passes.max() <= length + steps * (1 + 1) + 1
    assert result.forward_passes.min() > length
    cost = advlab.cost(tiny, data, "word_importance", epsilon=16, candidates=1).attacks[0].passes
    assert cost == length + steps * (1 + 1) + 1


def test_two_processes_attack_texts_as_one(tiny, data, monkeypatch):
    from advlab.engine import slices

    alone = advlab.attack(tiny, data, "hotflip", epsilon=2)
    monkeypatch.setattr(slices, "_MIN_WORK", 1.0)
    monkeypatch.setattr(slices, "_MIN_ROWS", 8)
    with advlab.use_workers(2):
        together = advlab.attack(tiny, data, "hotflip", epsilon=2)
    assert (together.execution.workers, together.vocabulary) == (2, data.vocabulary)
    assert (together.success == alone.success).all()


def test_texts_are_not_judged_by_a_model_of_another_vocabulary(tiny, data):
    result = advlab.attack(tiny, data, "hotflip", epsilon=1)
    words = [*tiny.vocabulary[:4], *tiny.vocabulary[:3:-1]]
    other = advlab.Classifier.from_keras(tiny.keras_model, name="other", card={"vocabulary": words})
    with pytest.raises(Mismatch, match="'other' numbers words otherwise"):
        advlab.evaluate(result, other)


def test_the_two_halves_of_a_network_are_the_network(tiny, data):
    model = word_model(tiny)
    vectors = tf.gather(model.table, as_numbers(data.x))
    np.testing.assert_allclose(model.logits(vectors), tiny.logits(tf.constant(data.x)), atol=1e-5)


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


def best_of_one_word(classifier, data, offered, rows):
    """The largest loss that replacing one word of each text reaches, by trying all, and whether one succeeds."""
    largest, succeeds = [], []
    for row in rows:
        clean = as_numbers(data.x[row : row + 1])[0]
        texts = [clean]
        for position, word in enumerate(clean):
            texts += [np.where(np.arange(len(clean)) == position, new, clean) for new in offered[word] if new >= 0]
        logits = classifier.logits(tf.constant(as_images(np.array(texts)))).numpy()
        margin = logits[:, 1 - data.y[row]] - logits[:, data.y[row]]
        largest.append(margin.max())
        succeeds.append(bool((margin > 0).any()))
    return np.array(largest), np.array(succeeds)


@pytest.mark.parametrize(("candidates", "edit"), [(4, "substitute"), (50, "substitute"), (10, "any")])
def test_one_word_is_the_best_one(tiny, data, candidates, edit):
    """Every replacement is queried where ``tries`` covers them all; with fewer it may miss, but not by much."""
    offered = word_model(tiny).neighbours(candidates, edit, "", "")
    largest, succeeds = best_of_one_word(tiny, data, offered, range(len(data)))
    options = {"epsilon": 1, "candidates": candidates, "edit": edit, "revisions": 1}
    exact = advlab.attack(tiny, data, "hotflip", tries=2 * 16 * (candidates + 2), **options)
    margins = np.log(exact.adversarial_probabilities)
    rows = np.arange(len(data))
    reached = margins[rows, 1 - data.y] - margins[rows, data.y]
    np.testing.assert_allclose(reached, largest, atol=1e-3)
    assert (exact.success == succeeds).all()
    assert succeeds.any()
    assert not succeeds.all()
    usual = advlab.attack(tiny, data, "hotflip", **options)
    assert usual.success.sum() >= succeeds.sum() - 1


@pytest.mark.parametrize("name", METHODS)
def test_every_method_stays_in_its_budget_and_changes_words_for_words(tiny, data, name):
    result = advlab.attack(tiny, data, name, epsilon=2, seed=3)
    before, after = as_numbers(result.x), as_numbers(result.x_adv)
    assert (result.x_adv == as_images(after)).all()
    assert ((before != after).sum(1) <= 2).all()
    assert after.max() < len(tiny.vocabulary)
    changed = before != after
    if name != "trigger":
        offered = word_model(tiny).neighbours(50, "substitute", "", "")
        assert all(new in offered[old] for old, new in zip(before[changed], after[changed], strict=True))
    again = advlab.attack(tiny, data, name, epsilon=2, seed=3, batch_size=5)
    assert name == "trigger" or (again.success == result.success).all()


@pytest.mark.parametrize("name", ["hotflip", "word_importance", "random_words"])
def test_words_are_inserted_right_before_the_text(tiny, data, name):
    result = advlab.attack(tiny, data, name, epsilon=2, edit="insert", candidates=30, protect="film")
    before, after = as_numbers(result.x), as_numbers(result.x_adv)
    frequent = [n for n in range(FIRST, 60) if tiny.vocabulary[n] not in FUNCTION_WORDS | {"film"}][:30]
    for old, new in zip(before, after, strict=True):
        begins = int((old != 0).argmax())
        (places,) = np.nonzero(old != new)
        assert set(places) <= set(range(max(begins - 2, 0), begins))
        assert set(new[places]) <= set(frequent)
    assert (before != after).any()


def test_one_inserted_word_is_the_best_one(tiny, data):
    frequent = [n for n in range(FIRST, len(tiny.vocabulary)) if tiny.vocabulary[n] not in FUNCTION_WORDS]
    result = advlab.attack(tiny, data, "hotflip", epsilon=1, edit="insert", candidates=len(frequent), tries=500)
    for row, old in enumerate(as_numbers(data.x)):
        begins = int((old != 0).argmax())
        texts = np.repeat(old[None], len(frequent) + 1, 0)
        texts[1:, max(begins - 1, 0)] = frequent if begins else old[0]
        wrong = tiny.logits(tf.constant(as_images(texts))).numpy().argmax(1) != data.y[row]
        assert result.robust[row] == ~wrong.any()
    assert result.success.any()


def test_gradients_beat_importance_and_that_beats_chance(tiny, data):
    robust = {name: advlab.attack(tiny, data, name, epsilon=3).robust.sum() for name in METHODS}
    assert robust["hotflip"] <= robust["word_importance"] < robust["random_words"]
    assert robust["trigger"] < robust["random_words"]
    wide = advlab.attack(tiny, data, "hotflip", epsilon=3, beam=4, tries=64)
    assert wide.robust.sum() <= robust["hotflip"]


def test_a_target_is_reached_by_the_class_that_it_is_not(tiny, data):
    result = advlab.attack(tiny, data, "hotflip", epsilon=6, target="positive")
    assert result.attempted.sum() == 12
    assert result.success.sum() > 6


def test_protected_words_stay(tiny, data):
    words = "lovely,superb,great,brilliant"
    result = advlab.attack(tiny, data, "hotflip", epsilon=4, protect=words)
    before, after = as_numbers(result.x), as_numbers(result.x_adv)
    kept = np.isin(before, [tiny.vocabulary.index(word) for word in words.split(",")])
    assert kept.any()
    assert (before == after)[kept].all()


@pytest.mark.parametrize("name", ["hotflip", "word_importance", "random_words"])
def test_a_share_of_its_own_words_bounds_what_changes_in_each_text(tiny, data, name):
    words = (as_numbers(data.x) > 1).sum(1)
    allowed = np.floor(0.375 * words + 1e-9).astype(int)
    result = advlab.attack(tiny, data, name, epsilon=16, share=0.375)
    changed = (as_numbers(result.x) != as_numbers(result.x_adv)).sum(1)
    assert (changed <= allowed).all()
    assert changed.max() == allowed.max() > allowed.min()
    for count in np.unique(allowed):
        fixed = advlab.attack(tiny, data, name, epsilon=int(count))
        assert (result.x_adv == fixed.x_adv)[allowed == count].all()
    assert (
        advlab.attack(tiny, data, name, epsilon=1, share=0.9).x_adv == advlab.attack(tiny, data, name, epsilon=1).x_adv
    ).all()


def test_a_trigger_stands_before_every_text(tiny, data):
    result = advlab.attack(tiny, data, "trigger", epsilon=3)
    before, after = as_numbers(result.x), as_numbers(result.x_adv)
    trigger = as_numbers(result.patch[None])[0]
    for old, new in zip(before, after, strict=True):
        start = max(int((old != 0).argmax()) - 3, 0)
        assert (new[start : start + 3] == trigger).all()
        assert (np.delete(new, np.s_[start : start + 3]) == np.delete(old, np.s_[start : start + 3])).all()


@pytest.mark.parametrize("name", ["pgd", "noise", "square", "universal", "newtonfool"])
def test_an_attack_on_pixels_is_refused_on_texts(tiny, data, name):
    with pytest.raises(InvalidValue, match=rf"'{name}' attacks images.*holds texts.*hotflip"):
        advlab.attack(tiny, data, name)


def test_what_works_on_pixels_is_refused(tiny, data):
    result = advlab.attack(tiny, data.take(3), "hotflip", epsilon=1)
    calls = [
        lambda: advlab.certify(tiny, data, epsilon=0.01),
        lambda: advlab.audit(tiny, data, samples=5),
        lambda: advlab.selftest(tiny, data, samples=1),
        lambda: advlab.evaluate_noise(tiny, samples=5),
        lambda: advlab.harden(tiny, minutes=0.01),
        lambda: advlab.evaluate_detector(tiny, "energy", data),
        lambda: advlab.explain(result, model=tiny),
        lambda: advlab.import_images(np.asarray(data.x), tiny, data),
        lambda: tiny.with_defense("jpeg"),
        lambda: advlab.figures.addition(result),
    ]
    for call in calls:
        with pytest.raises(InvalidValue, match=r"pixels.*texts"):
            call()


def test_an_attack_on_words_is_refused_on_images(trained, digits):
    with pytest.raises(InvalidValue, match=r"'hotflip' attacks texts.*holds images.*pgd"):
        advlab.attack(trained, digits.take(3), "hotflip")


def test_data_and_model_of_different_kinds_or_vocabularies_are_refused(tiny, data, trained, digits):
    with pytest.raises(Mismatch):
        advlab.attack(trained, data, "hotflip")
    with pytest.raises(Mismatch):
        advlab.attack(tiny, digits.take(3), "hotflip")
    other = advlab.Dataset("other", "test", data.x, data.y, data.indices, data.classes, "", data.vocabulary[::-1])
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


@pytest.fixture
def archive(tiny, data, tmp_path):
    return advlab.attack(tiny, data, "hotflip", epsilon=3, output=tmp_path / "text.h5").path


def test_an_archive_knows_its_words_and_the_report_shows_them(archive, tmp_path):
    result = advlab.load_result(archive)
    assert result.vocabulary == advlab.load_dataset("sentences").vocabulary
    page = tmp_path / "page.html"
    advlab.report([advlab.evaluate(result)], page)
    text = page.read_text("utf-8")
    shown = json.loads(re.search(r'id="data"[^>]*>(.*?)</script>', text, re.DOTALL)[1])
    samples = shown["choices"][0]["samples"]
    assert any(len(pair) == 2 for sample in samples for pair in sample["words"])
    assert "data:image/svg+xml;base64," in text
    assert "<svg" in result._repr_html_() or "svg+xml" in result._repr_html_()


def test_texts_are_no_pictures(archive, tmp_path):
    with pytest.raises(InvalidValue, match="no pictures"):
        advlab.export(archive, png=tmp_path / "pictures")
    assert advlab.export(archive, csv=tmp_path / "a.csv")


def test_an_evaluation_counts_words(archive):
    evaluation = advlab.evaluate(archive)
    assert evaluation.attack.threat.norm == "l0"
    assert evaluation.distances["l0"].max <= 3


def test_the_suite_of_texts_runs(tiny, data):
    evaluations = advlab.run(tiny, data, "text")
    assert [e.attack.method for e in evaluations] == ["random_words", "word_importance", "hotflip", "trigger"]
    assert all(e.attack.threat.epsilon == 10 for e in evaluations)


def test_a_text_is_predicted_as_it_stands(tmp_path):
    outcome = CliRunner().invoke(
        main, ["predict", "sentiment-tiny", "A wonderful and moving film", "a DULL story, zzz!"]
    )
    assert outcome.exit_code == 0, outcome.output
    assert re.search(r"wonderful.*positive", outcome.stdout)
    assert re.search(r"DULL.*negative", outcome.stdout)
    assert "not known: zzz" in outcome.stdout + outcome.stderr
    (tmp_path / "review.txt").write_text("a lovely story " * 9)
    result = advlab.predict("sentiment-tiny", str(tmp_path / "review.txt"))
    assert "12 words at its beginning are not read" in " ".join(result.notes)
    with pytest.raises(InvalidValue, match="has no word"):
        advlab.predict("sentiment-tiny", "!!!")


@pytest.mark.parametrize(
    "text", ["a lovely film " * 100, "a lovely film, my rating:8", "lovely // superb /", "./lovely"]
)
def test_a_text_of_any_form_is_one(text):
    result = advlab.predict("sentiment-tiny", text)
    assert len(result.probabilities) == 1
    assert result.probabilities[0, 1] > 0.5


def test_texts_of_the_data_set_are_named_by_their_number(data):
    for reference in ("3", "sentences:3"):
        result = advlab.predict("sentiment-tiny", reference)
        assert (result.x[0] == data.x[3]).all()


def write_csv(folder):
    (folder / "own.csv").write_text('text,label\n"a lovely, moving film",positive\nan awful story,negative\n')
    return folder / "own.csv"


def write_lines(folder):
    lines = [{"text": "a lovely moving film", "label": "positive"}, {"text": "an awful story", "label": "negative"}]
    (folder / "own.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder / "own.jsonl"


def write_folder(folder):
    for label, text in (("positive", "a lovely moving film"), ("negative", "an awful story")):
        (folder / "own" / label).mkdir(parents=True)
        (folder / "own" / label / "0.txt").write_text(text)
    return folder / "own"


@pytest.mark.parametrize("write", [write_csv, write_lines, write_folder])
def test_your_own_texts_are_numbered_by_the_model(tiny, tmp_path, write):
    path = write(tmp_path)
    result = advlab.attack("sentiment-tiny", str(path), "hotflip", epsilon=1)
    texts = {" ".join(filter(None, decode(x, tiny.vocabulary))) for x in result.x}
    assert texts == {"a lovely moving film", "an awful story"}
    assert result.classes == ("negative", "positive")
    assert (result.correct).all()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("own.csv", b"words,label\nx,positive\n", "Record 1 .* needs 'text', 'label'"),
        ("own.csv", b"text,label\n", "has no text"),
        ("own.csv", b"text,label\n!!!,positive\n", "Text 1 .* has no word"),
        ("own.csv", "text,label\nd\u00e9j\u00e0 vu,positive\n".encode("latin1"), r"is not UTF-8 \(byte 12\).*iconv"),
        ("own.jsonl", b'{"text": "a"', "Cannot read"),
        ("own.jsonl", b'{"text": 3, "label": "positive"}', "Record 1"),
        ("own.jsonl", b"[" * 100_000, "Cannot read"),
        ("own.jsonl", b'{"text": "a film", "label": "positive", "split": "dev"}', "train or test"),
    ],
)
def test_bad_texts_are_refused_by_their_place(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidFile, match=said):
        advlab.load_dataset(tmp_path / name)


def test_texts_are_not_trained_on_what_they_are_tested_on(tmp_path):
    """A file that says no split has test texts alone, as other data of the user's."""
    path = write_csv(tmp_path)
    assert len(advlab.load_dataset(path)) == 2
    with pytest.raises(InvalidFile, match=r"no text of the train split.*'split' in each record"):
        advlab.load_dataset(path, split="train")
    records = [{"text": f"{word} film", "label": word, "split": split} for split in ("train", "test") for word in "ab"]
    (tmp_path / "both.jsonl").write_text("\n".join(map(json.dumps, records)))
    train, test = (advlab.load_dataset(tmp_path / "both.jsonl", split=split) for split in ("train", "test"))
    assert len(train) == len(test) == 2
    assert train.vocabulary == test.vocabulary


def test_a_line_of_json_ends_where_a_line_feed_stands(tmp_path):
    record = json.dumps({"text": "a lovely\u2028film", "label": "good"}, ensure_ascii=False)
    (tmp_path / "own.jsonl").write_text(f"{record}\n\n{record}\r\n", "utf-8")
    assert len(advlab.load_dataset(tmp_path / "own.jsonl")) == 2


def test_a_text_of_an_unknown_class_is_refused(tmp_path):
    (tmp_path / "own.csv").write_text("text,label\na film,mixed\n")
    with pytest.raises(advlab.AdvlabError, match="mixed"):
        advlab.attack("sentiment-tiny", str(tmp_path / "own.csv"), "hotflip")


def small_imdb(folder, change=lambda name, text: text):
    """An archive of the official layout with two reviews of each kind."""
    (folder / "imdb").mkdir(parents=True, exist_ok=True)
    path = folder / "imdb" / imdb.ARCHIVE
    with tarfile.open(path, "w:gz") as archive:
        for split, kind, number in itertools.product(("train", "test"), ("neg", "pos"), range(2)):
            name = f"aclImdb/{split}/{kind}/{number}_{9 if kind == 'pos' else 2}.txt"
            text = change(name, f"A {kind} review <br /> number {number} of the film the film".encode())
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    return path


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVLAB_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_imdb_is_read_from_its_archive_and_kept(elsewhere, monkeypatch):
    small_imdb(elsewhere)
    data = advlab.load_dataset("imdb")
    assert data.x.shape == (4, 1, 200, 1)
    assert data.y.tolist() == [0, 1, 0, 1]
    assert data.vocabulary[4:6] == ("film", "the") or data.vocabulary[4:6] == ("the", "film")
    assert " ".join(filter(None, decode(data.x[1], data.vocabulary))) == "a pos review br number 0 of the film the film"
    assert "its checksum differs" in data.provenance
    assert "not by Keras' own index" in data.provenance
    monkeypatch.setattr(imdb, "_read", lambda path: pytest.fail("the cache was not used"))
    assert advlab.load_dataset("imdb").digest == data.digest


def test_keras_own_index_of_words_decides_where_it_is_at_hand(elsewhere):
    small_imdb(elsewhere)
    index = {
        word: rank
        for rank, word in enumerate(["the", "film", "of", "a", "review", "br", "pos", "neg", "number", "0", "1"], 1)
    }
    (elsewhere / "imdb" / imdb.WORD_INDEX).write_text(json.dumps(index))
    data = advlab.load_dataset("imdb")
    assert data.vocabulary[4:7] == ("the", "film", "of")
    assert "Keras' own index" in data.provenance
    (elsewhere / "imdb" / imdb.WORD_INDEX).write_text("[1]")
    with pytest.raises(InvalidFile, match="not Keras' index of words"):
        advlab.load_dataset("imdb")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda name, text: b"\xff\xfe", "is not UTF-8"),
        (lambda name, text: b"x" * (1 << 18), "at most"),
    ],
)
def test_a_damaged_archive_of_imdb_is_refused(elsewhere, change, said):
    small_imdb(elsewhere, change)
    with pytest.raises(InvalidFile, match=said):
        advlab.load_dataset("imdb")


def test_imdb_without_archive_or_network_says_where_it_was_looked_for(elsewhere, monkeypatch):
    monkeypatch.setattr(official, "fetch", lambda *_, **__: (_ for _ in ()).throw(advlab.AdvlabError("no network.")))
    with pytest.raises(advlab.AdvlabError, match=r"'imdb' lacks aclImdb_v1\.tar\.gz.*ADVLAB_DATA"):
        advlab.load_dataset("imdb")


@pytest.mark.real_data
def test_the_reviews_are_the_official_ones():
    train, test = (advlab.load_dataset("imdb", split=split) for split in ("train", "test"))
    assert len(train) == len(test) == 25_000
    assert np.bincount(train.y).tolist() == np.bincount(test.y).tolist() == [12_500, 12_500]
    assert train.vocabulary[4:8] == ("the", "and", "a", "of")
    assert train.vocabulary == test.vocabulary
    assert len(train.vocabulary) == 10_000


def test_the_sentences_that_are_written_are_those_that_are_read():
    x, y, vocabulary, _ = sentences.load("test")
    assert decode(x[0], vocabulary)[-3:] == ["and", "bad", "music"]
    assert y.tolist()[:2] == [0, 1]


def trained_with(text: str, folder) -> advlab.Classifier:
    recipe = advlab_workspace.recipes()["sentiment-tiny"].read_text("utf-8")
    (folder / "own.toml").write_text(recipe + text)
    return advlab.train(folder / "own.toml", save=False)


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
def test_a_model_of_texts_is_trained_with_substitutions_or_with_the_texts_of_hotflip(tmp_path, data):
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
        advlab_workspace.recipes()["digits"]
        .read_text("utf-8")
        .replace("epochs = 30", "epochs = 1\nword_substitution = 0.1")
    )
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(Mismatch, match="word_substitution is for texts"):
        advlab.train(tmp_path / "own.toml", save=False)


@pytest.mark.parametrize("method", ["ibp", "crown"])
def test_what_is_proven_of_texts_no_replacement_undoes(tiny, data, method):
    certificate = advlab.certify(tiny, data, method, norm="l0", epsilon=1)
    offered = word_model(tiny).neighbours(50, "substitute", "", "")
    largest, succeeds = best_of_one_word(tiny, data, offered, range(len(data)))
    correct = certificate.correct
    assert not (certificate.proven & succeeds).any()
    assert (certificate.margin[correct] <= -largest[correct] + 1e-4).all()
    assert (
        advlab.certify(tiny, data, method, norm="l0", epsilon=3).margin[correct] <= certificate.margin[correct]
    ).all()


def test_a_few_words_of_many_texts_never_pass_the_bound(tiny, data):
    words = word_subject(tiny)
    offered, clean = word_model(tiny).neighbours(50, "substitute", "", ""), as_numbers(data.x)
    draw = np.random.default_rng(0)
    for count in (1, 2, 5):
        region = words.region(data.x, count)
        for _ in range(200):
            texts = clean.copy()
            for text in texts:
                for position in draw.choice(len(text), count, replace=False):
                    choices = offered[text[position]][offered[text[position]] >= 0]
                    text[position] = draw.choice(choices) if len(choices) else text[position]
            pooled = words.table[texts].max(1)
            assert (pooled >= region.lower.numpy()).all()
            assert (pooled <= region.upper.numpy()).all()
    exact = words.region(data.x, 0)
    assert (exact.lower.numpy() == exact.upper.numpy()).all()
    assert (exact.lower.numpy() == words.table[clean].max(1)).all()


def test_texts_are_certified_where_they_have_bounds(tiny, data, trained, digits):
    with pytest.raises(InvalidValue, match=r"norm='l0', epsilon=1"):
        advlab.certify(tiny, data, epsilon=0.1)
    with pytest.raises(InvalidValue, match="Images have no bounds under norm 'l0'"):
        advlab.certify(trained, digits.take(2), norm="l0", epsilon=1)
    with pytest.raises(InvalidValue, match="no bounds under norm 'l0'"):
        advlab.certify(tiny, data, "exact", norm="l0", epsilon=1)
    layers = [keras.Input((1, 16, 1)), keras.layers.Rescaling(SCALE), keras.layers.Reshape((16,))]
    layers += [keras.layers.Embedding(200, 4), keras.layers.LSTM(4), keras.layers.Dense(1, activation="sigmoid")]
    other = advlab.Classifier.from_keras(keras.Sequential(layers), card={"vocabulary": list(tiny.vocabulary)})
    with pytest.raises(InvalidValue, match=r"a LSTM does.*hotflip"):
        advlab.certify(other, data, norm="l0", epsilon=1)
    assert 0 <= advlab.attack(other, data, "hotflip", epsilon=2).robust.mean() <= 1


def test_attack_and_certificate_bracket_the_truth(tiny, data):
    result = advlab.attack(tiny, data, "hotflip", epsilon=1)
    certificate = advlab.certify(tiny, data, norm="l0", epsilon=1)
    assert certificate.proven.mean() <= result.robust.mean()
    assert "proven" in certificate.table({"hotflip": result})


def mean_cosines(classifier, result):
    """Of each text between its replaced words and what took their place; NaN where none was replaced."""
    before, after = as_numbers(result.x), as_numbers(result.x_adv)
    table = word_model(classifier).table
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    cosine = np.where(before != after, np.sum(unit[before] * unit[after], -1), np.nan)
    return np.array([np.nanmean(values) if np.isfinite(values).any() else np.nan for values in cosine])


def test_an_evaluation_says_how_near_replacements_lie_and_how_many_words_stay(tiny, data):
    result = advlab.attack(tiny, data, "hotflip", epsilon=2)
    before, after = as_numbers(result.x), as_numbers(result.x_adv)
    cosines = mean_cosines(tiny, result)
    np.testing.assert_allclose(result.diagnostics.similarity, cosines, atol=1e-6)
    kept = ((before == after) & (before > 1)).sum(1) / (before > 1).sum(1)
    evaluation = advlab.evaluate(result)
    rows = result.success & result.correct
    assert evaluation.texts.similarity.mean == pytest.approx(cosines[rows].mean(), abs=1e-6)
    assert evaluation.texts.words_kept.mean == pytest.approx(kept[rows].mean())
    assert 0.5 < evaluation.texts.words_kept.mean < 1
    row = advlab.table(evaluation)
    assert f"{100 * kept[rows].mean():.1f}" in row
    assert "kept %" in row.splitlines()[0]
    assert "sentiment-tiny" in row.splitlines()[1]
    assert max(map(len, row.splitlines())) <= 100


def test_a_trigger_in_empty_places_keeps_all_words(tiny, data):
    texts = advlab.evaluate(advlab.attack(tiny, data, "trigger", epsilon=3)).texts
    assert texts.words_kept.mean == texts.similarity.mean == 1


def test_similarity_is_kept_in_the_archive_and_by_what_joins_attacks(tiny, data, archive, tmp_path):
    result = advlab.load_result(archive)
    known = result.diagnostics.similarity
    assert known.shape == (24,)
    assert advlab.evaluate(result, tiny).texts == advlab.evaluate(result).texts
    other = advlab.attack(tiny, data, "random_words", epsilon=3)
    worst = combine.worst_case([other, result], "both")
    chosen = np.where((worst.x_adv == other.x_adv).all((1, 2, 3)), other.diagnostics.similarity, known)
    assert (worst.diagnostics.similarity == chosen).all()
    nearest = combine.within(result, dataclasses.replace(result.attack.threat, epsilon=1.0))
    assert (nearest.diagnostics.similarity == 1).all()
    transferred = result.with_predictions("other", "0" * 16, result.clean_probabilities, result.clean_probabilities)
    assert (transferred.diagnostics.similarity == known).all()
    parts = [advlab.attack(tiny, part, "hotflip", epsilon=3) for part in (data.take(10), data.take(24))]
    whole = combine.concatenate(
        parts, "digest", *(np.concatenate([getattr(p, n) for p in parts]) for n in ("x", "x_adv"))
    )
    assert whole.diagnostics.similarity.shape == (34,)


def test_a_curve_knows_the_similarity_of_the_nearest_texts(tiny, data):
    result = advlab.curve(tiny, data, "hotflip", norm="l0", epsilon=4).results[0]
    cosines = mean_cosines(tiny, result)
    assert np.isnan(cosines).any()
    np.testing.assert_allclose(result.diagnostics.similarity, np.where(np.isnan(cosines), 1, cosines), atol=1e-6)


def test_an_archive_without_similarity_is_read(archive):
    result = advlab.load_result(archive)
    earlier = dataclasses.replace(result, diagnostics=dataclasses.replace(result.diagnostics, similarity=None))
    texts = advlab.evaluate(earlier).texts
    assert texts.similarity is None
    assert texts.words_kept == advlab.evaluate(result).texts.words_kept
    assert "-" in advlab.table(advlab.evaluate(earlier)).splitlines()[1].split()


def test_texts_are_judged_in_report_json_and_columns_and_images_are_not(archive, trained, digits):
    texts, images = advlab.evaluate(archive), advlab.evaluate(advlab.attack(trained, digits.take(4)))
    assert set(records.per_sample(texts)) - set(records.per_sample(images)) == {"words_kept", "similarity"}
    assert images.to_dict()["texts"] is None
    assert set(texts.to_dict()["texts"]) == {"words_kept", "similarity"}
    assert ">words kept</th>" in advlab.report([texts, images])
    assert ">words kept</th>" not in advlab.report(images)
