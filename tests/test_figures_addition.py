"""The picture of an attack: clean image + change = adversarial image, with what the classifier says of both."""

from __future__ import annotations

import numpy as np
import pytest

from advlab import figures
from advlab.errors import InvalidValue
from advlab.workflows.attack import attack


@pytest.fixture(scope="module")
def result(trained, digits):
    return attack(trained, digits.take(20), "pgd", epsilon=0.1, steps=10)


def test_each_row_adds_the_amplified_change_to_the_clean_image(result):
    row = int(np.flatnonzero(result.correct & result.success)[0])
    clean, change, adversarial = figures.addition(result, [row]).axes
    label, predicted = (
        result.classes[result.labels[row]],
        result.classes[result.adversarial_probabilities[row].argmax()],
    )
    assert clean.get_title().startswith(f"{label} ")
    assert adversarial.get_title().startswith(f"{predicted} ")
    assert clean.title.get_color() == figures.ROBUST
    assert adversarial.title.get_color() == figures.MEAN
    assert change.get_title() == "change × 5", "0.1 becomes half of the range"
    assert [text.get_text() for axes in (change, adversarial) for text in axes.texts] == ["+", "="]
    pixels = [np.asarray(axes.images[0].get_array())[..., :1] for axes in (clean, change, adversarial)]
    np.testing.assert_allclose(pixels[0] + (pixels[1] - 0.5) / 5, pixels[2], atol=1e-6)


def test_the_first_images_that_turn_wrong_are_shown_and_others_on_request(result):
    assert len(figures.addition(result).axes) == 2 * 3
    assert len(figures.addition(result, [0, -1, 5]).axes) == 3 * 3
    with pytest.raises(InvalidValue, match=r"1 to 20 of the 20 images, by position from 0.*Got \[20\]"):
        figures.addition(result, [20])
    with pytest.raises(InvalidValue, match=r"Got \[\]"):
        figures.addition(result, [])
