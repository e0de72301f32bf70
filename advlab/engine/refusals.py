"""What an attack cannot do with its classifier, data set and settings, refused before any work."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from advlab.classifiers.classifier import Classifier
from advlab.data.dataset import Dataset
from advlab.declarations.attack import Attack
from advlab.declarations.methods import load_method, method_names
from advlab.engine import steps
from advlab.errors import InvalidValue
from advlab.problem.problem import Craft, ExternalLoop, Loop, UniversalLoop
from advlab.results.per_image import PerImage
from advlab.validation import shown


def refuse_targets(spec: Attack, classes: int) -> None:
    """Raise ``InvalidValue`` for a target or ``top`` beyond the classes there are, or beside classes to aim at."""
    target = spec.threat.target
    if target is not None and target >= classes:
        raise InvalidValue(f"target must be a class in 0..{classes - 1}. Got {target}.")
    if spec.threat.targeted and spec.parameters.get("n_target_classes"):
        chosen = spec.threat.targets if target is None else target
        raise InvalidValue(
            f"A target leaves no other classes to aim at. Got target={chosen} and n_target_classes; leave one out."
        )
    if (top := spec.threat.top) >= classes:
        raise InvalidValue(f"top must be an int in the range [1, {classes - 1}]. Got {top}.")
    if top > 1 and spec.parameters.get("n_target_classes"):
        raise InvalidValue(
            f"n_target_classes aims at one wrong class, and top={top} takes as many to succeed. Leave one of them out."
        )


def refuse_impossible(
    classifier: Classifier, dataset: Dataset, craft: Craft, spec: Attack, loop: Any, given: PerImage
) -> None:
    """Raise ``InvalidValue`` for data or a setting that the method, whose ``loop`` is known, does not go with."""
    if spec.craft is None:
        _refuse_other_data(dataset, spec)
    if isinstance(loop, UniversalLoop) and spec.early_stop:
        raise InvalidValue(
            f"Method '{spec.method}' seeks one perturbation of all images; no image can stop by itself. "
            "Got early_stop, as the curve of a bounded method needs it; leave it out, or choose another method."
        )
    if not isinstance(loop, Loop) and (given.mask is not None or given.epsilon is not None):
        reason = "runs in another library" if isinstance(loop, ExternalLoop) else "seeks one perturbation of all images"
        refused = "mask" if given.epsilon is None else "epsilon for each image"
        raise InvalidValue(
            f"Method '{spec.method}' {reason} and takes no {refused}. Leave it out, or choose another method, such as "
            "'pgd'."
        )
    if isinstance(loop, ExternalLoop) and spec.threat.top > 1:
        raise InvalidValue(
            f"Method '{spec.method}' runs in another library, where any wrong first class is a success. Got "
            f"top={spec.threat.top}; leave it out, or choose another method, such as 'pgd'."
        )
    if isinstance(loop, ExternalLoop) and spec.precision != "float32":
        raise InvalidValue(
            f"Method '{spec.method}' runs in another library, in float32. Got precision '{spec.precision}'; "
            "leave it out."
        )
    if spec.loss:
        _refuse_loss(spec.loss, classifier.classes)
    if isinstance(loop, Loop) and spec.restarts > 1 and not _is_random(classifier, dataset, craft, spec):
        raise InvalidValue(
            f"Method '{spec.method}' draws nothing at random: restarts would repeat one run. Got {spec.restarts} "
            "restarts; leave them out, or choose a method with a random start, such as 'pgd'."
        )


def _refuse_other_data(dataset: Dataset, spec: Attack) -> None:
    """Raise for an attack on pixels where texts are to be attacked, and the other way round."""
    holds, methods = "texts" if dataset.vocabulary else "images", {name: load_method(name) for name in method_names()}
    if methods[spec.method].data != holds:
        names = ", ".join(name for name, method in methods.items() if method.data == holds)
        raise InvalidValue(
            f"Method '{spec.method}' attacks {methods[spec.method].data}, and data set '{dataset.name}' holds {holds}. "
            f"Choose one of: {names}."
        )


def _refuse_loss(loss: Any, classes: int) -> None:
    """Raise unless the user's loss takes logits and labels and returns one number for each image."""
    if isinstance(loss, str):
        raise InvalidValue(
            f"The loss '{loss}' is known by its name only: an archive has no more of it. Give the function."
        )
    value = loss(tf.zeros([2, classes]), tf.zeros([2], tf.int32))
    if getattr(value, "shape", None) != [2] or not value.dtype.is_floating:
        raise InvalidValue(
            "loss must return a float tensor of shape (n,), the loss of each image, from logits of shape (n, "
            f"{classes}) and labels of shape (n,). Of 2 images it returned {shown(value)}. Do not average over images."
        )


def _is_random(classifier: Classifier, dataset: Dataset, craft: Craft, spec: Attack) -> bool:
    """Whether the method reads its random streams, at the start or in any step: its graph shows that without a run."""
    words = steps.words_of(classifier)

    def start_and_step(streams: tf.Tensor, restart: tf.Tensor, step: tf.Tensor) -> Any:
        x, labels = tf.constant(dataset.x[:1]), tf.constant(dataset.y[:1], tf.int32)
        batch = steps.Batch(x, labels, aim=-restart, target=-restart, streams=streams, restart=restart, nearest=x)
        epsilon = tf.constant(spec.threat.epsilon, tf.float64)
        problem = steps.build_problem(batch, spec.threat.norm, epsilon, classifier.logits)
        problem = problem._replace(words=words)
        loop = craft(problem, **spec.parameters)
        state = loop.start()
        return loop.update(state, problem.query(state["x"], loop.loss, loop.gradient), step) if loop.steps else state

    arguments = tf.TensorSpec([1, 2], tf.uint32), tf.TensorSpec([1], tf.int32), tf.TensorSpec([], tf.int32)
    graph = tf.function(start_and_step, autograph=False).get_concrete_function(*arguments).graph
    return bool(graph.inputs[0].consumers())
