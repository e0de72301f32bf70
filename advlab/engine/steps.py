"""The compiled half of the engine: a chunk of steps for one batch, with each sample's best kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from advlab.classifiers.classifier import Classifier
from advlab.engine.compile import once, side_by_side
from advlab.problem.balls import BALLS
from advlab.problem.losses import margin
from advlab.problem.norms import total
from advlab.problem.problem import Craft, ExternalLoop, Loop, Problem, Query, UniversalLoop
from advlab.threat import Attack

TRACE = 100  # at most so many points of the loss are stored for each sample
_SOLID = 2e-5  # of the largest logit: some times the rounding of float32 through a small network
_REDRAW = 63  # the draw kept for directions where the gradient says nothing
Carry = dict[str, tf.Tensor]


class Batch(NamedTuple):
    """The rows of one batch: see ``advlab.problem.problem.Problem`` for shapes."""

    x: tf.Tensor
    labels: tf.Tensor
    aim: tf.Tensor
    target: tf.Tensor
    streams: tf.Tensor


class Compiled(NamedTuple):
    """One method, traced for one classifier: ``begin`` gives the carry, ``advance`` takes steps ``first`` to ``last``.

    Their first argument is the number of rows that one core takes at a time (see ``compiling.shares``).
    ``advance`` takes every gradient as it comes. Where one turns out to be zero or not finite, the chunk is taken again
    by ``advance_carefully``, which walks in a random direction there: so the usual case does not pay for the rare one.
    The carry is a dict of tensors with rows first: the method's state under ``state/``, the best so far, the record.
    """

    begin: Callable[..., Carry]
    advance: Callable[..., Carry]
    advance_carefully: Callable[..., Carry]
    traces: list[str]

    def run(
        self, share: int, batch: Batch, epsilon: tf.Tensor, floats: Mapping[str, tf.Tensor], carry: Carry, *chunk: Any
    ) -> Carry:
        """``advance`` from ``first`` to ``last``, carefully where a gradient was or turns out to be lost."""
        if not _lost(carry):
            after = self.advance(share, batch, epsilon, floats, carry, *chunk)
            if not _lost(after):
                return after
        return self.advance_carefully(share, batch, epsilon, floats, carry, *chunk)


def problem_of(batch: Batch, norm: str, epsilon: tf.Tensor, logits: Callable[[tf.Tensor], tf.Tensor]) -> Problem:
    """The problem set by a batch under a norm."""
    return Problem(batch.x, batch.labels, batch.aim, batch.target, BALLS[norm](batch.x, epsilon), batch.streams, logits)


def trace_steps(steps: int) -> np.ndarray:
    """int32: the looks (0 to ``steps``) whose loss is stored."""
    return np.unique(np.linspace(0, steps, min(steps + 1, TRACE)).round().astype(np.int32))


def plan(craft: Craft, attack: Attack, shape: tuple[int, ...]) -> Loop | UniversalLoop | ExternalLoop:
    """What the method returns for images of shape ``(h, w, c)``: its goal and number of steps, before any work."""
    one = tf.zeros([1], tf.int32)
    batch = Batch(tf.zeros((1, *shape)), one, one - 1, one - 1, tf.zeros([1, 2], tf.uint32))
    problem = problem_of(batch, attack.threat.norm, tf.constant(attack.threat.epsilon, tf.float64), lambda x: x)
    return craft(problem, **attack.parameters)


def compiled(classifier: Classifier, craft: Craft, attack: Attack, goal: str, xla: bool) -> Compiled:
    """The method traced for this classifier, once for each set of whole-number, truth and text parameters.

    Numbers with a fraction, epsilon among them, enter as tensors: five epsilons are one compilation.
    """
    fixed = {name: v for name, v in attack.parameters.items() if not isinstance(v, float)}
    key = (craft, attack.threat.norm, attack.early_stop, attack.precision, goal, xla, tuple(sorted(fixed.items())))
    lowered = classifier.lowered() if attack.precision == "bfloat16" else None
    if key not in classifier.compiled:
        classifier.compiled[key] = _trace(classifier, lowered, craft, attack, fixed, goal, xla)
    return classifier.compiled[key]


def _trace(
    classifier: Classifier,
    lowered: Classifier | None,
    craft: Craft,
    attack: Attack,
    fixed: Mapping[str, Any],
    goal: str,
    xla: bool,
) -> Compiled:
    traces: list[str] = []
    logits = (lowered or classifier).logits

    def setting(batch: Batch, epsilon: tf.Tensor, floats: Mapping[str, tf.Tensor]) -> tuple[Problem, Any]:
        problem = problem_of(batch, attack.threat.norm, epsilon, logits)
        return problem, craft(problem, **fixed, **floats)

    def begin(batch: Batch, epsilon: tf.Tensor, floats: Mapping[str, tf.Tensor]) -> Carry:
        traces.append("begin")
        _, loop = setting(batch, epsilon, floats)
        state = loop.start()
        rows = tf.shape(batch.labels)[0]
        nothing, never = tf.zeros([rows], tf.bool), tf.fill([rows], -1)
        return {
            **{f"state/{name}": value for name, value in state.items()},
            "x": state["x"],
            "loss": tf.fill([rows], -np.inf),
            "success": nothing,
            "distance": tf.fill([rows], np.float32(np.inf)),
            "forward": tf.zeros([rows], tf.int32),
            "backward": tf.zeros([rows], tf.int32),
            "loss_trace": tf.fill([rows, len(trace_steps(loop.steps))], np.float32(np.nan)),
            "first_success": never,
            "zero_gradient": nothing,
            "nonfinite": nothing,
        }

    def steps(
        careful: bool,
        batch: Batch,
        epsilon: tf.Tensor,
        floats: Mapping[str, tf.Tensor],
        carry: Carry,
        first: tf.Tensor,
        last: tf.Tensor,
    ) -> Carry:
        traces.append("advance_carefully" if careful else "advance")
        problem, loop = setting(batch, epsilon, floats)
        column = np.full(loop.steps + 1, -1, np.int32)
        column[trace_steps(loop.steps)] = np.arange(len(trace_steps(loop.steps)))
        frozen = attack.early_stop
        exact = problem._replace(logits=classifier.logits)

        def look(carry: Carry, step: tf.Tensor, gradient: bool) -> tuple[Carry, Query]:
            live = ~idle(carry, frozen)
            again = tf.zeros_like(live)
            if lowered and gradient:
                query, again = _verified(problem, exact, carry, loop.loss, goal)
            else:
                query = exact.query(carry["state/x"], loop.loss, gradient)
            if goal == "minimal":
                query = query._replace(success=query.success & _solid(query.logits))
            slot = tf.one_hot(tf.gather(column, step), carry["loss_trace"].shape[1], on_value=True, off_value=False)
            carry = carry | {
                "forward": carry["forward"] + tf.cast(live, tf.int32) + tf.cast(live & again, tf.int32),
                "backward": carry["backward"] + tf.cast(live & gradient, tf.int32),
                "loss_trace": tf.where(slot[None] & live[:, None], query.loss[:, None], carry["loss_trace"]),
                "nonfinite": carry["nonfinite"] | ~tf.math.is_finite(query.loss),
            }
            return _keep(carry, query, problem, goal, loop.keep, live & (step >= loop.counts_from), step), query

        def one(step: tf.Tensor, carry: Carry) -> tuple[tf.Tensor, Carry]:
            seen, query = look(carry, step, loop.gradient)
            if query.gradient is not None:
                flags = {name: flag & ~idle(carry, frozen) for name, flag in _flags(query.gradient).items()}
                seen = seen | {name: seen[name] | flag for name, flag in flags.items()}
                if careful:
                    lost = flags["zero_gradient"] | flags["nonfinite"]
                    query = query._replace(gradient=_walked(problem, query.gradient, lost, step))
            state = {name.removeprefix("state/"): v for name, v in carry.items() if name.startswith("state/")}
            new = loop.update(state, query, step)
            if frozen or "done" in state:
                still = idle(seen, frozen)
                new = {name: _where(still, state[name], value) for name, value in new.items()}
                spent = tf.cast(~still, tf.int32)
            else:
                spent = tf.ones_like(seen["forward"])
            for name, passes in zip(("forward", "backward"), loop.extra, strict=True):
                seen[name] += passes * spent
            return step + 1, seen | {f"state/{name}": value for name, value in new.items()}

        def goes_on(step: tf.Tensor, carry: Carry) -> tf.Tensor:
            may_rest = frozen or "state/done" in carry
            return (step < last) & tf.reduce_any(~idle(carry, frozen)) if may_rest else step < last

        _, carry = tf.while_loop(goes_on, one, (first, carry), maximum_iterations=loop.steps)
        return tf.cond(last >= loop.steps, lambda: look(carry, tf.constant(loop.steps), False)[0], lambda: carry)

    start, plain, careful = (
        side_by_side(once(function, xla), xla) for function in (begin, partial(steps, False), partial(steps, True))
    )
    return Compiled(start, plain, careful, traces)


def _verified(problem: Problem, exact: Problem, carry: Carry, loss: str, goal: str) -> tuple[Query, tf.Tensor]:
    """A look whose gradient is of low precision and whose success is not, and the rows that were looked at twice.

    A minimal method feels its way along the boundary, so each of its looks is exact. A bounded one moves away from it:
    there only what would count as a sample's first success is looked at again.
    """
    query = problem.query(carry["state/x"], loss)
    if goal == "minimal":
        return exact.query(query.x, loss, gradient=False)._replace(gradient=query.gradient), tf.ones_like(query.success)
    new = query.success & ~carry["success"]
    success = tf.cond(
        tf.reduce_any(new),
        lambda: query.success & (~new | exact.query(query.x, loss, gradient=False).success),
        lambda: query.success,
    )
    return query._replace(success=success), new


def idle(carry: Mapping[str, Any], frozen: bool) -> Any:
    """bool ``(b,)``: the rows with nothing left to do, broken ones among them where ``frozen``."""
    done = carry.get("state/done")
    broken = carry["success"] if frozen else tf.zeros_like(carry["success"])
    return broken if done is None else broken | done


def _keep(
    carry: Carry, query: Query, problem: Problem, goal: str, keep: str, live: tf.Tensor, step: tf.Tensor
) -> Carry:
    """Each sample's best: success first, then the higher loss or, for a minimal method, the smaller distance."""
    distance = carry["distance"]
    further, success = query.loss > carry["loss"], query.success
    if goal == "minimal":
        distance = problem.ball.distance(query.x)
        further = tf.where(success, distance < carry["distance"], further)
    better = (success & ~carry["success"]) | ((success == carry["success"]) & further)
    if keep == "last":
        better = tf.ones_like(better)
    better &= live
    return carry | {
        "x": _where(better, query.x, carry["x"]),
        "loss": tf.where(better, query.loss, carry["loss"]),
        "success": tf.where(better, success, carry["success"]),
        "distance": tf.where(better, distance, carry["distance"]),
        "first_success": tf.where(live & success & (carry["first_success"] < 0), step, carry["first_success"]),
    }


def _solid(logits: tf.Tensor) -> tf.Tensor:
    """The nearest success lies on the boundary itself: one that the last bit of a logit undoes does not count."""
    predicted = tf.argmax(logits, -1, tf.int32)
    return -margin(logits, predicted) > _SOLID * tf.reduce_max(tf.abs(logits), -1)


def _flags(gradient: tf.Tensor) -> Carry:
    """For which rows the gradient is zero, and for which it is not finite: one pass over memory tells both."""
    size = total(tf.abs(gradient))[:, 0, 0, 0]
    return {"zero_gradient": size == 0, "nonfinite": ~tf.math.is_finite(size)}


def _walked(problem: Problem, gradient: tf.Tensor, lost: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """A random direction where the gradient says nothing; the draw is dear, and made only where a row needs it."""

    def drawn() -> tf.Tensor:
        return _where(lost, problem.random(step, _REDRAW, "normal"), gradient)

    return tf.cond(tf.reduce_any(lost), drawn, lambda: gradient)


def _lost(carry: Carry) -> bool:
    return bool(np.any(carry["zero_gradient"]) or np.any(carry["nonfinite"]))


def _where(rows: tf.Tensor, yes: tf.Tensor, no: tf.Tensor) -> tf.Tensor:
    return tf.where(tf.reshape(rows, [-1] + [1] * (len(no.shape) - 1)), yes, no)
