"""The compiled half of the engine: a chunk of steps for one batch, with each sample's best kept."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from advlab.classifiers.classifier import Classifier
from advlab.classifiers.words import word_model
from advlab.declarations.attack import Attack
from advlab.engine.compile import compile_function, parallelize
from advlab.problem.balls import BALLS
from advlab.problem.norms import total
from advlab.problem.problem import Craft, ExternalLoop, Loop, Problem, Query, UniversalLoop, rounding_margin
from advlab.problem.words import Words

TRACE = 100  # at most so many points of the loss are stored for each sample
_DIRECTION_DRAW = 63  # the draw reserved for random directions, where the gradient is zero or not finite
Carry = dict[str, tf.Tensor]
Distance = Callable[[tf.Tensor], tf.Tensor]


class Batch(NamedTuple):
    """The rows of one batch: see ``advlab.problem.problem.Problem`` for shapes.

    ``mask`` is that of a ball; where every pixel may change it is an empty tuple, which has no tensor to divide.
    """

    x: tf.Tensor
    labels: tf.Tensor
    aim: tf.Tensor
    target: tf.Tensor
    streams: tf.Tensor
    restart: tf.Tensor
    nearest: tf.Tensor
    mask: tf.Tensor | tuple[()] = ()


class CompiledMethod(NamedTuple):
    """One method, traced for one classifier: ``begin`` gives the carry, ``advance`` takes steps ``first`` to ``last``.

    Their first argument is the number of rows in a slice (see ``compile.Slices``).
    ``advance`` takes every gradient as it comes. Where one turns out to be zero or not finite, the chunk is taken again
    by ``advance_carefully``, which steps in a random direction there: so the usual case does not pay for the rare one.
    The carry is a dict of tensors with rows first: the method's state under ``state/``, the best so far, diagnostics.
    """

    begin: Callable[..., Carry]
    advance: Callable[..., Carry]
    advance_carefully: Callable[..., Carry]
    traces: list[str]

    def run(
        self, rows: int, batch: Batch, epsilon: tf.Tensor, floats: Mapping[str, tf.Tensor], carry: Carry, *chunk: Any
    ) -> Carry:
        """``advance`` from ``first`` to ``last``, carefully where a gradient was or turns out to be unusable."""
        if not _has_unusable_gradient(carry):
            next_carry = self.advance(rows, batch, epsilon, floats, carry, *chunk)
            if not _has_unusable_gradient(next_carry):
                return next_carry
        return self.advance_carefully(rows, batch, epsilon, floats, carry, *chunk)


def build_problem(
    batch: Batch, norm: str, epsilon: tf.Tensor, logits: Callable[[tf.Tensor], tf.Tensor], top: int = 1
) -> Problem:
    """The problem of a batch under a norm."""
    ball = BALLS[norm](batch.x, epsilon, None if isinstance(batch.mask, tuple) else batch.mask)
    return Problem(
        batch.x, batch.labels, batch.aim, batch.target, ball, batch.streams, batch.restart, batch.nearest, logits, top
    )


def words_of(classifier: Classifier) -> Words | None:
    """What attacks on words work on; None for a classifier of images."""
    if not classifier.vocabulary:
        return None
    known, digest = classifier.compiled.get("words"), classifier.digest
    if known is None or known[0] != digest:
        model = word_model(classifier)
        known = digest, Words(model.table, model.logits, functools.cache(model.neighbours))
        classifier.compiled["words"] = known
    return known[1]


def trace_steps(steps: int) -> np.ndarray:
    """int32: the queries (0 to ``steps``) whose loss is stored."""
    return np.unique(np.linspace(0, steps, min(steps + 1, TRACE)).round().astype(np.int32))


def plan(craft: Craft, attack: Attack, shape: tuple[int, ...]) -> Loop | UniversalLoop | ExternalLoop:
    """What the method returns for images of shape ``(h, w, c)``: the type of loop and its steps, before any work."""
    label, x = tf.zeros([1], tf.int32), tf.zeros((1, *shape))
    batch = Batch(x, label, label - 1, label - 1, tf.zeros([1, 2], tf.uint32), label, x)
    problem = build_problem(batch, attack.threat.norm, tf.constant(attack.threat.epsilon, tf.float64), lambda x: x)
    return craft(problem, **attack.parameters)


def dependence(spec: Attack, shape: tuple[int, ...]) -> str:
    """Why what an attack makes of an image ``(h, w, c)`` depends on the others, in words; empty where it does not."""
    craft = spec.craft or import_module(f"advlab.methods.{spec.method}").craft
    loop = plan(craft, spec, shape)
    if isinstance(loop, Loop):
        return ""
    return "seeks one change of all images" if isinstance(loop, UniversalLoop) else "draws at random by the batch"


def compile_method(classifier: Classifier, craft: Craft, attack: Attack, goal: str, xla: bool) -> CompiledMethod:
    """The method traced for this classifier, once for each set of int, bool and str parameters.

    Floats, epsilon among them, enter as tensors: five epsilons are one compilation.
    """
    constants = {name: v for name, v in attack.parameters.items() if not isinstance(v, float)}
    threat = attack.threat
    variant = (threat.norm, threat.top, attack.early_stop, attack.precision, attack.passes, attack.loss)
    # A method on words holds their vectors as they are now, not as variables.
    weights = classifier.digest if classifier.vocabulary else ""
    key = (craft, variant, goal, xla, weights, tuple(sorted(constants.items())))
    low_precision = classifier.in_bfloat16() if attack.precision == "bfloat16" else None
    if key not in classifier.compiled:
        classifier.compiled[key] = _trace(classifier, low_precision, craft, attack, constants, goal, xla)
    return classifier.compiled[key]


def _trace(
    classifier: Classifier,
    low_precision: Classifier | None,
    craft: Craft,
    attack: Attack,
    constants: Mapping[str, Any],
    goal: str,
    xla: bool,
) -> CompiledMethod:
    traces: list[str] = []
    logits, words = (low_precision or classifier).logits, words_of(classifier)

    def build_loop(batch: Batch, epsilon: tf.Tensor, floats: Mapping[str, tf.Tensor]) -> tuple[Problem, Any]:
        problem = build_problem(batch, attack.threat.norm, epsilon, logits, attack.threat.top)
        problem = problem._replace(passes=attack.passes, loss=attack.loss_function, words=words)
        return problem, craft(problem, **constants, **floats)

    def begin(batch: Batch, epsilon: tf.Tensor, floats: Mapping[str, tf.Tensor]) -> Carry:
        traces.append("begin")
        _, loop = build_loop(batch, epsilon, floats)
        state = loop.start()
        rows = tf.shape(batch.labels)[0]
        false, never = tf.zeros([rows], tf.bool), tf.fill([rows], -1)
        return {
            **{f"state/{name}": value for name, value in state.items()},
            "x": state["x"],
            "loss": tf.fill([rows], -np.inf),
            "success": false,
            "distance": tf.fill([rows], np.float32(np.inf)),
            "forward": tf.fill([rows], attack.passes * loop.first_passes),
            "backward": tf.zeros([rows], tf.int32),
            "loss_trace": tf.fill([rows, len(trace_steps(loop.steps))], np.float32(np.nan)),
            "first_success": never,
            "zero_gradient": false,
            "nonfinite": false,
        }

    def advance(
        careful: bool,
        batch: Batch,
        epsilon: tf.Tensor,
        floats: Mapping[str, tf.Tensor],
        carry: Carry,
        first: tf.Tensor,
        last: tf.Tensor,
    ) -> Carry:
        traces.append("advance_carefully" if careful else "advance")
        problem, loop = build_loop(batch, epsilon, floats)
        column = np.full(loop.steps + 1, -1, np.int32)
        column[trace_steps(loop.steps)] = np.arange(len(trace_steps(loop.steps)))
        early_stop = attack.early_stop
        exact_problem = problem._replace(logits=classifier.logits)

        def query_and_record(carry: Carry, step: tf.Tensor, gradient: bool) -> tuple[Carry, Query]:
            active = ~is_idle(carry, early_stop)
            is_repeated = tf.zeros_like(active)
            if low_precision and gradient:
                query, is_repeated = _query_mixed_precision(problem, exact_problem, carry, loop.loss, goal)
            else:
                query = exact_problem.query(carry["state/x"], loop.loss, gradient)
            if goal == "minimal":
                query = query._replace(success=query.success & _counts(problem, query.logits, loop.confidence))
            point = tf.one_hot(tf.gather(column, step), carry["loss_trace"].shape[1], on_value=True, off_value=False)
            carry = carry | {
                "forward": carry["forward"]
                + attack.passes * (tf.cast(active, tf.int32) + tf.cast(active & is_repeated, tf.int32)),
                "backward": carry["backward"] + attack.passes * tf.cast(active & gradient, tf.int32),
                "loss_trace": tf.where(point[None] & active[:, None], query.loss[:, None], carry["loss_trace"]),
                "nonfinite": carry["nonfinite"] | ~tf.math.is_finite(query.loss),
            }
            eligible = active & (step >= loop.counts_from)
            return _keep_best(
                carry, query, loop.distance or problem.ball.distance, goal, loop.keep, eligible, step
            ), query

        def take_step(step: tf.Tensor, carry: Carry) -> tuple[tf.Tensor, Carry]:
            recorded, query = query_and_record(carry, step, loop.gradient)
            if query.gradient is not None:
                flags = {name: flag & ~is_idle(carry, early_stop) for name, flag in _flags(query.gradient).items()}
                recorded = recorded | {name: recorded[name] | flag for name, flag in flags.items()}
                if careful:
                    unusable = flags["zero_gradient"] | flags["nonfinite"]
                    query = query._replace(gradient=_random_where(unusable, problem, query.gradient, step))
            state = {name.removeprefix("state/"): v for name, v in carry.items() if name.startswith("state/")}
            next_state = loop.update(state, query, step)
            if early_stop or "done" in state:
                idle = is_idle(recorded, early_stop)
                next_state = {name: _where(idle, state[name], value) for name, value in next_state.items()}
                updates = tf.cast(~idle, tf.int32)
            else:
                updates = tf.ones_like(recorded["forward"])
            for name, passes in zip(("forward", "backward"), loop.extra, strict=True):
                recorded[name] += attack.passes * passes * updates
            return step + 1, recorded | {f"state/{name}": value for name, value in next_state.items()}

        def has_work(step: tf.Tensor, carry: Carry) -> tf.Tensor:
            rows_may_finish = early_stop or "state/done" in carry
            return (step < last) & tf.reduce_any(~is_idle(carry, early_stop)) if rows_may_finish else step < last

        _, carry = tf.while_loop(has_work, take_step, (first, carry), maximum_iterations=loop.steps)

        def final_query() -> Carry:
            return query_and_record(carry, tf.constant(loop.steps), False)[0]

        return tf.cond(last >= loop.steps, final_query, lambda: carry)

    begin_slices, plain, careful = (
        parallelize(compile_function(function, xla), xla)
        for function in (begin, partial(advance, False), partial(advance, True))
    )
    return CompiledMethod(begin_slices, plain, careful, traces)


def _query_mixed_precision(
    problem: Problem, exact_problem: Problem, carry: Carry, loss: str, goal: str
) -> tuple[Query, tf.Tensor]:
    """A query whose gradient is of low precision and whose success is not, and the rows that were queried twice.

    A minimal method stays close to the boundary, so each of its queries is exact. A bounded one moves away from it:
    there only what would count as a sample's first success is queried again.
    """
    query = problem.query(carry["state/x"], loss)
    if goal == "minimal":
        exact_query = exact_problem.query(query.x, loss, gradient=False)
        return exact_query._replace(gradient=query.gradient), tf.ones_like(query.success)
    is_new = query.success & ~carry["success"]
    success = tf.cond(
        tf.reduce_any(is_new),
        lambda: query.success & (~is_new | exact_problem.query(query.x, loss, gradient=False).success),
        lambda: query.success,
    )
    return query._replace(success=success), is_new


def is_idle(carry: Mapping[str, Any], early_stop: bool) -> Any:
    """bool ``(b,)``: the rows with nothing left to do; with ``early_stop`` also those that have succeeded."""
    done = carry.get("state/done")
    stopped = carry["success"] if early_stop else tf.zeros_like(carry["success"])
    return stopped if done is None else stopped | done


def _keep_best(
    carry: Carry, query: Query, measure: Distance, goal: str, keep: str, eligible: tf.Tensor, step: tf.Tensor
) -> Carry:
    """Each sample's best: success first, then the higher loss or, for a minimal method, the smaller distance."""
    distance = carry["distance"]
    improves, success = query.loss > carry["loss"], query.success
    if goal == "minimal":
        distance = measure(query.x)
        improves = tf.where(success, distance < carry["distance"], improves)
    is_better = (success & ~carry["success"]) | ((success == carry["success"]) & improves)
    if keep == "last":
        is_better = tf.ones_like(is_better)
    is_better &= eligible
    return carry | {
        "x": _where(is_better, query.x, carry["x"]),
        "loss": tf.where(is_better, query.loss, carry["loss"]),
        "success": tf.where(is_better, success, carry["success"]),
        "distance": tf.where(is_better, distance, carry["distance"]),
        "first_success": tf.where(eligible & success & (carry["first_success"] < 0), step, carry["first_success"]),
    }


def _counts(problem: Problem, logits: tf.Tensor, confidence: float | tf.Tensor) -> tf.Tensor:
    """The nearest success lies on the boundary itself: one that the last bit of a logit undoes does not count."""
    attained = problem.margin(logits)
    return (attained > rounding_margin(logits)) & (attained >= confidence)


def _flags(gradient: tf.Tensor) -> Carry:
    """For which rows the gradient is zero, and for which it is not finite: one pass over memory for both."""
    size = total(tf.abs(gradient))[:, 0, 0, 0]
    return {"zero_gradient": size == 0, "nonfinite": ~tf.math.is_finite(size)}


def _random_where(rows: tf.Tensor, problem: Problem, gradient: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """The gradient, replaced by a random direction for ``rows``; the draw is costly, made only if a row needs it."""

    def randomize() -> tf.Tensor:
        return _where(rows, problem.masked(problem.random(step, _DIRECTION_DRAW, "normal")), gradient)

    return tf.cond(tf.reduce_any(rows), randomize, lambda: gradient)


def _has_unusable_gradient(carry: Carry) -> bool:
    return bool(np.any(carry["zero_gradient"]) or np.any(carry["nonfinite"]))


def _where(rows: tf.Tensor, yes: tf.Tensor, no: tf.Tensor) -> tf.Tensor:
    return tf.where(tf.reshape(rows, [-1] + [1] * (len(no.shape) - 1)), yes, no)
