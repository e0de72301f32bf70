"""The engine: stopping, resuming, user methods, honest flags."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from advlab import workspace
from advlab.classifiers.classifier import Classifier
from advlab.data.loading import load_dataset
from advlab.distances import distances
from advlab.engine import run, steps
from advlab.errors import AdvlabError, FileExists, InvalidValue, Mismatch, UnknownName
from advlab.problem.problem import Loop
from advlab.progress import Progress
from advlab.results.result import load_result
from advlab.workflows.attack import attack


def test_stopping_at_success_ends_each_sample_at_its_first(trained, digits):
    never = attack(trained, digits, "pgd", epsilon=0.15, steps=60)
    stopped = attack(trained, digits, "pgd", epsilon=0.15, steps=60, early_stop=True)
    assert np.mean(never.success == stopped.success) >= 0.995
    is_misclassified = stopped.success & stopped.correct
    assert is_misclassified.sum() > 100
    np.testing.assert_array_equal(
        stopped.forward_passes[is_misclassified],
        stopped.diagnostics.first_success[is_misclassified] + 1,
        "one query for each step taken",
    )
    assert stopped.forward_passes.sum() < 0.7 * never.forward_passes.sum()
    np.testing.assert_array_equal(stopped.x_adv[~stopped.correct], stopped.x[~stopped.correct])
    rows = np.arange(len(digits))
    loss = [r.adversarial_probabilities[rows, digits.y][is_misclassified].mean() for r in (stopped, never)]
    assert loss[0] > loss[1], "at the boundary the model is less wrong than at the worst point"


def interrupt_at(monkeypatch, calls: int) -> None:
    """Press Ctrl-C at the given call of the progress bar."""
    amounts = []

    def advance(self, amount=1, **facts):
        amounts.append(amount)
        if len(amounts) == calls:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "advance", advance)


@pytest.mark.parametrize(
    "calls", [pytest.param(1, marks=pytest.mark.thorough), 4, pytest.param(7, marks=pytest.mark.thorough), 12]
)
@pytest.mark.parametrize("early_stop", [False, True])
def test_an_interrupted_attack_continues_to_the_same_result(trained, digits, monkeypatch, calls, early_stop):
    options = {"method": "pgd", "steps": 40, "restarts": 2, "batch_size": 200, "early_stop": early_stop, "epsilon": 0.1}
    uninterrupted = attack(trained, digits, **options)
    monkeypatch.setattr(run, "_SAVE_AFTER", -1.0)
    monkeypatch.setattr(run, "_CHUNK_WORK", 1e6)  # some seven steps at a time
    interrupt_at(monkeypatch, calls)
    with pytest.raises(KeyboardInterrupt, match="the same command continues"):
        attack(trained, digits, save=True, **options)
    partial = workspace.partial_path(trained.name, uninterrupted.attack.slug)
    assert partial.exists()
    monkeypatch.undo()
    monkeypatch.setenv("ADVLAB_WORKSPACE", str(partial.parents[2]))
    with pytest.raises(AdvlabError, match="unfinished"):
        load_result(partial)
    continued = attack(trained, digits, save=True, **options)
    np.testing.assert_array_equal(continued.x_adv, uninterrupted.x_adv)
    np.testing.assert_array_equal(continued.forward_passes, uninterrupted.forward_passes)
    assert not partial.exists()


def test_a_second_ctrl_c_in_the_middle_of_a_step_keeps_what_was_whole_before_it(trained, digits, monkeypatch):
    options = {"method": "pgd", "steps": 20, "batch_size": 200, "early_stop": False, "epsilon": 0.1}
    uninterrupted = attack(trained, digits, **options)
    for name, value in {"_SAVE_AFTER": -1.0, "_SAVE_EVERY": -1.0, "_CHUNK_WORK": 1e6}.items():
        monkeypatch.setattr(run, name, value)
    merges = []

    def merge_half(best, goal, rows, carry, **how):
        merges.append(rows)
        if len(merges) == 2:
            merge(best, goal, rows[:50], {name: value[:50] for name, value in carry.items()})
            raise KeyboardInterrupt
        merge(best, goal, rows, carry, **how)

    merge = run.best.merge
    monkeypatch.setattr(run.best, "merge", merge_half)
    with pytest.raises(KeyboardInterrupt):
        attack(trained, digits, save=True, **options)
    monkeypatch.setattr(run.best, "merge", merge)
    continued = attack(trained, digits, save=True, **options)
    np.testing.assert_array_equal(continued.x_adv, uninterrupted.x_adv)
    np.testing.assert_array_equal(continued.forward_passes, uninterrupted.forward_passes)


def test_restarts_are_taken_of_a_method_that_draws_in_later_steps_alone(trained, digits):
    def late(problem):
        """A walk that is random from its third step on."""

        def update(state, query, step):
            noise = tf.where(step > 1, problem.random(step, 0, "normal"), 0.0)
            return {"x": problem.ball.project(query.x + 0.1 * noise)}

        return Loop(4, lambda: {"x": problem.x}, update)

    late.NORMS, late.GOAL = ("linf",), "bounded"
    one, three = (attack(trained, digits.take(60), late, epsilon=0.3, restarts=r) for r in (1, 3))
    assert three.success.sum() > one.success.sum()


def test_an_unfinished_attack_on_other_data_or_another_model_is_not_continued(trained, digits, monkeypatch, workspace):
    monkeypatch.setattr(run, "_SAVE_AFTER", -1.0)
    monkeypatch.setattr(run, "_CHUNK_WORK", 1e6)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            attack(trained, digits, "pgd", save=True)
    with pytest.raises(Mismatch, match="differs in: images"):
        attack(trained, digits.take(100), "pgd", save=True)
    other = Classifier.from_keras(keras.models.clone_model(trained.keras_model), name=trained.name)
    with pytest.raises(Mismatch, match="differs in: classifier"):
        attack(other, digits, "pgd", save=True)


def test_a_workspace_that_cannot_be_written_costs_no_result(trained, digits, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("ADVLAB_WORKSPACE", str(tmp_path / "file"))
    monkeypatch.setattr(run, "_SAVE_EVERY", -1.0)
    assert len(attack(trained, digits, "fgsm")) == len(digits)


def test_a_function_is_a_method(trained, digits):
    def shrink(problem, *, factor: float = 0.5):
        """Darken every image."""
        return Loop(0, lambda: {"x": problem.ball.project(problem.x * factor)}, lambda state, query, step: state)

    result = attack(trained, digits, shrink, norm="l2", epsilon=3, factor=0.25)
    assert result.attack.slug == "shrink-l2-3-factor=0.25"
    assert np.all(result.x_adv <= result.x + 1e-6)


def test_a_method_that_leaves_its_ball_is_refused(trained, digits):
    def careless(problem):
        return Loop(0, lambda: {"x": problem.x + 0.2}, lambda state, query, step: state)

    with pytest.raises(AdvlabError, match="left its ball"):
        attack(trained, digits, careless, epsilon=0.1)


def test_a_function_of_another_shape_is_refused(trained, digits):
    with pytest.raises(InvalidValue, match="keyword-only parameters with"):
        attack(trained, digits, lambda problem, steps: None)


def test_versions_of_a_function_are_told_apart(trained, digits):
    def one(problem):
        return Loop(0, lambda: {"x": problem.x}, lambda state, query, step: state)

    first = attack(trained, digits, one)
    first.save()

    def one(problem):
        return Loop(0, lambda: {"x": problem.ball.project(problem.x + 1)}, lambda state, query, step: state)

    second = attack(trained, digits, one)
    assert first.attack.slug == second.attack.slug
    with pytest.raises(FileExists, match="differs in: attack"):
        second.save()


def test_a_minimal_method_returns_the_clean_image_where_it_fails(trained, digits):
    def shift(problem):
        return Loop(0, lambda: {"x": tf.clip_by_value(problem.x + 0.01, 0, 1)}, lambda state, query, step: state)

    shift.GOAL = "minimal"
    result = attack(trained, digits, shift, norm="l2")
    assert not result.success[result.correct].all()
    np.testing.assert_array_equal(result.x_adv[~result.success], result.x[~result.success])


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("epsilon", [1e-4, 1e-3, 0.01, 0.1, 1.0])
def test_small_budgets_hold_and_are_used(trained, digits, norm, epsilon):
    result = attack(trained, digits.take(40), "bim", norm=norm, epsilon=epsilon)
    used = getattr(distances(result.x, result.x_adv), norm)
    assert used.max() <= epsilon
    if epsilon >= 0.01:
        assert np.median(used) > 0.99 * epsilon


def test_numbers_of_numpy_and_strings_are_accepted(trained, digits):
    result = attack(trained, digits, epsilon="8/255", target=np.int64(3), seed=np.int64(1))
    assert result.attack.slug == "fgsm-linf-8/255-target=3-seed=1"
    result.save()


@pytest.mark.thorough
def test_colour_images_and_one_sample(rgb):
    classifier, data = rgb
    for norm in ("linf", "l2", "l1"):
        assert len(attack(classifier, data.take(1), "pgd", norm=norm, steps=5)) == 1
    result = attack(classifier, data, "noise", norm="l0", epsilon=3)
    assert np.any(result.x_adv != result.x, axis=-1).sum((1, 2)).max() <= 3


def test_all_labels_at_the_target_leave_nothing_to_attempt(trained, digits):
    data = replace(digits, y=np.full(len(digits), 3))
    result = attack(trained, data, target=3)
    assert not result.attempted.any()
    np.testing.assert_array_equal(result.x_adv, result.x)


def constant_classifier(offset: float = 0.0) -> Classifier:
    inputs = keras.Input((28, 28, 1))
    flat = keras.layers.Flatten()(inputs)
    outputs = keras.layers.Dense(10, kernel_initializer="zeros")(flat)
    model = keras.Model(inputs, keras.layers.Rescaling(1.0, offset)(outputs))
    return Classifier.from_keras(model, name="constant")


def test_a_zero_gradient_is_counted_and_replaced_by_a_random_direction(digits):
    result = attack(constant_classifier(), digits, "fgsm")
    assert result.diagnostics.zero_gradient.all()
    assert np.abs(result.x_adv - result.x).max() <= 0.1
    assert result.diagnostics.loss_trace.shape == (len(digits), 2)


@pytest.mark.parametrize("method", ["mim", "ddn", "fmn", "fab", "deepfool", "carlini_wagner", "sigma_zero"])
def test_a_gradient_of_zero_makes_no_nan(digits, method):
    result = attack(constant_classifier(), digits.take(6), method, **({"steps": 4} if method != "mim" else {}))
    assert np.all(np.isfinite(result.x_adv))
    assert not result.diagnostics.nonfinite.any()


def test_rows_that_are_not_attempted_keep_their_image_and_count_as_not_robust(trained, digits):
    few = digits.take(40)
    attempted = np.arange(40) % 2 == 0
    whole, half = attack(trained, few, "pgd"), attack(trained, few, "pgd", attempted=attempted)
    np.testing.assert_array_equal(half.x_adv[~attempted], few.x[~attempted])
    np.testing.assert_allclose(half.x_adv[attempted], whole.x_adv[attempted], atol=1e-4)
    assert not half.robust[~attempted].any()
    assert not half.forward_passes[~attempted].any()


def counting(problem, *, rows: int = 0, early: int = 0):
    """Grows darker step by step; each row is done after as many steps as its index modulo 5."""

    def start():
        return {"x": problem.x, "count": tf.zeros_like(problem.labels), "done": problem.labels < 0}

    def update(state, query, step):
        count = state["count"] + 1
        return {"x": query.x * 0.9, "count": count, "done": count >= 1 + problem.labels % 5}

    return Loop(20, start, update, counts_from=early)


counting.NORMS = ("none",)


def test_a_row_that_is_done_is_not_queried_again(trained, digits):
    result = attack(trained, digits.take(50), counting, norm="none", batch_size=50)
    np.testing.assert_array_equal(result.forward_passes, 1 + result.labels % 5)
    assert result.execution.computed_fraction < 1


def test_iterates_before_the_first_that_counts_are_never_kept(trained, digits):
    few = digits.take(50)
    late = attack(trained, few, counting, norm="none", early=1)
    never_kept = np.all(late.x_adv == late.x, axis=(1, 2, 3))
    assert not never_kept[late.labels % 5 > 0].any()


def test_the_pullback_is_the_jacobian(rgb):
    from advlab.engine.steps import Batch, build_problem

    classifier, data = rgb
    x, labels = tf.constant(data.x[:2]), tf.constant(data.y[:2], tf.int32)
    batch = Batch(x, labels, labels * 0 - 1, labels * 0 - 1, tf.zeros([2, 2], tf.uint32), labels * 0, x)
    problem = build_problem(batch, "linf", tf.constant(0.1, tf.float64), classifier.logits)
    jacobian = tf.stack([problem.pullback(x, tf.one_hot([k, k], 3)) for k in range(3)], 1)
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = classifier.logits(x)
    np.testing.assert_allclose(jacobian, tape.batch_jacobian(logits, x), atol=1e-5)


def test_numbers_that_are_not_finite_are_counted(digits):
    result = attack(constant_classifier(float("nan")), digits, "fgsm")
    assert result.diagnostics.nonfinite.all()


def test_a_saturated_softmax_hides_nothing(trained, digits):
    """The same network, a thousand times as sure: cross-entropy of its softmax has no gradient, the log-odds do."""
    model = keras.models.clone_model(trained.keras_model)
    weights = trained.keras_model.get_weights()
    model.set_weights([*weights[:-2], weights[-2] * 1000, weights[-1] * 1000])
    sure = Classifier.from_keras(model, name="sure")
    x = tf.constant(digits.x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = keras.losses.sparse_categorical_crossentropy(digits.y, model(x[..., 0]))
    assert np.mean(np.all(tape.gradient(loss, x).numpy() == 0, axis=(1, 2, 3))) > 0.5
    naive, ours = attack(trained, digits, "pgd"), attack(sure, digits, "pgd")
    assert abs(naive.robust.mean() - ours.robust.mean()) <= 0.05
    assert not ours.diagnostics.zero_gradient.any()


def test_whether_the_classifier_repeats_itself_is_measured_on_the_first_thousand_images(trained):
    result = attack(trained, load_dataset("digits", split="train"), "fgsm", progress=False)
    assert len(result) > 1000
    np.testing.assert_allclose(result.diagnostics.repeat_difference, np.zeros(1000), atol=1e-6)


def test_passes_are_counted_for_each_sample(trained, digits):
    for method, forward, backward in (("noise", 1, 0), ("fgsm", 2, 1), ("bim", 11, 10), ("pgd", 41, 40)):
        result = attack(trained, digits, method)
        assert set(result.forward_passes) == {forward}
        assert set(result.backward_passes) == {backward}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "fgms"}, UnknownName, "Unknown method 'fgms'. Did you mean 'fgsm'?"),
        ({"norm": "l3"}, UnknownName, "Unknown norm 'l3'"),
        ({"method": "ddn", "norm": "linf"}, InvalidValue, "does not cover norm 'linf'. It covers: l2"),
        ({"method": "deepfool", "epsilon": 0.1}, InvalidValue, "takes no epsilon"),
        ({"epsilon": -0.1}, InvalidValue, r"epsilon must be a float in the range \[0, inf\). Got -0.1"),
        ({"epsilon": float("nan")}, InvalidValue, "epsilon must be a float"),
        ({"epsilon": 8}, InvalidValue, "If it counts steps of 0-255 pixels, write 8/255"),
        ({"epsilon": float("inf")}, InvalidValue, "needs a finite epsilon"),
        ({"method": "noise", "norm": "none", "epsilon": 0.3}, InvalidValue, "Norm 'none' has no radius"),
        ({"method": "noise", "norm": "l0", "epsilon": 2.5}, InvalidValue, "counts image positions"),
        ({"epsilon": "a lot"}, InvalidValue, "such as 0.1 or 8/255"),
        ({"target": True}, InvalidValue, "target must be an int"),
        ({"target": 3.0}, InvalidValue, "target must be an int"),
        ({"seed": 2**64}, InvalidValue, "seed must be an int"),
        ({"batch_size": 32.5}, InvalidValue, "batch_size must be an int"),
        ({"method": "pgd", "steps": float("inf")}, InvalidValue, "Got inf"),
        ({"target": 10}, InvalidValue, r"target must be a class in 0..9. Got 10"),
        ({"target": -1}, InvalidValue, "target must be an int"),
        ({"seed": -1}, InvalidValue, r"seed must be an int in the range \[0, 2\*\*64\)"),
        ({"restarts": 0}, InvalidValue, r"restarts must be an int in the range \[1, 1000000\]"),
        ({"early_stop": "success"}, InvalidValue, "early_stop must be True or False"),
        ({"compile": "jit"}, UnknownName, "Available: auto, graph, xla"),
        ({"batch_size": 0}, InvalidValue, "batch_size must be an int"),
        ({"precision": "float8"}, UnknownName, "Unknown precision 'float8'"),
        (
            {"method": "pgd", "steps": 0},
            InvalidValue,
            r"'steps' of method 'pgd' must be an int in the range \[1, 1000000\]",
        ),
        ({"method": "pgd", "steps": 2.5}, InvalidValue, "Got 2.5"),
        ({"method": "square", "steps": 0}, InvalidValue, r"'steps' of method 'square' must be an int in the range \[1"),
        ({"method": "apgd", "loss": "ec"}, UnknownName, "Did you mean 'ce'"),
        ({"attempted": np.ones(3, bool)}, InvalidValue, r"attempted must be a bool array of shape \(449,\)"),
        (
            {"method": "pgd", "relative_step_size": float("nan")},
            InvalidValue,
            "'relative_step_size' of method 'pgd' must be a float",
        ),
        ({"method": "pgd", "step_size": -1}, InvalidValue, r"must be a float in the range \[0, inf\)"),
        ({"method": "pgd", "random_start": "maybe"}, InvalidValue, "Got 'maybe'"),
    ],
)
def test_bad_values_say_what_is_allowed(trained, digits, options, error, message):
    with pytest.raises(error, match=message):
        attack(trained, digits, **options)


def test_data_and_model_must_fit(trained, grey, digits):
    with pytest.raises(Mismatch, match=r"takes inputs of shape \(28, 28\), but the images have shape \(6, 6, 1\)"):
        attack(trained, grey)
    eleven = replace(digits, y=np.full(len(digits), 10), classes=(*digits.classes, "ten"))
    with pytest.raises(Mismatch, match="has 10 classes, but data set"):
        attack(trained, eleven)


class OutOfMemory:
    """A device that cannot take a step of more than so many images at once, as TensorFlow says it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rows: int):
        self.sizes: list[int] = []
        take_steps = steps.CompiledMethod.run

        def run_if_it_fits(compiled, slice_rows, batch, *arguments):
            self.sizes.append(len(batch.labels))
            if len(batch.labels) > rows:
                raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
            return take_steps(compiled, slice_rows, batch, *arguments)

        monkeypatch.setattr(steps.CompiledMethod, "run", run_if_it_fits)


def test_memory_that_runs_out_halves_the_batches_and_the_result_is_the_same(trained, digits, monkeypatch):
    options = {"method": "pgd", "steps": 5, "restarts": 2, "epsilon": 0.1}
    whole = attack(trained, digits, **options)
    device = OutOfMemory(monkeypatch, 120)
    halved = attack(trained, digits, **options)
    assert device.sizes[:2] == [449, 225]
    assert set(device.sizes[2:]) == {113}
    assert np.mean(whole.success == halved.success) >= 0.999
    np.testing.assert_array_equal(whole.forward_passes, halved.forward_passes)
    assert halved.execution.batch_size <= 120


def test_work_in_halved_batches_is_not_taken_for_work_in_whole_ones(trained, digits, monkeypatch):
    monkeypatch.setattr(run, "_SAVE_AFTER", -1.0)
    options = {"method": "pgd", "steps": 5, "epsilon": 0.1}
    whole = attack(trained, digits, **options)
    with monkeypatch.context() as patch:
        OutOfMemory(patch, 120)
        interrupt_at(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            attack(trained, digits, **options, save=True)
    assert not list(workspace.root().rglob("*.partial.h5"))
    np.testing.assert_array_equal(whole.x_adv, attack(trained, digits, **options, save=True).x_adv)


def test_memory_too_small_for_one_image_is_said(trained, digits, monkeypatch):
    OutOfMemory(monkeypatch, 0)
    with pytest.raises(AdvlabError, match=r"memory of CPU is too small.*1 images.*'digits'.*another --device"):
        attack(trained, digits.take(3), "pgd", steps=2)
