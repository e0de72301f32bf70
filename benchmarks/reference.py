"""The suite `standard` beside the reference AutoAttack, net by net: the share of images that each leaves.

    python benchmarks/reference.py [--samples 449] [--python INTERPRETER] [--only TEXT] [--write]

The nets are those of the gallery (tests/gallery) that PyTorch can be given exactly, trained on the embedded digits. No
attack was tuned on them. What the reference returns is judged by the network itself. Prints Markdown, which `--write`
stores in benchmarks/RESULTS.md. Needs, in the interpreter that `--python` names, `pip install torch pyautoattack`: the
authors' code, as it is packed for the package index.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import keras
import numpy as np
from blocks import machine, write_block

import advlab
from advlab.distances import distance, exceeds

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.gallery import nets

EPSILON = {"linf": 0.1, "l2": 1.5, "l1": 10.0}
MOST = 0.002  # by which ours may leave more than the reference


def networks() -> dict[str, Callable[[], keras.Model]]:
    """Name -> a network that ends in logits."""

    def conv(**settings: Any) -> keras.Model:
        return nets.fit(lambda: nets.stacked(*nets.conv_layers()), **settings)

    return {
        "dense": nets.dense,
        "dense, tanh": lambda: nets.fit(lambda: nets.stacked(*nets.dense_layers(activation="tanh"))),
        "dense, trained against PGD": nets.robust,
        "dense, label smoothing": lambda: nets.fit(lambda: nets.stacked(*nets.dense_layers()), smoothing=0.2),
        "convolutional": nets.conv,
        "convolutional, trained against PGD": lambda: conv(epsilon=0.1, steps=5),
        "convolutional, overfitted to FGSM": lambda: conv(epsilon=0.2, steps=1, epochs=30),
    }


def layers(model: keras.Model) -> str:
    """What PyTorch needs to know of each layer, as JSON."""
    known = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    return json.dumps(
        [
            {
                "type": type(layer).__name__,
                "activation": getattr(getattr(layer, "activation", None), "__name__", "linear"),
            }
            for layer in known
        ]
    )


def reference(model: keras.Model, data: advlab.Dataset, norm: str, python: str) -> tuple[np.ndarray, float]:
    """What the reference leaves, bool ``(n,)``, and its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        task, answer = Path(folder, "task.npz"), Path(folder, "answer.npz")
        weights = {f"weight_{number}": value for number, value in enumerate(model.get_weights())}
        np.savez(task, x=data.x, y=data.y, norm=norm, epsilon=EPSILON[norm], layers=layers(model), **weights)
        script = str(Path(__file__).with_name("torch_autoattack.py"))
        subprocess.run([python, script, str(task), str(answer)], check=True)
        with np.load(answer) as found:
            x_adv, seconds, logits = found["x_adv"], float(found["seconds"]), found["clean"]
    if not np.allclose(logits, model.predict(data.x, verbose=0), atol=1e-3):
        raise SystemExit("PyTorch was given another network.")
    inside = ~exceeds(distance(data.x, x_adv, norm), norm, EPSILON[norm] * (1 + 1e-4))
    correct = [model.predict(x, verbose=0).argmax(1) == data.y for x in (data.x, x_adv)]
    return np.asarray(correct[0] & ~(inside & ~correct[1])), seconds


def report(arguments: argparse.Namespace) -> Iterator[str]:
    """The lines of the whole report."""
    data = advlab.load_dataset("digits", limit=arguments.samples)
    yield from (
        "# `standard` beside the reference AutoAttack",
        "",
        f"Generated on {date.today()} by `{' '.join(['python', *sys.argv])}`: do not edit. {machine()}.",
        "",
        f"{len(data)} test images of the embedded digits; the share that each leaves, and its seconds. At most "
        f"{MOST:.1%} more than the reference is the aim; *only ours*, *only theirs*: images that one alone breaks.",
        "",
        "| net | under | `standard` | s | reference | s | more | only ours | only theirs |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    )
    for name, build in networks().items():
        if arguments.only not in name:
            continue
        model = build()
        classifier = advlab.Classifier.from_keras(model, name=name.replace(" ", "-"))
        for norm, epsilon in EPSILON.items():
            ours = advlab.run(classifier, data, "standard", norm=norm, epsilon=epsilon, selftest=0, progress=False)[-1]
            left, seconds = reference(model, data, norm, arguments.python)
            robust = ours.robust
            yield (
                f"| {name} | {norm} {epsilon:g} | {robust.mean():.1%} | {ours.result.seconds:.0f} | {left.mean():.1%} "
                f"| {seconds:.0f} | {100 * (robust.mean() - left.mean()):+.1f} | {(left & ~robust).sum()} | "
                f"{(~left & robust).sum()} |"
            )
    yield ""


def main() -> None:
    """Measure, print and, if requested, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=449)
    parser.add_argument("--python", default=sys.executable, help="an interpreter with PyTorch and pyautoattack")
    parser.add_argument("--only", default="", help="nets whose name has this in it")
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    lines = []
    for line in report(arguments):
        print(line, flush=True)
        lines.append(line)
    if arguments.write:
        write_block("reference", "\n".join(lines))


if __name__ == "__main__":
    main()
