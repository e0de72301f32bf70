"""The compiled half of the engine: a chunk of steps for one batch, with each sample's best kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from advlab.classifier import Classifier
from advlab.geometry import BALLS
from advlab.problem import Craft, Host, Loop, Problem, View
from advlab.threat import Attack

TRACE = 100  # at most so many points of the loss are stored for each sample
_REDRAW = 63  # the draw kept for directions where the gradient says nothing
Carry = dict[str, tf.Tensor]


class Batch(NamedTuple):
    """The rows of one batch: see ``advlab.problem.Problem`` for shapes."""

    x: tf.Tensor
    labels: tf.Tensor
    aim: tf.Tensor
    target: tf.Tensor
    streams: tf.Tensor


class Compiled(NamedTuple):
    """One method, traced for one classifier: ``begin`` gives the carry, ``advance`` takes steps ``first`` to ``last``.

    The carry is a dict of tensors with rows first: the method's state under ``state/``, the best so far, the record.
    """

    begin: Callable[..., Carry]
    advance: Callable[..., Carry]
    traces: list[str]


def problem_of(batch: Batch, norm: str, epsilon: tf.Tensor, logits: Callable[[tf.Tensor], tf.Tensor]) -> Problem:
    """The problem set by a batch under a norm."""
    return Problem(batch.x, batch.labels, batch.aim, batch.target, BALLS[norm](batch.x, epsilon), batch.streams, logits)


def trace_steps(steps: int) -> np.ndarray:
    """int32: the looks (0 to ``steps``) whose loss is stored."""
    return np.unique(np.linspace(0, steps, min(steps + 1, TRACE)).round().astype(np.int32))


def plan(craft: Craft, attack: Attack, shape: tuple[int, ...]) -> Loop | Host:
    """What the method returns for images of shape ``(h, w, c)``: its kind and number of steps, before any work."""
    one = tf.zeros([1], tf.int32)
    batch = Batch(tf.zeros((1, *shape)), one, one - 1, one - 1, tf.zeros([1, 2], tf.uint32))
    problem = problem_of(batch, attack.threat.norm, tf.constant(attack.threat.epsilon, tf.float64), lambda x: x)
    return craft(problem, **attack.parameters)


def compiled(classifier: Classifier, craft: Craft, attack: Attack, kind: str, xla: bool) -> Compiled:
    """The method traced for this classifier, once for each set of whole-number, truth and text parameters.

    Numbers with a fraction, epsilon among them, enter as tensors: five epsilons are one compilation.
    """
    fixed = {name: v for name, v in attack.parameters.items() if not isinstance(v, float)}
    key = (craft, attack.threat.norm, attack.stop, kind, xla, tuple(sorted(fixed.items())))
    if key not in classifier.compiled:
        classifier.compiled[key] = _trace(classifier, craft, attack.threat.norm, fixed, kind, attack.stop, xla)
    return classifier.compiled[key]


def _trace(
    classifier: Classifier, craft: Craft, norm: str, fixed: Mapping[str, Any], kind: str, stop: str, xla: bool
) -> Compiled:
    traces: list[str] = []

    def setting(batch: Batch, epsilon: tf.Tensor, floats: Mapping[str, tf.Tensor]) -> tuple[Problem, Any]:
        problem = problem_of(batch, norm, epsilon, classifier.logits)
        return problem, craft(problem, **fixed, **floats)

    @tf.function(jit_compile=xla)
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

    @tf.function(jit_compile=xla)
    def advance(
        batch: Batch,
        epsilon: tf.Tensor,
        floats: Mapping[str, tf.Tensor],
        carry: Carry,
        first: tf.Tensor,
        last: tf.Tensor,
    ) -> Carry:
        traces.append("advance")
        problem, loop = setting(batch, epsilon, floats)
        column = np.full(loop.steps + 1, -1, np.int32)
        column[trace_steps(loop.steps)] = np.arange(len(trace_steps(loop.steps)))
        frozen = stop == "success"

        def look(carry: Carry, step: tf.Tensor, gradient: bool) -> tuple[Carry, View]:
            view = problem.look(carry["state/x"], loop.loss, gradient)
            live = ~carry["success"] if frozen else tf.ones_like(carry["success"])
            slot = tf.one_hot(tf.gather(column, step), carry["loss_trace"].shape[1], on_value=True, off_value=False)
            carry = carry | {
                "forward": carry["forward"] + tf.cast(live, tf.int32),
                "backward": carry["backward"] + tf.cast(live & gradient, tf.int32),
                "loss_trace": tf.where(slot[None] & live[:, None], view.loss[:, None], carry["loss_trace"]),
                "nonfinite": carry["nonfinite"] | ~tf.math.is_finite(view.loss),
                "first_success": tf.where(view.success & (carry["first_success"] < 0), step, carry["first_success"]),
            }
            return _keep(carry, view, problem, kind, loop.keep, live), view

        def one(step: tf.Tensor, carry: Carry) -> tuple[tf.Tensor, Carry]:
            seen, view = look(carry, step, loop.gradient)
            if view.gradient is not None:
                gradient, flags = _usable(view.gradient, problem, step)
                view = view._replace(gradient=gradient)
                seen = seen | {name: seen[name] | flag for name, flag in flags.items()}
            state = {name.removeprefix("state/"): v for name, v in carry.items() if name.startswith("state/")}
            new = loop.update(state, view, step)
            if frozen:
                new = {name: _where(seen["success"], state[name], value) for name, value in new.items()}
            return step + 1, seen | {f"state/{name}": value for name, value in new.items()}

        _, carry = tf.while_loop(lambda step, _: step < last, one, (first, carry), maximum_iterations=loop.steps)
        return tf.cond(last >= loop.steps, lambda: look(carry, tf.constant(loop.steps), False)[0], lambda: carry)

    return Compiled(begin, advance, traces)


def _keep(carry: Carry, view: View, problem: Problem, kind: str, keep: str, live: tf.Tensor) -> Carry:
    """Each sample's best: success first, then the higher loss or, for a minimal method, the smaller distance."""
    distance = carry["distance"]
    further = view.loss > carry["loss"]
    if kind == "minimal":
        distance = problem.ball.distance(view.x)
        further = tf.where(view.success, distance < carry["distance"], further)
    better = (view.success & ~carry["success"]) | ((view.success == carry["success"]) & further)
    if keep == "last":
        better = tf.ones_like(better)
    better &= live
    return carry | {
        "x": _where(better, view.x, carry["x"]),
        "loss": tf.where(better, view.loss, carry["loss"]),
        "success": tf.where(better, view.success, carry["success"]),
        "distance": tf.where(better, distance, carry["distance"]),
    }


def _usable(gradient: tf.Tensor, problem: Problem, step: tf.Tensor) -> tuple[tf.Tensor, Carry]:
    """The gradient, or a random direction for the rows where it is zero or not finite; and which rows those were."""
    nonfinite = ~tf.reduce_all(tf.math.is_finite(gradient), [1, 2, 3])
    zero = tf.reduce_all(gradient == 0, [1, 2, 3])
    lost = nonfinite | zero
    usable = tf.cond(
        tf.reduce_any(lost),
        lambda: _where(lost, problem.random(step, _REDRAW, "normal"), gradient),
        lambda: gradient,
    )
    return usable, {"zero_gradient": zero, "nonfinite": nonfinite}


def _where(rows: tf.Tensor, yes: tf.Tensor, no: tf.Tensor) -> tf.Tensor:
    return tf.where(tf.reshape(rows, [-1] + [1] * (len(no.shape) - 1)), yes, no)
