"""Time PGD and the suite `standard` on each device of this machine, compiled by XLA and as a plain graph.

    python benchmarks/devices.py [--samples N] [--write]
    python benchmarks/devices.py --device gpu:0 > gpu.jsonl
    python benchmarks/devices.py --from gpu.jsonl --machine "16 cores and one GPU" --write

The dense `fashion` and the convolutional network of recipe `mnist`, after one epoch of Fashion-MNIST, each device in a
process of its own. What `compile="auto"` and the batch size do on a GPU is decided by these numbers. Prints Markdown,
which `--write` stores in benchmarks/RESULTS.md. Needs the real data (ADVLAB_DATA).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

from blocks import machine, write_block

EPSILON = {"fashion": 0.01, "fashion-convnet": 0.1}
REPEAT = 3


def main() -> None:
    """Measure every device, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument(
        "--limit", type=float, default=300, help="Seconds for one device; what is measured by then counts."
    )
    parser.add_argument("--device", help="Measure this one alone, and print JSON lines.")
    parser.add_argument("--from", dest="files", type=Path, nargs="+", help="Such lines, measured on another machine.")
    parser.add_argument("--machine", default=machine(), help="That machine, in words.")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    if arguments.device:
        for row in measure(arguments.device, arguments.samples):
            print(json.dumps(row), flush=True)
        return
    if arguments.files:
        lines: Iterable[str] = [line for file in arguments.files for line in file.read_text("utf-8").splitlines()]
    else:
        lines = measured(arguments.samples, arguments.limit)
    text = "\n".join(page(lines, arguments.machine))
    print(text)
    if arguments.write:
        write_block("devices", text)


def measured(samples: int, limit: float) -> Iterator[str]:
    """The JSON lines of all devices; one that is stopped at its limit has shown what it had measured."""
    for device in ("gpu:0", "cpu"):
        command = [sys.executable, __file__, "--device", device, "--samples", str(samples)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            timer = threading.Timer(limit, process.kill)
            timer.start()
            yield from process.stdout or ()
            timer.cancel()


def page(lines: Iterable[str], machine_name: str) -> Iterator[str]:
    """The table of what was measured."""
    yield from (
        "# Devices",
        "",
        f"Generated on {date.today()} by `python benchmarks/devices.py`: do not edit. {machine_name}.",
        "",
        "| device | network | run | images | batch | compiled by | first call, s | best, s | robust accuracy |",
        "|---|---|---|---|---|---|---|---|---|",
    )
    for line in lines:
        yield f"| {' | '.join(json.loads(line).values())} |"
    yield ""


def measure(device: str, samples: int) -> Iterator[dict[str, Any]]:
    """One row for each network, batch size and way to compile."""
    os.environ["ADVLAB_DEVICE"] = device
    from peers import convolutional

    import advlab

    try:
        name = advlab.use_device(device)
    except advlab.InvalidValue as error:
        print(error, file=sys.stderr)
        return
    for classifier in (advlab.load_classifier("fashion"), convolutional(None)):
        epsilon = EPSILON[classifier.name]
        data = advlab.load_dataset("fashion-mnist", limit=samples)

        def row(run: str, images: int, seconds: list[float], robust: float, execution: Any, network: str) -> Any:
            return {
                "device": name,
                "network": network,
                "run": run,
                "images": f"{images:,}",
                "batch": f"{execution.batch_size:,}",
                "compiled": execution.compile,
                "first": f"{seconds[0]:.2f}",
                "best": f"{min(seconds):.2f}",
                "robust": f"{robust:.2%}",
            }

        for batch, compiler in itertools.product(sorted({1000, samples}), ("graph", "xla")):
            seconds = []
            for _ in range(REPEAT):
                start_time = time.perf_counter()
                result = advlab.attack(
                    classifier, data, "pgd", epsilon=epsilon, steps=40, batch_size=batch, compile=compiler,
                    progress=False,
                )  # fmt: skip
                seconds.append(time.perf_counter() - start_time)
            yield row("pgd, 40 steps", samples, seconds, result.robust.mean(), result.execution, classifier.name)
        for images in sorted({1000, samples}):
            seconds = []
            for _ in range(2 if images == 1000 else 1):
                start_time = time.perf_counter()
                rows = advlab.run(
                    classifier, data.take(images), "standard", epsilon=epsilon, selftest=0, progress=False
                )
                seconds.append(time.perf_counter() - start_time)
            worst = rows[-1]
            yield row(
                "standard", images, seconds, worst.robust_accuracy.value, rows[0].result.execution, classifier.name
            )


if __name__ == "__main__":
    main()
