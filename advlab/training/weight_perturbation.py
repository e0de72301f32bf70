"""Adversarial weight perturbation: each gradient is taken where the loss is highest among weights nearby.

Wu et al. 2020, "Adversarial weight perturbation helps robust generalization", arXiv:2004.05884, equations 9 and 10: one
step on the weights of each layer, as long as ``size`` times those weights; biases and scales stay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

Step = Callable[[tuple[tf.Tensor, tf.Tensor]], Any]


def at_perturbed_weights(model: keras.Model, step: Step, size: float, averaging: float) -> Step:
    """The train step ``step`` of a compiled model, taken at perturbed weights and moved back by as much afterwards.

    ``averaging`` is the momentum of the optimizer's moving average, which must not see the perturbation; 0 for none.
    """
    kernels = [variable for variable in model.trainable_variables if len(variable.shape) > 1]

    def perturbation(x: tf.Tensor, labels: tf.Tensor) -> list[tf.Tensor]:
        kept = [(variable, tf.identity(variable.value)) for variable in model.non_trainable_variables]
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, labels, model(x, training=True), None, training=True)
        gradients = tape.gradient(loss, [kernel.value for kernel in kernels])
        for variable, value in kept:
            # Statistics and generators are as if this pass had not been.
            variable.assign(value)
        return [
            size * tf.math.divide_no_nan(tf.norm(kernel.value), tf.norm(gradient)) * gradient
            for kernel, gradient in zip(kernels, gradients, strict=True)
        ]

    def step_at_perturbed(data: tuple[tf.Tensor, tf.Tensor]) -> Any:
        moves = perturbation(*data)
        is_first = tf.equal(tf.convert_to_tensor(model.optimizer.iterations), 0)
        for kernel, move in zip(kernels, moves, strict=True):
            kernel.assign_add(move)
        result = step(data)
        for kernel, move in zip(kernels, moves, strict=True):
            kernel.assign_sub(move)
        if averaging:
            # The first average is the weights themselves.
            part = tf.where(is_first, 1.0, 1 - averaging)
            averages = zip(model.trainable_variables, model.optimizer._model_variables_moving_average, strict=True)
            average_of = {id(variable): average for variable, average in averages}
            for kernel, move in zip(kernels, moves, strict=True):
                average_of[id(kernel)].assign_sub(part * move)
        return result

    return step_at_perturbed
