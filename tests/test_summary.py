"""The summary of a classifier: layers and weights counted by hand, and its model card."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path

import keras
import pytest
from click.testing import CliRunner
from keras import layers

import advlab
from advlab.cli import main
from advlab.errors import InvalidFile, UnknownName

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "tests" / "fixtures"


def test_the_layers_of_the_shipped_digits_are_counted_as_by_hand():
    summary = advlab.summary("digits")
    # Kernels and biases of a dense layer: (inputs + 1) x units.
    sizes = [layer.output[0] for layer in summary.layers if layer.type in ("Flatten", "Dense")]
    assert sizes[0] == 784
    by_hand = [(before + 1) * after for before, after in pairwise(sizes)]
    assert [layer.parameters for layer in summary.layers if layer.parameters] == by_hand
    assert summary.parameters == summary.trainable == sum(by_hand)
    assert summary.input == (28, 28)
    assert summary.classes == summary.layers[-1].output[0] == 10


def test_the_file_has_its_checksum_and_the_classifier_its_digest(trained):
    summary = advlab.summary("digits")
    content = Path(summary.path).read_bytes()
    assert (summary.bytes, summary.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert summary.digest == trained.digest
    in_memory = advlab.summary(trained)
    assert (in_memory.path, in_memory.bytes, in_memory.sha256) == (None, None, None)
    assert in_memory.layers == summary.layers
    assert in_memory.table().splitlines()[:5] == summary.table().splitlines()[:5]


def test_weights_that_are_not_trainable_are_counted_separately(rgb):
    summary = advlab.summary(rgb[0])
    # Convolution 3 x 3 of 3 colours into 4, batch normalization of 4, dense of 10 x 10 x 4 into 3.
    assert [layer.parameters for layer in summary.layers] == [(9 * 3 + 1) * 4, 4 * 4, 0, (400 + 1) * 3]
    assert [layer.output for layer in summary.layers] == [(10, 10, 4), (10, 10, 4), (400,), (3,)]
    assert summary.parameters - summary.trainable == 2 * 4
    assert "trainable" in summary.table()


def lines(table):
    """First word -> the line that it begins."""
    return {line.split()[0]: line for line in table.splitlines() if line.strip()}


def test_the_table_has_the_facts_of_the_card():
    summary = advlab.summary(ROOT / "models" / "pretrained" / "fashion.h5")
    table = summary.table()
    rows = lines(table)
    assert rows["total"].split() == ["total", "47,722"]
    assert rows["hidden_1"].split() == ["hidden_1", "Dense", "56", "43,960"]
    assert f"test {summary.card['test_accuracy']:.2%} (published 87.04%)" in rows["accuracy"]
    assert all(setting in rows["training"] for setting in ("adam", "batch size 32", "seed 0"))
    assert "10: T-shirt/top, Trouser" in rows["classes"]
    assert max(map(len, table.splitlines())) <= 100


def card(**fields):
    return {"dataset": "mnist", "recipe": {"title": "T", "source": "S", "training": {}}, **fields}


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"ended": "The loss became NaN in epoch 3."}, "ended     The loss became NaN in epoch 3."),
        ({"recipe": {"training": {"seed": 0, "precision": "", "epochs": 2}}}, "training  seed 0, epochs 2"),
        ({"train_accuracy": 0.9, "validation_accuracy": None}, "accuracy  train 90.00%"),
        ({"epochs_run": 3, "seconds": 2.04}, "trained   3 epochs in 2.0 s"),
    ],
)
def test_each_entry_of_a_card_has_its_line(fields, line, linear):
    named = advlab.Classifier.from_keras(linear.keras_model, card=card(**fields))
    assert line in advlab.summary(named).table().splitlines()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"scale": 255.0}, "pixels   scale 255.0, offset 0"),
        ({"scale": [1, 2, 3], "offset": -1}, "pixels   scale [1, 2, 3], offset -1"),
        ({"preprocess": "caffe"}, "pixels   preprocess caffe"),
        ({"output": "logit"}, "output   logit"),
        ({"output_layer": "scores"}, "output   scores"),
    ],
)
def test_how_a_model_is_fed_and_read_has_its_line(options, line):
    network = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(2, name="scores")])
    assert line in advlab.summary(advlab.Classifier.from_keras(network, **options)).table().splitlines()


def test_layers_that_act_in_training_only_are_named():
    names = ["flip", "noise", "scale", "drop"]
    inner = [layers.RandomFlip, lambda **o: layers.GaussianNoise(0.1, **o)]
    inner += [lambda **o: layers.Rescaling(2.0, **o), lambda **o: layers.Dropout(0.5, **o)]
    made = [make(name=name) for make, name in zip(inner, names, strict=True)]
    network = keras.Sequential([keras.Input((4, 4, 3)), *made, layers.Flatten(), layers.Dense(2)])
    assert "training only  flip, noise, drop" in advlab.summary(advlab.Classifier.from_keras(network)).table()


def test_a_folder_is_summarised_too(tmp_path):
    keras.Sequential([keras.Input((4, 4)), layers.Flatten(), layers.Dense(2)]).export(tmp_path / "m", verbose=False)
    summary = advlab.summary(tmp_path / "m", trust=True)
    assert (summary.path, summary.bytes, summary.parameters) == (str(tmp_path / "m"), None, 34)


def test_names_from_a_file_cannot_control_a_terminal(linear):
    classifier = advlab.Classifier.from_keras(linear.keras_model, card=card(ended="\x1b[2J"))
    assert "\x1b" not in advlab.summary(classifier).table()


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("keras2_*.h5")), ids=lambda path: path.stem)
def test_files_of_keras_2_without_a_card_are_summarised(path):
    summary = advlab.summary(path)
    assert summary.card == {}
    assert summary.parameters == sum(layer.parameters for layer in summary.layers)
    assert "none: advlab did not write this file" in lines(summary.table())["card"]


def test_a_notebook_shows_the_table(linear):
    summary = advlab.summary(advlab.Classifier.from_keras(linear.keras_model, card=card(ended="<b>")))
    assert "&lt;b&gt;" in summary._repr_html_()
    assert repr(summary) == f"Summary of {summary.name}: 2 layers, 72 parameters"


def test_files_and_names_of_no_classifier_are_refused(tmp_path):
    with pytest.raises(UnknownName, match="Did you mean 'digits'"):
        advlab.summary("digit")
    (tmp_path / "a.h5").write_text("nothing")
    with pytest.raises(InvalidFile, match="not an HDF5 file"):
        advlab.summary(tmp_path / "a.h5")


def test_the_command_prints_the_table_and_the_next_command():
    result = CliRunner().invoke(main, ["show", "digits"])
    assert result.exit_code == 0, result.output
    assert result.stdout == advlab.summary("digits").table() + "\n"
    assert result.stderr == "Next: advlab predict digits IMAGE.png\n"
