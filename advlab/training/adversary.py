"""Adversarial training: the batch of each train step is crafted against the model inside that compiled step.

Nothing of an attack is written again here: the problem, its balls, losses and random streams and the methods ``pgd``
and, for texts, ``hotflip`` are those that attacks run, traced into the train step without their records. The model
stays a plain Keras model: its ``train_step``, and for TRADES and MART its ``compute_loss``, are replaced on this one
object, and no file knows of it. While it crafts, the model runs in inference mode (dropout off, batch normalisation by
its moving statistics), as the code of TRADES and of N-FGSM does; the step on the weights that follows runs in training
mode.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from advlab.classifiers.classifier import Classifier
from advlab.declarations.adversaries import Adversary
from advlab.declarations.recipes import Training
from advlab.engine.steps import Batch, build_problem
from advlab.methods import hotflip, pgd
from advlab.problem import random
from advlab.problem.balls import BALLS
from advlab.problem.gradients import value_and_gradient
from advlab.problem.losses import divergence
from advlab.problem.problem import START, Loop, Problem, Query, State
from advlab.problem.words import Words
from advlab.training.losses import make_loss
from advlab.training.trainable_words import TrainableWords
from advlab.training.weight_perturbation import at_perturbed_weights

_TRADES_NOISE = 0.001  # the standard deviation of the start of TRADES, in its authors' code
_NOISE_RADIUS = 2  # of the start of N-FGSM, in units of epsilon
_VALIDATION_TRIES = 32  # as many as the attack begins with
_VALIDATION_STREAM = 2**32 - 1  # no train step has this number

Ask = Callable[[Problem, tf.Tensor], Query]


def craft(
    adversary: Adversary,
    logits: Callable[[tf.Tensor], tf.Tensor],
    batch: Batch,
    epsilon: tf.Tensor | None = None,
    words: Words | None = None,
) -> tf.Tensor:
    """Adversarial examples float32 ``(b, h, w, c)`` in [0, 1]: the last iterate, as the methods' authors train on it.

    They lie in the ball of ``epsilon`` (None: ``adversary.epsilon``; float64) around ``batch.x``; those of ``n-fgsm``,
    which is not projected, in that of ``2 + relative_step_size`` times epsilon. Where a gradient is zero the image
    stays; attacks would draw. Texts need their ``words``, and have the best text of ``hotflip``.
    """
    steps, size = adversary.schedule
    epsilon = _float64(adversary.epsilon) if epsilon is None else epsilon

    def problem_within(radius: tf.Tensor) -> Problem:
        return build_problem(batch, adversary.norm, radius, logits)

    if adversary.method == "hotflip":
        problem = problem_within(epsilon)._replace(words=words)
        flips = hotflip.craft(problem, tries=adversary.tries or 0, revisions=0)
        count = tf.minimum(tf.cast(tf.floor(epsilon), tf.int32), flips.steps)
        return tf.stop_gradient(_last_iterate(flips, problem, _without_gradient, flips.start(), count))
    ask: Ask = _cross_entropy
    if adversary.method == "n-fgsm":
        radius = _NOISE_RADIUS + size
        problem = problem_within(radius * epsilon)
        noise = BALLS[adversary.norm](batch.x, _NOISE_RADIUS * epsilon)
        x = noise.start(partial(problem.random, START))
        size /= radius
    elif adversary.method == "trades":
        problem = problem_within(epsilon)
        x = problem.ball.project(batch.x + _TRADES_NOISE * problem.random(START, 0, "normal"))
        ask = partial(_divergence, logits(batch.x))
    elif adversary.method == "fgsm-rs" and adversary.norm == "linf":
        # The authors' start leaves [0, 1]: clipped, every step from a black pixel would end at 0 or at epsilon.
        problem = problem_within(epsilon)
        x = batch.x + tf.cast(epsilon, tf.float32) * (2 * problem.random(START, 0) - 1)
    else:
        problem = problem_within(epsilon)
        x = problem.ball.start(partial(problem.random, START))
    loop = pgd.craft(problem, steps=steps, relative_step_size=size, random_start=False)
    return tf.stop_gradient(_last_iterate(loop, problem, ask, {"x": x}, loop.steps))


def attach(
    model: keras.Model,
    settings: Training,
    image_shape: tuple[int, int, int],
    steps_per_epoch: int,
    words: TrainableWords | None = None,
) -> tf.Variable | None:
    """Let the train step of a model, compiled and prepared, craft or perturb its batches as the settings say.

    ``image_shape`` is ``(h, w, c)``, whatever shape the model's input has. What a step draws is a function of the seed,
    the number of the step and the row of the batch, so that a resumed run draws the same. ``words`` are those of
    a model of texts. Returns the switch, for an
    adversary with ``recovery``, with which PGD takes its place.
    """
    adversary, classifier = settings.adversary, Classifier.from_keras(model)
    plain_step, plain_loss = model.train_step, model.compute_loss

    def batch_of(x: tf.Tensor, labels: tf.Tensor) -> Batch:
        images = tf.reshape(tf.cast(x, tf.float32), [-1, *image_shape])
        rows = tf.range(tf.shape(images)[0])
        step = tf.convert_to_tensor(model.optimizer.iterations)
        return untargeted(images, labels, random.streams(settings.seed, step, rows))

    def as_input(images: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        return tf.reshape(images, tf.shape(x)) if x.shape.rank != 4 else tf.ensure_shape(images, x.shape)

    def step_on_noisy(data: tuple[tf.Tensor, tf.Tensor]) -> Any:
        x, labels = data
        problem = build_problem(batch_of(x, labels), "none", _float64(np.inf), classifier.logits)
        noise = settings.gaussian_noise * problem.random(START, 0, "normal")
        return plain_step((as_input(problem.ball.project(problem.x + noise), x), labels))

    if adversary is None:
        model.train_step = step_on_noisy
        return None

    recovering = tf.Variable(False, trainable=False) if adversary.recovery else None

    def adversarial(x: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        epsilon = _float64(adversary.epsilon)
        if adversary.warmup_epochs:
            warmup_steps = adversary.warmup_epochs * steps_per_epoch
            step = tf.cast(tf.convert_to_tensor(model.optimizer.iterations), tf.float64)
            epsilon *= tf.minimum((step + 1) / warmup_steps, 1)
        batch = batch_of(x, labels)
        x_adv = (
            tf.cond(
                recovering,
                lambda: craft(Adversary("pgd", adversary.epsilon, adversary.norm), classifier.logits, batch, epsilon),
                lambda: craft(adversary, classifier.logits, batch, epsilon),
            )
            if adversary.recovery
            else craft(adversary, classifier.logits, batch, epsilon, words.now() if words else None)
        )
        return as_input(x_adv, x)

    def step_on_adversarial(data: tuple[tf.Tensor, tf.Tensor]) -> Any:
        x, labels = data
        return inner_step((adversarial(x, labels), labels))

    if adversary.weight_perturbation:
        inner_step = at_perturbed_weights(model, plain_step, adversary.weight_perturbation, settings.weight_averaging)
    else:
        inner_step = plain_step
    if adversary.beta is None:
        model.train_step = step_on_adversarial
    else:
        model.compute_loss = make_loss(model, adversary, plain_loss, adversarial)
        model.train_step = inner_step
    return recovering


class RobustValidation(keras.callbacks.Callback):
    """Adds ``val_robust_accuracy`` to each epoch's figures: put it before the callbacks that read them.

    It is the fraction of ``x (n, h, w, c)``, of ``labels (n,)``, that are classified correctly both clean and at the
    last iterate of PGD, from the same random start in every epoch; of texts, with their ``words``, at that of HotFlip.
    """

    def __init__(
        self,
        classifier: Classifier,
        adversary: Adversary,
        x: np.ndarray,
        labels: np.ndarray,
        seed: int,
        words: TrainableWords | None = None,
    ):
        super().__init__()
        if words is None:
            judge = Adversary("pgd", adversary.epsilon, adversary.norm, adversary.validation_steps)
        else:
            judge = Adversary("hotflip", adversary.epsilon, adversary.norm, tries=_VALIDATION_TRIES)
        images, y = tf.constant(x), tf.constant(labels, tf.int32)
        batch = untargeted(images, y, random.streams(seed, _VALIDATION_STREAM, tf.range(len(x))))

        def robust_accuracy() -> tf.Tensor:
            x_adv = craft(judge, classifier.logits, batch, words=words.now() if words else None)
            correct = [tf.argmax(classifier.logits(images), -1, tf.int32) == y for images in (batch.x, x_adv)]
            return tf.reduce_mean(tf.cast(correct[0] & correct[1], tf.float32))

        self._words = words
        self._robust_accuracy = tf.function(robust_accuracy, autograph=False)

    def robust_accuracy(self) -> float:
        """Attack the validation images."""
        if self._words is not None:
            self._words.refresh()
        return float(self._robust_accuracy())

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Find the neighbours of words by their vectors of now, among which the epoch's replacements are."""
        if self._words is not None:
            self._words.refresh()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Attack the validation images."""
        if logs is not None:
            logs["val_robust_accuracy"] = self.robust_accuracy()


def untargeted(x: tf.Tensor, labels: tf.Tensor, streams: tf.Tensor) -> Batch:
    """An untargeted batch."""
    labels = tf.cast(tf.reshape(labels, [-1]), tf.int32)
    none = tf.fill(tf.shape(labels), -1)
    return Batch(x, labels, aim=none, target=none, streams=streams, restart=tf.zeros_like(labels), nearest=x)


def _last_iterate(loop: Loop, problem: Problem, ask: Ask, state: State, steps: int | tf.Tensor) -> tf.Tensor:
    def take_step(step: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        updated = loop.update(state, ask(problem, state["x"]), step)
        return step + 1, {name: tf.ensure_shape(value, state[name].shape) for name, value in updated.items()}

    if isinstance(steps, int) and steps == 1:
        return take_step(tf.constant(0), state)[1]["x"]
    return tf.while_loop(lambda step, state: step < steps, take_step, (tf.constant(0), state))[1]["x"]


def _cross_entropy(problem: Problem, x: tf.Tensor) -> Query:
    return problem.query(x)


def _without_gradient(problem: Problem, x: tf.Tensor) -> Query:
    return problem.query(x, gradient=False)


def _divergence(reference: tf.Tensor, problem: Problem, x: tf.Tensor) -> Query:
    def logits_and_divergence(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = problem.logits(x)
        return logits, divergence(logits, reference)

    logits, loss, gradient = value_and_gradient(logits_and_divergence, x)
    return Query(x, logits, loss, tf.argmax(logits, -1, tf.int32) != problem.labels, gradient)


def _float64(value: float) -> tf.Tensor:
    return tf.constant(value, tf.float64)
