"""Augmentation inside the compiled train step: images shifted and mirrored at random, words replaced by neighbours."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from advlab.declarations.recipes import Training
from advlab.problem.words import as_images, as_numbers


def attach(model: keras.Model, settings: Training, image_shape: tuple[int, int, int]) -> None:
    """Let the train step of a compiled model see each image shifted and mirrored as the settings say.

    ``image_shape`` is ``(h, w, c)``, whatever shape the model's input has. What a step draws is a function of the seed
    and the number of the step, so that a resumed run draws the same.
    """
    step = model.train_step

    def step_on_augmented(data: tuple[tf.Tensor, tf.Tensor]) -> Any:
        x, labels = data
        images = tf.reshape(x, [-1, *image_shape])
        images = augmented(images, settings, tf.convert_to_tensor(model.optimizer.iterations))
        return step((tf.ensure_shape(tf.reshape(images, tf.shape(x)), x.shape), labels))

    model.train_step = step_on_augmented


def attach_words(model: keras.Model, settings: Training, neighbours: np.ndarray) -> None:
    """Let the train step of a model of texts see each word replaced, now and then, by one of its neighbours.

    ``neighbours`` int32 ``(v, m)``: what may take the place of each word, -1 for nothing.
    """
    step, table = model.train_step, tf.constant(neighbours)
    counts = tf.constant((neighbours >= 0).sum(1).astype(np.int32))

    def step_on_substituted(data: tuple[tf.Tensor, tf.Tensor]) -> Any:
        x, labels = data
        numbers = as_numbers(x)
        seed = tf.stack([tf.cast(settings.seed, tf.int64), tf.cast(model.optimizer.iterations, tf.int64)])
        chance, choice = tf.unstack(tf.random.stateless_uniform([2, *tf.unstack(tf.shape(numbers))], seed))
        count = tf.gather(counts, numbers)
        index = tf.minimum(tf.cast(choice * tf.cast(count, tf.float32), tf.int32), tf.maximum(count - 1, 0))
        new = tf.gather(tf.gather(table, numbers), index, batch_dims=2)
        is_replaced = (chance < settings.word_substitution) & (count > 0)
        return step((tf.ensure_shape(as_images(tf.where(is_replaced, new, numbers)), x.shape), labels))

    model.train_step = step_on_substituted


def augmented(images: tf.Tensor, settings: Training, step: tf.Tensor) -> tf.Tensor:
    """Images ``(b, h, w, c)``, each shifted by up to ``random_shift`` pixels, its edge repeated, and maybe mirrored."""
    count, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
    seed = tf.stack([tf.cast(settings.seed, tf.int64), tf.cast(step, tf.int64)])
    down, right, turn = tf.unstack(tf.random.stateless_uniform([3, count, 1], seed))
    choices = 2 * settings.random_shift + 1
    down, right = (tf.cast(tf.floor(choices * draw), tf.int32) - settings.random_shift for draw in (down, right))
    rows, columns = tf.range(height)[None] + down, tf.range(width)[None] + right
    if settings.random_flip:
        columns = tf.where(turn < 0.5, width - 1 - columns, columns)
    images = tf.gather(images, tf.clip_by_value(rows, 0, height - 1), axis=1, batch_dims=1)
    return tf.gather(images, tf.clip_by_value(columns, 0, width - 1), axis=2, batch_dims=1)
