"""Weight averaging: an epoch is judged and kept with the averaged weights, and training goes on from the last ones."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


class Averaging(keras.callbacks.Callback):
    """Puts the moving average of the optimizer into the model while an epoch is judged.

    Put it before the callbacks that judge; the last of them calls ``restore``, before a checkpoint is written, which
    holds the last weights beside the average.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: list[np.ndarray] = []

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Validation is that of the averaged weights."""
        if not self._last:
            self._last = [variable.numpy() for variable in self.model.trainable_variables]
            for variable, average in zip(
                self.model.trainable_variables, self.model.optimizer._model_variables_moving_average, strict=True
            ):
                variable.assign(average)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """The same where there was no validation."""
        self.on_test_begin()

    def restore(self) -> None:
        """Give the model the weights of its last step again."""
        for variable, value in zip(self.model.trainable_variables, self._last, strict=False):
            variable.assign(value)
        self._last = []

    def restart(self) -> None:
        """Let the average begin anew from the model's weights."""
        for variable, average in zip(
            self.model.trainable_variables, self.model.optimizer._model_variables_moving_average, strict=True
        ):
            average.assign(variable)
