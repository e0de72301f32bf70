"""The defence report: the number that counts is that of the attacker who knows the defence, and the text says so."""

from dataclasses import replace

import numpy as np
import pytest
from results import build

import advlab
from advlab.errors import InvalidValue, Mismatch
from advlab.evaluation.defense import KNOWLEDGE, DefenseReport
from advlab.evaluation.evaluation import evaluate
from advlab.evaluation.findings.checks import Finding

N = 100
DOUBT = Finding("zero-gradients", "warning", "", "", "", "")


def attacked(robust, method="pgd", name="defended"):
    """An evaluation in which the first ``robust`` of 100 images are still classified correctly."""
    labels = np.zeros(N, int)
    return evaluate(build(labels, labels, np.arange(N) >= robust, method=method, classifier=name))


def report(none=95, transfer=90, black_box=60, full=30, base=0, findings=()):
    return DefenseReport(
        attacked(base, name="base"),
        {
            "none": (attacked(none),),
            "transfer": (attacked(transfer, "mim"),),
            "black box": (attacked(black_box, "square"),),
            "full": (attacked(full), attacked(full + 10, "apgd")),
        },
        tuple(findings),
    )


def test_each_attacker_has_the_worst_of_its_attacks_and_the_last_one_the_worst_of_all():
    counts = {attacker.knowledge: attacker.robust_accuracy.count for attacker in report().attackers}
    assert counts == {"none": 95, "transfer": 90, "black box": 60, "full": 30, "all": 30}
    assert list(counts) == list(KNOWLEDGE)


def test_worst_is_taken_image_by_image_so_that_it_is_below_every_attacker():
    one, other = attacked(50), attacked(50)
    flipped = evaluate(build(np.zeros(N, int), np.zeros(N, int), np.arange(N) < 50, classifier="defended"))
    both = replace(report(), evaluations={**report().evaluations, "none": (one,), "full": (other, flipped)})
    assert both.robust_accuracy.count == 0


def test_the_conclusion_names_the_adaptive_number_first_and_belittles_the_static_one():
    text = report().conclusion()
    assert text.startswith("The number that counts is 30.0% [21.9%, 39.6%]")
    assert "The 95.0% on images crafted on 'base' say only whether yesterday's images still work." in text
    assert "gains nothing" not in text
    assert "lower still" not in text


def test_a_defence_that_is_no_better_than_its_base_gains_nothing():
    assert "gains nothing: a single attack leaves 'base' 30.0%" in report(base=30).conclusion()


def test_findings_of_the_audit_put_the_number_in_doubt():
    assert "The true number may be lower still: zero-gradients." in report(findings=[DOUBT]).conclusion()
    assert "lower still" not in report(findings=[DOUBT._replace(severity="info")]).conclusion()


def test_attacks_through_an_input_defence_say_how():
    labels = np.zeros(N, int)
    attack = {"backward": {"jpeg": "identity"}, "passes": 10}
    through = evaluate(build(labels, labels, labels + 1, classifier="defended", attack=attack))
    found = replace(report(), evaluations={**report().evaluations, "full": (attacked(30), through)})
    assert found.attackers[3].attacks == ("pgd", "pgd (BPDA, EOT 10)")
    assert max(map(len, found.table().splitlines())) <= 100


@pytest.mark.thorough
@pytest.mark.parametrize("defense", ["bit-depth", "random-resizing"])
def test_an_input_defence_is_attacked_straight_through_and_averaged(trained, digits, defense):
    found = advlab.defense_report(trained, trained.with_defense(defense), digits, samples=30, progress=False)
    last = found.evaluations["full"][-1].attack
    assert last.backward == {defense.replace("-", "_"): "identity"}
    assert last.passes == (10 if defense == "random-resizing" else 1)
    codes = {finding.code for finding in found.findings}
    assert codes & {"zero-gradients", "unstable-predictions"}


def test_table_and_notebook_show_every_attacker_and_the_conclusion():
    shown = report()
    for text in (shown.table(), shown._repr_html_()):
        assert all(knowledge in text for knowledge in KNOWLEDGE)
        assert "The number that counts" in text
    assert "static 95.0%, adaptive 30.0%" in repr(shown)


def test_the_figure_has_a_bar_for_each_attacker_and_one_for_clean_images():
    bars = advlab.figures.defense(report()).axes[0].patches
    assert [bar.get_width() for bar in bars] == [100, 95, 90, 60, 30, 30]


def test_the_base_is_not_its_own_defence():
    with pytest.raises(Mismatch, match="are the same classifier"):
        advlab.defense_report("digits", "digits")


def test_norms_that_an_audit_cannot_take_are_refused(trained):
    with pytest.raises(InvalidValue, match="choose one of: linf, l2, l1"):
        advlab.defense_report("digits", "digits-robust", norm="l0")


@pytest.mark.thorough
def test_adversarial_training_on_the_digits_stands_the_static_attack_better_than_the_adaptive_one():
    found = advlab.defense_report("digits", "digits-robust", samples=100, progress=False)
    static, *_, adaptive = (attacker.robust_accuracy.value for attacker in found.attackers)
    assert found.base_evaluation.robust_accuracy.value < adaptive < static < found.clean_accuracy.value
    assert found.base_evaluation.classifier == "digits"
    assert {e.classifier for group in found.evaluations.values() for e in group} == {"digits-robust"}
