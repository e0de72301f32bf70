"""The security curve: one run, and robust accuracy at any epsilon is a look-up."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from results import build, many

import advlab
from advlab import figures, metrics
from advlab.cli import main
from advlab.curves import curve_of
from advlab.errors import FileExists, InvalidFile, InvalidValue, Mismatch
from advlab.evaluation import evaluate
from advlab.workflows.curve import curve
from tests.test_imports import HEAVY, loaded_by
from tests.test_linear import direction, margins

LABELS = [0, 1, 2, 0, 1]
CLEAN = [0, 1, 2, 0, 2]  # the last is wrong without an attack


def nearest(sizes, adversarial=(1, 2, 0, 0, 2), norm="l2", epsilon=math.inf, **fields):
    """A result on five images, of which the fourth is not broken."""
    return build(LABELS, CLEAN, adversarial, norm=norm, epsilon=epsilon, change=np.array(sizes, float), **fields)


THREE = (0.25, 0.125, 0.375, 0, 0)  # exact in float32


# What a curve is, on archives


def test_a_curve_is_a_look_up_over_each_samples_smallest_breaking_epsilon():
    found = curve_of([nearest(THREE)])
    np.testing.assert_array_equal(found.smallest, [0.25, 0.125, 0.375, np.inf, 0])
    np.testing.assert_array_equal(found.breaking, [0, 0, 0, -1, -1])
    assert (found.classifier, found.dataset, found.norm, found.limit) == ("stub", "digits", "l2", math.inf)
    epsilons, accuracies = found.points()
    np.testing.assert_array_equal(epsilons, [0, 0.125, 0.25, 0.375])
    np.testing.assert_allclose(accuracies, [0.8, 0.6, 0.4, 0.2])
    counts = [found.robust_accuracy(epsilon).count for epsilon in (0, 0.1, 0.125, 0.2, 0.25, 0.3, 0.375, 9, math.inf)]
    assert counts == [4, 4, 3, 3, 2, 2, 1, 1, 1]
    assert found.robust_accuracy("1/8") == metrics.rate(np.array([1, 0, 1, 1, 0], bool))
    assert found.clean_accuracy.count == 4
    # Of 0.125, 0.25, 0.375 and infinity.
    assert found.median_epsilon == pytest.approx(0.3125)


def test_several_results_make_one_curve_of_the_nearest_image_of_each():
    first = nearest(THREE, method="ddn")
    second = nearest((0.5, 0.0625, 0, 0.75, 0), (1, 2, 2, 1, 2), epsilon=1.0)
    found = curve_of([first, second])
    np.testing.assert_array_equal(found.smallest, [0.25, 0.0625, 0.375, 0.75, 0])
    np.testing.assert_array_equal(found.breaking, [0, 1, 0, 1, -1])
    assert [attack.method for attack in found.attacks] == ["ddn", "pgd"]
    assert found.limit == math.inf


def test_at_its_own_epsilon_a_bounded_result_has_the_robust_accuracy_of_its_evaluation():
    result = many(500)
    result = replace(result, attack=build([0], [0], [0], epsilon=0.099).attack)
    found = curve_of([result])
    sizes = metrics.distances(result.x, result.x_adv).linf
    assert np.any(sizes > 0.099), "rounding must matter here for the test to say something"
    assert found.robust_accuracy(0.099) == evaluate(result).robust_accuracy
    assert found.limit == 0.099


def test_what_a_cascade_left_out_was_broken_within_its_epsilon():
    attempted = np.array([1, 0, 1, 1, 0], bool)
    found = curve_of([nearest(THREE, (1, 1, 2, 0, 2), epsilon=0.5, attempted=attempted)])
    np.testing.assert_array_equal(found.smallest, [0.25, 0.5, np.inf, np.inf, 0])


def test_beyond_its_budget_an_image_counts_where_it_lies():
    assert curve_of([nearest((0.5, 0.125, 0.375, 0, 0), epsilon=0.4)]).smallest[0] == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_the_look_up_agrees_with_counting_and_never_rises(seed):
    draw = np.random.default_rng(seed)
    labels, clean = draw.integers(0, 3, 300), draw.integers(0, 3, 300)
    adversarial, sizes = draw.integers(0, 3, 300), np.round(draw.random(300) * 0.4, 2)
    result = build(labels, clean, adversarial, norm="l1", epsilon=math.inf, change=sizes)
    found = curve_of([result])
    epsilons, accuracies = found.points()
    assert epsilons[0] == 0
    assert np.all(np.diff(epsilons) > 0)
    assert np.all(np.diff(accuracies) < 0)
    lengths = np.abs(result.x_adv.astype(float) - result.x).sum((1, 2, 3))
    for epsilon, accuracy in [*zip(epsilons, accuracies, strict=True), (0.123, None), (1.0, None)]:
        held = [
            c == y and not (a != y and d <= epsilon)
            for y, c, a, d in zip(labels, clean, adversarial, lengths, strict=True)
        ]
        assert found.robust_accuracy(epsilon).count == sum(held)
        assert accuracy is None or accuracy == pytest.approx(np.mean(held))


@pytest.mark.parametrize(
    ("sizes", "adversarial", "median"),
    [
        ((0.25, 0.125, 0.375, 0.5, 0), (1, 2, 0, 1, 2), 0.3125),
        ((0.25, 0, 0, 0, 0), (1, 1, 2, 0, 2), math.inf),
        ((0.25, 0.125, 0, 0, 0), (1, 2, 2, 0, 2), math.inf),
    ],
)
def test_the_median_epsilon_counts_what_stands_as_infinite(sizes, adversarial, median):
    assert curve_of([nearest(sizes, adversarial)]).median_epsilon == median


def test_a_classifier_that_is_never_right_has_no_median():
    found = curve_of([build([0, 1], [1, 0], [1, 0], norm="l2", epsilon=math.inf)])
    assert math.isnan(found.median_epsilon)
    assert found.robust_accuracy(0).count == 0
    assert "No image is classified correctly." in found.table()


# What it refuses


@pytest.mark.parametrize(
    ("epsilon", "words"),
    [
        (0.6, "reaches up to epsilon 0.5 in l2"),
        ("2/3", "Got 0.666667"),
        (-1, "Got -1"),
        (math.nan, "Got nan"),
        ("far", "Got 'far'"),
    ],
)
def test_an_epsilon_that_was_not_searched_has_no_answer(epsilon, words):
    found = curve_of([nearest(THREE, epsilon=0.5), nearest(THREE, epsilon=0.4)])
    assert found.robust_accuracy(0.5).count == 1
    with pytest.raises(InvalidValue, match=words):
        found.robust_accuracy(epsilon)


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"norm": "linf"}, "norm"),
        ({"dataset_digest": "e" * 64}, "samples"),
        ({"classifier_digest": "e" * 64}, "classifier"),
        ({"target": 1}, "target"),
    ],
)
def test_only_results_on_the_same_thing_make_a_curve(other, what):
    with pytest.raises(Mismatch, match=f"differ in: {what}"):
        curve_of([nearest(THREE), nearest(THREE, **other)])


def test_nothing_and_a_norm_without_sizes_make_no_curve():
    with pytest.raises(InvalidValue, match="Got none"):
        curve_of([])
    with pytest.raises(InvalidValue, match="no sizes"):
        curve_of([nearest(THREE, norm="none")])


# How it is shown


def rows(text):
    """The lines of a table between its heading and its caption, in words."""
    return [line.split(None, 2) for line in text.partition("\n\n")[0].splitlines()[1:]]


def test_the_table_has_round_epsilons_or_those_asked_for():
    found = curve_of([nearest(THREE)])
    epsilons = [row[0] for row in rows(found.table())]
    assert epsilons == ["0", "0.05", "0.1", "0.15", "0.2", "0.25", "0.3", "0.35", "0.4"]
    assert rows(found.table())[0] == ["0", "80.0", "[37.6, 96.4]"]
    assert rows(found.table(["1/8", 0.3])) == [["0.125", "60.0", "[23.1, 88.2]"], ["0.3", "40.0", "[11.8, 76.9]"]]
    caption = found.table().partition("\n\n")[2]
    assert caption.split() == found.summary().split()
    assert found.summary().endswith("l2, by pgd. Half of the correctly classified images fall by epsilon 0.3125.")


def test_a_table_ends_where_the_search_did():
    found = curve_of([nearest((0, 0, 0, 0, 0), (0, 1, 2, 0, 2), epsilon=0.3)])
    assert rows(found.table())[-1][0] == "0.3"
    assert "More than half of the correctly classified images stand at epsilon 0.3." in found.summary()
    assert found.summary().endswith("at smaller epsilons it tells little."), "nothing looked for the smallest change"


def test_positions_are_counted_in_whole_numbers():
    change = np.zeros((3, 4, 4, 1))
    change[0, :1], change[1, :2], change[2, :3] = 0.25, 0.25, 0.25
    found = curve_of([build([0, 1, 2], [0, 1, 2], [1, 2, 0], norm="l0", epsilon=math.inf, change=change)])
    np.testing.assert_array_equal(found.smallest, [4, 8, 12])
    assert [row[0] for row in rows(found.table())] == [str(2 * number) for number in range(7)]


def test_json_has_the_whole_step_function_and_no_infinity():
    data = json.loads(json.dumps(curve_of([nearest(THREE)]).to_dict(["1/8"]), allow_nan=False))
    assert data["schema"] == 1
    assert data["steps"] == {"epsilon": [0, 0.125, 0.25, 0.375], "robust_accuracy": pytest.approx([0.8, 0.6, 0.4, 0.2])}
    assert [(rate["epsilon"], rate["count"]) for rate in data["rates"]] == [(0.125, 3)]
    assert data["limit"] is None
    assert data["attacks"][0]["method"] == "pgd"


def test_a_notebook_shows_the_figure_and_harmless_names():
    found = curve_of([nearest(THREE, classifier="<script>")])
    page = found._repr_html_()
    assert "<svg" in page
    assert "<script" not in page
    assert repr(found).startswith("SecurityCurve <script> on 5 test images")


def test_a_frame_has_a_row_for_each_step():
    import pandas

    frame = curve_of([nearest(THREE)]).to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == ["epsilon", "robust_accuracy", "low", "high"]
    assert len(frame) == 4


def test_the_figure_draws_the_steps_up_to_where_the_search_ended():
    whole, short = curve_of([nearest(THREE)]), curve_of([nearest(THREE, epsilon=0.4)])
    figure = figures.security_curve([whole, short])
    axis = figure.axes[0]
    drawn, _ = axis.get_lines()
    np.testing.assert_allclose(drawn.get_xdata()[:4], [0, 0.125, 0.25, 0.375])
    np.testing.assert_allclose(drawn.get_ydata()[:4], [80, 60, 40, 20])
    assert drawn.get_drawstyle() == "steps-post"
    assert axis.get_xlim() == (0, 0.4)
    assert axis.get_ylim() == (0, 100)
    assert "currentColor" in figures.svg(figure)


def test_the_figure_of_ten_thousand_images_stays_small():
    draw = np.random.default_rng(0)
    result = many(
        10_000,
        norm="l2",
        epsilon=math.inf,
        x=np.zeros((10_000, 1, 1, 1), np.float32),
        x_adv=draw.random((10_000, 1, 1, 1), np.float32),
    )
    figure = figures.security_curve(curve_of([result]))
    assert len(figure.axes[0].get_lines()[0].get_xdata()) <= 201
    assert len(figures.svg(figure)) < 60_000


def test_each_norm_has_an_axis_of_its_own():
    figure = figures.security_curve([curve_of([nearest(THREE)]), curve_of([nearest(THREE, norm="l1")])])
    assert [axis.get_xlabel() for axis in figure.axes] == ["epsilon (l2)", "epsilon (l1)"]


# Crafting one


@pytest.fixture(scope="module")
def two(grey):
    return replace(grey, y=grey.y % 2, classes=("a", "b"))


def exact(linear, data, norm):
    """The distance of each grey image to the plane, 0 where it lies on the wrong side: margin over the dual norm."""
    dual = {"linf": 1, "l2": 2}[norm]
    return np.maximum(margins(linear, data.x, data.y), 0) / np.linalg.norm(direction(linear), ord=dual)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_minimal_method_draws_the_exact_curve_of_a_plane(linear, two, norm):
    found, truth = curve(linear, two, norm=norm, steps=400), exact(linear, two, norm)
    assert found.limit == math.inf
    assert np.all(found.smallest >= truth - 1e-6)
    ratio = found.smallest[truth > 0] / truth[truth > 0]
    assert np.median(ratio) < 1.03


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.2), ("l2", 0.5)])
def test_a_bisection_draws_it_within_one_level(linear, two, norm, epsilon):
    truth, width = exact(linear, two, norm), epsilon / (2**7 - 1)
    found = curve(linear, two, "bim", norm=norm, epsilon=epsilon, rounds=7)
    assert found.limit == epsilon
    reached = (truth > 0) & (truth < epsilon - width)
    assert reached.sum() >= 10
    assert np.all(found.smallest[reached] >= truth[reached] - 1e-6)
    # On the level above the distance there is a success; one as near as the rounding of its logits allows.
    assert np.all(found.smallest[reached] <= truth[reached] + width * (1 + 1e-3))
    np.testing.assert_array_equal(found.smallest[truth == 0], 0)
    assert np.all(np.isinf(found.smallest[truth > epsilon]))


def test_a_bisection_attacks_each_sample_once_in_each_round(linear, two, monkeypatch):
    from advlab import engine

    seen, real = [], engine.attack

    def counted(classifier, dataset, method, **options):
        seen.append((options["epsilon"], dataset.indices))
        return real(classifier, dataset, method, **options)

    monkeypatch.setattr(engine, "attack", counted)
    found = curve(linear, two, "fgsm", epsilon=0.31, rounds=5)
    correct = found.results[0].correct
    counts = np.bincount(np.concatenate([indices for _, indices in seen]), minlength=len(two))
    np.testing.assert_array_equal(counts, np.where(correct, 5, 1))
    assert {round(100 * epsilon) for epsilon, _ in seen} <= set(range(1, 32))
    assert seen[0][0] == pytest.approx(0.16)
    passes = found.results[0].forward_passes
    assert passes[~correct].max(initial=0) == 0
    assert passes[correct].min() >= 5


def test_at_a_level_the_bisection_agrees_with_attacking_there_directly(trained, digits):
    found = curve(trained, digits.take(200), "pgd", epsilon=0.21, rounds=3, steps=10)
    for level in (0.03, 0.06, 0.12, 0.21):
        direct = advlab.attack(trained, digits.take(200), "pgd", epsilon=level, steps=10, stop="success")
        assert abs(found.robust_accuracy(level + 1e-9 if level < 0.21 else level).count - direct.robust.sum()) <= 1


def test_the_archive_of_a_bisection_is_an_ordinary_one(trained, digits, workspace):
    data = digits.take(60)
    first = curve(trained, data, "pgd", epsilon=0.1, rounds=4, steps=10, save=True)
    result = advlab.load_result(workspace / "attacks" / "digits" / "pgd-linf-0.1-rounds=4-steps=10-stop=success.h5")
    np.testing.assert_array_equal(curve_of([result]).smallest, first.smallest)
    assert result.settings["limit"] == 0.1
    assert result.settings["kind"] == "minimal"
    assert evaluate(result).robust_accuracy == first.robust_accuracy(0.1)
    assert not [finding for finding in evaluate(result).findings if finding.severity != "info"]
    assert "pgd linf 0.1" in advlab.table([evaluate(result)])
    assert advlab.verify(result.path).holds
    standing = ~result.success
    np.testing.assert_array_equal(result.x_adv[standing], result.x[standing])
    assert str(result.path) in advlab.catalogue("archives")
    assert "SecurityCurve" in repr(first)


def test_a_saved_curve_is_taken_up_and_nothing_else_is_overwritten(trained, digits, monkeypatch):
    first = curve(trained, digits.take(20), save=True, steps=10)
    with monkeypatch.context() as patch:
        patch.setattr("advlab.engine.attack", None)
        again = curve(trained, digits.take(20), save=True, steps=10)
        np.testing.assert_array_equal(again.smallest, first.smallest)
    with pytest.raises(FileExists, match="dataset digest"):
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
        ({"method": "pgd", "rounds": 0}, r"rounds must be a whole number in \[1, 16\]. Got 0"),
        ({"method": "pgd", "rounds": 2.5}, "Got 2.5"),
        ({"method": "pgd", "epsilon": 0}, "epsilon must be above 0"),
        ({"method": "fmn", "epsilon": 0.1}, "takes no epsilon"),
        ({"method": "spatial"}, "Norm 'none' has no sizes"),
        ({"method": "ddn", "norm": "linf"}, "does not cover norm 'linf'"),
    ],
)
def test_what_cannot_be_crafted_is_refused_before_any_work(options, words):
    with pytest.raises(InvalidValue, match=words):
        curve("no such model", **options)


# The command


def call(*arguments, code=0):
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return done


def test_the_command_crafts_saves_looks_up_and_draws(tmp_path, workspace):
    picture = tmp_path / "curve.svg"
    options = ("--model", "digits", "--samples", 30, "--set", "steps=20")
    done = call("curve", *options, "--at", "0,8/255", "--output", picture)
    assert [row[0] for row in rows(done.stdout)] == ["0", "0.03137"]
    assert picture.read_text("utf-8").startswith("<svg")
    made = workspace / "attacks" / "digits" / "fmn-linf-steps=20.h5"
    assert f"Next: advlab report {made}" in done.stderr
    again = json.loads(call("curve", made, "--at", "0,8/255", "--json").stdout)
    assert again["samples"] == 30
    assert len(again["rates"]) == 2


def test_the_command_says_what_it_needs(tmp_path, workspace):
    assert "archives, or --model" in call("curve", code=2).stderr
    place = nearest(THREE, epsilon=0.5).save()
    assert "archives, or --model" in call("curve", place, "--model", "digits", code=2).stderr
    assert "--rounds says how to craft" in call("curve", place, "--rounds", 3, code=2).stderr
    assert "reaches up to epsilon 0.5" in call("curve", place, "--at", 0.7, code=1).stderr
    assert "name it" in call("curve", place, "--output", tmp_path / "a.png", code=1).stderr


def test_a_file_that_is_no_archive_is_named(tmp_path):
    with pytest.raises(InvalidFile, match="No archive at"):
        advlab.load_result(tmp_path / "none.h5")


def test_looking_up_never_loads_tensorflow(tmp_path):
    place = nearest(THREE).save(tmp_path / "a.h5")
    output = str(tmp_path / "a.svg")
    loaded = loaded_by("from advlab.cli import main; main()", "curve", str(place), "--output", output)
    assert "matplotlib" in loaded
    assert not loaded & set(HEAVY)
