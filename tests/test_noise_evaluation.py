"""How confidently classifiers classify noise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import advlab
from advlab import load_dataset
from advlab.cli import main
from advlab.data.dataset import Dataset
from advlab.data.noise import DISTRIBUTIONS, SYNTHETIC_DISTRIBUTIONS, TRAINING_DISTRIBUTIONS, noise_images, shuffled
from advlab.errors import InvalidValue, Mismatch, UnknownName
from advlab.evaluation.noise import NoiseEvaluation, noise_score
from advlab.workflows.noise import evaluate_noise
from tests.conftest import linear_classifier


def test_a_score_computed_by_hand():
    probabilities = np.array([[0.96, 0.04, 0], [0.05, 0.92, 0.03], [0.0, 0.995, 0.005], [0.4, 0.3, 0.3]])
    score = noise_score("uniform", probabilities, ("a", "b", "c"))
    assert score.confidence == pytest.approx((0.96 + 0.92 + 0.995 + 0.4) / 4)
    assert [rate.count for rate in score.confident] == [3, 3, 1]
    assert (score.predicted, score.predicted_fraction.count, score.predicted_fraction.total) == ("a", 2, 4)
    assert score.unknown is None


def test_what_is_called_unknown_is_caught_and_no_confident_answer():
    probabilities = np.array([[0.0, 0.0, 1.0], [0.3, 0.1, 0.6], [0.02, 0.93, 0.05]])
    score = noise_score("uniform", probabilities, ("a", "b", "unknown"))
    assert score.confidence == pytest.approx((0 + 0.3 + 0.93) / 3)
    assert [rate.count for rate in score.confident] == [1, 1, 0]
    assert score.unknown is not None
    assert (score.unknown.count, score.predicted) == (2, "unknown")


@pytest.mark.parametrize("shape", [(0, 3), (4, 2), (4,)])
def test_probabilities_that_do_not_fit_the_classes_are_refused(shape):
    with pytest.raises(InvalidValue, match=r"must be \(n, 3\)"):
        noise_score("uniform", np.ones(shape), ("a", "b", "c"))


def always(confidence: float, class_names: list[str] | None = None, shape: tuple[int, ...] = (6, 6)):
    """A classifier that sees class 2 of three in every image, with that confidence."""
    import keras

    from advlab.classifiers.classifier import Classifier

    dense = keras.layers.Dense(3, activation="softmax")
    model = keras.Sequential([keras.Input(shape), keras.layers.Flatten(), dense])
    rest = (1 - confidence) / 2
    bias = np.log([rest, rest, confidence])
    dense.set_weights([np.zeros(dense.kernel.shape, np.float32), bias.astype(np.float32)])
    return Classifier.from_keras(model, name="always", card={"class_names": class_names} if class_names else None)


def test_a_classifier_that_always_answers_the_same_with_confidence_0_95():
    found = evaluate_noise(always(0.95), samples=40)
    assert [score.distribution for score in found.scores] == list(SYNTHETIC_DISTRIBUTIONS)
    for score in found.scores:
        assert score.confidence == pytest.approx(0.95, abs=1e-6)
        assert [rate.value for rate in score.confident] == [1, 1, 0]
        assert (score.predicted, score.predicted_fraction.value, score.unknown) == ("2", 1, None)


def test_a_classifier_that_always_answers_unknown_is_never_confident():
    found = evaluate_noise(always(0.95, ["a", "b", "unknown"]), samples=40)
    assert found.knows_unknown
    for score in found.scores:
        assert score.unknown is not None
        assert (score.unknown.value, score.confident[0].value) == (1, 0)
        assert score.confidence == pytest.approx(0.025, abs=1e-6)


def test_a_linear_classifier_is_scored_as_numpy_computes_it(grey: Dataset):
    classifier = linear_classifier(4)
    found = evaluate_noise(classifier, grey, samples=30, seed=5, distributions=["smooth", "shuffled"])
    weights = classifier.keras_model.get_weights()[0].astype(np.float64)
    for score, x in zip(
        found.scores, (noise_images(30, (6, 6, 1), "smooth", 5), shuffled(grey.x[:30], 5)), strict=True
    ):
        logits = x.reshape(30, -1) @ weights
        probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        assert score.confidence == pytest.approx(probabilities.max(1).mean(), abs=1e-5)
        assert score.confident[0].count == (probabilities.max(1) > 0.5).sum()
        assert score.predicted_fraction.count == np.bincount(probabilities.argmax(1)).max()


def test_images_that_are_noise_already_are_not_shuffled(trained, digits):
    noisy = load_dataset("digits+noise").take(33)
    first = evaluate_noise(trained, noisy, samples=30, distributions=["shuffled"])
    assert first.to_dict() == evaluate_noise(trained, digits.take(30), samples=30, distributions=["shuffled"]).to_dict()
    named = evaluate_noise(trained, "digits+noise", samples=30, distributions=["shuffled"])
    assert named.to_dict() == first.to_dict()


def test_a_data_set_smaller_than_asked_for_is_shuffled_once(trained):
    found = evaluate_noise(trained, samples=460)
    assert [score.predicted_fraction.total for score in found.scores] == [460] * 5 + [449]


@pytest.mark.parametrize("shape", [(6, 6), (6, 6, 1), (36,)])
def test_without_a_data_set_the_shape_is_that_of_the_input_and_shuffled_is_left_out(shape):
    found = evaluate_noise(always(0.9, shape=shape), samples=3)
    assert len(found.scores) == 5
    assert "'shuffled' is left out: Model 'always' does not state which data set" in str(found.left_out)
    assert "left out" in found.table().replace("\n", " ")
    assert found.to_dict()["left_out"] == found.left_out


def test_bad_input_is_refused(trained, grey: Dataset):
    for samples in (0, -3, 2.5, True):
        with pytest.raises(InvalidValue, match=r"samples must be an int in the range \[1, 1000000\]"):
            evaluate_noise(trained, samples=samples)
    with pytest.raises(InvalidValue, match="seed must be"):
        evaluate_noise(trained, seed=-1)
    with pytest.raises(UnknownName, match=r"Unknown distribution of noise 'pink'.*shuffled"):
        evaluate_noise(trained, distributions=["pink"])
    with pytest.raises(InvalidValue, match="at least one distribution"):
        evaluate_noise(trained, distributions=[])
    with pytest.raises(Mismatch, match=r"takes inputs of shape .*, but the images have shape \(6, 6, 1\)"):
        evaluate_noise(trained, grey, samples=3)
    only = replace(grey, classes=(*grey.classes, "unknown"), y=np.full(40, 4))
    with pytest.raises(InvalidValue, match="has only images of the class 'unknown'"):
        evaluate_noise(linear_classifier(5), only, samples=3)
    with pytest.raises(UnknownName, match="Unknown data set 'digit'"):
        evaluate_noise(trained, "digit", samples=3)
    with pytest.raises(InvalidValue, match="does not state which data set"):
        evaluate_noise(always(0.9), samples=3, distributions=["shuffled"])
    with pytest.raises(InvalidValue, match=r"does not tell the shape of its images.*--dataset"):
        evaluate_noise(always(0.9, shape=(35,)), samples=3)


# How it is shown


def evaluation_of(name: str = "stub", class_name: str = "bag", left_out: str | None = None) -> NoiseEvaluation:
    probabilities = np.array([[0.25, 0.75], [0.0, 1.0]])
    scores = tuple(noise_score(distribution, probabilities, ("a", class_name)) for distribution in DISTRIBUTIONS)
    return NoiseEvaluation(name, "0" * 16, 0, scores, left_out)


def test_the_table_has_a_row_for_each_distribution():
    lines = evaluation_of().table().splitlines()
    assert lines[1].split() == ["uniform", "2", "87.5", "100.0", "50.0", "50.0", "bag", "100.0"]
    assert [line.split()[0] for line in lines[1:7]] == list(DISTRIBUTIONS)
    assert "unknown" not in lines[0]
    assert evaluation_of(class_name="unknown").table().splitlines()[1].split()[-1] == "100.0"


def test_no_name_widens_the_table_steers_the_terminal_or_writes_html():
    hostile = evaluation_of("m" * 150 + "\x1b[2J", "<b>" * 50 + "\x1b", "Left out: \x1b")
    assert max(map(len, hostile.table().splitlines())) <= 100
    assert "\x1b" not in hostile.table()
    assert "<b>" not in hostile._repr_html_()
    assert evaluation_of()._repr_html_().count("<tr>") == 7


def test_repr_names_the_distribution_with_the_highest_confidence():
    assert (
        repr(evaluation_of())
        == "NoiseEvaluation of stub: 6 distributions of noise, mean confidence up to 88% (uniform)"
    )


def test_the_command_prints_the_table_of_the_library(trained):
    done = CliRunner().invoke(main, ["noise", "digits", "--samples", "20", "--seed", "2", "--distribution", "uniform"])
    assert done.exit_code == 0
    assert done.stdout.rstrip() == evaluate_noise(trained, samples=20, seed=2, distributions=["uniform"]).table()
    assert "Next: advlab train fashion-unknown" in done.stderr


def test_the_command_as_json(trained):
    done = CliRunner().invoke(main, ["noise", "digits", "--samples", "20", "--json"])
    assert json.loads(done.stdout) == evaluate_noise(trained, samples=20).to_dict()
    assert done.stderr == ""


def test_the_command_refuses_no_samples_and_names_the_nearest_model():
    assert CliRunner().invoke(main, ["noise", "digits", "--samples", "0"]).exit_code == 2
    done = CliRunner().invoke(main, ["noise", "digit"])
    assert (done.exit_code, "Did you mean 'digits'" in done.stderr) == (1, True)


# An eleventh class, from training to attack


@pytest.mark.thorough
def test_a_classifier_with_the_class_unknown_catches_noise_and_can_be_attacked(tmp_path: Path):
    from advlab.declarations.recipes import Recipe, Training
    from advlab.workflows.train import train

    recipe = Recipe(
        name="digits-unknown",
        title="digits and noise",
        dataset="digits+noise",
        architecture={"name": "mlp", "hidden": [32]},
        training=Training("adam", 32, 4),
    )
    classifier = train(recipe, save=False, progress=False)
    assert classifier.classes == 11
    found = evaluate_noise(classifier, samples=100, distributions=TRAINING_DISTRIBUTIONS)
    assert all(score.unknown is not None and score.unknown.value > 0.9 for score in found.scores)
    evaluation = advlab.evaluate(advlab.attack(classifier, load_dataset("digits+noise", limit=44), "fgsm", epsilon=0.1))
    assert [score.name for score in evaluation.per_class][-1] == "unknown"
    assert evaluation.per_class[-1].clean_accuracy.total == 4
