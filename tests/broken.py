"""Defences and attacks that are broken on purpose, around the shipped classifier of the digits."""

from __future__ import annotations

import keras
import tensorflow as tf

from advlab.classifiers.classifier import Classifier
from advlab.methods import fgsm, pgd
from advlab.problem.problem import Loop


class Rounded(keras.layers.Layer):
    """Pixels become black or white: the accuracy of handwriting hardly suffers, and the gradient is zero."""

    def call(self, x):
        return tf.round(x)


class Noisy(keras.layers.Layer):
    """Noise at test time, drawn again at each query."""

    def call(self, x):
        return x + 0.1 * tf.random.normal(tf.shape(x))


class Sharp(keras.layers.Layer):
    """A softmax of logits times 1,000 that advlab cannot strip: nearly always exactly 0 or 1."""

    def call(self, x):
        return tf.nn.softmax(1000.0 * x)


def guarded(classifier: Classifier, layer: keras.Layer) -> Classifier:
    """A classifier behind a layer that changes its images."""
    inputs = keras.Input(classifier.keras_model.input_shape[1:])
    return Classifier(keras.Model(inputs, classifier.keras_model(layer(inputs))), name="guarded")


def saturated(classifier: Classifier) -> Classifier:
    """The same predictions, with probabilities of 0 and 1."""
    model = classifier.keras_model
    logits = keras.layers.Dense(classifier.classes)
    sharp = keras.Model(model.inputs[0], Sharp()(logits(model.layers[-1].input)))
    logits.set_weights(model.layers[-1].get_weights())
    return Classifier(sharp, name="saturated")


def downhill(problem, *, steps: int = 20) -> Loop:
    """PGD with its sign flipped."""
    loop = pgd.craft(problem, steps=steps)

    def update(state, query, step):
        return loop.update(state, query._replace(gradient=-query.gradient), step)

    return loop._replace(update=update)


def downhill_last(problem) -> Loop:
    """FGSM with its sign flipped, returning its last image."""
    loop = fgsm.craft(problem)

    def update(state, query, step):
        return loop.update(state, query._replace(gradient=-query.gradient), step)

    return loop._replace(update=update, keep="last")


def wandering(problem, *, steps: int = 20) -> Loop:
    """PGD that turns round half-way and returns its last image, not its best."""
    loop = pgd.craft(problem, steps=steps)

    def update(state, query, step):
        sign = tf.where(step < steps // 2, 1.0, -1.0)
        return loop.update(state, query._replace(gradient=sign * query.gradient), step)

    return loop._replace(update=update, keep="last")


def timid(problem, *, steps: int = 10, relative_step_size: float = 0.5) -> Loop:
    """PGD whose steps together do not reach the edge of the ball."""
    return pgd.craft(problem, steps=steps, relative_step_size=relative_step_size, random_start=False)


def beyond(problem) -> Loop:
    """FGSM that forgets its ball."""
    loop = fgsm.craft(problem)
    return loop._replace(update=lambda state, query, step: {"x": query.x + 0.5})
