"""The zoo of the repository is the result of its recipes: recipes, records, table and shipped weights agree."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from advlab.declarations.recipes import load_recipe, settings
from advlab.evaluation.metrics import wilson
from advlab.workflows.model_file import load_classifier

ROOT = Path(__file__).parent.parent
NAMES = sorted(path.stem for path in (ROOT / "models").glob("*.toml"))
SHIPPED = sorted((ROOT / "models" / "pretrained").glob("*.h5"))
RERUN = "run: python benchmarks/models.py --weights FOLDER --ship"


@pytest.fixture
def zoo(monkeypatch):
    """The script that measures the zoo."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import models

    return models


@pytest.fixture
def elsewhere(zoo, tmp_path, monkeypatch):
    """The same script with its records, table and shipped weights in an empty folder."""
    for name in ("RECORDS", "README", "PRETRAINED"):
        monkeypatch.setattr(zoo, name, tmp_path / getattr(zoo, name).name)
    zoo.PRETRAINED.mkdir()
    return zoo


@pytest.fixture
def recipe():
    return load_recipe("fashion")


def record(recipe, zoo, **changes):
    facts = {"recipe": settings(recipe), "parameters": 47722, "epochs_run": recipe.training.epochs, "seconds": 7.4}
    accuracies = {"test_accuracy": 0.8801, "train_accuracy": 0.8913, "validation_accuracy": None}
    robust = {"value": 0.25, "low": 0.224, "high": 0.278, "count": 250, "total": 1000, "samples": 1000}
    return facts | accuracies | {"robust_accuracy": robust, "digest": "0123456789abcdef", "bytes": 218440} | changes


def test_the_table_is_generated(zoo):
    assert zoo.README.read_text("utf-8") == "\n".join(zoo.page()) + "\n", "run: python benchmarks/models.py --write"


def test_every_recipe_has_a_record_and_no_record_is_left_over(zoo):
    assert sorted(zoo.records()) == NAMES, RERUN


@pytest.mark.parametrize("name", NAMES)
def test_a_record_is_of_the_current_recipe(zoo, name):
    recipe, stored = zoo.recipes()[name], zoo.records().get(name)
    assert stored, RERUN
    assert stored["recipe"] == settings(recipe), RERUN
    if "parameters" in recipe.published:
        assert stored["parameters"] == recipe.published["parameters"]
    assert 1 <= stored["epochs_run"] <= recipe.training.epochs
    robust = stored["robust_accuracy"]
    threat = zoo.threat_of(recipe)
    assert {key: robust[key] for key in threat} == threat
    assert (robust["low"], robust["high"]) == pytest.approx(wilson(robust["count"], robust["total"]))
    assert robust["total"] == {"digits": 449, "sentences": 24}.get(recipe.dataset, threat["samples"])


def test_no_figure_is_more_than_a_point_from_its_source_without_a_reason(zoo):
    assert [line.split("|")[1].strip() for line in zoo.page() if "unexplained" in line] == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_weights_are_those_that_were_measured(zoo, path):
    classifier, stored = load_classifier(path), zoo.records().get(path.stem)
    assert stored, RERUN
    assert (classifier.digest, path.stat().st_size) == (stored["digest"], stored["bytes"]), RERUN
    assert classifier.card["test_accuracy"] == stored["test_accuracy"]
    assert settings(zoo.recipes()[path.stem]) == settings(classifier.card["recipe"])


def test_shipped_weights_are_few_megabytes(zoo):
    assert sum(path.stat().st_size for path in SHIPPED) <= zoo.ROOM <= 16_000_000
    assert {path.stem for path in SHIPPED} >= set(zoo.FIRST)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fashion", "56-56 relu"),
        ("mnist-dropout-adam", "128-128 relu, dropout 0.3"),
        ("mnist-softmax-zeros", "softmax regression, from zeros"),
        ("mnist-softmax", "softmax regression, from TruncatedNormal stddev: 1.0"),
        ("mnist-robust", "16-32 convolutions 4x4 relu, stride 2, 100 relu"),
        ("mnist", "64-64-64 convolutions 3x3 relu, max-pool 2, dropout 0.2"),
        ("mnist-rnn", "SimpleRNN 256, dropout 0.2"),
        ("mnist-bidirectional", "bidirectional SimpleRNN 256, dropout 0.2"),
        ("mnist-gru", "GRU 256, dropout 0.2"),
        ("imdb", "10,000 words, vectors of 256, maximum, 128 relu, dropout 0.5"),
        ("imdb-lstm", "10,000 words, vectors of 64, LSTM 64, dropout 0.3"),
        ("cifar10", "residual, 3 x 2 blocks of 16-32-64 convolutions 3x3"),
    ],
)
def test_architectures_are_described_in_words(zoo, name, words):
    assert zoo.architecture(load_recipe(name)) == words


def test_penalties_and_normalization_are_described_too(zoo, recipe):
    more = {**recipe.architecture, "l1": 1e-5, "l2": 0.001, "batch_normalization": True, "activation": "tanh"}
    words = "56-56 tanh, l1 1e-05, l2 0.001, batch normalization"
    assert zoo.architecture(replace(recipe, architecture=more)) == words


def test_training_is_described_in_words(zoo, recipe):
    assert zoo.training(recipe) == zoo.training(recipe, 6) == "Adam, 6 epochs, batch 32"
    assert zoo.training(recipe, 4) == "Adam, 4 of 6 epochs, batch 32"
    assert zoo.training(load_recipe("mnist-softmax")) == "SGD at 0.5, 10 epochs, batch 128, first 55,000 images"
    words = "SGD, 50 epochs, batch 128, validation split 0.2"
    assert zoo.training(load_recipe("mnist-dense-sgd")) == words
    words = "AdamW at 0.004, 20 epochs, batch 128, cosine schedule, shifted by up to 4, mirrored at random"
    assert zoo.training(load_recipe("cifar10")) == words


def test_a_row_has_what_was_measured_beside_what_was_published(zoo, recipe):
    row = zoo.row(recipe, record(recipe, zoo), shipped=True)
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        "[`fashion`](fashion.toml)",
        "56-56 relu",
        "fashion-mnist",
        "47,722",
        "Adam, 6 epochs, batch 32",
        "7",
        "88.01%",
        "87.04%",
        "+0.97",
        "train 89.13% (89.13%, +0.00)",
        "25.0% [22.4, 27.8]",
        "1,000",
        "",
        "0.22 MB, shipped",
        "`0123456789abcdef`",
    ]
    assert row.count("|") == zoo.HEAD.count("|") == zoo.row(recipe, {}, shipped=False).count("|")
    assert "not measured" in zoo.row(recipe, {}, shipped=False)


@pytest.mark.parametrize(("accuracy", "unexplained"), [(0.8804, False), (0.8805, True), (0.8604, False), (0.86, True)])
def test_more_than_a_point_needs_a_note(zoo, recipe, accuracy, unexplained):
    recipe = replace(recipe, published={"test_accuracy": 0.8704})
    measured = record(recipe, zoo, test_accuracy=accuracy)
    assert ("unexplained" in zoo.row(recipe, measured, shipped=False)) == unexplained
    explained = replace(recipe, published={**recipe.published, "note": "why"})
    assert "unexplained" not in zoo.row(explained, measured, shipped=False)


def test_a_deviating_training_accuracy_needs_a_note_too(zoo, recipe):
    recipe = replace(recipe, published={"train_accuracy": 0.99})
    assert "train 89.13% (99.00%, -9.87 unexplained)" in zoo.row(recipe, record(recipe, zoo), shipped=False)


def test_a_row_of_a_robust_network_has_its_accuracy_at_the_epsilon_it_was_trained_for(zoo, recipe):
    own = {"norm": "linf", "epsilon": 0.3, "value": 0.87, "low": 0.85, "high": 0.89, "total": 1000}
    row = zoo.row(recipe, record(recipe, zoo, robust_accuracy_as_trained=own), shipped=True)
    assert "| 87.0% [85.0, 89.0], linf 0.3, 1,000 images |" in row


def test_what_is_shipped_is_chosen_by_name_then_by_size(zoo, monkeypatch):
    monkeypatch.setattr(zoo, "ROOM", 5_000_000)
    sizes = {"mnist-mlp-512": 10, "b": 300_000, "a": 400_000, "mnist": 4_000_000, "fashion": 200_000}
    assert zoo.selection(sizes) == ["fashion", "mnist", "b", "a", "mnist-mlp-512"]
    assert zoo.selection(sizes | {"b": 700_000}) == ["fashion", "mnist", "a", "mnist-mlp-512"]
    assert zoo.selection({"a": zoo.ROOM}) == ["a"]
    assert zoo.selection({"a": zoo.ROOM + 1}) == []


def test_measured_weights_replace_shipped_ones_and_what_has_no_room_goes(elsewhere, tmp_path, monkeypatch):
    zoo, weights = elsewhere, tmp_path / "weights"
    weights.mkdir()
    digits = ROOT / "models" / "pretrained" / "digits.h5"
    shutil.copy(digits, weights)
    shutil.copy(digits, weights / "unmeasured.h5")
    shutil.copy(digits, weights / "changed.h5")
    for name in ("digits", "large"):
        (zoo.PRETRAINED / f"{name}.h5").write_bytes(bytes(300_000))
    zoo.store("digits", {"digest": load_classifier("digits").digest})
    zoo.store("changed", {"digest": "of other weights"})
    monkeypatch.setattr(zoo, "ROOM", 500_000)
    zoo.ship(weights)
    assert [path.name for path in zoo.PRETRAINED.iterdir()] == ["digits.h5"]
    assert (zoo.PRETRAINED / "digits.h5").read_bytes() == digits.read_bytes()


@pytest.mark.thorough
def test_a_model_is_measured_once_and_again_when_it_changes(elsewhere, tmp_path, monkeypatch):
    zoo, digits = elsewhere, load_recipe("digits")
    brief = replace(digits, training=replace(digits.training, epochs=1))
    weights, suite = tmp_path / "digits.h5", tmp_path / "brief.toml"
    suite.write_text('title = "T"\nmode = "cascade"\nnorms = ["linf"]\n[[attack]]\nmethod = "fgsm"\n', "utf-8")
    monkeypatch.setattr(zoo, "SUITE", str(suite))
    monkeypatch.setattr(zoo, "IMAGES", 5)
    first = zoo.measured(brief, weights)
    assert first["digest"] == load_classifier(weights).digest
    assert (first["bytes"], first["epochs_run"]) == (weights.stat().st_size, 1)
    assert first["robust_accuracy"]["total"] == 5
    zoo.store("digits", first | {"seconds": -1})
    assert zoo.measured(brief, weights)["seconds"] == -1
    zoo.store("digits", first | {"digest": "of other weights"})
    assert zoo.measured(brief, weights) == first
    zoo.store("digits", first | {"seconds": -1})
    monkeypatch.setattr(zoo, "EPSILON", 0.01)
    assert zoo.measured(brief, weights)["robust_accuracy"]["epsilon"] == 0.01
    with pytest.raises(SystemExit, match="was trained by another recipe than models/digits"):
        zoo.measured(digits, weights)


def test_a_block_of_the_results_is_replaced_alone(zoo, tmp_path):
    import blocks

    path = tmp_path / "RESULTS.md"
    for name, text in (("peers", "one"), ("training", "two"), ("peers", "three")):
        blocks.write_block(name, text, path)
    lines = ["<!-- begin peers -->", "three", "<!-- end peers -->"]
    lines += ["<!-- begin training -->", "two", "<!-- end training -->"]
    assert path.read_text("utf-8").splitlines() == lines
    assert "<!-- begin peers -->" in blocks.RESULTS.read_text("utf-8")
