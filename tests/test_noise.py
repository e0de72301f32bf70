"""Noise images, the class ``unknown`` that is taught with them, and how confidently classifiers answer noise."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

import advlab
from advlab import load_dataset
from advlab.cli import main
from advlab.errors import InvalidFile, InvalidValue, Mismatch, UnknownName
from advlab.noise_evaluation import NoiseEvaluation, noise_score
from advlab.noise_images import DRAWN, KINDS, TAUGHT, noise_images, shuffled
from advlab.samples import Dataset
from advlab.schema import method
from advlab.workflows.noise import evaluate_noise
from tests.conftest import linear_classifier

SHAPE = (7, 10, 3)

# The images


@pytest.mark.parametrize("kind", DRAWN)
def test_images_have_256_levels_and_a_row_depends_on_seed_and_number_alone(kind: str):
    x = noise_images(20, SHAPE, kind, seed=3)
    assert (x.dtype, x.shape) == (np.float32, (20, *SHAPE))
    assert x.min() >= 0
    assert x.max() <= 1
    np.testing.assert_array_equal(x, (x * 255).round().astype(np.uint8) / np.float32(255))
    np.testing.assert_array_equal(x[:5], noise_images(5, SHAPE, kind, seed=3))
    assert len(np.unique(x.reshape(20, -1), axis=0)) > 15
    assert (x != noise_images(20, SHAPE, kind, seed=4)).any((1, 2, 3)).sum() > 15


def test_uniform_and_gaussian_noise_have_the_moments_of_their_laws():
    uniform, gaussian = (noise_images(200, (28, 28, 1), kind).astype(np.float64) for kind in ("uniform", "gaussian"))
    assert stats.kstest(uniform.ravel(), "uniform").statistic < 0.01
    assert (gaussian == 0).mean() == pytest.approx(stats.norm.cdf(-2), abs=0.003)
    inner = gaussian[(gaussian > 0) & (gaussian < 1)]
    law = stats.truncnorm(-2, 2, loc=0.5, scale=0.25)
    assert stats.kstest(inner, law.cdf).statistic < 0.01


def test_salt_and_pepper_is_black_or_white_in_all_channels_at_even_odds():
    x = noise_images(100, SHAPE, "salt-and-pepper")
    assert set(np.unique(x)) == {0, 1}
    assert (x == x[..., :1]).all()
    assert x[..., 0].mean() == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(7000))


def test_the_kinds_of_one_seed_are_independent():
    first = np.stack([noise_images(1000, (4, 4, 1), kind)[:, 0, 0, 0] for kind in DRAWN])
    assert np.abs(np.corrcoef(first) - np.eye(5)).max() < 0.12


def test_a_constant_image_has_one_grey_level():
    x = noise_images(1000, SHAPE, "constant").reshape(1000, -1)
    assert (x == x[:, :1]).all()
    assert stats.kstest(x[:, 0], "uniform").pvalue > 0.01


def test_smooth_noise_is_linear_between_the_points_of_a_4_by_4_grid():
    x = noise_images(50, (7, 10, 3), "smooth").astype(np.float64)  # a grid point at each second row and third column
    level = 1 / 255
    between_rows = (x[:, 0:-1:2] + x[:, 2::2]) / 2
    np.testing.assert_allclose(x[:, 1::2], between_rows, atol=1.01 * level)
    np.testing.assert_allclose(x[:, :, 1:9:3], (2 * x[:, :, 0:9:3] + x[:, :, 3::3]) / 3, atol=1.01 * level)
    assert stats.kstest(x[:, ::2, ::3].ravel(), "uniform").statistic < 0.05


def test_shuffling_keeps_the_colours_of_an_image_and_depends_on_it_alone():
    images = np.random.default_rng(0).random((4, *SHAPE)).astype(np.float32)
    moved = shuffled(images, seed=1)
    for before, after in zip(images.reshape(4, -1, 3), moved.reshape(4, -1, 3), strict=True):
        assert sorted(before.tolist()) == sorted(after.tolist())
        assert (before == after).all(1).sum() < 10
    np.testing.assert_array_equal(moved[:2], shuffled(images[:2], seed=1))
    assert (moved != shuffled(images, seed=2)).any((1, 2, 3)).all()


def test_the_kinds_are_called_as_in_the_attack_method():
    assert method("noise").choices["kind"] == TAUGHT


@pytest.mark.parametrize(("n", "seed"), [(0, 0), (-1, 0), (2.5, 0), (True, 0), (3, -1)])
def test_numbers_that_are_none_are_refused(n, seed):
    with pytest.raises(InvalidValue, match="must be a whole number in"):
        noise_images(n, SHAPE, seed=seed)


def test_an_unknown_kind_gets_the_nearest_one():
    with pytest.raises(UnknownName, match=r"Unknown kind of noise 'gausian'. Did you mean 'gaussian'\?"):
        noise_images(1, SHAPE, "gausian")
    with pytest.raises(UnknownName, match="smooth"):
        noise_images(1, SHAPE, "shuffled")


# The data sets with an eleventh class


@pytest.fixture(scope="module")
def noisy() -> Dataset:
    return load_dataset("digits+noise")


def test_after_every_ten_images_comes_one_of_the_class_unknown(noisy: Dataset):
    digits = load_dataset("digits")
    unknown = noisy.y == 10
    assert noisy.classes == (*digits.classes, "unknown")
    assert (len(noisy), unknown.sum()) == (449 + 44, 44)
    assert (np.flatnonzero(unknown) == np.arange(10, 493, 11)).all()
    np.testing.assert_array_equal(noisy.x[~unknown], digits.x)
    np.testing.assert_array_equal(noisy.y[~unknown], digits.y)
    assert (noisy.indices == np.arange(493)).all()
    assert noisy.name == "digits+noise"


def test_the_three_kinds_take_turns(noisy: Dataset):
    noise = noisy.x[noisy.y == 10]
    assert [len(np.unique(x)) == 2 for x in noise] == [turn % 3 == 2 for turn in range(44)]
    # A Gaussian image is grey more often than a uniform one.
    grey = [(np.abs(x - 0.5) < 0.25).mean() for x in noise]
    assert max(grey[0::3]) < 0.6 < min(grey[1::3])


def test_limit_and_seed_are_those_of_take(noisy: Dataset):
    for limit, seed in ((30, None), (30, 4), (10_000, None)):
        assert load_dataset("digits+noise", limit=limit, seed=seed).digest == noisy.take(limit, seed).digest
    assert np.bincount(noisy.take(110).y)[10] == 10


def test_the_noise_of_training_of_testing_and_of_the_evaluation_differ(noisy: Dataset):
    train = load_dataset("digits+noise", split="train")
    assert np.bincount(train.y)[10] == 1348 // 10
    seen = [x.tobytes() for x in train.x[train.y == 10]]
    tested = [x.tobytes() for x in noisy.x[noisy.y == 10]]
    evaluated = [x.tobytes() for kind in TAUGHT for x in noise_images(1000, noisy.shape, kind)]
    assert len(set(seen + tested + evaluated)) == len(seen) + len(tested) + len(evaluated)


def test_the_users_own_images_get_noise_too(tmp_path: Path):
    x, y = np.random.default_rng(0).random((25, 4, 5, 3)), np.arange(25) % 3
    np.savez(tmp_path / "own.npz", x=x, y=y, classes=["a", "b", "c"])
    own = load_dataset(f"{tmp_path / 'own.npz'}+noise")
    assert (own.shape, own.classes) == ((4, 5, 3), ("a", "b", "c", "unknown"))
    assert np.flatnonzero(own.y == 3).tolist() == [10, 21]


def test_a_file_that_is_called_so_is_read_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with Path("own+noise").open("wb") as file:
        np.savez(file, x=np.zeros((2, 4, 4)), y=np.arange(2))
    assert len(load_dataset("own+noise").classes) == 2


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("fashion-minst+noise", UnknownName, r"Unknown data set 'fashion-minst'. Did you mean 'fashion-mnist'"),
        ("none.npz+noise", InvalidFile, r"No data set at 'none.npz'"),
        ("digits+noise+noise", InvalidValue, "has a class 'unknown' already"),
    ],
)
def test_a_base_that_cannot_get_noise_is_refused(name: str, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        load_dataset(name)


def test_too_few_images_are_refused(tmp_path: Path):
    np.savez(tmp_path / "few.npz", x=np.zeros((9, 4, 4)), y=np.arange(9))
    with pytest.raises(InvalidValue, match="fewer than 10 images"):
        load_dataset(f"{tmp_path / 'few.npz'}+noise")


def test_the_listing_of_data_sets_tells_of_them():
    assert "unknown" in advlab.catalogue("datasets")["<dataset>+noise"]


def test_the_recipe_is_that_of_fashion_on_other_data():
    from advlab.recipes import load_recipe

    base, other = load_recipe("fashion"), load_recipe("fashion-unknown")
    assert other.dataset == f"{base.dataset}+noise"
    same = {"dataset": base.dataset, "name": base.name, "title": base.title, "source": base.source, "classes": None}
    assert replace(other, **same, published=base.published) == base


# The scores


def test_a_score_computed_by_hand():
    probabilities = np.array([[0.96, 0.04, 0], [0.05, 0.92, 0.03], [0.0, 0.995, 0.005], [0.4, 0.3, 0.3]])
    score = noise_score("uniform", probabilities, ("a", "b", "c"))
    assert score.confidence == pytest.approx((0.96 + 0.92 + 0.995 + 0.4) / 4)
    assert [share.count for share in score.confident] == [3, 3, 1]
    assert (score.predicted, score.predicted_share.count, score.predicted_share.total) == ("a", 2, 4)
    assert score.unknown is None


def test_what_is_called_unknown_is_caught_and_no_confident_answer():
    probabilities = np.array([[0.0, 0.0, 1.0], [0.3, 0.1, 0.6], [0.02, 0.93, 0.05]])
    score = noise_score("uniform", probabilities, ("a", "b", "unknown"))
    assert score.confidence == pytest.approx((0 + 0.3 + 0.93) / 3)
    assert [share.count for share in score.confident] == [1, 1, 0]
    assert score.unknown is not None
    assert (score.unknown.count, score.predicted) == (2, "unknown")


@pytest.mark.parametrize("shape", [(0, 3), (4, 2), (4,)])
def test_probabilities_that_do_not_fit_the_classes_are_refused(shape):
    with pytest.raises(InvalidValue, match=r"must be \(n, 3\)"):
        noise_score("uniform", np.ones(shape), ("a", "b", "c"))


def always(confidence: float, class_names: list[str] | None = None, shape: tuple[int, ...] = (6, 6)):
    """A classifier that sees class 2 of three in every image, with that confidence."""
    import keras

    from advlab.classifier import Classifier

    dense = keras.layers.Dense(3, activation="softmax")
    model = keras.Sequential([keras.Input(shape), keras.layers.Flatten(), dense])
    rest = (1 - confidence) / 2
    bias = np.log([rest, rest, confidence])
    dense.set_weights([np.zeros(dense.kernel.shape, np.float32), bias.astype(np.float32)])
    return Classifier.from_keras(model, name="always", card={"class_names": class_names} if class_names else None)


def test_a_classifier_that_always_answers_the_same_with_confidence_0_95():
    found = evaluate_noise(always(0.95), samples=40)
    assert [score.kind for score in found.scores] == list(DRAWN)
    for score in found.scores:
        assert score.confidence == pytest.approx(0.95, abs=1e-6)
        assert [share.value for share in score.confident] == [1, 1, 0]
        assert (score.predicted, score.predicted_share.value, score.unknown) == ("2", 1, None)


def test_a_classifier_that_always_answers_unknown_is_never_confident():
    found = evaluate_noise(always(0.95, ["a", "b", "unknown"]), samples=40)
    assert found.knows_unknown
    for score in found.scores:
        assert score.unknown is not None
        assert (score.unknown.value, score.confident[0].value) == (1, 0)
        assert score.confidence == pytest.approx(0.025, abs=1e-6)


def test_a_linear_classifier_is_scored_as_numpy_computes_it(grey: Dataset):
    classifier = linear_classifier(4)
    found = evaluate_noise(classifier, grey, samples=30, seed=5, kinds=["smooth", "shuffled"])
    weights = classifier.keras_model.get_weights()[0].astype(np.float64)
    for score, x in zip(
        found.scores, (noise_images(30, (6, 6, 1), "smooth", 5), shuffled(grey.x[:30], 5)), strict=True
    ):
        logits = x.reshape(30, -1) @ weights
        probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        assert score.confidence == pytest.approx(probabilities.max(1).mean(), abs=1e-5)
        assert score.confident[0].count == (probabilities.max(1) > 0.5).sum()
        assert score.predicted_share.count == np.bincount(probabilities.argmax(1)).max()


def test_images_that_are_noise_already_are_not_shuffled(trained, digits):
    noisy = load_dataset("digits+noise").take(33)
    first = evaluate_noise(trained, noisy, samples=30, kinds=["shuffled"])
    assert first.to_dict() == evaluate_noise(trained, digits.take(30), samples=30, kinds=["shuffled"]).to_dict()
    named = evaluate_noise(trained, "digits+noise", samples=30, kinds=["shuffled"])
    assert named.to_dict() == first.to_dict()


def test_a_data_set_smaller_than_asked_for_is_shuffled_once(trained):
    found = evaluate_noise(trained, samples=460)
    assert [score.predicted_share.total for score in found.scores] == [460] * 5 + [449]


@pytest.mark.parametrize("shape", [(6, 6), (6, 6, 1), (36,)])
def test_without_a_data_set_the_shape_is_that_of_the_input_and_shuffled_is_left_out(shape):
    found = evaluate_noise(always(0.9, shape=shape), samples=3)
    assert len(found.scores) == 5
    assert "'shuffled' is left out: Model 'always' does not say which data set" in str(found.left_out)
    assert "left out" in found.table().replace("\n", " ")
    assert found.to_dict()["left_out"] == found.left_out


def test_bad_input_is_refused(trained, grey: Dataset):
    for samples in (0, -3, 2.5, True):
        with pytest.raises(InvalidValue, match=r"samples must be a whole number in \[1, inf\)"):
            evaluate_noise(trained, samples=samples)
    with pytest.raises(InvalidValue, match="seed must be"):
        evaluate_noise(trained, seed=-1)
    with pytest.raises(UnknownName, match=r"Unknown kind of noise 'pink'.*shuffled"):
        evaluate_noise(trained, kinds=["pink"])
    with pytest.raises(InvalidValue, match="at least one kind"):
        evaluate_noise(trained, kinds=[])
    with pytest.raises(Mismatch, match=r"takes inputs of shape .*, but the images have shape \(6, 6, 1\)"):
        evaluate_noise(trained, grey, samples=3)
    only = replace(grey, classes=(*grey.classes, "unknown"), y=np.full(40, 4))
    with pytest.raises(InvalidValue, match="has no image but of the class 'unknown'"):
        evaluate_noise(linear_classifier(5), only, samples=3)
    with pytest.raises(UnknownName, match="Unknown data set 'digit'"):
        evaluate_noise(trained, "digit", samples=3)
    with pytest.raises(InvalidValue, match="does not say which data set"):
        evaluate_noise(always(0.9), samples=3, kinds=["shuffled"])
    with pytest.raises(InvalidValue, match=r"does not tell the shape of its images.*--dataset"):
        evaluate_noise(always(0.9, shape=(35,)), samples=3)


# How it is shown


def made(name: str = "stub", class_name: str = "bag", left_out: str | None = None) -> NoiseEvaluation:
    probabilities = np.array([[0.25, 0.75], [0.0, 1.0]])
    scores = tuple(noise_score(kind, probabilities, ("a", class_name)) for kind in KINDS)
    return NoiseEvaluation(name, "0" * 16, 0, scores, left_out)


def test_the_table_has_a_row_for_each_kind():
    lines = made().table().splitlines()
    assert lines[1].split() == ["uniform", "2", "87.5", "100.0", "50.0", "50.0", "bag", "100.0"]
    assert [line.split()[0] for line in lines[1:7]] == list(KINDS)
    assert "unknown" not in lines[0]
    assert made(class_name="unknown").table().splitlines()[1].split()[-1] == "100.0"


def test_no_name_widens_the_table_steers_the_terminal_or_writes_html():
    wild = made("m" * 150 + "\x1b[2J", "<b>" * 50 + "\x1b", "Left out: \x1b")
    assert max(map(len, wild.table().splitlines())) <= 100
    assert "\x1b" not in wild.table()
    assert "<b>" not in wild._repr_html_()
    assert made()._repr_html_().count("<tr>") == 7


def test_repr_names_the_kind_with_the_highest_confidence():
    assert repr(made()) == "NoiseEvaluation of stub: 6 kinds of noise, mean confidence up to 88% (uniform)"


def test_the_command_prints_the_table_of_the_library(trained):
    done = CliRunner().invoke(main, ["noise", "digits", "--samples", "20", "--seed", "2", "--kind", "uniform"])
    assert done.exit_code == 0
    assert done.stdout.rstrip() == evaluate_noise(trained, samples=20, seed=2, kinds=["uniform"]).table()
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
    from advlab.recipes import Recipe, Training
    from advlab.workflows.models import train

    recipe = Recipe(
        name="digits-unknown",
        title="digits and noise",
        dataset="digits+noise",
        architecture={"kind": "mlp", "hidden": [32]},
        training=Training("adam", 32, 4),
    )
    classifier = train(recipe, save=False, progress=False)
    assert classifier.classes == 11
    found = evaluate_noise(classifier, samples=100, kinds=TAUGHT)
    assert all(score.unknown is not None and score.unknown.value > 0.9 for score in found.scores)
    evaluation = advlab.evaluate(advlab.attack(classifier, load_dataset("digits+noise", limit=44), "fgsm", epsilon=0.1))
    assert [score.name for score in evaluation.per_class][-1] == "unknown"
    assert evaluation.per_class[-1].clean_accuracy.total == 4
