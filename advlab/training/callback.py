"""The callback of a training run: progress, figures, which weights to return, when to stop, and checkpoints."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from advlab.declarations.adversaries import Adversary
from advlab.declarations.recipes import Recipe
from advlab.errors import AdvlabError
from advlab.progress import Progress
from advlab.training import checkpoint
from advlab.training.averaging import Averaging
from advlab.training.checkpoint import TrainingState
from advlab.training.fit import BATCHES_PER_CALL, batch_count

_POSTFIX = ("val_accuracy", "val_robust_accuracy", "val_certified_accuracy")
_COLLAPSE = 0.2  # the fall of robust accuracy that Wong et al. 2020 stop at


class TrainingCallback(keras.callbacks.Callback):
    """Fills ``state`` epoch by epoch, and stops early where the recipe says so or the loss is NaN or infinite.

    Early stopping is done here and not by Keras' own callback, whose patience counter no checkpoint could restore.
    ``sample`` holds a few images on which new weights are tested before they replace the last ones: their loss was
    measured before the last update. ``specification`` is stored in each checkpoint. ``averaging`` is what has put
    averaged weights into the model before. ``recovering`` is the switch that lets PGD take the adversary's place.
    """

    def __init__(
        self,
        recipe: Recipe,
        images: int,
        sample: np.ndarray,
        state: TrainingState,
        bar: Progress,
        checkpoint_path: Path | None,
        specification: Mapping[str, Any],
        averaging: Averaging | None = None,
        recovering: tf.Variable | None = None,
    ):
        super().__init__()
        self._averaging, self._recovering = averaging, recovering
        self._recipe, self._state, self._bar = recipe, state, bar
        self._checkpoint_path, self._specification = checkpoint_path, specification
        self._sample, self._diverged = sample, False
        self._batches_per_call = 1 if tf.distribute.has_strategy() else BATCHES_PER_CALL
        self._batches = batch_count(images, recipe.training.batch_size)
        self._earlier_seconds, self._start_time, self._batch = state.seconds, time.perf_counter(), 0
        bar.advance(state.epochs * self._batches)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Count batches from 0 again, and after an epoch that overfitted catastrophically let PGD take over."""
        self._batch = 0
        adversary = self._recipe.training.adversary
        if self._recovering is not None and adversary is not None:
            self._recovering.assign(self._overfits_catastrophically(adversary))

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Advance the progress bar; stop where the loss is NaN or infinite."""
        figures = logs or {}
        if not math.isfinite(figures.get("loss", 0.0)):
            self._stop_diverged(f"the loss became {figures['loss']}")
        # A call takes several batches; the last one of an epoch may be cut short.
        current_batch = min(self._batch + self._batches_per_call, self._batches)
        validation = {name: values[-1] for name, values in self._state.history.items() if name in _POSTFIX}
        postfix = {name: f"{value:.3f}" for name, value in {**figures, **validation}.items()}
        self._bar.advance(
            current_batch - self._batch,
            epoch=f"{self._state.epochs + 1}/{self._recipe.training.epochs}",
            **postfix,
        )
        self._batch = current_batch

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Record the epoch's figures, select the weights and write a checkpoint, unless the epoch diverged."""
        figures, weights = logs or {}, self.model.get_weights()
        nonfinite = [f"{name} became {value}" for name, value in figures.items() if not math.isfinite(value)]
        if not self._diverged and (nonfinite or not np.isfinite(self._sample_outputs()).all()):
            self._stop_diverged(
                nonfinite[0] if nonfinite else "the last update left weights whose outputs are NaN or infinite"
            )
        if self._diverged:
            return
        for name, value in figures.items():
            self._state.history.setdefault(name, []).append(float(value))
        self._state.seconds = self._earlier_seconds + time.perf_counter() - self._start_time
        adversary = self._recipe.training.adversary
        is_overfitted = adversary is not None and self._overfits_catastrophically(adversary)
        if adversary is not None and is_overfitted and not adversary.recovery:
            self._stop_overfitted(adversary)
        elif not is_overfitted:
            self._select_weights(weights)
        if self._averaging is not None:
            self._averaging.restore()
        if is_overfitted and self._recovering is not None:
            self._return_to_selected()
        every = self._recipe.training.checkpoint_every
        if self._checkpoint_path is not None and every and self._state.epochs % every == 0:
            self._save_checkpoint(self._checkpoint_path)

    def _sample_outputs(self) -> np.ndarray:
        # A forward pass advances the generators of recurrent dropout; training must not depend on it.
        variables = [(variable, variable.numpy()) for variable in self.model.non_trainable_variables]
        outputs = np.asarray(self.model(self._sample))
        for variable, value in variables:
            variable.assign(value)
        return outputs

    def _select_weights(self, weights: list[np.ndarray]) -> None:
        """Keep the last weights, or with early stopping those of the best epoch."""
        stopping, last = self._recipe.training.early_stopping, self._state.epochs - 1
        if stopping is not None and self._state.weights:
            values = self._state.history[stopping.monitor]
            sign = -1 if stopping.monitor.endswith("accuracy") else 1
            if not sign * values[last] < sign * values[self._state.weights_epoch]:
                if last - self._state.weights_epoch >= stopping.patience:
                    self._stop(
                        f"No better {stopping.monitor} than in epoch {self._state.weights_epoch + 1} for "
                        f"{stopping.patience} epochs; its weights are kept."
                    )
                return
        self._state.weights, self._state.weights_epoch = weights, last

    def _overfits_catastrophically(self, adversary: Adversary) -> bool:
        """Whether a single-step adversary is still met, but PGD no longer: robust validation accuracy collapsed."""
        if not adversary.is_single_step or not self._state.weights:
            return False
        robust, accuracy = self._state.history["val_robust_accuracy"], self._state.history["accuracy"]
        best = int(np.argmax(robust))
        return robust[best] - robust[-1] > _COLLAPSE and accuracy[-1] >= accuracy[best]

    def _return_to_selected(self) -> None:
        """Go on from the weights before the collapse."""
        self.model.set_weights(self._state.weights)
        if self._averaging is not None:
            self._averaging.restart()

    def _stop_overfitted(self, adversary: Adversary) -> None:
        """Stop with the weights from before the collapse, and say what to do."""
        robust, accuracy = self._state.history["val_robust_accuracy"], self._state.history["accuracy"]
        epochs = self._state.epochs
        best = int(np.argmax(robust))
        self._stop(
            f"Catastrophic overfitting in epoch {epochs} of {self._recipe.training.epochs}: robust validation accuracy "
            f"fell from {robust[best]:.2%} (epoch {best + 1}) to {robust[-1]:.2%}; the weights of epoch "
            f"{self._state.weights_epoch + 1} are kept."
        )
        instead = "method 'pgd'" if adversary.method == "n-fgsm" else "method 'n-fgsm' or 'pgd'"
        warnings.warn(
            f"Recipe '{self._recipe.name}' overfitted to its single-step adversary: on the images of "
            f"'{adversary.method}' its accuracy is {accuracy[-1]:.2%}, but it does not withstand PGD. Use {instead}, "
            "or a smaller training.adversary.relative_step_size, learning_rate or epsilon.",
            stacklevel=2,
        )

    def _stop_diverged(self, reason: str) -> None:
        """Stop with the last good weights, or raise where there are none."""
        settings, epochs = self._recipe.training, self._state.epochs
        rate = (
            f"the default of {settings.optimizer}" if settings.learning_rate is None else f"{settings.learning_rate:g}"
        )
        event = f"epoch {epochs + 1} of {settings.epochs} {reason}"
        fix = f"Lower training.learning_rate (now {rate})."
        if not self._state.weights:
            raise AdvlabError(f"Recipe '{self._recipe.name}' cannot be trained: in {event}. Nothing was saved. {fix}")
        self._diverged = True
        self._stop(f"In {event}; the weights of epoch {self._state.weights_epoch + 1} are kept. {fix}")

    def _stop(self, reason: str) -> None:
        self._state.ended, self.model.stop_training = reason, True

    def _save_checkpoint(self, path: Path) -> None:
        try:
            checkpoint.save(path, self._specification, self._state, self.model)
        except AdvlabError as error:
            # A checkpoint must not cost the training run; one warning is enough.
            warnings.warn(f"No checkpoint could be written; training continues without. {error}", stacklevel=2)
            self._checkpoint_path = None
