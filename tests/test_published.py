"""Details that the papers fix and that published code got wrong."""

from __future__ import annotations

import numpy as np
import pytest

from advlab.errors import InvalidValue
from advlab.methods.apgd import checkpoint_gaps
from advlab.workflows.attack import attack


def test_apgd_halves_its_step_at_the_checkpoints_of_the_paper():
    gaps = checkpoint_gaps(100)
    np.testing.assert_array_equal(np.flatnonzero(gaps), [22, 41, 57, 70, 80, 87, 93, 99])
    np.testing.assert_array_equal(gaps[gaps > 0], [22, 19, 16, 13, 10, 7, 6, 6])
    assert not checkpoint_gaps(1).any()


@pytest.mark.thorough
def test_apgd_beats_pgd_of_as_many_steps(trained, digits):
    options = {"epsilon": 0.07, "steps": 50}
    assert (
        attack(trained, digits, "apgd", **options).robust.mean()
        <= attack(trained, digits, "pgd", **options).robust.mean()
    )


@pytest.mark.thorough
def test_targets_are_the_likeliest_wrong_classes_and_any_error_counts(trained, digits):
    some = digits.take(150)
    untargeted = attack(trained, some, "apgd", loss="dlr", epsilon=0.05, steps=20)
    targeted = attack(trained, some, "apgd", loss="dlr", epsilon=0.05, steps=20, n_target_classes=3)
    assert set(targeted.forward_passes) == {3 * 21}
    assert targeted.robust.sum() <= untargeted.robust.sum() + 2
    with pytest.raises(InvalidValue, match="leaves no other classes to aim at"):
        attack(trained, digits, "apgd", n_target_classes=3, target=1)
    most = attack(trained, digits.take(20), "apgd", steps=5, n_target_classes=50)
    assert set(most.forward_passes) == {9 * 6}


def test_square_covers_the_last_row_and_column_and_draws_for_each_sample(trained, digits):
    result = attack(trained, digits, "square", steps=1)
    changed = np.abs(result.x_adv - result.x) > 0
    assert changed[:, -1].any()
    assert changed[:, :, -1].any()
    signs = np.sign(result.x_adv - result.x)
    assert len({row.tobytes() for row in signs}) == len(digits)


@pytest.mark.thorough
def test_square_uses_no_gradient_and_gets_stronger_with_queries(trained, digits):
    few, many = (attack(trained, digits, "square", steps=steps, epsilon=0.2) for steps in (10, 400))
    assert many.robust.mean() < few.robust.mean()
    assert not many.backward_passes.any()
    assert set(many.forward_passes) == {401}


@pytest.mark.thorough
def test_the_smallest_perturbation_survives_rounding(trained, digits):
    """The nearest success lies on the boundary: what the last bit of a logit undoes must not be counted."""
    for method, norm in (("fmn", "l2"), ("fmn", "linf"), ("ddn", "l2")):
        result = attack(trained, digits, method, norm=norm, steps=300, compile="xla")  # unlike the prediction after it
        assert result.success.mean() > 0.995
        assert np.mean(trained.probabilities(result.x_adv, 7).argmax(1) != digits.y) == result.success.mean()


@pytest.mark.thorough
def test_minimal_methods_agree_on_the_distance(trained, digits):
    sizes = {}
    for method in ("ddn", "fmn", "deepfool"):
        result = attack(trained, digits.take(100), method, norm="l2")
        change = (result.x_adv - result.x).reshape(100, -1)
        sizes[method] = np.median(np.linalg.norm(change, axis=1)[result.correct])
    assert sizes["ddn"] < 1.02 * sizes["fmn"]
    assert sizes["fmn"] < sizes["deepfool"]
