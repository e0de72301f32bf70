"""What an attack costs before it is run: passes for each image, at most, and the seconds that one takes here."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from advlab.classifiers.classifier import Classifier
from advlab.data.dataset import Dataset
from advlab.declarations.attack import Attack
from advlab.engine import steps
from advlab.engine.compile import rows_at_once
from advlab.errors import InvalidValue
from advlab.formatting import in_bytes
from advlab.lazy import MOST_IN_MEMORY
from advlab.problem.problem import Loop, UniversalLoop
from advlab.problem.words import as_numbers

_FEW = 64  # images that are timed
_REPEATS = 3


_LIBRARY = 10**9  # bytes of TensorFlow, of compiled graphs and of the network
_LEAST, _MOST = 1, 2.5  # times the activations of a batch, measured on dense, convolutional and residual networks
_COPIES = 6  # of the images


class Passes(NamedTuple):
    """Forward and backward passes for one image, at most: images that leave early cost less."""

    forward: int
    backward: int


def most_passes(spec: Attack, shape: tuple[int, ...], classes: int) -> Passes | None:
    """Of an attack on images ``(h, w, c)``; None where another library counts them."""
    craft = spec.craft or import_module(f"advlab.methods.{spec.method}").craft
    loop = steps.plan(craft, spec, shape)
    aims = max(min(int(spec.parameters.get("n_target_classes") or 0), classes - 1), 1)
    rounds = spec.restarts * aims * spec.passes
    if isinstance(loop, UniversalLoop):
        return Passes(rounds * loop.epochs, rounds * loop.epochs)
    if not isinstance(loop, Loop):
        return None
    forward, backward = loop.extra
    forwards = loop.first_passes + loop.steps * (1 + forward) + 1
    return Passes(rounds * forwards, rounds * loop.steps * (int(loop.gradient) + backward))


def most_memory(classifier: Classifier, images: Sequence[int], batch_size: int | None = None) -> int:
    """Bytes that an attack on images ``(n, h, w, c)`` takes at most, as measured on others of its kind."""
    rows = min(batch_size or rows_at_once(classifier, images[1:], one_pass=True), images[0])
    pixels = min(4 * math.prod(images), MOST_IN_MEMORY)
    return int(_LIBRARY + _MOST * rows * activation_bytes(classifier) + _COPIES * pixels)


def activation_bytes(classifier: Classifier) -> int:
    """Of one image, over all layers."""
    return 4 * classifier.activation_size


def require_memory(classifier: Classifier, images: int, batch_size: int | None) -> None:
    """Raise ``InvalidValue`` for a batch that this machine has no memory for, with one that it has.

    On a GPU batches are halved where they do not fit, so nothing is refused there.
    """
    available = available_memory()
    rows = min(batch_size or 1, images)
    bytes_of_image = activation_bytes(classifier)
    if available is None or tf.config.list_logical_devices("GPU") or _LEAST * rows * bytes_of_image <= available:
        return
    fitting = max(int(available / (_MOST * bytes_of_image)), 1)
    raise InvalidValue(
        f"A batch of {rows:,} images takes at least {in_bytes(_LEAST * rows * bytes_of_image)} of memory, and "
        f"{in_bytes(available)} are free. Use --batch-size {fitting} or less, or leave it out."
    )


def available_memory() -> int | None:
    """Bytes that can still be had, by Linux and by the limit of a container; None where neither says so."""
    with contextlib.suppress(OSError, ValueError):
        facts = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        available = 1024 * int(facts["MemAvailable"].split()[0])
        with contextlib.suppress(OSError, ValueError):
            limit, used = (int(Path("/sys/fs/cgroup", f"memory.{name}").read_text()) for name in ("max", "current"))
            available = min(available, limit - used)
        return available
    return None


def seconds_per_pass(classifier: Classifier, dataset: Dataset) -> float:
    """Of one forward, and about as much of one backward pass, for one image in a batch: measured here and now."""
    x = tf.constant(dataset.x[: min(_FEW, rows_at_once(classifier, dataset.shape))])
    words = steps.words_of(classifier)
    if words is not None:  # whose numbers have no gradient: that of their vectors costs the same
        x = words.vectors(as_numbers(x))
    logits = classifier.logits if words is None else words.logits

    @tf.function(autograph=False)
    def forward_and_backward(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(logits(x))
        return tape.gradient(total, x)

    forward_and_backward(x)
    start = time.perf_counter()
    for _ in range(_REPEATS):
        forward_and_backward(x).numpy()
    return (time.perf_counter() - start) / (2 * _REPEATS * len(x))
