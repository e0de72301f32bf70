"""What an attack on texts leaves: archive, report, evaluation, similarity."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest

import advlab
from advlab.classifiers.words import word_model
from advlab.errors import InvalidValue
from advlab.evaluation import records
from advlab.results import combine
from advlab.text import as_numbers


@pytest.fixture
def archive(tiny, sentences, tmp_path):
    return advlab.attack(tiny, sentences, "hotflip", epsilon=3, output=tmp_path / "text.h5").path


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


def test_the_suite_of_texts_runs(tiny, sentences):
    evaluations = advlab.run(tiny, sentences, "text")
    assert [e.attack.method for e in evaluations] == ["random_words", "word_importance", "hotflip", "trigger"]
    assert all(e.attack.threat.epsilon == 10 for e in evaluations)


def mean_cosines(classifier, result):
    """Of each text between its replaced words and what took their place; NaN where none was replaced."""
    before, after = as_numbers(result.x), as_numbers(result.x_adv)
    table = word_model(classifier).table
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    cosine = np.where(before != after, np.sum(unit[before] * unit[after], -1), np.nan)
    return np.array([np.nanmean(values) if np.isfinite(values).any() else np.nan for values in cosine])


def test_an_evaluation_says_how_near_replacements_lie_and_how_many_words_stay(tiny, sentences):
    result = advlab.attack(tiny, sentences, "hotflip", epsilon=2)
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


def test_a_trigger_in_empty_places_keeps_all_words(tiny, sentences):
    texts = advlab.evaluate(advlab.attack(tiny, sentences, "trigger", epsilon=3)).texts
    assert texts.words_kept.mean == texts.similarity.mean == 1


def test_similarity_is_kept_in_the_archive_and_by_what_joins_attacks(tiny, sentences, archive, tmp_path):
    result = advlab.load_result(archive)
    known = result.diagnostics.similarity
    assert known.shape == (24,)
    assert advlab.evaluate(result, tiny).texts == advlab.evaluate(result).texts
    other = advlab.attack(tiny, sentences, "random_words", epsilon=3)
    worst = combine.worst_case([other, result], "both")
    chosen = np.where((worst.x_adv == other.x_adv).all((1, 2, 3)), other.diagnostics.similarity, known)
    assert (worst.diagnostics.similarity == chosen).all()
    nearest = combine.within(result, dataclasses.replace(result.attack.threat, epsilon=1.0))
    assert (nearest.diagnostics.similarity == 1).all()
    transferred = result.with_predictions("other", "0" * 16, result.clean_probabilities, result.clean_probabilities)
    assert (transferred.diagnostics.similarity == known).all()
    parts = [advlab.attack(tiny, part, "hotflip", epsilon=3) for part in (sentences.take(10), sentences.take(24))]
    whole = combine.concatenate(
        parts, "digest", *(np.concatenate([getattr(p, n) for p in parts]) for n in ("x", "x_adv"))
    )
    assert whole.diagnostics.similarity.shape == (34,)


def test_a_curve_knows_the_similarity_of_the_nearest_texts(tiny, sentences):
    result = advlab.curve(tiny, sentences, "hotflip", norm="l0", epsilon=4).results[0]
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
