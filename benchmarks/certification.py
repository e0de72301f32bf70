"""Prove the robustness of ``fashion`` by every method, and see what each leaves unknown and how long it takes.

    python benchmarks/certification.py [--samples 1000] [--time-limit 480] [--write]

Prints a Markdown table; ``--write`` keeps it in benchmarks/RESULTS.md. Needs the real data (ADVLAB_DATA). Beside it
stands what alpha-beta-CROWN 0.7.0 (PyTorch, one core, float32) needed on another training run of the same recipe.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterator
from datetime import date
from importlib import metadata

from blocks import RESULTS, machine, write_block

import advlab

MODEL, EPSILONS, METHODS = "fashion", (0.01, 0.02), ("ibp", "crown", "alpha", "exact")
LARGE = 10_000  # all test images
REFERENCE = {  # epsilon: proven by the bounds, then proven / misclassified / unknown and seconds of the complete search
    0.01: "IBP 77, CROWN 738, alpha 743; complete 782 / 218 / 0, 28 s for the 44 left open by bounds and PGD",
    0.02: "IBP 1, CROWN 429, alpha 444; complete 642 / 357 / 1, 386 s for 218 and a MILP of 7 to 79 s for three",
}


def rows(samples: int, time_limit: float) -> Iterator[str]:
    """A line for each method and epsilon, in the order measured."""
    data = advlab.load_dataset("fashion-mnist")
    classifier = advlab.load_classifier(MODEL)
    for method in METHODS:  # traced before anything is timed
        advlab.certify(classifier, data.take(100), epsilon=0.01, method=method, progress=False)
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
    parser.add_argument("--write", action="store_true", help=f"put the table into benchmarks/{RESULTS.name}")
    given = parser.parse_args()
    lines = []
    for line in report(given.samples, given.time_limit):
        print(line, flush=True)
        lines.append(line)
    if given.write:
        write_block("certification", "\n".join(lines))


if __name__ == "__main__":
    main()
