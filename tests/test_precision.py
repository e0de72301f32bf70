"""Gradients in bfloat16, success in float32."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from advlab.classifiers.classifier import Classifier
from advlab.distances import distances
from advlab.errors import InvalidValue
from advlab.workflows.attack import attack


@pytest.mark.parametrize("compile", ["graph", pytest.param("xla", marks=pytest.mark.thorough)])
def test_a_bounded_attack_is_as_strong(trained, digits, compile):
    exact, low = (
        attack(trained, digits, "pgd", epsilon=0.05, compile=compile, precision=precision)
        for precision in ("float32", "bfloat16")
    )
    assert abs(exact.robust.mean() - low.robust.mean()) <= 0.01
    assert not np.array_equal(exact.x_adv, low.x_adv), "the gradients were not of another precision"
    assert low.attack.slug == "pgd-linf-0.05-precision=bfloat16"


def test_a_success_in_bfloat16_alone_does_not_stop_a_sample(trained, digits):
    result = attack(trained, digits, "pgd", epsilon=0.05, early_stop=True, precision="bfloat16")
    first = result.diagnostics.first_success
    is_misclassified = (first > 0) & result.correct
    assert is_misclassified.sum() > 50
    assert result.success[is_misclassified].all(), "each one that stopped is a success in float32"


def test_a_minimal_method_finds_the_same_distances(trained, digits):
    few = digits.take(100)
    sizes = [
        distances(few.x, attack(trained, few, "ddn", precision=precision).x_adv).l2
        for precision in ("float32", "bfloat16")
    ]
    np.testing.assert_allclose(np.median(sizes[1]), np.median(sizes[0]), rtol=0.005)


def test_a_network_that_is_trained_on_is_attacked_as_it_is_now(trained, digits):
    few = digits.take(40)
    classifier = Classifier.from_keras(keras.models.clone_model(trained.keras_model))
    before = attack(classifier, few, "fgsm", precision="bfloat16")
    classifier.keras_model.set_weights(trained.keras_model.get_weights())
    after = attack(classifier, few, "fgsm", precision="bfloat16")
    expected = attack(trained, few, "fgsm", precision="bfloat16")
    np.testing.assert_array_equal(after.x_adv, expected.x_adv)
    assert not np.array_equal(before.x_adv, after.x_adv)


def test_another_library_has_no_such_precision(trained, digits):
    with pytest.raises(InvalidValue, match=r"runs in another library, in float32\. Got precision 'bfloat16'"):
        attack(trained, digits, "boundary", precision="bfloat16")
