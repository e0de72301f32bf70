"""FAB and DeepFool: projections onto a plane within the box against other solvers, and what the attacks find."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import brentq, linprog

from advlab.methods._hyperplane import reach
from advlab.workflows.attack import attack
from tests.conftest import linear_classifier

SHAPE = (12, 4, 4, 1)
NORMS = ("linf", "l2", "l1")


def planes(seed: int = 0, fraction: float = 0.7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images with many pixels on the box, normals, and rises up to ``fraction`` of what the box allows, either way."""
    draw = np.random.default_rng(seed)
    x = draw.uniform(-0.4, 1.4, SHAPE).clip(0, 1).astype(np.float32)
    normal = (draw.normal(size=SHAPE) * 10.0 ** draw.uniform(-3, 3, (len(x), 1, 1, 1))).astype(np.float32)
    sign = np.where(np.arange(len(x)) % 2, 1, -1)
    most = (np.abs(normal) * np.where(normal * sign[:, None, None, None] > 0, 1 - x, x)).sum((1, 2, 3))
    return x, normal, (sign * most * draw.uniform(0.01, fraction, len(x))).astype(np.float32)


def reach_planes(x: np.ndarray, normal: np.ndarray, rise: np.ndarray, norm: str) -> np.ndarray:
    change, distance = reach(tf.constant(x), tf.constant(normal), tf.constant(rise[:, None, None, None]), norm)
    room = np.where(normal * rise[:, None, None, None] > 0, 1 - x, x)
    reachable = np.abs(rise) < (np.abs(normal) * room).sum((1, 2, 3))
    sizes = np.array([length(each, norm) for each in change.numpy()])
    np.testing.assert_allclose(distance[:, 0, 0, 0].numpy()[reachable], sizes[reachable], rtol=1e-6)
    return change.numpy()


def length(change: np.ndarray, norm: str) -> float:
    return float(np.linalg.norm(change.ravel().astype(float), {"linf": np.inf, "l2": 2, "l1": 1}[norm]))


def nearest(x: np.ndarray, normal: np.ndarray, rise: float, norm: str) -> float:
    """The size of the smallest change, by a linear programme or, in l2, by its one multiplier."""
    x, w = x.ravel().astype(float), normal.ravel().astype(float)
    n = len(x)
    if norm == "l2":

        def change(multiplier: float) -> np.ndarray:
            return np.clip(multiplier * w * np.sign(rise), -x, 1 - x)

        top = 10 / np.abs(w).min()
        return float(np.linalg.norm(change(brentq(lambda m: abs(rise) - w @ change(m) * np.sign(rise), 0, top))))
    # The change is up minus down, both from 0; in linf both stay below one more variable.
    bounds = [*((0, high) for high in 1 - x), *((0, low) for low in x), (0, None)]
    plane = np.concatenate([w, -w, [0]])[None]
    cost = np.r_[np.zeros(2 * n), 1.0] if norm == "linf" else np.r_[np.ones(2 * n), 0.0]
    below = np.hstack([np.eye(2 * n), -np.ones((2 * n, 1))]) if norm == "linf" else None
    solved = linprog(cost, below, None if below is None else np.zeros(2 * n), plane, [rise], bounds)
    assert solved.success
    return solved.fun


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("fraction", [0.1, 0.97])
def test_the_smallest_change_reaches_the_plane_within_the_box(norm, fraction):
    x, normal, rise = planes(fraction=fraction)
    change = reach_planes(x, normal, rise, norm)
    assert (x + change).min() >= -1e-7
    assert (x + change).max() <= 1 + 1e-7
    np.testing.assert_allclose((normal * change).sum((1, 2, 3), dtype=float), rise, rtol=3e-6)
    expected = [nearest(*each, norm) for each in zip(x, normal, rise, strict=True)]
    np.testing.assert_allclose([length(each, norm) for each in change], expected, rtol=3e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_a_plane_beyond_the_box_is_approached_as_far_as_the_box_goes(norm):
    x, normal, rise = planes()
    corner = np.where(normal * rise[:, None, None, None] > 0, 1 - x, -x)
    np.testing.assert_allclose(reach_planes(x, normal, 1e6 * rise, norm), corner, atol=1e-7)


@pytest.mark.parametrize("norm", NORMS)
def test_no_rise_or_no_normal_is_no_change_and_the_scale_of_the_normal_does_not_matter(norm):
    x, normal, rise = planes()
    np.testing.assert_array_equal(reach_planes(x, normal, 0 * rise, norm), 0)
    np.testing.assert_array_equal(reach_planes(x, 0 * normal, rise, norm), 0)
    unit = normal / np.abs(normal).max((1, 2, 3), keepdims=True)
    unit_rise = rise / np.abs(normal).max((1, 2, 3))
    tiny = np.float32(1e-30)
    np.testing.assert_allclose(
        reach_planes(x, tiny * unit, tiny * unit_rise, norm), reach_planes(x, unit, unit_rise, norm), atol=1e-5
    )


@pytest.fixture(scope="module")
def four():
    return linear_classifier(4)


def boundaries(classifier, x: np.ndarray, labels: np.ndarray, norm: str) -> np.ndarray:
    """float64 ``(n, k)``: the distance of each image to its boundary with each class, within the box; NaN: the label's,
    and those that the box does not let it reach."""
    weights = classifier.keras_model.get_weights()[0].astype(float)
    found = np.full((len(x), weights.shape[1]), np.nan)
    for row, label in enumerate(labels):
        for other in range(weights.shape[1]):
            normal = weights[:, other] - weights[:, label]
            rise = -float(x[row].ravel() @ normal)
            most = np.maximum(normal * (1 - x[row].ravel()), -normal * x[row].ravel()).sum()
            if other != label and 0 < rise < most:
                found[row, other] = nearest(x[row], normal, rise, norm)
    return found


def sizes(result) -> np.ndarray:
    return np.array([length(each, result.attack.threat.norm) for each in result.x_adv - result.x])


@pytest.mark.parametrize("targets", [0, 3])
@pytest.mark.parametrize("norm", NORMS)
def test_fab_finds_the_nearest_boundary_of_a_linear_classifier(four, grey, norm, targets):
    result = attack(four, grey, "fab", norm=norm, n_target_classes=targets)
    # The nearest boundary by its gradient may be one that the box keeps out of reach; with targets each has its turn.
    assert result.success[result.correct].mean() >= (1 if targets else 0.8)
    rows = result.correct & result.success
    assert rows.sum() >= 5
    shortest = np.nanmin(boundaries(four, grey.x[rows], grey.y[rows], norm), axis=1)
    ratio = sizes(result)[rows] / shortest
    assert ratio.min() >= 1 - 1e-5
    assert np.median(ratio) < 1.06  # the extrapolation and a little rounding
    if targets:
        assert ratio.max() < 1.06


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_deepfool_stops_just_beyond_the_boundary_and_queries_no_more(four, grey, norm):
    result = attack(four, grey, "deepfool", norm=norm)
    rows = result.correct
    assert result.success[rows].all()
    ratio = sizes(result)[rows] / np.nanmin(boundaries(four, grey.x[rows], grey.y[rows], norm), axis=1)
    assert ratio.min() >= 1
    assert np.median(ratio) < 1.03
    assert np.median(result.forward_passes[rows]) < 10 + 31  # the last 31 are the refinement's


@pytest.mark.parametrize(("method", "norm"), [("fab", "l2"), ("fab", "linf"), ("deepfool", "l2"), ("deepfool", "linf")])
def test_a_class_aimed_at_overtakes_every_other(four, grey, method, norm):
    result = attack(four, grey, method, norm=norm, target=2)
    assert result.success[result.attempted].mean() > 0.9


@pytest.mark.thorough
def test_fab_is_nearer_than_deepfool_and_costs_one_backward_pass_a_step_for_each_target(trained, digits):
    data = digits.take(100)
    fab, deepfool = (attack(trained, data, name, norm="l2", **more) for name, more in (("fab", {}), ("deepfool", {})))
    both = fab.success & deepfool.success & fab.correct
    assert np.mean(sizes(fab)[both]) < np.mean(sizes(deepfool)[both])
    aimed = attack(trained, data, "fab", norm="l2", steps=30, n_target_classes=2)
    assert deepfool.success.all()  # none stops so near the boundary that rounding decides
    assert np.all(aimed.backward_passes[aimed.correct] == 60 + 30)  # and the refinement's


@pytest.mark.parametrize("method", ["deepfool", "fab"])
def test_few_candidates_find_what_all_classes_find_and_cost_less(trained, digits, method):
    few = digits.take(30)
    steps = {"deepfool": 30, "fab": 10}[method]
    every, three = (attack(trained, few, method, norm="l2", steps=steps, candidates=c) for c in (10, 3))
    sizes = [np.array([length(c, "l2") for c in r.x_adv - r.x]) for r in (every, three)]
    assert three.success.all()
    assert np.mean(sizes[1] <= sizes[0] * 1.02) > 0.9
    refinement = 30
    assert three.backward_passes.mean() - refinement < 0.6 * (every.backward_passes.mean() - refinement)


def test_hundreds_of_classes_are_traced_into_the_same_graph_as_a_dozen():
    from advlab.engine.steps import Batch, build_problem
    from advlab.methods import deepfool

    def operations(classes):
        classifier = linear_classifier(classes)
        x, labels = tf.zeros([3, 6, 6, 1]), tf.zeros([3], tf.int32)
        batch = Batch(x, labels, labels - 1, labels - 1, tf.zeros([3, 2], tf.uint32), labels, x)
        problem = build_problem(batch, "l2", tf.constant(np.inf, tf.float64), classifier.logits)

        def step(x):
            loop = deepfool.craft(problem)
            return loop.update(loop.start() | {"x": x}, problem.query(x, loop.loss, False), tf.constant(0))

        graph = tf.function(step, autograph=False).get_concrete_function(x).graph
        return len(graph.as_graph_def(add_shapes=False).node) + sum(
            len(function.node_def) for function in graph.as_graph_def().library.function
        )

    assert operations(300) == operations(12)
