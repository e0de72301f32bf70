"""Of texts, for several tests: the exact answer for one word, and a model trained with settings of its own."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

import advlab
from advlab import workspace
from advlab.text import as_images, as_numbers


def best_of_one_word(classifier, data, offered, rows):
    """The largest loss that replacing one word of each text reaches, by trying all, and whether one succeeds."""
    largest, succeeds = [], []
    for row in rows:
        clean = as_numbers(data.x[row : row + 1])[0]
        texts = [clean]
        for position, word in enumerate(clean):
            texts += [np.where(np.arange(len(clean)) == position, new, clean) for new in offered[word] if new >= 0]
        logits = classifier.logits(tf.constant(as_images(np.array(texts)))).numpy()
        margin = logits[:, 1 - data.y[row]] - logits[:, data.y[row]]
        largest.append(margin.max())
        succeeds.append(bool((margin > 0).any()))
    return np.array(largest), np.array(succeeds)


def trained_with(text: str, folder) -> advlab.Classifier:
    recipe = workspace.recipes()["sentiment-tiny"].read_text("utf-8")
    (folder / "own.toml").write_text(recipe + text)
    return advlab.train(folder / "own.toml", save=False)
