"""Attacks by the adversarial-robustness-toolbox: what their adapters add, and distances known in closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import rotate

from advlab.distances import distances
from advlab.errors import AdvlabError
from advlab.methods._art import end_step_searches
from advlab.workflows.attack import attack
from tests.test_linear import direction, margins, smallest


@pytest.fixture(scope="module")
def two(grey):
    return replace(grey, y=grey.y % 2, classes=("a", "b")).take(12)


def test_hopskipjump_ends_where_no_step_is_misclassified():
    """The toolbox halves its step until one is; behind a layer that rounds, even none at all may not be."""

    class Toolbox:
        def _adversarial_satisfactory(self, samples):
            return np.zeros(len(samples), bool)

    attack = Toolbox()
    end_step_searches(attack)
    step, tried = np.float32(1), 0
    while not attack._adversarial_satisfactory(np.float32([[1 + step]])).all():
        step, tried = step / 2, tried + 1
        assert tried < 200
    assert step < 1e-7  # not before the image is the same


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_hopskipjump_comes_near_the_distance_to_the_boundary(linear, two, norm):
    result = attack(linear, two, "hopskipjump", norm=norm)
    sizes = getattr(distances(result.x, result.x_adv), norm)
    rows = np.flatnonzero(result.correct & result.success)
    assert len(rows) >= 4
    ratio = [sizes[row] / smallest(linear, result.x[row], result.labels[row], norm) for row in rows]
    assert min(ratio) >= 1 - 1e-5
    assert np.median(ratio) < 1.1


def test_zoo_comes_near_the_distance_to_the_boundary(linear, two):
    result = attack(linear, two, "zoo", coordinates=36)
    sizes = distances(result.x, result.x_adv).l2
    rows = np.flatnonzero(result.correct & result.success)
    assert len(rows) >= 4
    ratio = [sizes[row] / smallest(linear, result.x[row], result.labels[row], "l2") for row in rows]
    assert min(ratio) >= 1 - 1e-5
    assert np.median(ratio) < 2.6  # the toolbox adds up its own running sums, and overshoots


def test_zoo_needs_no_more_coordinates_than_an_image_has(linear, two):
    assert len(attack(linear, two.take(1), "zoo", steps=2, searches=1, coordinates=1000)) == 1


def test_newtonfool_goes_straight_to_the_boundary(linear, two):
    result = attack(linear, two, "newtonfool")
    rows = np.flatnonzero(result.correct & result.success)
    assert len(rows) >= 1
    expected = margins(linear, result.x, result.labels)[rows] / np.linalg.norm(direction(linear))
    np.testing.assert_allclose(distances(result.x, result.x_adv).l2[rows], expected, rtol=0.02)


@pytest.mark.thorough
def test_newtonfool_makes_no_progress_where_the_softmax_is_saturated(trained, digits):
    data = digits.take(24)
    saturated, softened = (attack(trained, data, "newtonfool", steps=30, eta=0.03, temperature=t) for t in (1, 5))
    assert saturated.success.mean() < 0.6
    assert softened.success.mean() > 0.75


def test_spatial_finds_a_transformation_for_each_image_where_the_grid_has_one(trained, digits):
    data = digits.take(24)
    result = attack(trained, data, "spatial", angles=3, shifts=1, rotation=25)
    rotated = [np.clip(rotate(data.x, angle, axes=(1, 2), reshape=False), 0, 1) for angle in (-25.0, 0.0, 25.0)]
    fools = [trained.probabilities(x).argmax(1) != data.y for x in rotated]
    np.testing.assert_array_equal(result.success, np.any(fools, axis=0))
    assert 0 < result.success.mean() < 1
    for row in np.flatnonzero(result.success & result.correct):
        assert any(np.allclose(result.x_adv[row], x[row], atol=1e-5) for x in rotated)


@pytest.mark.parametrize(
    ("method", "parameters", "name"),
    [
        ("newtonfool", {"eta": 0}, "NewtonFool"),
        ("spatial", {"translation": 5}, "SpatialTransformation"),
        ("boundary", {"spherical_step": 0}, "BoundaryAttack"),
        ("boundary", {"source_step": 0}, "BoundaryAttack"),
    ],
)
def test_whatever_fails_inside_the_toolbox_says_what_to_change(linear, two, method, parameters, name):
    with pytest.raises(AdvlabError, match=rf"'{name}' of the adversarial-robustness-toolbox failed .*defaults"):
        attack(linear, two.take(2), method, **parameters)


@pytest.mark.parametrize("failure", [ZeroDivisionError("by zero"), IndexError(), AssertionError("no"), MemoryError()])
def test_failures_of_every_kind_come_out_as_ours(linear, two, monkeypatch, failure):
    import art.attacks.evasion

    def generate(self, x, y=None, **options):
        raise failure

    monkeypatch.setattr(art.attacks.evasion.NewtonFool, "generate", generate)
    with pytest.raises(AdvlabError, match=type(failure).__name__):
        attack(linear, two.take(2), "newtonfool")


def test_an_image_that_the_toolbox_lost_is_one_that_it_did_not_find(linear, two, monkeypatch):
    import art.attacks.evasion

    monkeypatch.setattr(art.attacks.evasion.NewtonFool, "generate", lambda self, x, y=None: x * np.nan)
    result = attack(linear, two, "newtonfool")
    np.testing.assert_array_equal(result.x_adv, result.x)
    assert not (result.success & result.correct).any()
