"""What a method is given, what a query tells it, and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from advlab.problem import random
from advlab.problem.balls import Ball, masked, restricted
from advlab.problem.gradients import value_and_gradient
from advlab.problem.losses import LOSSES, TARGETED_LOSSES, Loss, margin
from advlab.problem.passes import mean_over_passes
from advlab.problem.words import Words

START = -1  # the step number of whatever is drawn before the first query
ROUNDING = 2e-5  # of the largest logit: several times the rounding of float32 through a small network
State = dict[str, tf.Tensor]


def rounding_margin(logits: tf.Tensor) -> tf.Tensor:
    """float32 ``(b,)``: the margin of a minimal method's success that the last bits of logits cannot undo."""
    return ROUNDING * tf.reduce_max(tf.abs(logits), -1)


class Query(NamedTuple):
    """The answer of the model at one point: rows first; ``gradient`` is None where it was not asked for."""

    x: tf.Tensor
    logits: tf.Tensor
    loss: tf.Tensor
    success: tf.Tensor
    gradient: tf.Tensor | None


class Problem(NamedTuple):
    """A batch of samples and the task set on each: a pure value.

    ``x`` float32 ``(b, h, w, c)`` in [0, 1]; ``labels``, ``aim`` and ``target`` int32 ``(b,)``: ``aim`` is the class to
    push towards (-1: away from the label), ``target`` the class that counts as success (-1: any but the label);
    ``ball`` the admissible set around ``x``; ``streams`` uint32 ``(b, 2)``; ``restart`` int32 ``(b,)``, from 0;
    ``nearest`` the nearest success of the restarts before, ``x`` itself where there is none; ``logits`` the classifier;
    without a target success is a label that is not among the ``top`` likeliest classes. ``passes`` of the classifier
    are averaged in each query. ``loss`` is raised in place of the method's own where it is not None. ``words`` are
    those of a classifier of texts, None for images.
    """

    x: tf.Tensor
    labels: tf.Tensor
    aim: tf.Tensor
    target: tf.Tensor
    ball: Ball
    streams: tf.Tensor
    restart: tf.Tensor
    nearest: tf.Tensor
    logits: Callable[[tf.Tensor], tf.Tensor]
    top: int = 1
    passes: int = 1
    loss: Loss | None = None
    words: Words | None = None

    def query(self, x: tf.Tensor, loss: str = "ce", gradient: bool = True) -> Query:
        """Logits, loss (larger is better for the attacker), success and, where asked for, the loss's gradient.

        What is queried is ``restrict(x)``: whatever a method does, pixels outside the mask stay clean. All but success
        are means over ``passes``; success is read from the mean of the logits.
        """
        x = self.restrict(x)

        def logits_and_loss(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            logits = self.logits(self.restrict(x))
            return logits, self.loss_of(logits, loss)

        def one_pass(x: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return value_and_gradient(logits_and_loss, x) if gradient else logits_and_loss(x)

        logits, loss_values, *loss_gradient = mean_over_passes(one_pass, x, self.passes)
        return Query(x, logits, loss_values, self._success(logits), loss_gradient[0] if gradient else None)

    def pullback(self, x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """float32 ``(b, h, w, c)``: the gradient of a weighted sum of logits, ``weights`` float32 ``(b, k)``.

        One forward and one backward pass, times ``passes``.
        """

        def weighted_sum(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return x, tf.reduce_sum(weights * self.logits(self.restrict(x)), -1)

        return mean_over_passes(lambda x: value_and_gradient(weighted_sum, x)[-1], x, self.passes)

    def random(self, step: tf.Tensor | int, draw: int, distribution: str = "uniform") -> tf.Tensor:
        """float32, the shape of ``x``: ``uniform`` in [0, 1) or standard ``normal``.

        A function of seed, restart, sample index, step and ``draw`` (below 60) alone.
        """
        shape = self.x.shape[1:]
        numbers = getattr(random, distribution)(self.streams, step, draw, int(np.prod(shape)))
        return tf.reshape(numbers, [-1, *shape])

    def restrict(self, x: tf.Tensor) -> tf.Tensor:
        """float32, the shape of ``x``: ``x`` where pixels may change, and the clean image outside the mask."""
        return restricted(self.ball, x)

    def masked(self, change: tf.Tensor) -> tf.Tensor:
        """The change, zero where no pixel may change: what a method draws or spreads over the image goes through it."""
        return masked(self.ball, change)

    def margin(self, logits: tf.Tensor) -> tf.Tensor:
        """float32 ``(b,)``: by how much the logits are a success, of the target or of any class but the label."""
        has_target = self.target >= 0
        value = margin(logits, tf.where(has_target, self.target, self.labels), self.top)
        return tf.where(has_target, -value, value)

    def clearance(self, logits: tf.Tensor) -> tf.Tensor:
        """float32 ``(b,)``: how far beyond a boundary to aim, in logits, so that what is reached counts.

        Twice the margin that a minimal method's success needs: one that aimed at the boundary itself would stand still
        there, never succeeding.
        """
        return 2 * rounding_margin(logits)

    def loss_of(self, logits: tf.Tensor, name: str = "ce") -> tf.Tensor:
        """float32 ``(b,)``: what a query says of the logits ``(b, k)`` of some point; larger is better."""
        has_aim = self.aim >= 0
        if name in TARGETED_LOSSES and self.loss is None:
            targeted = TARGETED_LOSSES[name](logits, self.labels, tf.maximum(self.aim, 0))
            return tf.where(has_aim, targeted, LOSSES[name](logits, self.labels, self.top))
        towards = tf.where(has_aim, self.aim, self.labels)
        value = LOSSES[name](logits, towards, self.top) if self.loss is None else self.loss(logits, towards)
        return tf.where(has_aim, -value, value)

    def words_or_refuse(self) -> Words:
        """The words of a classifier of texts; raises ``ValueError`` for images, which the engine has refused before."""
        if self.words is None:
            raise ValueError("This problem is one on images.")
        return self.words

    def _success(self, logits: tf.Tensor) -> tf.Tensor:
        predicted = tf.argmax(logits, -1, tf.int32)
        is_wrong = predicted != self.labels if self.top == 1 else margin(logits, self.labels, self.top) > 0
        is_success = tf.where(self.target >= 0, predicted == self.target, is_wrong)
        return is_success & tf.reduce_all(tf.math.is_finite(logits), -1)


class Loop(NamedTuple):
    """What a native method returns; the engine runs it.

    ``start()`` gives the state: a dict of tensors with rows first that has ``x``, the first point to query. Where it
    has ``done``, bool ``(b,)``, the rows for which that is True are not queried again.
    ``update(state, query, step)`` gives the next state. ``keep`` is ``best``, or ``last`` for the last iterate.
    Iterates before step ``counts_from`` may lie outside the ball: they are never kept. ``extra`` counts the forward and
    backward passes that each update spends by itself, ``first_passes`` the forward ones of ``start``. Only a success
    whose margin is at least ``confidence`` counts: a minimal method's queries are told so, and the image it returns has
    that margin. With ``refine`` the engine takes
    the nearest success of a minimal method further by a few steps along the boundary. ``distance(x)``, float32
    ``(b,)``, is what the nearest success has least of, if not the distance of the norm.
    """

    steps: int
    start: Callable[[], State]
    update: Callable[[State, Query, tf.Tensor], State]
    loss: str = "ce"
    gradient: bool = True
    keep: str = "best"
    counts_from: int = 0
    extra: tuple[int, int] = (0, 0)
    first_passes: int = 0
    confidence: float | tf.Tensor = 0.0
    refine: bool = True
    distance: Callable[[tf.Tensor], tf.Tensor] | None = None


class UniversalLoop(NamedTuple):
    """What a method returns that seeks one perturbation, or one patch, of all images; the engine runs it.

    It goes through the images ``epochs`` times, batch by batch. ``start()`` gives the state, a dict of tensors without
    rows that has ``delta``, float32 ``(1, h, w, c)``. ``update(state, query, progress)`` gives the next one from the
    query of a batch at ``ball.project(x + delta)``; ``progress``, float32 in [0, 1), is the fraction of steps done.
    With ``show`` the query is at ``show(state)`` instead, and ``delta`` is a picture that lies on the images: the
    state then counts its steps in ``step``, which is ``START`` for the images returned.
    """

    epochs: int
    start: Callable[[], State]
    update: Callable[[State, Query, tf.Tensor], State]
    loss: str = "ce"
    show: Callable[[State], tf.Tensor] | None = None


class ExternalLoop(NamedTuple):
    """What a method that runs outside TensorFlow's graph returns: the library behind it loops by itself.

    ``run(problem) -> x_adv`` as a NumPy array; the problem's tensors are concrete, and every call of ``problem.logits``
    is counted by the engine.
    """

    run: Callable[[Problem], np.ndarray]


Craft = Callable[..., Any]  # craft(problem, *, parameter: type = default, ...) -> Loop | UniversalLoop | ExternalLoop


def absolute_step_size(
    problem: Problem, steps: int, relative_step_size: float | tf.Tensor, step_size: float | tf.Tensor | None
) -> tf.Tensor:
    """``step_size`` in pixel units where it is given, else ``relative_step_size`` * epsilon / steps: float32.

    A scalar, or ``(b, 1, 1, 1)`` where each image has its own epsilon.
    """
    if step_size is not None:
        return tf.cast(step_size, tf.float32)
    return relative_step_size * tf.cast(problem.ball.epsilon, tf.float32) / steps
