"""Several results as one: the worst case, the smallest change, and a minimal method's result within epsilon."""

from __future__ import annotations

import math
from dataclasses import replace

import h5py
import numpy as np
import pytest

from advlab.errors import InvalidValue, Mismatch
from advlab.evaluation.evaluation import evaluate, table
from advlab.results import combine
from advlab.results.diagnostics import SelfTestCounts
from advlab.results.result import load_result
from advlab.threat import ThreatModel
from tests.results import build

LABELS = [0, 1, 2, 0, 1]
CLEAN = [0, 1, 2, 0, 2]  # the last is wrong before any attack
REPEAT = {"repeat_difference": np.zeros(5, np.float32)}


def part(adversarial, attempted=None, **fields):
    attempted = np.ones(5, bool) if attempted is None else np.array(attempted, bool)
    return build(LABELS, CLEAN, adversarial, attempted=attempted, diagnostics=REPEAT, **fields)


def test_the_worst_case_has_the_image_of_the_attack_that_succeeded():
    first = part([1, 1, 2, 0, 2], change=np.full(5, 0.05), method="pgd")
    second = part([0, 2, 2, 0, 2], attempted=[0, 1, 1, 1, 0], change=np.full(5, 0.1), method="square")
    worst = combine.worst_case([first, second], "standard")
    np.testing.assert_array_equal(worst.diagnostics.misclassified_by, [0, 1, -1, -1, -1])
    np.testing.assert_array_equal(worst.robust, [False, False, True, True, False])
    np.testing.assert_array_equal(worst.x_adv[0], first.x_adv[0])
    np.testing.assert_array_equal(worst.x_adv[1], second.x_adv[1])
    np.testing.assert_array_equal(worst.forward_passes, first.forward_passes + second.forward_passes)
    assert worst.attack.slug == "standard-linf-0.1"
    assert worst.parts == ("pgd", "square")


def test_a_union_counts_what_succeeds_under_any_of_its_threat_models():
    under_linf = part([1, 1, 2, 0, 2], change=np.full(5, 0.1))
    under_l2 = part([0, 2, 2, 0, 2], norm="l2", epsilon=1.5, change=np.full(5, 1.5))
    union = combine.union([under_linf, under_l2], "either")
    np.testing.assert_array_equal(union.robust, [False, False, True, True, False])
    np.testing.assert_array_equal(union.diagnostics.misclassified_by, [0, 1, -1, -1, -1])
    assert union.parts == ("linf 0.1", "l2 1.5")
    assert union.attack.threat.any_of == (under_linf.attack.threat, under_l2.attack.threat)
    assert union.attack.slug == "either-linf-0.1-or-l2-1.5"
    with pytest.raises(Mismatch, match="samples"):
        combine.union([under_linf, replace(under_l2, dataset_digest="other")], "either")


def test_a_cascade_counts_what_it_left_out_as_misclassified_before():
    second = part([0, 2, 2, 0, 2], attempted=[0, 1, 1, 1, 0], method="square")
    np.testing.assert_array_equal(second.left_out, [True, False, False, False, True])
    np.testing.assert_array_equal(second.robust, [False, False, True, True, False])
    assert evaluate(second).success_rate.count == 1
    assert evaluate(second).success_rate.total == 3


def test_a_targeted_attack_leaves_out_nothing_by_having_a_target():
    targeted = build([0, 1], [0, 1], [0, 0], target=0)
    np.testing.assert_array_equal(targeted.attempted, [False, True])
    assert not targeted.left_out.any()


def test_within_epsilon_what_lies_beyond_becomes_its_clean_image():
    minimal = part([1, 2, 0, 1, 2], norm="l2", epsilon=math.inf, change=np.array([0.1, 0.2, 0.3, 0.4, 0]))
    bounded = combine.within(minimal, ThreatModel("l2", 0.25))
    np.testing.assert_array_equal(bounded.success & bounded.correct, [True, True, False, False, False])
    np.testing.assert_array_equal(bounded.x_adv[2:4], bounded.x[2:4])
    assert bounded.attack.threat == ThreatModel("l2", 0.25)
    np.testing.assert_array_equal(bounded.diagnostics.unchanged, [False, False, True, True, True])


def test_the_smallest_is_taken_from_whichever_method_found_it():
    one = part([1, 2, 2, 1, 2], norm="l2", epsilon=math.inf, change=np.array([0.1, 0.3, 0, 0.2, 0]), method="ddn")
    two = part([1, 2, 2, 1, 2], norm="l2", epsilon=math.inf, change=np.array([0.2, 0.2, 0, 0.3, 0]), method="fmn")
    least = combine.smallest([one, two], "minimal")
    np.testing.assert_array_equal(least.diagnostics.misclassified_by, [0, 1, -1, 0, -1])
    assert evaluate(least).distances["l2"].median == pytest.approx(0.2)
    assert "misclassified by ddn 2, fmn 1; still robust 1." in table([evaluate(least)]).replace("\n", " ")


def test_the_table_says_what_the_self_test_found():
    worst = combine.worst_case([part([1, 1, 2, 0, 2])], "standard")
    worst = replace(worst, selftest=SelfTestCounts(planted=20, found=19, random=2))
    text = table([evaluate(worst)]).replace("\n", " ")
    assert "wrong before any attack 1; misclassified by pgd 1; still robust " in text
    assert "found 19 of 20 planted adversarial examples, a random search 2" in text


def test_an_archive_of_an_earlier_advlab_names_the_attack_of_each_sample(tmp_path):
    worst = combine.worst_case([part([1, 1, 2, 0, 2])], "standard")
    path = worst.save(tmp_path / "old.h5")
    with h5py.File(path, "r+") as file:
        file.move("diagnostics/misclassified_by", "diagnostics/broken_by")
    np.testing.assert_array_equal(load_result(path).diagnostics.misclassified_by, worst.diagnostics.misclassified_by)


@pytest.mark.parametrize("join", [combine.worst_case, combine.smallest])
def test_only_what_belongs_together_is_joined(join):
    with pytest.raises(Mismatch, match="differ in: classifier"):
        join([part([0] * 5), part([0] * 5, classifier_digest="f" * 64)], "both")
    with pytest.raises(InvalidValue, match="Got none"):
        join([], "none")
