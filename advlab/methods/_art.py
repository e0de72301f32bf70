"""Any evasion attack of the adversarial-robustness-toolbox as a method, in about twelve lines: see ``boundary.py``."""

from __future__ import annotations

import logging.config
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from advlab.errors import DAMAGE, AdvlabError, InvalidValue
from advlab.problem.problem import ExternalLoop, Problem
from advlab.validation import shown

_HALVINGS = 20  # of a step, to nothing at all, after which its search is over


def adapt(name: str, prepare: Callable[[Any], None] = lambda attack: None, **options: Any) -> ExternalLoop:
    """The attack called ``name`` in ``art.attacks.evasion`` with its own options; ``prepare`` may mend it first.

    It sees logits and images in [0, 1], and the labels (or the target as ``targeted=True``). Its random draws are
    seeded, but not one stream for each sample: they depend on the batch.
    """

    def run(problem: Problem) -> np.ndarray:
        with harmless_import():
            import art.attacks.evasion
            from art.estimators.classification import TensorFlowV2Classifier

        if not hasattr(art.attacks.evasion, name):
            raise InvalidValue(f"The adversarial-robustness-toolbox has no evasion attack '{name}'.")
        attack_class = getattr(art.attacks.evasion, name)
        targeted = bool(np.any(problem.aim.numpy() >= 0))
        if targeted and "targeted" not in attack_class.attack_params:
            raise InvalidValue(f"'{name}' has no targeted variant. Leave the target out.")
        labels = tf.where(problem.aim >= 0, problem.aim, problem.labels).numpy()
        classes = problem.logits(problem.x[:1]).shape[-1]
        classifier = TensorFlowV2Classifier(
            model=lambda x, training=False: problem.logits(tf.cast(x, tf.float32)),
            nb_classes=classes,
            input_shape=tuple(problem.x.shape[1:]),
            loss_object=tf.keras.losses.CategoricalCrossentropy(from_logits=True),
            clip_values=(0.0, 1.0),
        )
        settings = options | ({"targeted": targeted} if "targeted" in attack_class.attack_params else {})
        if "verbose" in attack_class.attack_params:
            settings["verbose"] = False
        x = problem.x.numpy()
        with _seeded(problem.streams.numpy()), _quiet(), _border(name, options), np.errstate(all="ignore"):
            attack = attack_class(classifier, **settings)
            prepare(attack)
            x_adv = np.asarray(attack.generate(x=x, y=np.eye(classes, dtype=np.float32)[labels]), np.float32)
            if x_adv.shape != x.shape:
                raise ValueError(f"it returned images of the shape {x_adv.shape} for {x.shape}")
        # An image that it lost on the way is one that it did not find.
        return np.where(np.isfinite(x_adv).all((1, 2, 3), keepdims=True), x_adv, x)

    return ExternalLoop(run)


def end_step_searches(attack: Any) -> None:
    """Let HopSkipJump take a step that no longer changes the image, so that the search for its size ends.

    The toolbox halves it until what it leads to is misclassified: for ever, where the image that it starts from is not.
    Rounding to float32 leads there, behind a layer that rounds.
    """
    judge = attack._adversarial_satisfactory
    last: np.ndarray | None = None
    repeated = 0

    def judged(samples: np.ndarray, *arguments: Any, **options: Any) -> np.ndarray:
        nonlocal last, repeated
        repeated = repeated + 1 if last is not None and np.array_equal(last, samples) else 0
        last = samples
        answer = judge(samples, *arguments, **options)
        return np.ones_like(answer) if repeated >= _HALVINGS else answer

    attack._adversarial_satisfactory = judged


@contextmanager
def _border(name: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Whatever fails inside the toolbox comes out as an error that says what to change."""
    try:
        yield
    except AdvlabError:
        raise
    except (*DAMAGE, tf.errors.OpError) as error:
        given = ", ".join(f"{key} {shown(value)}" for key, value in options.items()) or "its own settings"
        cause = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".rstrip(": .")
        raise AdvlabError(
            f"'{name}' of the adversarial-robustness-toolbox failed with {given}. {cause}. Change what it names, or "
            "go back to the method's defaults, which 'advlab list methods' shows."
        ) from error


@contextmanager
def harmless_import() -> Iterator[None]:
    """On import the toolbox writes a file into the home directory and closes every log handler: prevent both."""
    homes = {name: os.environ[name] for name in ("HOME", "USERPROFILE") if name in os.environ}
    configure = logging.config.dictConfig
    with tempfile.TemporaryDirectory() as temporary_home:
        os.environ |= {"HOME": temporary_home, "USERPROFILE": temporary_home}
        logging.config.dictConfig = lambda config: None
        try:
            with warnings.catch_warnings(action="ignore"):
                yield
        finally:
            logging.config.dictConfig = configure
            for name in ("HOME", "USERPROFILE"):
                os.environ.pop(name)
            os.environ |= homes


@contextmanager
def _seeded(streams: np.ndarray) -> Iterator[None]:
    """The toolbox draws from NumPy's global generator, and from new ones without a seed: seed both for one run."""
    state, random_state_class = np.random.get_state(), np.random.RandomState
    seeds = iter(np.random.SeedSequence(streams.ravel().tolist()).generate_state(2**16))

    class Seeded(np.random.RandomState):
        def __init__(self, seed: Any = None):
            super().__init__(next(seeds) if seed is None else seed)

    np.random.seed(next(seeds))
    vars(np.random)["RandomState"] = Seeded
    try:
        yield
    finally:
        vars(np.random)["RandomState"] = random_state_class
        np.random.set_state(state)


@contextmanager
def _quiet() -> Iterator[None]:
    """TensorFlow warns of how the toolbox takes gradients, the toolbox of each sample for which it finds no start."""
    loggers = (tf.get_logger(), logging.getLogger("art"))
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
