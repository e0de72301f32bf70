"""FGSM, BIM and PGD equal an independent implementation, the adversarial-robustness-toolbox, step for step."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import tensorflow as tf

from advlab.data.loading import load_dataset
from advlab.methods._art import harmless_import
from advlab.workflows.attack import attack
from advlab.workflows.model_file import load_classifier


def last_iterate(method: str):
    """The same method, but returning its last iterate instead of the best one: what the toolbox returns."""
    module = import_module(f"advlab.methods.{method}")

    def craft(problem, *, steps: int = 10, relative_step_size: float = 2.0):
        options = {} if method == "fgsm" else {"steps": steps, "relative_step_size": relative_step_size}
        if method == "pgd":
            options["random_start"] = False
        return module.craft(problem, **options)._replace(keep="last")

    return craft


def of_the_toolbox(classifier, method: str, norm: str, x: np.ndarray, y: np.ndarray, epsilon: float) -> np.ndarray:
    with harmless_import():
        from art.attacks import evasion
        from art.estimators.classification import TensorFlowV2Classifier

    wrapped = TensorFlowV2Classifier(
        model=lambda x, training=False: classifier.logits(x),
        nb_classes=10,
        input_shape=x.shape[1:],
        loss_object=tf.keras.losses.CategoricalCrossentropy(from_logits=True),
        clip_values=(0.0, 1.0),
    )
    options = {"eps": epsilon, "norm": {"linf": np.inf, "l2": 2}[norm], "batch_size": len(x)}
    if method == "fgsm":
        tool = evasion.FastGradientMethod(wrapped, **options)
    else:
        options |= {"eps_step": 2.0 * epsilon / 10, "max_iter": 10, "verbose": False}
        tool = evasion.ProjectedGradientDescent(wrapped, num_random_init=0, **options)
    return tool.generate(x=x, y=np.eye(10, dtype=np.float32)[y])


def compare(classifier, data, method: str, norm: str, epsilon: float, doubt: float = 1e-6) -> None:
    """Compare where ``1 - p(label) > doubt``: nearer to 1, the toolbox's float32 cross-entropy is rounding noise."""
    sure = classifier.probabilities(data.x)[np.arange(len(data)), data.y] >= 1 - doubt
    theirs = of_the_toolbox(classifier, method, norm, data.x, data.y, epsilon)
    ours = attack(classifier, data, last_iterate(method), norm=norm, epsilon=epsilon, progress=False)
    assert np.sum(~sure) >= 40
    differs = np.abs(ours.x_adv[~sure] - theirs[~sure]) > 1e-5
    assert differs.mean() <= 0.001
    fooled = classifier.probabilities(theirs).argmax(1) != data.y
    assert abs(np.mean(ours.success[~sure]) - np.mean(fooled[~sure])) <= 0.001


@pytest.mark.parametrize("method", ["fgsm", "bim", "pgd"])
@pytest.mark.parametrize("epsilon", [0.05, 0.2])
def test_linf_steps_equal_those_of_the_toolbox(trained, digits, method, epsilon):
    compare(trained, digits, method, "linf", epsilon)


@pytest.mark.parametrize("method", ["fgsm", "pgd"])
def test_l2_steps_equal_those_of_the_toolbox_where_no_pixel_clips(trained, digits, method):
    """Where pixels clip, the toolbox rescales after clipping: feasible, but not the nearest point of ball and box."""
    from dataclasses import replace

    grey = replace(digits, x=(0.3 + 0.4 * digits.x).astype(np.float32))
    compare(trained, grey, method, "l2", 0.2, doubt=1e-2)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("model", "samples", "method", "doubt"),
    [
        ("fashion", 10_000, "fgsm", 1e-6),
        ("fashion", 10_000, "pgd", 1e-5),  # ten steps: a wrong sign at one moves the gradient of the next
        ("mnist", 500, "fgsm", 1e-5),
        ("mnist", 1000, "pgd", 1e-2),  # and in a convolutional network more of them lie near zero
    ],
)
def test_parity_holds_on_the_real_data(model, samples, method, doubt):
    classifier = load_classifier(model)
    compare(classifier, load_dataset(classifier.dataset, limit=samples), method, "linf", 0.1, doubt)
