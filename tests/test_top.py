"""Success by top-k: the label has to leave the k likeliest classes, in the loss, the attack and the evaluation."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from advlab.cli import main
from advlab.errors import InvalidValue
from advlab.evaluation.evaluation import evaluate
from advlab.evaluation.table import label
from advlab.problem.losses import dlr, log_odds, margin
from advlab.results.result import load_result
from advlab.threat import ThreatModel
from advlab.workflows.attack import attack
from advlab.workflows.verify import verify
from tests.test_methods import NATIVE, QUICK

LOGITS = tf.constant(np.random.default_rng(0).normal(0, 3, (50, 7)).astype(np.float32))
LABELS = tf.constant(np.arange(50) % 7, tf.int32)


def rank(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes come before the label."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    return np.argmax(order == labels[:, None], axis=1)


@pytest.mark.parametrize("top", [1, 2, 5])
def test_an_image_is_accepted_while_its_label_is_among_the_likeliest(top):
    probabilities = np.random.default_rng(1).integers(0, 4, (200, 6)).astype(np.float32)  # many ties
    labels = np.arange(200) % 6
    np.testing.assert_array_equal(
        ThreatModel(top=top).accepts(probabilities, labels), rank(probabilities, labels) < top
    )


@pytest.mark.parametrize("top", [1, 3, 6])
def test_the_margin_is_positive_exactly_where_the_label_has_left_the_likeliest(top):
    left = rank(LOGITS.numpy(), LABELS.numpy()) >= top
    np.testing.assert_array_equal(margin(LOGITS, LABELS, top).numpy() > 0, left)
    np.testing.assert_array_equal(dlr(LOGITS, LABELS, top).numpy() > 0, left)


def test_the_loss_gains_nothing_from_classes_that_are_ahead_already():
    raised = LOGITS + 5 * tf.one_hot(tf.argmax(LOGITS, -1), 7)
    kept = tf.argmax(LOGITS, -1, tf.int32) != LABELS
    np.testing.assert_allclose(log_odds(raised, LABELS, 2)[kept], log_odds(LOGITS, LABELS, 2)[kept], rtol=1e-5)
    assert np.all(log_odds(raised, LABELS, 1)[kept] > log_odds(LOGITS, LABELS, 1)[kept])


QUICK_TO_TRACE = {("pgd", "linf"), ("ddn", "l2"), ("deepfool", "l2")}
CASES = [
    pytest.param(*case.values, marks=() if case.values in QUICK_TO_TRACE else pytest.mark.thorough) for case in NATIVE
]


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_every_native_method_pushes_the_label_out_of_the_likeliest(trained, digits, name, norm):
    result = attack(trained, digits.take(12), name, norm=norm, top=2, progress=False, **QUICK.get(name, {}))
    success = rank(result.adversarial_probabilities, result.labels) >= 2
    np.testing.assert_array_equal(result.success, success)
    if result.minimal:
        assert success.mean() > 0.7


def test_a_stronger_loss_is_found_than_that_of_the_first_class(trained, digits):
    few = digits.take(60)
    plain, top = (attack(trained, few, "pgd", epsilon=0.12, steps=20, **options) for options in ({}, {"top": 3}))
    by_plain = rank(plain.adversarial_probabilities, few.y) >= 3
    assert top.success.sum() > by_plain.sum()


def test_evaluation_archive_and_verification_count_by_the_same_k(trained, digits, tmp_path):
    result = attack("digits", digits.take(30), "pgd", epsilon=0.2, steps=5, top=3, output=tmp_path / "a.h5")
    loaded = load_result(tmp_path / "a.h5")
    evaluation = evaluate(loaded)
    assert loaded.attack.threat.top == 3
    accepted = rank(loaded.adversarial_probabilities, loaded.labels) < 3
    np.testing.assert_array_equal(evaluation.robust, accepted & (rank(loaded.clean_probabilities, loaded.labels) < 3))
    assert label(evaluation) == "pgd linf 0.2 top 3"
    assert "top=3" in result.attack.slug
    checked = verify(tmp_path / "a.h5")
    assert checked.holds
    assert checked.accuracy == checked.recorded_accuracy == evaluation.robust_accuracy.value


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("fgsm", {"top": 0}, r"top must be an int in the range \[1"),
        ("fgsm", {"top": 10}, r"range \[1, 9\]. Got 10"),
        ("fgsm", {"top": 2, "target": 3}, "A target must come first"),
        ("apgd", {"top": 2, "n_target_classes": 3}, "aims at one wrong class"),
        ("boundary", {"top": 2}, "any wrong first class is a success"),
    ],
)
def test_what_top_cannot_be_is_refused(trained, digits, method, options, words):
    with pytest.raises(InvalidValue, match=words):
        attack(trained, digits.take(4), method, **options)


def test_the_command_line_takes_top(tmp_path):
    archive = str(tmp_path / "a.h5")
    words = ["attack", "--model", "digits", "--samples", "6", "--top", "5", "--json", "--output", archive]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)[0]["attack"]["top"] == 5
