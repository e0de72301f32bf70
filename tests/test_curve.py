"""The security curve: robust accuracy at any epsilon is a look-up in archives."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from results import build, many

from advlab import figures
from advlab.distances import distances
from advlab.errors import InvalidValue, Mismatch
from advlab.evaluation import metrics
from advlab.evaluation.curve import SecurityCurve
from advlab.evaluation.evaluation import evaluate

LABELS = [0, 1, 2, 0, 1]
CLEAN = [0, 1, 2, 0, 2]  # the last is wrong without an attack


def nearest(sizes, adversarial=(1, 2, 0, 0, 2), norm="l2", epsilon=math.inf, **fields):
    """A result on five images, of which the fourth is still robust."""
    return build(LABELS, CLEAN, adversarial, norm=norm, epsilon=epsilon, change=np.array(sizes, float), **fields)


THREE = (0.25, 0.125, 0.375, 0, 0)  # exact in float32


def test_a_curve_is_a_look_up_over_each_samples_smallest_epsilon():
    curve = SecurityCurve.from_results([nearest(THREE)])
    np.testing.assert_array_equal(curve.smallest, [0.25, 0.125, 0.375, np.inf, 0])
    np.testing.assert_array_equal(curve.misclassified_by, [0, 0, 0, -1, -1])
    assert (curve.classifier, curve.dataset, curve.norm, curve.limit) == ("stub", "digits", "l2", math.inf)
    epsilons, accuracies = curve.points()
    np.testing.assert_array_equal(epsilons, [0, 0.125, 0.25, 0.375])
    np.testing.assert_allclose(accuracies, [0.8, 0.6, 0.4, 0.2])
    counts = [curve.robust_accuracy(epsilon).count for epsilon in (0, 0.1, 0.125, 0.2, 0.25, 0.3, 0.375, 9, math.inf)]
    assert counts == [4, 4, 3, 3, 2, 2, 1, 1, 1]
    assert curve.robust_accuracy("1/8") == metrics.rate(np.array([1, 0, 1, 1, 0], bool))
    assert curve.clean_accuracy.count == 4
    # Of 0.125, 0.25, 0.375 and infinity.
    assert curve.median_epsilon == pytest.approx(0.3125)


def test_several_results_make_one_curve_of_the_nearest_image_of_each():
    first = nearest(THREE, method="ddn")
    second = nearest((0.5, 0.0625, 0, 0.75, 0), (1, 2, 2, 1, 2), epsilon=1.0)
    curve = SecurityCurve.from_results([first, second])
    np.testing.assert_array_equal(curve.smallest, [0.25, 0.0625, 0.375, 0.75, 0])
    np.testing.assert_array_equal(curve.misclassified_by, [0, 1, 0, 1, -1])
    assert [attack.method for attack in curve.attacks] == ["ddn", "pgd"]
    assert curve.limit == math.inf


def test_at_its_own_epsilon_a_bounded_result_has_the_robust_accuracy_of_its_evaluation():
    result = many(500)
    result = replace(result, attack=build([0], [0], [0], epsilon=0.099).attack)
    curve = SecurityCurve.from_results([result])
    sizes = distances(result.x, result.x_adv).linf
    assert np.any(sizes > 0.099), "rounding must matter here for the test to say something"
    assert curve.robust_accuracy(0.099) == evaluate(result).robust_accuracy
    assert curve.limit == 0.099


def test_what_a_cascade_left_out_was_misclassified_within_its_epsilon():
    attempted = np.array([1, 0, 1, 1, 0], bool)
    curve = SecurityCurve.from_results([nearest(THREE, (1, 1, 2, 0, 2), epsilon=0.5, attempted=attempted)])
    np.testing.assert_array_equal(curve.smallest, [0.25, 0.5, np.inf, np.inf, 0])


def test_beyond_its_budget_an_image_counts_where_it_lies():
    assert SecurityCurve.from_results([nearest((0.5, 0.125, 0.375, 0, 0), epsilon=0.4)]).smallest[0] == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_the_look_up_agrees_with_counting_and_never_rises(seed):
    rng = np.random.default_rng(seed)
    labels, clean = rng.integers(0, 3, 300), rng.integers(0, 3, 300)
    adversarial, sizes = rng.integers(0, 3, 300), np.round(rng.random(300) * 0.4, 2)
    result = build(labels, clean, adversarial, norm="l1", epsilon=math.inf, change=sizes)
    curve = SecurityCurve.from_results([result])
    epsilons, accuracies = curve.points()
    assert epsilons[0] == 0
    assert np.all(np.diff(epsilons) > 0)
    assert np.all(np.diff(accuracies) < 0)
    lengths = np.abs(result.x_adv.astype(float) - result.x).sum((1, 2, 3))
    for epsilon, accuracy in [*zip(epsilons, accuracies, strict=True), (0.123, None), (1.0, None)]:
        robust = [
            c == y and not (a != y and d <= epsilon)
            for y, c, a, d in zip(labels, clean, adversarial, lengths, strict=True)
        ]
        assert curve.robust_accuracy(epsilon).count == sum(robust)
        assert accuracy is None or accuracy == pytest.approx(np.mean(robust))


@pytest.mark.parametrize(
    ("sizes", "adversarial", "median"),
    [
        ((0.25, 0.125, 0.375, 0.5, 0), (1, 2, 0, 1, 2), 0.3125),
        ((0.25, 0, 0, 0, 0), (1, 1, 2, 0, 2), math.inf),
        ((0.25, 0.125, 0, 0, 0), (1, 2, 2, 0, 2), math.inf),
    ],
)
def test_the_median_epsilon_counts_what_is_still_robust_as_infinite(sizes, adversarial, median):
    assert SecurityCurve.from_results([nearest(sizes, adversarial)]).median_epsilon == median


def test_a_classifier_that_is_never_right_has_no_median():
    curve = SecurityCurve.from_results([build([0, 1], [1, 0], [1, 0], norm="l2", epsilon=math.inf)])
    assert math.isnan(curve.median_epsilon)
    assert curve.robust_accuracy(0).count == 0
    assert "No image is classified correctly." in curve.table()


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
    curve = SecurityCurve.from_results([nearest(THREE, epsilon=0.5), nearest(THREE, epsilon=0.4)])
    assert curve.robust_accuracy(0.5).count == 1
    with pytest.raises(InvalidValue, match=words):
        curve.robust_accuracy(epsilon)


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
        SecurityCurve.from_results([nearest(THREE), nearest(THREE, **other)])


def test_nothing_and_a_norm_without_sizes_make_no_curve():
    with pytest.raises(InvalidValue, match="Got none"):
        SecurityCurve.from_results([])
    with pytest.raises(InvalidValue, match="no sizes"):
        SecurityCurve.from_results([nearest(THREE, norm="none")])


# How it is shown


def rows(text):
    """The lines of a table between its heading and its caption, split into words."""
    return [line.split(None, 2) for line in text.partition("\n\n")[0].splitlines()[1:]]


def test_the_table_has_round_epsilons_or_those_asked_for():
    curve = SecurityCurve.from_results([nearest(THREE)])
    epsilons = [row[0] for row in rows(curve.table())]
    assert epsilons == ["0", "0.05", "0.1", "0.15", "0.2", "0.25", "0.3", "0.35", "0.4"]
    assert rows(curve.table())[0] == ["0", "80.0", "[37.6, 96.4]"]
    assert rows(curve.table(["1/8", 0.3])) == [["0.125", "60.0", "[23.1, 88.2]"], ["0.3", "40.0", "[11.8, 76.9]"]]
    with pytest.raises(InvalidValue, match="needs at least one epsilon"):
        curve.table([])
    caption = curve.table().partition("\n\n")[2]
    assert caption.split() == curve.summary().split()
    assert curve.summary().endswith(
        "l2, by pgd. Half of the images that are correct when clean are misclassified at epsilon 0.3125."
    )


def test_a_table_ends_where_the_search_did():
    curve = SecurityCurve.from_results([nearest((0, 0, 0, 0, 0), (0, 1, 2, 0, 2), epsilon=0.3)])
    assert rows(curve.table())[-1][0] == "0.3"
    assert (
        "More than half of the images that are correct when clean are still robust at epsilon 0.3." in curve.summary()
    )
    assert curve.summary().endswith("smaller epsilons tell little."), "no attack sought the smallest change"


def test_positions_are_counted_in_integers():
    change = np.zeros((3, 4, 4, 1))
    change[0, :1], change[1, :2], change[2, :3] = 0.25, 0.25, 0.25
    curve = SecurityCurve.from_results(
        [build([0, 1, 2], [0, 1, 2], [1, 2, 0], norm="l0", epsilon=math.inf, change=change)]
    )
    np.testing.assert_array_equal(curve.smallest, [4, 8, 12])
    assert [row[0] for row in rows(curve.table())] == [str(2 * number) for number in range(7)]


def test_json_has_the_exact_step_function_and_no_infinity():
    data = json.loads(json.dumps(SecurityCurve.from_results([nearest(THREE)]).to_dict(["1/8"]), allow_nan=False))
    assert data["schema"] == 1
    assert data["steps"] == {"epsilon": [0, 0.125, 0.25, 0.375], "robust_accuracy": pytest.approx([0.8, 0.6, 0.4, 0.2])}
    assert [(rate["epsilon"], rate["count"]) for rate in data["rates"]] == [(0.125, 3)]
    assert data["limit"] is None
    assert data["attacks"][0]["method"] == "pgd"


def test_a_notebook_shows_the_figure_and_harmless_names():
    curve = SecurityCurve.from_results([nearest(THREE, classifier="<script>")])
    page = curve._repr_html_()
    assert "<svg" in page
    assert "<script" not in page
    assert repr(curve).startswith("SecurityCurve <script> on 5 test images")


def test_a_frame_has_a_row_for_each_step():
    import pandas

    frame = SecurityCurve.from_results([nearest(THREE)]).to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == ["epsilon", "robust_accuracy", "low", "high"]
    assert len(frame) == 4


def test_the_figure_draws_the_steps_up_to_where_the_search_ended():
    unlimited, limited = (
        SecurityCurve.from_results([nearest(THREE)]),
        SecurityCurve.from_results([nearest(THREE, epsilon=0.4)]),
    )
    figure = figures.security_curve([unlimited, limited])
    axis = figure.axes[0]
    line, _ = axis.get_lines()
    np.testing.assert_allclose(line.get_xdata()[:4], [0, 0.125, 0.25, 0.375])
    np.testing.assert_allclose(line.get_ydata()[:4], [80, 60, 40, 20])
    assert line.get_drawstyle() == "steps-post"
    assert axis.get_xlim() == (0, 0.4)
    assert axis.get_ylim() == (0, 100)
    assert "currentColor" in figures.svg(figure)


def test_the_figure_of_ten_thousand_images_stays_small():
    rng = np.random.default_rng(0)
    result = many(
        10_000,
        norm="l2",
        epsilon=math.inf,
        x=np.zeros((10_000, 1, 1, 1), np.float32),
        x_adv=rng.random((10_000, 1, 1, 1), np.float32),
    )
    figure = figures.security_curve(SecurityCurve.from_results([result]))
    assert len(figure.axes[0].get_lines()[0].get_xdata()) <= 201
    assert len(figures.svg(figure)) < 60_000


def test_each_norm_has_an_axis_of_its_own():
    figure = figures.security_curve(
        [SecurityCurve.from_results([nearest(THREE)]), SecurityCurve.from_results([nearest(THREE, norm="l1")])]
    )
    assert [axis.get_xlabel() for axis in figure.axes] == ["epsilon (l2)", "epsilon (l1)"]
