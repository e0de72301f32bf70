"""What all minimal methods share: a margin that counts, the refinement they end with, and random restarts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from advlab.declarations.attack import Attack
from advlab.declarations.methods import load_method, method_names
from advlab.distances import distance
from advlab.engine.steps import Batch, build_problem, plan
from advlab.methods import fab
from advlab.problem.problem import Loop
from advlab.workflows.attack import attack
from tests.conftest import linear_classifier
from tests.reference_fab import fab as reference_fab
from tests.reference_fab import project
from tests.test_linear import smallest
from tests.test_sparse import fewest

# Those that cross no boundary by themselves: noise that grows, and pairs of pixels that turn white.
UNREFINED = {"naive", "jsma"}


def minimal_methods() -> list[tuple[str, str]]:
    """Every native minimal method with each of its norms."""
    from importlib import import_module

    found = []
    for name in method_names():
        method = load_method(name)
        if method.goal == "minimal" and name not in UNREFINED:
            craft = import_module(f"advlab.methods.{name}").craft
            if isinstance(plan(craft, Attack(name), (6, 6, 1)), Loop):
                found += [(name, norm) for norm in method.norms]
    return found


@pytest.fixture(scope="module")
def two(grey):
    return replace(grey, y=grey.y % 2, classes=("a", "b"))


def sizes(result, norm: str) -> np.ndarray:
    return np.where(result.success, distance(result.x, result.x_adv, norm), np.inf)


def margins(classifier, result) -> np.ndarray:
    """Of each returned image the largest wrong logit minus the label's."""
    logits, rows = classifier.logits(result.x_adv).numpy().astype(float), np.arange(len(result.x))
    own = logits[rows, result.labels]
    logits[rows, result.labels] = -np.inf
    return logits.max(1) - own


def with_bias(bias: float):
    """The linear classifier of two classes, both logits raised by ``bias``: its margins are that much coarser."""
    import keras

    from advlab.classifiers.classifier import Classifier

    weights = linear_classifier(2).keras_model.get_weights()[0]
    dense = keras.layers.Dense(2)
    model = keras.Sequential([keras.Input((6, 6)), keras.layers.Flatten(), dense])
    dense.set_weights([weights, np.full(2, bias, np.float32)])
    return Classifier.from_keras(model, name="raised")


QUICK = {"carlini_wagner": {"steps": 150, "searches": 5, "constant": 1.0}, "ead": {"steps": 150, "searches": 5}}


@pytest.mark.parametrize(("method", "norm"), minimal_methods())
def test_no_method_stands_still_at_the_boundary_where_a_success_does_not_yet_count(two, method, norm):
    """Logits of 10,000 have a margin of 0.2 that counts for nothing: steps onto the boundary itself never succeed."""
    raised = with_bias(1e4)
    result = attack(raised, two, method, norm=norm, **QUICK.get(method, {}))
    assert result.success[result.correct].all()
    assert margins(raised, result)[result.correct].min() > 0.18
    if norm != "l0":
        plain = attack(with_bias(0), two, method, norm=norm, **QUICK.get(method, {}))
        rows = result.correct & plain.correct
        assert np.median(sizes(result, norm)[rows] / sizes(plain, norm)[rows]) < 1.6  # twice that margin aside


def corner_of(classifier, norm: str):
    """A method that queries the corner of the box farthest beyond the boundary of a linear classifier, and no more."""
    weights = classifier.keras_model.get_weights()[0]
    gradients = tf.constant(weights.T[::-1] - weights.T)  # by label: other logit minus its own

    def corner(problem):
        towards = tf.reshape(tf.gather(gradients, problem.labels) > 0, tf.shape(problem.x))
        return Loop(1, lambda: {"x": tf.cast(towards, tf.float32)}, lambda state, query, step: state, loss="margin")

    corner.GOAL, corner.NORMS = "minimal", (norm,)
    return corner


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_refinement_finds_the_boundary_of_a_linear_classifier_from_any_image_beyond_it(linear, two, norm):
    result = attack(linear, two, corner_of(linear, norm))
    rows = np.flatnonzero(result.correct)
    assert result.success.all()
    ratio = [sizes(result, norm)[row] / smallest(linear, result.x[row], result.labels[row], norm) for row in rows]
    assert min(ratio) >= 1 - 1e-5
    assert max(ratio) < 1.001
    assert np.all(result.forward_passes[rows] == 2 + 31)


def test_the_refinement_gives_back_positions_that_are_not_needed(linear, two):
    result = attack(linear, two, corner_of(linear, "l0"))
    counts, weights = sizes(result, "l0"), linear.keras_model.get_weights()[0].astype(float)
    for row in np.flatnonzero(result.correct):
        assert counts[row] == fewest(weights, result.x[row].ravel(), result.labels[row])


@pytest.mark.parametrize(
    ("method", "norm"), [("fmn", "linf"), ("ddn", "l2"), ("fab", "l1"), ("fmn", "l0"), ("sigma_zero", "l0")]
)
def test_the_refinement_is_never_farther_and_often_nearer(trained, digits, method, norm):
    from importlib import import_module

    def unrefined(problem):
        return import_module(f"advlab.methods.{method}").craft(problem, steps=20)._replace(refine=False)

    unrefined.GOAL, unrefined.NORMS = "minimal", (norm,)
    data = digits.take(60)
    before, after = attack(trained, data, unrefined, norm=norm), attack(trained, data, method, norm=norm, steps=20)
    np.testing.assert_array_equal(before.success, after.success)
    rows = before.correct & before.success
    assert np.all(sizes(after, norm)[rows] <= sizes(before, norm)[rows])
    assert np.mean(sizes(after, norm)[rows] < 0.9999 * sizes(before, norm)[rows]) > 0.25
    assert before.diagnostics.loss_trace.shape == after.diagnostics.loss_trace.shape


@pytest.mark.parametrize(("method", "norm"), [("carlini_wagner", "l2"), ("carlini_wagner", "linf"), ("ead", "l1")])
def test_the_image_returned_has_the_confidence_asked_for(trained, digits, method, norm):
    data = digits.take(30)
    parameters = {"steps": 200, "searches": 5, "constant": 1.0}
    plain, sure = (attack(trained, data, method, norm=norm, confidence=c, **parameters) for c in (0.0, 5.0))
    rows = sure.correct & sure.success
    assert rows.sum() > 20
    assert margins(trained, plain)[rows].max() < 1
    assert margins(trained, sure)[rows].min() > 5 - 1e-4
    assert np.median(margins(trained, sure)[rows]) < 5.1  # and not more
    assert np.all(sizes(sure, norm)[rows] > sizes(plain, norm)[rows])


def test_the_rule_of_ead_decides_what_is_least_of_its_successes(trained, digits):
    data = digits.take(30)
    parameters = {"steps": 150, "searches": 4, "constant": 1.0, "beta": 0.1}
    by_l1, by_net = (attack(trained, data, "ead", rule=rule, **parameters) for rule in ("l1", "en"))
    rows = by_l1.correct & by_l1.success & by_net.success
    net = {
        rule: ((result.x_adv - result.x) ** 2 + 0.1 * np.abs(result.x_adv - result.x)).sum((1, 2, 3))[rows]
        for rule, result in (("l1", by_l1), ("en", by_net))
    }
    assert np.mean(sizes(by_l1, "l1")[rows]) < np.mean(sizes(by_net, "l1")[rows])
    assert np.mean(net["en"]) < np.mean(net["l1"])


def walk(classifier, data, norm: str, target: np.ndarray, steps: int, **parameters) -> list[np.ndarray]:
    """What ``fab`` queries, by hand: without the engine."""
    labels = tf.constant(data.y, tf.int32)
    x = tf.constant(data.x)
    batch = Batch(
        x, labels, tf.constant(target, tf.int32), labels * 0 - 1, tf.zeros([len(data), 2], tf.uint32), labels * 0, x
    )
    problem = build_problem(batch, norm, tf.constant(np.inf, tf.float64), classifier.logits)
    loop = fab.craft(problem, n_target_classes=1, **parameters)
    state, queried = loop.start(), []
    for step in range(steps):
        query = problem.query(state["x"], loop.loss)
        queried.append(query.x.numpy().reshape(len(data), -1))
        state = loop.update(state, query, tf.constant(step))
    return queried


def model_of(classifier):
    """Logits and Jacobian of one flat image, as the reference asks for them."""

    @tf.function
    def both(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            logits = classifier.logits(x)
        return logits, tape.batch_jacobian(logits, x)

    def model(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, jacobian = both(tf.constant(x.reshape(1, 28, 28, 1), tf.float32))
        return logits.numpy()[0].astype(float), jacobian.numpy()[0].reshape(-1, x.size).astype(float)

    return model


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_fab_takes_its_authors_steps_where_it_linearises_after_the_step_back(trained, digits, norm):
    data = digits.take(8)
    logits = trained.logits(data.x).numpy()
    target = np.argsort(-logits, 1)[:, 1]
    queried = walk(trained, data, norm, target, 24, linearize="after")
    model = model_of(trained)
    errors = []
    for row in range(len(data)):
        theirs = reference_fab(model, data.x[row].ravel(), int(data.y[row]), norm, steps=8, target=int(target[row]))
        # Ours queries what it steps back to as well.
        ours, step = [], 1
        for _ in range(8):
            x = queried[step][row]
            ours.append(x)
            step += 2 if model(x)[0].argmax() != data.y[row] else 1
        changes = np.linalg.norm(theirs.iterates - data.x[row].ravel(), axis=1)
        errors.append(np.linalg.norm(np.array(ours) - theirs.iterates, axis=1) / changes)
    # Float32 gives a gradient next to zero another sign now and then, which in linf moves its pixel all the way.
    assert np.median(errors) < 1e-3
    assert np.mean(np.array(errors) < 0.01) > 0.7


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_references_projection_reaches_the_plane_and_ours_is_as_near(norm):
    from advlab.methods._hyperplane import reach

    draw = np.random.default_rng(0)
    x, normal = draw.uniform(-0.4, 1.4, (20, 36)).clip(0, 1), draw.normal(size=(20, 36))
    room = np.where(normal > 0, 1 - x, x)
    rise = 0.8 * (np.abs(normal) * room).sum(1)
    theirs = np.stack([project(*each, norm) for each in zip(x, normal, -rise, strict=True)])
    np.testing.assert_allclose((theirs * normal).sum(1), rise, rtol=1e-9)
    shape = (20, 6, 6, 1)
    ours, _ = reach(
        *(tf.constant(a.reshape(s), tf.float32) for a, s in ((x, shape), (normal, shape), (rise, (20, 1, 1, 1)))), norm
    )
    np.testing.assert_allclose(ours.numpy().reshape(20, 36), theirs, atol=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_pixels_whose_gradient_is_noise_stay_where_they_are_when_the_plane_is_out_of_reach(norm):
    from advlab.methods._hyperplane import reach

    normal = np.full((1, 4, 4, 1), 1e-10, np.float32)
    normal[0, 0] = 1
    change, _ = reach(tf.fill([1, 4, 4, 1], 0.5), tf.constant(normal), tf.fill([1, 1, 1, 1], 100.0), norm)
    np.testing.assert_array_equal(change[0, 0], 0.5)
    np.testing.assert_array_equal(change[0, 1:], 0)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_fab_restarts_at_random_half_as_far_as_the_nearest_success(trained, digits, norm):
    data = digits.take(20)
    x, labels = tf.constant(data.x), tf.constant(data.y, tf.int32)
    near = tf.clip_by_value(x + 0.01, 0, 1)
    streams = tf.cast(tf.stack([labels * 0, tf.range(20)], 1), tf.uint32)
    for restart, nearest, farthest in ((0, near, 0.0), (1, near, 0.5), (1, x, fab.RADIUS[norm] / 2)):
        batch = Batch(x, labels, labels * 0 - 1, labels * 0 - 1, streams, labels * 0 + restart, nearest)
        problem = build_problem(batch, norm, tf.constant(np.inf, tf.float64), trained.logits)
        starts = distance(data.x, fab.craft(problem).start()["x"].numpy(), norm)
        limit = distance(data.x, near.numpy(), norm) * farthest if nearest is near else farthest
        limit = np.minimum(limit, fab.RADIUS[norm] / 2)
        assert np.all(starts <= limit * (1 + 1e-4))
        if restart:
            assert np.all(starts > limit / 4)  # the box holds some of it back


def test_more_restarts_of_fab_are_never_farther(trained, digits):
    one, three = (attack(trained, digits.take(100), "fab", norm="l2", steps=5, restarts=r) for r in (1, 3))
    assert np.all(sizes(three, "l2") <= sizes(one, "l2") * (1 + 1e-6))
    assert np.any(sizes(three, "l2") < 0.999 * sizes(one, "l2"))
