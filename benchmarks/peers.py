"""Time attacks of advlab against those of ART, Foolbox and CleverHans: the same networks, images and budgets, one run.

    python benchmarks/peers.py [--samples N] [--repeat 3] [--quick] [--cnn PATH] [--write]

The suite `standard` on `fashion`, PGD on it, on a convolutional network trained here for one epoch (stored in PATH, if
given), on `cifar10` and on MobileNetV2 with random weights, then the smallest Euclidean perturbation on `fashion`. Each
run is repeated, and its fastest counts, until `--repeat` runs or two minutes are spent; the first, which includes
compilation, is reported too. Every peer is given the same compiled function of logits. Prints Markdown, which `--write`
stores in benchmarks/RESULTS.md. Needs the real data (ADVLAB_DATA).
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from blocks import RESULTS, machine, write_block

import advlab
from advlab.declarations.attack import PRECISIONS
from advlab.declarations.methods import method_names
from advlab.declarations.recipes import load_recipe
from advlab.distances import distances
from advlab.workflows.train import train

EPSILON, STEP, STEPS = 0.1, 0.01, 40
BATCH = 1000
SEARCHES = 9  # of Carlini and Wagner's constant
FEW = 100  # images for what would take hours
BRIEF = 6.0  # seconds of one run, repeated: the shortest ones are the noisiest
PATIENCE = 120.0  # seconds after which no further repetition begins
PEERS = ("advlab", "tensorflow", "keras", "numpy", "adversarial-robustness-toolbox", "foolbox", "cleverhans")
# What a library that does not fit these versions may raise; anything else is a bug in this file.
FAILURES = (ImportError, LookupError, AttributeError, TypeError, ValueError, RuntimeError, AssertionError)
Craft = Callable[[], np.ndarray]


class Task(NamedTuple):
    """A classifier and images to attack it on; ``logits`` is compiled once, for all peers."""

    classifier: advlab.Classifier
    data: advlab.Dataset
    logits: Callable[[tf.Tensor], tf.Tensor]

    @classmethod
    def of(cls, classifier: advlab.Classifier, data: advlab.Dataset) -> Task:
        """Compile the logits."""
        return cls(classifier, data, tf.function(classifier.logits, autograph=False, reduce_retracing=True))

    def in_batches(self, size: int, craft: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> np.ndarray:
        """``craft(x, labels)`` over batches, for the libraries that leave batching to their user."""
        x, labels = self.data.x, self.data.y.astype(np.int32)
        starts = range(0, len(x), size)
        return np.concatenate(
            [craft(tf.constant(x[s : s + size]), tf.constant(labels[s : s + size])).numpy() for s in starts]
        )


class Measured(NamedTuple):
    """Seconds of the first and of the fastest run, and the last images; or the error instead."""

    first: float = 0.0
    best: float = 0.0
    x_adv: np.ndarray | None = None
    error: str = ""


def ours(task: Task, method: str, **options: Any) -> np.ndarray:
    """A method of advlab, at its own batch size."""
    return advlab.attack(task.classifier, task.data, method, progress=False, **options).x_adv


def art(task: Task, name: str, **options: Any) -> np.ndarray:
    """An attack of the adversarial-robustness-toolbox."""
    from advlab.methods._art import harmless_import

    with harmless_import():
        import art.attacks.evasion
        from art.estimators.classification import TensorFlowV2Classifier

    wrapped = TensorFlowV2Classifier(
        model=lambda x, training=False: task.logits(tf.cast(x, tf.float32)),
        nb_classes=task.classifier.classes,
        input_shape=task.data.shape,
        loss_object=tf.keras.losses.CategoricalCrossentropy(from_logits=True),
        clip_values=(0.0, 1.0),
    )
    labels = np.eye(task.classifier.classes, dtype=np.float32)[task.data.y]
    return getattr(art.attacks.evasion, name)(wrapped, verbose=False, **options).generate(x=task.data.x, y=labels)


def foolbox(task: Task, name: str, size: int, budget: Mapping[str, float] | None = None, **options: Any) -> np.ndarray:
    """An attack of Foolbox."""
    import foolbox

    # Foolbox uses eagerpy, which calls what NumPy 2 removed: without it none of its minimal attacks would run.
    vars(np).setdefault("find_common_type", lambda arrays, scalars: np.result_type(*arrays, *scalars))
    model = foolbox.TensorFlowModel(task.logits, bounds=(0, 1))
    tool = getattr(foolbox.attacks, name)(**options)
    return task.in_batches(size, lambda x, labels: tool.run(model, x, labels, **budget or {}))


def cleverhans(task: Task, size: int) -> np.ndarray:
    """PGD of CleverHans."""
    from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent

    options = {"norm": np.inf, "clip_min": 0.0, "clip_max": 1.0, "rand_init": True}
    return task.in_batches(
        size, lambda x, labels: projected_gradient_descent(task.logits, x, EPSILON, STEP, STEPS, y=labels, **options)
    )


def bounded(task: Task) -> dict[str, Craft]:
    """PGD of each library from a random start; Foolbox and CleverHans have no batching: all data is one batch."""
    toolbox = partial(
        art,
        task,
        "ProjectedGradientDescent",
        eps=EPSILON,
        eps_step=STEP,
        max_iter=STEPS,
        num_random_init=1,
    )
    box = partial(foolbox, task, "LinfPGD", budget={"epsilon": EPSILON}, abs_stepsize=STEP, steps=STEPS)
    pgd = partial(ours, task, "pgd", epsilon=EPSILON, steps=STEPS, relative_step_size=STEP * STEPS / EPSILON)
    sizes = {f"batch {BATCH:,}": BATCH, "all at once": len(task.data)} if len(task.data) > BATCH else {"": BATCH}
    return {
        **{f"advlab, {precision}": partial(pgd, precision=precision) for precision in PRECISIONS},
        "advlab, float32, each image until it is misclassified": partial(pgd, early_stop=True),
        "ART, batch 32 (its default)": partial(toolbox, batch_size=32),
        f"ART, batch {BATCH:,}": partial(toolbox, batch_size=BATCH),
        **{f"Foolbox, {words}".rstrip(", "): partial(box, size=size) for words, size in sizes.items()},
        **{f"CleverHans, {words}".rstrip(", "): partial(cleverhans, task, size) for words, size in sizes.items()},
    }


def minimal(task: Task, steps: int) -> dict[str, Craft]:
    """The smallest Euclidean perturbation; ``steps`` are those of each of Carlini and Wagner's searches."""
    cw_steps = f"{SEARCHES} x {steps:,}"
    few, short = task._replace(data=task.data.take(FEW)), max(steps // 10, 1)
    runs = {
        "advlab ddn, 100 steps": partial(ours, task, "ddn", steps=100),
        'advlab ddn, 100 steps, compile="xla"': partial(ours, task, "ddn", steps=100, compile="xla"),
        "advlab fmn, 100 steps": partial(ours, task, "fmn", norm="l2", steps=100),
        "advlab deepfool": partial(ours, task, "deepfool"),
        f"advlab carlini_wagner, {cw_steps}": partial(ours, task, "carlini_wagner", searches=SEARCHES, steps=steps),
        "Foolbox DDN, 100 steps": partial(foolbox, task, "DDNAttack", BATCH, steps=100),
        "Foolbox DeepFool": partial(foolbox, task, "L2DeepFoolAttack", BATCH),
        f"Foolbox C&W, {cw_steps}": partial(
            foolbox, task, "L2CarliniWagnerAttack", BATCH, binary_search_steps=SEARCHES, steps=steps
        ),
        "ART DeepFool": partial(art, task, "DeepFool", batch_size=BATCH),
        f"ART C&W, {SEARCHES} x {short:,}, first {len(few.data)} images": partial(
            art, few, "CarliniL2Method", batch_size=BATCH, binary_search_steps=SEARCHES, max_iter=short
        ),
    }
    names = method_names()
    return {name: run for name, run in runs.items() if not name.startswith("advlab") or run.args[1] in names}


def measured(craft: Craft, repeat: int) -> Measured:
    """Run up to ``repeat`` times within ``PATIENCE``; repeat short runs until they add up to ``BRIEF``."""
    seconds: list[float] = []
    try:
        while not seconds or sum(seconds) < BRIEF or (len(seconds) < repeat and sum(seconds) < PATIENCE):
            start_time = time.perf_counter()
            x_adv = craft()
            seconds.append(time.perf_counter() - start_time)
    except (*FAILURES, tf.errors.OpError) as error:
        return Measured(error=f"{type(error).__name__}: {error}".splitlines()[0])
    return Measured(seconds[0], min(seconds), x_adv)


def matrix_rate() -> float:
    """float32 GFLOP/s of the fastest of several products of 2048 x 2048 matrices."""
    matrix = tf.random.normal([2048, 2048])
    seconds = []
    for _ in range(10):
        start_time = time.perf_counter()
        tf.matmul(matrix, matrix).numpy()
        seconds.append(time.perf_counter() - start_time)
    return 2 * 2048**3 / min(seconds) / 1e9


def multiply_adds(classifier: advlab.Classifier) -> int:
    """Of one image's forward pass through dense and convolutional layers."""
    layers = [layer for layer in classifier.keras_model.layers if hasattr(layer, "kernel")]
    return sum(int(np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:-1])) for layer in layers)


def bounded_table(task: Task, repeat: int) -> Iterator[str]:
    """PGD: one row per run, with its time relative to the first row."""
    flops = 4 * multiply_adds(task.classifier) * len(task.data) * STEPS
    parameters = task.classifier.keras_model.count_params()
    yield from (
        f"## PGD on `{task.classifier.name}` ({parameters:,} parameters)",
        "",
        f"{len(task.data):,} images, Linf {EPSILON}, {STEPS} steps of {STEP}, one random start.",
        "",
        "| run | first call, s | best, s | times advlab's | robust accuracy | GFLOP/s |",
        "|---|---|---|---|---|---|",
    )
    reference = 0.0
    for name, craft in bounded(task).items():
        result = measured(craft, repeat)
        if result.x_adv is None:
            yield f"| {name} | {result.error} | | | | |"
            continue
        reference = reference or result.best
        accuracy = np.mean(task.classifier.probabilities(result.x_adv).argmax(1) == task.data.y)
        cells = (name, f"{result.first:.2f}", f"{result.best:.2f}", f"{result.best / reference:.1f}", f"{accuracy:.2%}")
        yield f"| {' | '.join(cells)} | {flops / result.best / 1e9:.0f} |"
    yield ""


def minimal_table(task: Task, steps: int, repeat: int) -> Iterator[str]:
    """The smallest perturbation: one row per run."""
    yield from (
        f"## Smallest Euclidean perturbation on `{task.classifier.name}`",
        "",
        f"{len(task.data):,} images; the median distance and the success rate are over those classified correctly, "
        "and a failure counts as an infinite distance.",
        "",
        "| run | first call, s | best, s | median distance | success |",
        "|---|---|---|---|---|",
    )
    correct = task.classifier.probabilities(task.data.x).argmax(1) == task.data.y
    for name, craft in minimal(task, steps).items():
        result = measured(craft, repeat)
        if result.x_adv is None:
            yield f"| {name} | {result.error} | | | |"
            continue
        rows = slice(len(result.x_adv))
        success = task.classifier.probabilities(result.x_adv).argmax(1) != task.data.y[rows]
        distance = np.where(success, distances(task.data.x[rows], result.x_adv).l2, np.inf)[correct[rows]]
        cells = (name, f"{result.first:.2f}", f"{result.best:.2f}", f"{np.median(distance):.4f}")
        yield f"| {' | '.join(cells)} | {success[correct[rows]].mean():.2%} |"
    yield ""


def cascade_table(task: Task, repeat: int) -> Iterator[str]:
    """The suite `standard`, attack by attack, beside PGD with many restarts."""
    epsilon = 0.01
    yield from (
        f"## The suite `standard` on `{task.classifier.name}`",
        "",
        f"{len(task.data):,} images, Linf {epsilon}; the self-test left out. The last row is PGD of 100 steps with 10 "
        "restarts.",
        "",
        "| attack | first call, s | best, s | robust accuracy so far |",
        "|---|---|---|---|",
    )
    runs = [
        advlab.run(task.classifier, task.data, "standard", epsilon=epsilon, selftest=0, progress=False)
        for _ in range(repeat)
    ]
    for row in zip(*runs, strict=True):
        seconds = [evaluation.result.seconds for evaluation in row]
        robust = row[0].robust_accuracy.value
        yield f"| {row[0].attack.variant} | {seconds[0]:.2f} | {min(seconds):.2f} | {robust:.2%} |"
    pgd = advlab.attack(
        task.classifier, task.data, "pgd", epsilon=epsilon, steps=100, restarts=10, early_stop=True, progress=False
    )
    pgd_only = int((runs[0][-1].robust & ~pgd.robust).sum())
    yield f"| pgd | {pgd.seconds:.2f} | {pgd.seconds:.2f} | {pgd.robust.mean():.2%} |"
    yield from ("", f"Images still robust under `standard` that this PGD misclassifies: {pgd_only}.", "")


def header() -> list[str]:
    """The machine and the versions of this measurement."""
    versions = ", ".join(f"{name} {version_of(name)}" for name in PEERS)
    return [
        "# advlab beside its peers",
        "",
        f"Generated on {date.today()} by `{' '.join(['python', *sys.argv])}`: do not edit.",
        "",
        f"- {machine()}; {matrix_rate():.0f} GFLOP/s in float32 matrix products.",
        f"- Python {platform.python_version()}, {versions}.",
        "- GFLOP/s of a run: four operations for each multiply-add of the network, sample and step, two of them "
        "forward and two back to the images.",
        f"- Short runs are repeated until they add up to {BRIEF:.0f} seconds, longer ones up to the count of "
        f"`--repeat` within {PATIENCE:.0f} seconds, and the best counts: that favours the short ones, ours among them.",
        "- Foolbox runs with `numpy.find_common_type`, which it needs and NumPy 2 removed, put back.",
        "",
    ]


def version_of(package: str) -> str:
    """The installed version."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def convolutional(path: Path | None) -> advlab.Classifier:
    """The convolutional network of recipe `mnist` after one epoch of Fashion-MNIST, or the one stored in ``path``."""
    if path is not None and path.exists():
        return advlab.load_classifier(path)
    recipe = replace(load_recipe("mnist"), name="fashion-convnet", dataset="fashion-mnist", published={})
    classifier = train(recipe, epochs=1, save=False, progress=False)
    if path is not None:
        classifier.save(path)
    return classifier


def mobile_net() -> advlab.Classifier:
    """MobileNetV2 for pictures of 224 x 224, with random weights: what is timed does not depend on them."""
    keras.utils.set_random_seed(0)
    return advlab.Classifier.from_keras(keras.applications.MobileNetV2(weights=None), preprocess="tf")


def noise(classifier: advlab.Classifier, images: int) -> advlab.Dataset:
    """Random pictures, labelled as the classifier sees them."""
    x = np.random.default_rng(0).uniform(size=(images, 224, 224, 3)).astype(np.float32)
    labels, names = classifier.probabilities(x).argmax(1), [str(number) for number in range(classifier.classes)]
    return advlab.Dataset.from_arrays(x, labels, names, name="noise")


def report(arguments: argparse.Namespace) -> Iterator[str]:
    """The lines of the whole report, each as soon as it is measured."""
    divisor = 10 if arguments.quick else 1

    def task(classifier: advlab.Classifier, images: int) -> Task:
        return Task.of(
            classifier, advlab.load_dataset("fashion-mnist", limit=min(arguments.samples, images // divisor))
        )

    dense = advlab.load_classifier("fashion")
    yield from header()
    # First, while nothing of it is compiled.
    yield from cascade_table(task(dense, 1000), arguments.repeat)
    yield from bounded_table(task(dense, 10_000), arguments.repeat)
    yield from bounded_table(task(convolutional(arguments.cnn), 1000), arguments.repeat)
    colours = advlab.load_dataset("cifar10", limit=min(arguments.samples, 500 // divisor))
    yield from bounded_table(Task.of(advlab.load_classifier("cifar10"), colours), arguments.repeat)
    large = mobile_net()
    yield from bounded_table(Task.of(large, noise(large, min(arguments.samples, 16))), arguments.repeat)
    yield from minimal_table(task(dense, 1000), 1000 // divisor, arguments.repeat)


def main() -> None:
    """Measure, print and, if requested, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=10_000, help="at most so many images anywhere")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the images, and of the steps of C&W")
    parser.add_argument("--cnn", type=Path, help="where the trained convolutional network is stored")
    parser.add_argument("--write", action="store_true", help=f"write benchmarks/{RESULTS.name}")
    arguments = parser.parse_args()
    lines = []
    for line in report(arguments):
        print(line, flush=True)
        lines.append(line)
    if arguments.write:
        write_block("peers", "\n".join(lines))


if __name__ == "__main__":
    main()
