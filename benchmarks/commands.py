"""Time light commands as a user experiences them: startup, and evaluation and report of 10,000 images.

    python benchmarks/commands.py [--repeat 10]

Prints a Markdown table of the median seconds of each, and its multiple of a bare Python.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import advlab
from advlab import workspace
from advlab.results.diagnostics import Diagnostics


def seconds(words: list[str], folder: str, repeat: int) -> float:
    """The median time of a command, after one run that warms the file cache."""
    times = []
    for _ in range(repeat + 1):
        start_time = time.perf_counter()
        subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times.append(time.perf_counter() - start_time)
    return statistics.median(times[1:])


def ten_thousand(path: Path) -> None:
    """The reference archive, repeated up to 10,000 images with a little noise, so that it does not compress better."""
    small = advlab.load_result(next((workspace.shipped() / "attacks" / "reference").glob("*.h5")))
    rows = np.resize(np.arange(len(small)), 10_000)
    fields = (
        "x x_adv labels indices clean_probabilities adversarial_probabilities attempted forward_passes backward_passes"
    )
    large = replace(
        small, **{name: getattr(small, name)[rows] for name in fields.split()}, diagnostics=Diagnostics(), location=None
    )
    noise = np.random.default_rng(0).normal(0, 0.01, large.x.shape).astype(np.float32)
    x = np.clip(large.x + noise, 0, 1)
    replace(large, x=x, x_adv=np.clip(large.x_adv, x - 0.1, x + 0.1)).save(path)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=10)
    repeat = parser.parse_args().repeat
    command = str(Path(sys.executable).with_name("advlab"))
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "large.h5"
        ten_thousand(archive)
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "advlab --help": [command, "--help"],
            "advlab list": [command, "list"],
            "advlab evaluate, 10,000 images": [command, "evaluate", str(archive)],
            "advlab report, 10,000 images": [command, "report", str(archive)],
        }
        medians = {name: seconds(words, folder, repeat) for name, words in commands.items()}
    bare = medians["python -c pass"]
    print("| command | seconds | times a bare Python |\n|---|---|---|")
    for name, value in medians.items():
        print(f"| {name} | {value:.3f} | {value / bare:.1f} |")


if __name__ == "__main__":
    main()
