"""Texts as data: how they are split and numbered, texts of your own, the reviews of IMDb, predictions of a text."""

from __future__ import annotations

import io
import itertools
import json
import re
import tarfile

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import advlab
from advlab.cli import main
from advlab.data import imdb, official
from advlab.data import sentences as own_sentences
from advlab.errors import InvalidFile, InvalidValue
from advlab.text import SCALE, as_images, as_numbers, decode, encode, vocabulary_of, words_of


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


def test_the_sentences_are_balanced_and_known_words(sentences, tiny):
    assert (np.bincount(sentences.y) == [12, 12]).all()
    assert tiny.card["test_accuracy"] > 0.9
    train = advlab.load_dataset("sentences", split="train")
    assert len(train) == 48
    assert train.vocabulary == sentences.vocabulary == tiny.vocabulary
    assert {decode(x, train.vocabulary).count("<unknown>") for x in train.x} == {0}
    assert not set(map(tuple, as_numbers(train.x))) & set(map(tuple, as_numbers(sentences.x)))


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


def test_texts_of_the_data_set_are_named_by_their_number(sentences):
    for reference in ("3", "sentences:3"):
        result = advlab.predict("sentiment-tiny", reference)
        assert (result.x[0] == sentences.x[3]).all()


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
    x, y, vocabulary, _ = own_sentences.load("test")
    assert decode(x[0], vocabulary)[-3:] == ["and", "bad", "music"]
    assert y.tolist()[:2] == [0, 1]
