"""Attributions: what they add up to, where they are stored, and how a figure and a report draw them."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from advlab import figures
from advlab.errors import InvalidValue, Mismatch, UnknownName
from advlab.evaluation.evaluation import evaluate
from advlab.figures import attribution_image
from advlab.reporting.report import report
from advlab.results.result import load_result
from advlab.workflows.attack import attack
from advlab.workflows.explain import attribute, explain
from tests.conftest import linear_classifier


def logit(classifier, x: np.ndarray, classes: np.ndarray) -> np.ndarray:
    return classifier.logits(tf.constant(x)).numpy()[np.arange(len(x)), classes]


@pytest.mark.parametrize("baseline", [0.0, 0.5])
def test_integrated_gradients_add_up_to_the_difference_of_the_logits(trained, rgb, digits, baseline):
    """Their axiom of completeness, the closer the more steps are taken."""
    for classifier, x in ((trained, digits.x[:20]), (rgb[0], rgb[1].x)):
        classes = np.arange(len(x)) % 3
        difference = logit(classifier, x, classes) - logit(classifier, np.full_like(x, baseline), classes)
        errors = [
            np.abs(attribute(classifier, x, classes, steps=steps, baseline=baseline).sum((1, 2, 3)) - difference).max()
            for steps in (4, 200)
        ]
        assert errors[1] < 0.02 * np.abs(difference).max()
        assert errors[1] <= errors[0] + 1e-4


def test_on_a_linear_classifier_they_are_pixel_times_weight_and_the_saliency_the_weight(grey):
    classifier = linear_classifier(4)
    weights = classifier.keras_model.get_weights()[0]
    expected = weights.T[grey.y].reshape(grey.x.shape)
    np.testing.assert_allclose(attribute(classifier, grey.x, grey.y, method="saliency"), expected, rtol=1e-5)
    np.testing.assert_allclose(attribute(classifier, grey.x, grey.y, steps=3), expected * grey.x, rtol=1e-4)


def test_without_classes_they_are_those_of_the_prediction(trained, digits):
    x = digits.x[:5, ..., 0]
    predicted = trained.probabilities(digits.x[:5]).argmax(1)
    np.testing.assert_array_equal(attribute(trained, x, steps=2), attribute(trained, x, predicted, steps=2))
    assert attribute(trained, x, steps=2).shape == (5, 28, 28, 1)


def test_a_pixel_that_no_weight_sees_does_not_count(grey):
    classifier = linear_classifier(4)
    weights = classifier.keras_model.get_weights()[0]
    weights[7] = 0
    classifier.keras_model.set_weights([weights])
    assert np.all(attribute(classifier, grey.x, grey.y).reshape(len(grey), -1)[:, 7] == 0)


def test_an_archive_holds_them_and_a_report_draws_them(trained, digits, tmp_path):
    few = digits.take(12)
    result = attack("digits", few, "fgsm", epsilon=0.2, output=tmp_path / "a.h5")
    assert evaluate(result).result.attributions is None
    explain(tmp_path / "a.h5", samples=8, steps=8, save=True)
    loaded = load_result(tmp_path / "a.h5")
    np.testing.assert_array_equal(loaded.x_adv, result.x_adv)
    found = loaded.attributions
    assert found.method == "integrated-gradients"
    np.testing.assert_array_equal(found.rows, np.sort(loaded.shown_order[:8]))
    predicted = loaded.adversarial_probabilities[found.rows].argmax(1)
    expected = attribute(trained, loaded.x_adv[found.rows], predicted, steps=8)
    np.testing.assert_allclose(found.adversarial, expected, atol=1e-6)
    assert found.of(int(found.rows[3]))[0].shape == (28, 28, 1)
    assert found.of(int(np.setdiff1d(np.arange(12), found.rows)[0])) is None

    page = report(evaluate(loaded))
    data = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)[1])
    with_maps = [len(sample["counts"]) for sample in data["choices"][0]["samples"]]
    assert sorted(with_maps) == [0] * 4 + [2] * 8
    assert all(data["pictures"][i].startswith("data:image/png") for i in data["choices"][0]["samples"][0]["counts"])


def test_another_classifier_explains_nothing(trained, digits, rgb):
    result = attack(trained, digits.take(3), "fgsm")
    with pytest.raises(Mismatch, match="was crafted against another 'digits'"):
        explain(result, model=rgb[0])


def test_the_picture_of_an_attribution_is_white_where_it_counts_most():
    values = np.zeros((10, 10, 3))
    values[2, 3, 1], values[4, 4, 0] = -8.0, 4.0
    image = attribution_image(values)
    assert image.shape == (10, 10, 1)
    assert image[2, 3, 0] == 1
    assert image.max() <= 1
    assert np.count_nonzero(image) == 2
    assert attribution_image(np.zeros((4, 4, 1))).max() == 0


def test_a_figure_has_a_row_for_each_image_and_a_picture_beside_each(digits):
    x = digits.x[:3]
    alone = figures.attributions(x, x, captions=["a", "b", "c"])
    both = figures.attributions(x[..., 0], x, x, -x)
    assert [len(f.axes) for f in (alone, both)] == [6, 12]
    assert [axes.get_title() for axes in both.axes[:4]] == ["clean", "what counts", "adversarial", "what counts"]
    with pytest.raises(Mismatch, match="have one shape"):
        figures.attributions(x, x[:, :5])
    with pytest.raises(InvalidValue, match="shows 1 to 60 images"):
        figures.attributions(x, x, captions=["a"])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"method": "gradients"}, UnknownName, "Unknown attribution 'gradients'"),
        ({"steps": 0}, InvalidValue, r"steps must be an int in the range \[1"),
        ({"baseline": 2.0}, InvalidValue, r"range \[0, 1\], a grey"),
        ({"classes": [10, 1, 2]}, InvalidValue, "an int in 0..9 for each of the 3 images"),
        ({"classes": [1]}, InvalidValue, "each of the 3 images"),
        ({"images": np.zeros((28, 28))}, InvalidValue, r"shape \(n, h, w\)"),
    ],
)
def test_what_cannot_be_explained_is_refused(trained, digits, options, error, words):
    images = options.pop("images", digits.x[:3])
    with pytest.raises(error, match=words):
        attribute(trained, images, **options)


def test_attributions_that_do_not_fit_their_images_are_refused(trained, digits, tmp_path):
    explained = explain(attack("digits", digits.take(4), "fgsm"), samples=2, steps=2)
    wrong = explained.attributions._replace(rows=np.array([1, 9]))
    replace(explained, attributions=wrong).save(tmp_path / "a.h5")
    with pytest.raises(Exception, match="attributions are of images that it does not have"):
        load_result(tmp_path / "a.h5")
