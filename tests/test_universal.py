"""One perturbation for all images."""

from __future__ import annotations

import numpy as np
import pytest

from advlab.errors import InvalidValue
from advlab.workflows.attack import attack
from tests.conftest import linear_classifier


def delta_of(result) -> np.ndarray:
    """The one perturbation, read where some image has all of it: the change of largest size at each pixel."""
    change = result.x_adv - result.x
    return np.take_along_axis(change, np.abs(change).argmax(0, keepdims=True), 0)


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.2), ("l2", 3.0)])
def test_every_image_gets_the_same_change_within_the_box(trained, digits, norm, epsilon):
    result = attack(trained, digits, "universal", norm=norm, epsilon=epsilon, epochs=20, batch_size=100)
    expected = np.clip(result.x + delta_of(result), 0, 1)
    np.testing.assert_allclose(result.x_adv, expected, atol=1e-5)
    noise = attack(trained, digits, "noise", norm=norm, epsilon=epsilon)
    assert result.robust.mean() < noise.robust.mean() - 0.2


def test_on_a_linear_classifier_it_is_the_sign_of_the_weights():
    from advlab.data.dataset import Dataset

    classifier = linear_classifier(2)
    x = np.random.default_rng(0).uniform(0.4, 0.6, (20, 6, 6, 1)).astype(np.float32)
    one_class = Dataset("grey", "test", x, np.zeros(20, np.int64), np.arange(20), ("a", "b"))
    weights = classifier.keras_model.get_weights()[0]
    result = attack(classifier, one_class, "universal", epsilon=0.05, bound=1e9)
    expected = 0.05 * np.sign(weights[:, 1] - weights[:, 0]).reshape(1, 6, 6, 1)
    np.testing.assert_allclose(result.x_adv - result.x, np.broadcast_to(expected, x.shape), atol=1e-6)


def test_a_target_draws_more_images_to_it(trained, digits):
    targeted = attack(trained, digits, "universal", epsilon=0.3, target=1, epochs=20)
    untargeted = attack(trained, digits, "universal", epsilon=0.3, epochs=20)
    assert targeted.success.sum() > (untargeted.adversarial_probabilities.argmax(1) == 1)[targeted.attempted].sum()


def test_restarts_keep_the_perturbation_that_fools_more(trained, digits):
    one, two = (attack(trained, digits, "universal", epochs=5, restarts=count) for count in (1, 2))
    assert two.success.sum() >= one.success.sum()
    assert np.all(two.forward_passes == 2 * one.forward_passes)


def test_no_image_can_stop_by_itself(trained, digits):
    with pytest.raises(InvalidValue, match="one perturbation of all images"):
        attack(trained, digits, "universal", early_stop=True)
