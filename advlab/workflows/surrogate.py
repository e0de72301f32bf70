"""A surrogate distilled on the spot: a network that has learnt what another one predicts, and that can be climbed.

Papernot et al. 2016, "Practical black-box attacks against machine learning", arXiv:1602.02697: only predictions are
asked for, near the images that are attacked.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from advlab.data.dataset import Dataset
from advlab.threat import ThreatModel

if TYPE_CHECKING:
    from advlab.classifiers.classifier import Classifier

COPIES, EPOCHS = 20, 20


def distil(classifier: Classifier, data: Dataset, threat: ThreatModel, seconds: float, seed: int = 0) -> Classifier:
    """A small network trained on what a classifier predicts of images, of mixtures of them and of noisy ones.

    Training ends after 20 epochs, or once the seconds are over.
    """
    import keras

    from advlab.classifiers.classifier import Classifier

    deadline = time.perf_counter() + seconds
    rng = np.random.default_rng(seed)
    x = _near(np.asarray(data.x), threat, rng)
    targets = classifier.probabilities(x)
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    inputs = keras.Input(data.x.shape[1:])
    hidden = layers.Conv2D(32, 5, strides=2, padding="same", activation="relu")(inputs)
    hidden = layers.Conv2D(64, 3, strides=2, padding="same", activation="relu")(hidden)
    hidden = layers.Dense(128, activation="relu")(layers.Flatten()(hidden))
    model = keras.Model(inputs, layers.Dense(classifier.classes, activation="softmax")(hidden))
    model.compile("adam", "categorical_crossentropy")

    class Deadline(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            self.model.stop_training |= time.perf_counter() > deadline

    model.fit(x, targets, batch_size=64, epochs=EPOCHS, verbose=0, callbacks=[Deadline()])
    return Classifier.from_keras(model, name=f"{classifier.name}-distilled")


def _near(x: np.ndarray, threat: ThreatModel, rng: np.random.Generator) -> np.ndarray:
    """float32 ``(m, h, w, c)``: copies with noise of the size of epsilon, each mixed a little with another image."""
    size = {"linf": 1.0, "l2": x[0].size ** -0.5, "l1": 1.0 / x[0].size}[threat.norm] * threat.epsilon
    copies = [x]
    for _ in range(COPIES):
        noise = size * rng.choice([-1.0, 1.0], x.shape)
        mixed = rng.uniform(0, 0.3, (len(x), 1, 1, 1)) * (x[rng.permutation(len(x))] - x)
        copies.append(np.clip(x + noise + mixed, 0, 1))
    return np.concatenate(copies).astype(np.float32)
