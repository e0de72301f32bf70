"""Suites: their declarations, cascades, the smallest change, and resuming an earlier run."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import advlab
from advlab import workspace
from advlab.declarations.suites import load_suite
from advlab.distances import distances
from advlab.engine import attack as engine
from advlab.engine import run as engine_run
from advlab.errors import InvalidValue, UnknownName
from advlab.progress import Progress
from advlab.results.result import load_result

SMALL = """
title = "Small"
mode = "cascade"
norms = ["linf", "l2"]

[[attack]]
method = "fgsm"

[[attack]]
method = "pgd"
parameters = { steps = 10 }
under.l2 = { restarts = 2, parameters = { step = 5.0 } }

[[attack]]
method = "fab"
early_stop = false
parameters = { steps = 10, targets = 2 }
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return str(path)


@pytest.fixture(scope="module")
def few(digits):
    return digits.take(60)


def published(norm: str) -> list[tuple]:
    targets, restarts = (5, 5) if norm == "l1" else (9, 1)
    return [
        ("apgd", restarts, {"steps": 100, "loss": "ce", "n_target_classes": 0}),
        ("apgd", 1, {"steps": 100, "loss": "dlr", "n_target_classes": targets}),
        ("fab", 1, {"steps": 150, "n_target_classes": 9, "linearize": "after"}),
        ("square", 1, {"steps": 5000}),
    ]


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_standard_is_the_published_autoattack(norm):
    specs = load_suite("standard").under(norm, 0.5)
    for spec, (method, restarts, parameters) in zip(specs, published(norm), strict=True):
        assert (spec.method, spec.restarts) == (method, restarts)
        assert parameters.items() <= spec.parameters.items()
        assert spec.threat.norm == norm
        assert spec.threat.epsilon in (0.5, float("inf"))


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_random_is_the_published_version_for_random_models(norm):
    specs = load_suite("random").under(norm, 0.5)
    assert [(s.method, s.passes, s.restarts, s.early_stop) for s in specs] == [("apgd", 20, 1, False)] * 2
    assert [(s.parameters["steps"], s.parameters["loss"], s.parameters["n_target_classes"]) for s in specs] == [
        (100, "ce", 0),
        (100, "dlr", 0),
    ]


def test_more_targets_than_wrong_classes_are_all_wrong_classes(rgb):
    classifier, data = rgb
    result = advlab.attack(classifier, data, "apgd", steps=3, loss="dlr", n_target_classes=9, progress=False)
    np.testing.assert_array_equal(result.forward_passes, 2 * 4)


def test_each_attack_of_a_cascade_gets_only_the_images_that_are_still_robust(trained, few, small):
    results = [e.result for e in advlab.run(trained, few, small, epsilon=0.05, progress=False)]
    *parts, worst = results
    assert parts[0].attempted.all()
    for before, after in pairwise(parts):
        np.testing.assert_array_equal(after.attempted, before.robust)
        np.testing.assert_array_equal(after.x_adv[~after.attempted], after.x[~after.attempted])
        assert not after.forward_passes[~after.attempted].any()
        assert np.all(after.robust <= before.robust)
    np.testing.assert_array_equal(worst.robust, parts[-1].robust)
    assert {part.attack.threat for part in results} == {worst.attack.threat}
    assert distances(worst.x, worst.x_adv).linf.max() <= 0.05


def test_the_bar_of_each_attack_of_a_cascade_ends_at_the_number_that_is_printed(trained, few, small, monkeypatch):
    shown = []

    class Bar(Progress):
        def advance(self, amount=1, **postfix):
            shown.append((self.label, postfix.get("robust")))

        def __init__(self, total, label, **options):
            super().__init__(total, label, show=False)
            self.label = label

    monkeypatch.setattr(engine_run, "Progress", Bar)
    *parts, _ = advlab.run(trained, few, small, epsilon=0.05, selftest=0, progress=False)
    last = dict(shown)
    assert [last[f"{part.attack.method} on digits"] for part in parts] == [
        f"{part.robust_accuracy.value:.1%}" for part in parts
    ]
    assert parts[-1].result.left_out.any()


def test_a_part_of_a_cascade_averages_over_the_images_it_was_given(trained, few, small):
    for part in advlab.run(trained, few, small, epsilon=0.05, progress=False)[:-1]:
        result, given = part.result, part.result.attempted
        rows = np.flatnonzero(given & result.correct)
        labels = result.labels[rows]
        shift = result.adversarial_probabilities[rows, labels] - result.clean_probabilities[rows, labels]
        assert part.shift.mean == pytest.approx(shift.mean(), abs=1e-6)
        assert part.shift_histogram.sum() == part.transitions.sum() == part.confidently_wrong.total == len(rows)
        assert part.calibration.count.sum() == part.calibration_clean.count.sum() == given.sum()
        assert part.robust_accuracy.total == len(few)


def test_a_funnel_says_what_a_cascade_did(trained, few, small):
    evaluations = advlab.run(trained, few, small, epsilon=0.05, progress=False)
    *parts, worst = evaluations
    counts = [worst.clean_accuracy.count, *(part.robust_accuracy.count for part in parts)]
    text = advlab.table(evaluations).replace("\n", " ")
    assert f"Robust after each attack: {' -> '.join(map(str, counts))}." in text
    assert f"Robust after each attack: {' -> '.join(map(str, counts))}." in html.unescape(advlab.report(evaluations))


def test_a_cascade_goes_on_to_its_end_once_no_image_is_left_to_attack(trained, few, small):
    *parts, worst = (e.result for e in advlab.run(trained, few, small, epsilon=0.9, progress=False))
    assert not worst.robust.any()
    assert [part.attempted.sum() for part in parts] == [len(few), parts[0].robust.sum(), 0]


def test_a_part_of_a_cascade_verifies_as_recorded(few, small, workspace):
    advlab.run("digits", few, small, epsilon=0.05, save=True, progress=False)
    part = next((workspace / "attacks" / "digits" / "small-linf-0.05").glob("fab*.h5"))
    verification = advlab.verify(part)
    assert verification.holds
    assert verification.accuracy == verification.recorded_accuracy


UNION = """
title = "Either"
mode = "union"

[[attack]]
method = "fgsm"
norm = "linf"
epsilon = "4/255"

[[attack]]
method = "fgsm"
norm = "l2"
epsilon = 0.5
"""
FAB = """
[[attack]]
method = "fab"
norm = "linf"
epsilon = "4/255"
early_stop = false
parameters = { steps = 5 }
"""


@pytest.fixture
def either(tmp_path):
    path = tmp_path / "either.toml"
    path.write_text(UNION)
    return str(path)


@pytest.fixture(scope="module")
def united(trained, few, tmp_path_factory):
    """The evaluations of a union with a minimal method in one of its cascades."""
    path = tmp_path_factory.mktemp("union") / "either.toml"
    path.write_text(UNION + FAB)
    return advlab.run(trained, few, path, progress=False)


def test_a_union_is_the_worst_of_several_threat_models_and_each_has_a_line(united):
    evaluations = united
    *parts, union = (e.result for e in evaluations)
    linf, l2 = parts[2], parts[4]
    assert [p.attack.threat.text for p in parts] == ["linf 4/255"] * 3 + ["l2 0.5"] * 2
    np.testing.assert_array_equal(parts[1].attempted, parts[0].robust)
    assert parts[3].attempted.all()
    np.testing.assert_array_equal(union.robust, linf.robust & l2.robust)
    sizes = distances(union.x, union.x_adv)
    assert np.all((sizes.linf <= 4 / 255 + 1e-7) | (sizes.l2 <= 0.5 * (1 + 1e-6)))
    assert not evaluations[-1].findings or {f.severity for f in evaluations[-1].findings} == {"info"}

    text = " ".join(advlab.table(evaluations).split())
    rate = f"{100 * evaluations[-1].robust_accuracy.value:.1f}"
    for result, name in ((linf, "linf 4/255"), (l2, "l2 0.5"), (union, "linf 4/255 or l2 0.5")):
        assert re.search(rf"either {name}: wrong before .*?; still robust {result.robust.sum()}\.", text)
    page = html.unescape(advlab.report(evaluations)).replace("\N{NO-BREAK SPACE}", " ")
    assert re.search(rf"its worst case image by image \(L∞ 4/255 or L2 0\.5\)\s*(<[^>]*>)*{rate} %", page)
    assert "This one chooses for each image" in page


def test_a_minimal_method_counts_within_the_epsilon_of_its_threat_model(united):
    fab = united[1].result
    assert fab.attack.method == "fab"
    assert np.all(distances(fab.x, fab.x_adv).linf <= 4 / 255 + 1e-7)


def test_a_union_is_saved_verified_and_reused(few, either, workspace):
    first = advlab.run("digits", few, either, save=True, progress=False)[-1].result
    assert first.path.name == "either-linf-4_255-or-l2-0.5.h5"
    stored = load_result(first.path)
    assert stored.attack.threat == first.attack.threat
    assert advlab.verify(first.path).holds
    first.path.unlink()
    again = advlab.run("digits", few, either, save=True, progress=False)[-1].result
    np.testing.assert_array_equal(again.x_adv, first.x_adv)


def test_an_image_in_none_of_the_balls_of_a_union_is_found(united):
    union = united[-1].result
    beyond = replace(union, x_adv=np.clip(union.x + 0.2, 0, 1).astype(np.float32))
    assert "budget-exceeded" in {finding.code for finding in advlab.evaluate(beyond).findings}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("epsilon = 0.5", ""), "every attack names its norm and epsilon"),
        (('norm = "l2"', ""), "every attack names its norm and epsilon"),
        (('mode = "union"', 'mode = "union"\nnorms = ["l2"]'), "norms must be left out"),
    ],
)
def test_a_mistake_in_a_union_is_explained(tmp_path, change, message):
    path = tmp_path / "mine.toml"
    path.write_text(UNION.replace(*change))
    with pytest.raises(InvalidValue, match=message):
        load_suite(path)


def test_a_union_takes_no_norm_and_no_epsilon(trained, few, either):
    with pytest.raises(InvalidValue, match="names its own norm and epsilon"):
        advlab.run(trained, few, either, epsilon=0.1)


def test_the_shipped_union_is_of_the_default_radii():
    threats = load_suite("union").cascades()
    assert [threat.text for threat in threats] == ["linf 0.1", "l2 1.5", "l1 10"]


def test_a_run_takes_other_passes_and_stand_ins_than_its_suite(trained, few, either, workspace):
    options = {"save": True, "progress": False}
    plain = advlab.run(trained, few, either, **options)
    aimed = advlab.run(trained, few, either, passes=2, backward={"hidden_1": lambda x: x[:, :64]}, **options)
    assert {e.attack.passes for e in aimed} == {2}
    assert all("hidden_1" in e.attack.backward for e in aimed)
    assert {e.result.path for e in plain}.isdisjoint(e.result.path for e in aimed)


def test_the_worst_case_is_at_least_as_bad_as_each_attack_alone(trained, few, small):
    worst = advlab.run(trained, few, small, epsilon=0.05, progress=False)[-1]
    pgd = advlab.attack(trained, few, "pgd", epsilon=0.05, steps=10, progress=False)
    assert worst.robust.sum() <= pgd.robust.sum()


def test_a_norm_has_its_own_settings(small):
    pgd = load_suite(small).under("l2", 1.0)[1]
    assert (pgd.restarts, pgd.parameters["relative_step_size"], pgd.parameters["steps"]) == (2, 5.0, 10)
    assert load_suite(small).under()[1].restarts == 1


def test_a_second_run_reuses_the_archives_of_the_first(trained, few, small, monkeypatch):
    first = advlab.run(trained, few, small, epsilon=0.05, save=True, progress=False)
    folder = workspace.archive_path(trained.name, "x").parent
    assert (folder / "small-linf-0.05.h5").exists()
    assert len(list((folder / "small-linf-0.05").glob("*.h5"))) == 3
    last = sorted((folder / "small-linf-0.05").glob("fab*.h5"))[0]
    last.unlink()
    crafted = []
    craft = engine.craft
    monkeypatch.setattr(engine, "craft", lambda *a, **o: (crafted.append(a[2].method), craft(*a, **o))[1])
    second = advlab.run(trained, few, small, epsilon=0.05, save=True, progress=False)
    assert crafted == ["fab"]
    np.testing.assert_array_equal(first[-1].result.x_adv, second[-1].result.x_adv)
    advlab.run(trained, few, small, epsilon=0.05, save=True, force=True, progress=False)
    assert crafted == ["fab", "fgsm", "pgd", "fab"]
    assert load_result(folder / "small-linf-0.05.h5").attack.method == "small"


def test_the_smallest_change_is_no_larger_than_that_of_any_method(trained, few, tmp_path):
    path = tmp_path / "least.toml"
    methods = "".join(f'[[attack]]\nmethod = "{name}"\nearly_stop = false\n' for name in ("ddn", "fmn", "sigma_zero"))
    path.write_text(f'title = "Least"\nmode = "smallest"\nnorms = ["l2", "l0"]\n{methods}')
    *parts, smallest = (e.result for e in advlab.run(trained, few, str(path), norm="l2", progress=False))
    assert [part.attack.method for part in parts] == ["ddn", "fmn"]
    sizes = [np.where(part.success, distances(part.x, part.x_adv).l2, np.inf) for part in parts]
    np.testing.assert_allclose(distances(smallest.x, smallest.x_adv).l2, np.min(sizes, axis=0))
    with pytest.raises(InvalidValue, match=r"takes no epsilon\. Got 0.3"):
        advlab.run(trained, few, str(path), epsilon=0.3)


def test_a_norm_that_a_suite_does_not_cover_is_refused(trained, few, small):
    with pytest.raises(UnknownName, match="norm of suite 'small': 'l1'"):
        advlab.run(trained, few, small, norm="l1")


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ('mode = "casade"', UnknownName, "Did you mean 'cascade'"),
        ('mode = "cascade"', InvalidValue, "must say which norms it covers"),
        ('mode = "cascade"\nnorms = "linf"', InvalidValue, "norms must be a list"),
        ('mode = "cascade"\nnorms = ["linf", "l7"]', UnknownName, "norms 'l7'"),
        ("selftest = 5", InvalidValue, "selftest must be left out"),
        ("selftest = -1", InvalidValue, "selftest must be an int"),
    ],
)
def test_a_mistake_in_a_suite_is_explained(tmp_path, line, error, message):
    path = tmp_path / "mine.toml"
    path.write_text(f'title = "T"\n{line}\n[[attack]]\nmethod = "pgd"\n')
    with pytest.raises(error, match=message):
        load_suite(path)


@pytest.mark.parametrize(
    ("under", "error", "message"),
    [
        ("under.l5 = { restarts = 2 }", UnknownName, "under 'l5'"),
        ("under.linf = { method = 'fgsm' }", UnknownName, "under.linf 'method'"),
        ("under.linf = { parameters = { stepps = 2 } }", UnknownName, "Did you mean 'steps'"),
        ("epsilon = 0.1", InvalidValue, "are those of the suite"),
    ],
)
def test_a_mistake_in_an_attack_of_a_cascade_is_explained(tmp_path, under, error, message):
    path = tmp_path / "mine.toml"
    path.write_text(f'title = "T"\nmode = "cascade"\nnorms = ["linf"]\n[[attack]]\nmethod = "pgd"\n{under}\n')
    with pytest.raises(error, match=message):
        load_suite(path)
