"""How near the suite `minimal` comes: image by image beside the best of the minimal attacks of adversarial-library.

    python benchmarks/nearest.py [--samples 1000] [--steps 1000] [--peers FILE] [--write]

The dense network `fashion` under each norm. Its weights are ported to PyTorch, in which the peers run with `--steps`
steps each; what they return is judged by the network itself, up to rounding. ``--peers`` stores their distances and
reuses them. Prints Markdown, which `--write` stores in benchmarks/RESULTS.md. Needs the real data (ADVLAB_DATA) and,
in the interpreter that `--python` names, `pip install torch torchvision scikit-learn requests "setuptools<81"`, then
`pip install --no-build-isolation adv-lib`, one of whose requirements does not build with newer setuptools.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from importlib import metadata
from pathlib import Path

import numpy as np
from blocks import machine, write_block

import advlab
from advlab.distances import distance

NORMS = ("linf", "l2", "l1", "l0")
TOLERANCE = 0.01  # by which an image may be farther and still count as near
MODEL = "fashion"
ROUNDING = 2e-5  # of a logit


def run_peers(classifier: advlab.Classifier, data: advlab.Dataset, steps: int, python: str) -> dict[str, np.ndarray]:
    """float64 ``(n,)`` by ``norm/peer``: the distance of each image, infinite where the network is not fooled."""
    # In a process of their own: PyTorch and TensorFlow together end in a segmentation fault.
    with tempfile.TemporaryDirectory() as folder:
        task, answer = Path(folder, "task.npz"), Path(folder, "answer.npz")
        weights = {f"weight_{number}": value for number, value in enumerate(classifier.keras_model.get_weights())}
        np.savez(task, x=data.x, y=data.y, **weights)
        script = str(Path(__file__).with_name("torch_peers.py"))
        subprocess.run([python, script, str(task), str(answer), str(steps)], check=True)
        found = {}
        with np.load(answer) as arrays:
            for key, x_adv in arrays.items():
                # Theirs count on the boundary itself, where ours do not: the two libraries round differently.
                logits, rows = classifier.logits(x_adv).numpy().astype(float), np.arange(len(data))
                label_logits = logits[rows, data.y]
                logits[rows, data.y] = -np.inf
                success = logits.max(1) > label_logits - ROUNDING * np.abs(label_logits)
                found[key] = np.where(success, distance(data.x, x_adv, key.partition("/")[0]), np.inf)
        return found


def farther(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The fraction of images on which ours is farther than theirs by more than the tolerance."""
    return float(np.mean(ours > theirs * (1 + TOLERANCE)))


def table(
    classifier: advlab.Classifier, data: advlab.Dataset, found: dict[str, np.ndarray], norm: str
) -> Iterator[str]:
    """One norm: the suite, each of its methods, and each peer, beside the nearest of all peers."""
    theirs = {key.partition("/")[2]: value for key, value in found.items() if key.startswith(f"{norm}/")}
    union = np.minimum.reduce(list(theirs.values()))
    evaluations = advlab.run(classifier, data, "minimal", norm=norm, progress=False)
    yield from (
        f"## {norm}",
        "",
        f"| attack | median distance | farther than the best peer by more than {TOLERANCE:.0%} | passes | s |",
        "|---|---|---|---|---|",
    )
    for evaluation in reversed(evaluations):
        result = evaluation.result
        sizes = np.where(result.success, distance(data.x, result.x_adv, norm), np.inf)
        passes = float(np.mean(result.forward_passes + result.backward_passes))
        name = "suite `minimal`" if evaluation.joins else f"advlab {result.attack.variant}"
        yield (
            f"| {name} | {np.median(sizes):.4f} | {farther(sizes, union):.1%} | {passes:,.0f} | {result.seconds:.0f} |"
        )
    for name, sizes in theirs.items():
        yield f"| {name} | {np.median(sizes):.4f} | {farther(sizes, union):.1%} | | |"
    yield ""


def report(arguments: argparse.Namespace) -> Iterator[str]:
    """The lines of the whole report."""
    classifier = advlab.load_classifier(MODEL)
    data = advlab.load_dataset("fashion-mnist", limit=arguments.samples)
    correct = classifier.probabilities(data.x).argmax(1) == data.y
    data = replace(data, x=data.x[correct], y=data.y[correct], indices=data.indices[correct])
    stored: Path | None = arguments.peers
    if stored is not None and stored.exists():
        with np.load(stored) as arrays:
            found = dict(arrays)
    else:
        found = run_peers(classifier, data, arguments.steps, arguments.python)
        if stored is not None:
            np.savez(stored, allow_pickle=False, **found)
    yield from (
        "# How near the suite `minimal` comes",
        "",
        f"Generated on {date.today()} by `python benchmarks/nearest.py --samples {arguments.samples} --steps "
        f"{arguments.steps} --write`: do not edit.",
        "",
        f"- {machine()}. Python packages: {versions(arguments.python)}.",
        f"- `{MODEL}`, the {len(data)} of {arguments.samples:,} test images that it classifies correctly. The attacks "
        f"of adversarial-library have {arguments.steps:,} steps each; passes are ours, forward and backward, for each "
        "image.",
        "",
    )
    for norm in NORMS:
        yield from table(classifier, data, found, norm)


def versions(python: str) -> str:
    """What ran, as installed here and beside PyTorch."""
    script = "from importlib.metadata import version; print(version('torch'), version('adv-lib'))"
    answer = subprocess.run([python, "-c", script], capture_output=True, text=True, check=False)
    torch, peers = answer.stdout.split() if answer.returncode == 0 else ("not installed", "not installed")
    ours = ", ".join(f"{name} {metadata.version(name)}" for name in ("advlab", "tensorflow"))
    return f"{ours}, torch {torch}, adv-lib {peers}"


def main() -> None:
    """Measure, print and, if requested, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=1000, help="of each peer")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with PyTorch and adversarial-library")
    parser.add_argument("--peers", type=Path, help="an .npz file for the distances of the peers")
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    lines = []
    for line in report(arguments):
        print(line, flush=True)
        lines.append(line)
    if arguments.write:
        write_block("nearest", "\n".join(lines))


if __name__ == "__main__":
    main()
