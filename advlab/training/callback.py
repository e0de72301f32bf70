"""The callback that sees to a training: its bar and figures, which weights are kept, when it ends, its checkpoints."""

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

from advlab.declarations.recipes import Recipe
from advlab.errors import AdvlabError
from advlab.progress import Progress
from advlab.training import checkpoint
from advlab.training.checkpoint import Progressed
from advlab.training.fit import BATCHES_PER_CALL, batches_of


class Watch(keras.callbacks.Callback):
    """Fills ``done`` epoch by epoch, and stops the training early where it is told to or the loss is no number.

    Early stopping is done here and not by Keras' own callback, whose count of patience no checkpoint could carry on.
    ``sample`` are some images to look at with new weights before they are kept: their loss was measured before the
    last update. ``told`` is what a checkpoint says of the training.
    """

    def __init__(
        self,
        recipe: Recipe,
        images: int,
        sample: np.ndarray,
        done: Progressed,
        bar: Progress,
        checkpoint: Path | None,
        told: Mapping[str, Any],
    ):
        super().__init__()
        self._recipe, self._done, self._bar, self._checkpoint, self._told = recipe, done, bar, checkpoint, told
        self._sample, self._lost = sample, False
        self._per_call = 1 if tf.distribute.has_strategy() else BATCHES_PER_CALL
        self._batches = batches_of(images, recipe.training.batch_size)
        self._before, self._began, self._in_epoch = done.seconds, time.perf_counter(), 0
        bar.advance(done.epochs * self._batches)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._in_epoch = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        facts = logs or {}
        if not math.isfinite(facts.get("loss", 0.0)):
            self._lose(f"the loss became {facts['loss']}")
        # A call takes several batches; the last one of an epoch may be cut short.
        now = min(self._in_epoch + self._per_call, self._batches)
        validation = {name: values[-1] for name, values in self._done.history.items() if name == "val_accuracy"}
        shown = {name: f"{value:.3f}" for name, value in {**facts, **validation}.items()}
        self._bar.advance(
            now - self._in_epoch, epoch=f"{self._done.epochs + 1}/{self._recipe.training.epochs}", **shown
        )
        self._in_epoch = now

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        facts, weights = logs or {}, self.model.get_weights()
        odd = [f"{name} became {value}" for name, value in facts.items() if not math.isfinite(value)]
        if not self._lost and (odd or not np.isfinite(self._answers()).all()):
            self._lose(odd[0] if odd else "the last update left weights that give no finite answer")
        if self._lost:
            return
        for name, value in facts.items():
            self._done.history.setdefault(name, []).append(float(value))
        self._done.seconds = self._before + time.perf_counter() - self._began
        self._choose(weights)
        every = self._recipe.training.checkpoint_every
        if self._checkpoint is not None and every and self._done.epochs % every == 0:
            self._keep(self._checkpoint)

    def _answers(self) -> np.ndarray:
        # A look moves the generators of recurrent dropout; the training must not depend on it.
        before = [(variable, variable.numpy()) for variable in self.model.non_trainable_variables]
        answers = np.asarray(self.model(self._sample))
        for variable, value in before:
            variable.assign(value)
        return answers

    def _choose(self, weights: list[np.ndarray]) -> None:
        """The last weights are kept, or with early stopping those of the best epoch."""
        stopping, last = self._recipe.training.early_stopping, self._done.epochs - 1
        if stopping is not None and self._done.kept:
            values = self._done.history[stopping.monitor]
            sign = -1 if stopping.monitor.endswith("accuracy") else 1
            if not sign * values[last] < sign * values[self._done.kept_epoch]:
                if last - self._done.kept_epoch >= stopping.patience:
                    self._end(
                        f"No better {stopping.monitor} than in epoch {self._done.kept_epoch + 1} for "
                        f"{stopping.patience} epochs; its weights are kept."
                    )
                return
        self._done.kept, self._done.kept_epoch = weights, last

    def _lose(self, what: str) -> None:
        """End with the last good weights, or without any where there are none."""
        settings, epochs = self._recipe.training, self._done.epochs
        rate = (
            f"the default of {settings.optimizer}" if settings.learning_rate is None else f"{settings.learning_rate:g}"
        )
        story = f"In epoch {epochs + 1} of {settings.epochs} {what}"
        do = f"Lower training.learning_rate (now {rate})."
        if not self._done.kept:
            raise AdvlabError(f"Recipe '{self._recipe.name}' cannot be trained so. {story}. Nothing was saved. {do}")
        self._lost = True
        self._end(f"{story}; the weights of epoch {self._done.kept_epoch + 1} are kept. {do}")

    def _end(self, why: str) -> None:
        self._done.ended, self.model.stop_training = why, True

    def _keep(self, path: Path) -> None:
        try:
            checkpoint.keep(path, self._told, self._done, self.model)
        except AdvlabError as error:
            # A checkpoint must not cost the training; one warning is enough.
            warnings.warn(f"No checkpoint could be written, the training goes on without. {error}", stacklevel=2)
            self._checkpoint = None
