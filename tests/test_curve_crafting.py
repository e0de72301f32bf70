"""Crafting a security curve: by a minimal method or a bisection, as a function and as a command."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

import advlab
from advlab.cli import main
from advlab.errors import FileExists, InvalidFile, InvalidValue
from advlab.evaluation.curve import SecurityCurve
from advlab.evaluation.evaluation import evaluate
from advlab.workflows.curve import curve
from tests.test_curve import THREE, nearest, rows
from tests.test_import_rules import HEAVY, loaded_by
from tests.test_linear import direction, margins


@pytest.fixture(scope="module")
def two(grey):
    return replace(grey, y=grey.y % 2, classes=("a", "b"))


def exact(linear, data, norm):
    """The distance of each grey image to the plane, 0 where it lies on the wrong side: margin over the dual norm."""
    dual = {"linf": 1, "l2": 2}[norm]
    return np.maximum(margins(linear, data.x, data.y), 0) / np.linalg.norm(direction(linear), ord=dual)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_minimal_method_gives_the_exact_curve_of_a_plane(linear, two, norm):
    result, truth = curve(linear, two, norm=norm, steps=400), exact(linear, two, norm)
    assert result.limit == math.inf
    assert np.all(result.smallest >= truth - 1e-6)
    ratio = result.smallest[truth > 0] / truth[truth > 0]
    assert np.median(ratio) < 1.03


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.2), ("l2", 0.5)])
def test_a_bisection_gives_it_within_one_level(linear, two, norm, epsilon):
    truth, width = exact(linear, two, norm), epsilon / (2**7 - 1)
    result = curve(linear, two, "bim", norm=norm, epsilon=epsilon, rounds=7)
    assert result.limit == epsilon
    in_range = (truth > 0) & (truth < epsilon - width)
    assert in_range.sum() >= 10
    assert np.all(result.smallest[in_range] >= truth[in_range] - 1e-6)
    # At the level above the distance there is a success, up to the rounding of the logits.
    assert np.all(result.smallest[in_range] <= truth[in_range] + width * (1 + 1e-3))
    np.testing.assert_array_equal(result.smallest[truth == 0], 0)
    assert np.all(np.isinf(result.smallest[truth > epsilon]))


def test_a_bisection_attacks_each_sample_once_in_each_round(linear, two, monkeypatch):
    from advlab.engine import attack

    calls, original = [], attack.craft

    def counted(classifier, dataset, spec, **options):
        calls.append((spec.threat.epsilon, dataset.indices))
        return original(classifier, dataset, spec, **options)

    monkeypatch.setattr(attack, "craft", counted)
    result = curve(linear, two, "fgsm", epsilon=0.31, rounds=5)
    correct = result.results[0].correct
    counts = np.bincount(np.concatenate([indices for _, indices in calls]), minlength=len(two))
    np.testing.assert_array_equal(counts, np.where(correct, 5, 1))
    assert {round(100 * epsilon) for epsilon, _ in calls} <= set(range(1, 32))
    assert calls[0][0] == pytest.approx(0.16)
    passes = result.results[0].forward_passes
    assert passes[~correct].max(initial=0) == 0
    assert passes[correct].min() >= 5


def test_at_a_level_the_bisection_agrees_with_attacking_there_directly(trained, digits):
    result = curve(trained, digits.take(200), "pgd", epsilon=0.21, rounds=3, steps=10)
    for level in (0.03, 0.06, 0.12, 0.21):
        direct = advlab.attack(trained, digits.take(200), "pgd", epsilon=level, steps=10, early_stop=True)
        assert abs(result.robust_accuracy(level + 1e-9 if level < 0.21 else level).count - direct.robust.sum()) <= 1


def test_the_archive_of_a_bisection_is_an_ordinary_one(trained, digits, workspace):
    data = digits.take(60)
    first = curve(trained, data, "pgd", epsilon=0.1, rounds=4, steps=10, save=True)
    result = advlab.load_result(workspace / "attacks" / "digits" / "pgd-linf-0.1-rounds=4-steps=10-early_stop=True.h5")
    np.testing.assert_array_equal(SecurityCurve.from_results([result]).smallest, first.smallest)
    assert result.attack.goal == "minimal"
    assert evaluate(result).robust_accuracy == first.robust_accuracy(0.1)
    assert not [finding for finding in evaluate(result).findings if finding.severity != "info"]
    assert "pgd linf 0.1" in advlab.table([evaluate(result)])
    assert advlab.verify(result.path).holds
    robust = ~result.success
    np.testing.assert_array_equal(result.x_adv[robust], result.x[robust])
    assert str(result.path) in advlab.available("archives")
    assert "SecurityCurve" in repr(first)


def test_a_saved_curve_is_loaded_and_other_archives_are_not_overwritten(trained, digits, monkeypatch):
    first = curve(trained, digits.take(20), save=True, steps=10)
    with monkeypatch.context() as patch:
        patch.setattr("advlab.engine.attack.craft", None)
        second = curve(trained, digits.take(20), save=True, steps=10)
        np.testing.assert_array_equal(second.smallest, first.smallest)
    with pytest.raises(FileExists, match="holds 20 images, and 30 are asked for"):
        curve(trained, digits.take(30), save=True, steps=10)
    assert len(curve(trained, digits.take(30), save=True, steps=10, force=True)) == 30


def test_a_users_own_method_draws_a_curve(linear, two):
    from advlab.methods.bim import craft

    def mine(problem, *, steps: int = 10):
        return craft(problem, steps=steps)

    assert curve(linear, two, mine, epsilon=0.2, rounds=2).attacks[0].method == "mine"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "pgd", "rounds": 0}, r"rounds must be an int in the range \[1, 16\]. Got 0"),
        ({"method": "pgd", "rounds": 2.5}, "Got 2.5"),
        ({"method": "pgd", "epsilon": 0}, "must be above 0"),
        ({"method": "fmn", "epsilon": 0.1}, "takes no epsilon"),
        ({"method": "spatial"}, "Norm 'none' has no distance"),
        ({"method": "ddn", "norm": "linf"}, "does not cover norm 'linf'"),
    ],
)
def test_what_cannot_be_crafted_is_refused_before_any_work(options, words):
    with pytest.raises(InvalidValue, match=words):
        curve("no such model", **options)


# The command


def call(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def test_the_command_crafts_saves_looks_up_and_plots(tmp_path, workspace):
    picture = tmp_path / "curve.svg"
    options = ("--model", "digits", "--samples", 30, "--set", "steps=20")
    result = call("curve", *options, "--at", "0,8/255", "--output", picture)
    assert [row[0] for row in rows(result.stdout)] == ["0", "0.03137"]
    assert picture.read_text("utf-8").startswith("<?xml")
    made = workspace / "attacks" / "digits" / "fmn-linf-steps=20.h5"
    assert f"Next: advlab report {made}" in result.stderr
    data = json.loads(call("curve", made, "--at", "0,8/255", "--json").stdout)
    assert data["samples"] == 30
    assert len(data["rates"]) == 2


def test_the_command_says_what_it_needs(tmp_path, workspace):
    assert "archives, or --model" in call("curve", code=2).stderr
    place = nearest(THREE, epsilon=0.5).save()
    assert "archives, or --model" in call("curve", place, "--model", "digits", code=2).stderr
    assert "--rounds is for crafting" in call("curve", place, "--rounds", 3, code=2).stderr
    assert "reaches up to epsilon 0.5" in call("curve", place, "--at", 0.7, code=1).stderr
    assert "change the suffix" in call("curve", place, "--output", tmp_path / "a.gif", code=1).stderr


def test_a_file_that_is_no_archive_is_named(tmp_path):
    with pytest.raises(InvalidFile, match="No archive at"):
        advlab.load_result(tmp_path / "none.h5")


def test_looking_up_never_loads_tensorflow(tmp_path):
    place = nearest(THREE).save(tmp_path / "a.h5")
    output = str(tmp_path / "a.svg")
    loaded = loaded_by("from advlab.cli import main; main()", "curve", str(place), "--output", output)
    assert "matplotlib" in loaded
    assert not loaded & set(HEAVY)
