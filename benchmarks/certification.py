"""Prove the robustness of ``fashion`` by every method, and see what each leaves unknown and how long it takes.

    python benchmarks/certification.py [--samples 1000] [--time-limit 480] [--python INTERPRETER] [--write]

Prints a Markdown table; ``--write`` keeps it in benchmarks/RESULTS.md. Needs the real data (ADVLAB_DATA). Beside it
stands what alpha-beta-CROWN 0.7.0 (PyTorch, one core, float32) needed on another training run of the same recipe.
``--python`` names an interpreter with ``pip install torch "numpy<2"`` and ``pip install --no-deps auto_LiRPA``: another
table is then made instead, of our bounds beside those of auto_LiRPA on the same weights, images and balls.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import numpy as np
from blocks import RESULTS, machine, write_block

import advlab

MODEL, EPSILONS, METHODS = "fashion", (0.01, 0.02, 0.05), ("ibp", "crown", "alpha", "exact")
BOUNDS = METHODS[:3]
PEERS = {"fashion": ((0.01, 0.02), 200), "mnist-robust": ((0.1,), 20)}  # epsilons, images
LARGE = 10_000  # all test images
REFERENCE = {  # epsilon: proven by the bounds, then proven / misclassified / unknown and seconds of the complete search
    0.01: "IBP 77, CROWN 738, alpha 743; complete 782 / 218 / 0, 28 s for the 44 left open by bounds and PGD",
    0.02: "IBP 1, CROWN 429, alpha 444; complete 642 / 357 / 1, 386 s for 218 and a MILP of 7 to 79 s for three",
    0.05: "IBP 0, CROWN 18, alpha 23; a complete search was not run",
}


def rows(samples: int, time_limit: float) -> Iterator[str]:
    """A line for each method and epsilon, in the order measured."""
    data = advlab.load_dataset("fashion-mnist")
    classifier = advlab.load_classifier(MODEL)
    for method in METHODS:  # traced, for batches of any size, before anything is timed
        for warm in (100, 30):
            advlab.certify(classifier, data.take(warm), epsilon=0.01, method=method, progress=False)
    for epsilon in EPSILONS:
        for method in METHODS:
            found = advlab.certify(
                classifier, data.take(samples), epsilon=epsilon, method=method, time_limit=time_limit, progress=False
            )
            counts = (found.proven.sum(), found.misclassified.sum(), found.unknown.sum())
            cells = [f"{epsilon:g}", method, *(f"{count:,}" for count in counts), f"{found.seconds:.1f}"]
            yield f"| {' | '.join(cells)} | {found.branches.sum():,} |"
    found = advlab.certify(classifier, data, epsilon=EPSILONS[0], method="crown", progress=False)
    yield ""
    yield f"CROWN on all {LARGE:,} test images, all nine margins, at {EPSILONS[0]:g}: {found.seconds:.1f} s."
    yield f"Load when it ended: {os.getloadavg()[0]:.1f}."


def peers(samples: int, python: str) -> Iterator[str]:
    """A line for each network, epsilon and method of bounds: ours beside auto_LiRPA's."""
    head = (
        "| model | Linf | images | method | ours proves | auto_LiRPA | only ours | only theirs "
        "| of these within our margin for rounding | seconds | auto_LiRPA | times ours |"
    )
    yield from (
        "# Bounds beside auto_LiRPA",
        "",
        f"Generated on {date.today()} by `python {sys.argv[0]} --python INTERPRETER`: do not edit. {machine()}; "
        f"load when started {os.getloadavg()[0]:.1f}.",
        "",
        "auto_LiRPA 0.3 (PyTorch, float32) optimises hidden bounds as well, in 20 steps; ours are float64, in 30. "
        "Nothing is timed before it was traced.",
        "",
        head,
        f"|{'---|' * (head.count('|') - 1)}",
    )
    for name, (epsilons, most) in PEERS.items():
        classifier = advlab.load_classifier(name)
        data = advlab.load_dataset(classifier.card["recipe"]["dataset"], limit=min(samples, most))
        for epsilon in epsilons:
            theirs = lirpa(classifier, data, epsilon, python)
            for method in BOUNDS:
                options: dict[str, Any] = {"epsilon": epsilon, "method": method, "progress": False, "save": False}
                for warm in (len(data) // 2, len(data)):  # traced, for batches of any size, before it is timed
                    advlab.certify(classifier, data.take(warm), **options)
                ours = advlab.certify(classifier, data, **options)
                proves = theirs[method] > 0
                within = proves & ~ours.proven & (ours.margin > -ours.rounding)
                seconds = float(theirs[f"{method}_seconds"])
                yield (
                    f"| {name} | {epsilon:g} | {len(data):,} | {method} | {ours.proven.sum():,} | {proves.sum():,} "
                    f"| {(ours.proven & ~proves).sum():,} | {(proves & ~ours.proven).sum():,} | {within.sum():,} "
                    f"| {ours.seconds:.1f} | {seconds:.1f} | {seconds / ours.seconds:.1f} |"
                )


def lirpa(classifier: advlab.Classifier, data: advlab.Dataset, epsilon: float, python: str) -> dict[str, np.ndarray]:
    """What ``torch_certification.py`` answers."""
    model = classifier.keras_model
    known = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    layers = [
        {
            "type": type(layer).__name__,
            "activation": "relu" if getattr(layer, "activation", None) is keras.activations.relu else "linear",
            "stride": getattr(layer, "strides", (1,))[0],
        }
        for layer in known
        if not isinstance(layer, keras.layers.Dropout)
    ]
    with tempfile.TemporaryDirectory() as folder:
        task, answer = Path(folder, "task.npz"), Path(folder, "answer.npz")
        weights = {f"weight_{number}": value for number, value in enumerate(model.get_weights())}
        np.savez(task, x=data.x, y=data.y, epsilon=epsilon, layers=json.dumps(layers), **weights)
        subprocess.run(
            [python, "-W", "ignore", str(Path(__file__).with_name("torch_certification.py")), str(task), str(answer)],
            check=True,
        )
        with np.load(answer) as found:
            answers = dict(found)
    logits = classifier.logits(data.x[:100]).numpy()
    if not np.allclose(answers["clean"][:100], logits, atol=1e-3):
        raise SystemExit(f"PyTorch was given another network than '{classifier.name}'.")
    return answers


def report(samples: int, time_limit: float) -> Iterator[str]:
    """The lines of the block, each as soon as it is measured."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("tensorflow", "numpy", "scipy"))
    head = "| Linf | method | proven | misclassified | unknown | seconds | branches |"
    yield from (
        "# What can be proven of `fashion`",
        "",
        f"Generated on {date.today()} by `{' '.join(['python', *sys.argv])}`: do not edit.",
        "",
        f"- {machine()}; load when started {os.getloadavg()[0]:.1f}.",
        f"- Python {platform.python_version()}, {versions}. Bounds in float64, traced before.",
        f"- The first {samples:,} test images of Fashion-MNIST. Bounds alone count clean errors as misclassified and "
        "look for no others; `exact` ends after "
        f"{time_limit:g} s.",
        *(
            f"- alpha-beta-CROWN 0.7.0 on other weights of the same recipe, one core, Linf {e:g}: {text}."
            for e, text in REFERENCE.items()
        ),
        "",
        head,
        f"|{'---|' * (head.count('|') - 1)}",
    )
    yield from rows(samples, time_limit)


def main() -> None:
    """Measure, print and, where asked, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=1000, help="the first N test images")
    parser.add_argument("--time-limit", type=float, default=480, help="seconds for each method and epsilon")
    parser.add_argument("--python", help="an interpreter with auto_LiRPA")
    parser.add_argument("--write", action="store_true", help=f"put the table into benchmarks/{RESULTS.name}")
    given = parser.parse_args()
    lines = []
    block = "bounds" if given.python else "certification"
    for line in peers(given.samples, given.python) if given.python else report(given.samples, given.time_limit):
        print(line, flush=True)
        lines.append(line)
    if given.write:
        write_block(block, "\n".join(lines))


if __name__ == "__main__":
    main()
