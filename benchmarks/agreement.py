"""Do flags of success depend on batch size, threads or processes? A row for each native method.

    python benchmarks/agreement.py [--samples 200] [--write]

Each way of running is a process of its own, and is compared with one batch on two threads. Prints Markdown, which
``--write`` puts into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blocks import write_block

PAGE = Path(__file__).parent.parent / "docs" / "reliability.md"
WAYS: dict[str, dict[str, Any]] = {
    "one batch, two threads": {"batch": 1000, "threads": 2},
    "batches of 7": {"batch": 7, "threads": 2},
    "single images": {"batch": 1, "threads": 2},
    "one thread": {"batch": 1000, "threads": 1},
    "two processes": {"batch": 1000, "threads": 2, "workers": 2},
}
CAPS = {"steps": 30, "searches": 2, "epochs": 3}  # few: what is compared is the same in every step
SHARED = ("universal", "patch", "trigger")  # one perturbation of all images: its batches are part of what it is


def flags(samples: int, batch: int, workers: int) -> dict[str, list[bool]]:
    """Method and norm -> whether each image succeeded."""
    import contextlib

    import advlab
    from advlab.declarations.methods import load_method, method_names
    from advlab.engine import slices

    slices._MIN_WORK = 1.0  # as if the little that is attacked were worth sending
    found = {}
    with advlab.use_workers(workers) if workers else contextlib.nullcontext():
        for name in method_names():
            method = load_method(name)
            if not method.native or name in SHARED:
                continue
            model, norms = ("digits", method.norms) if method.data == "images" else ("sentiment-tiny", ("l0",))
            for norm in norms:
                few = {key: min(int(str(v)), CAPS[key]) for key, v in method.parameters.items() if key in CAPS}
                radius = {"linf": 0.05, "l2": 1.0, "l1": 6.0, "l0": 6 if method.data == "images" else 2}.get(norm)
                epsilon: Any = radius if method.goal == "bounded" else None
                options: dict[str, Any] = {**few, "norm": norm, "epsilon": epsilon, "seed": 1}
                result: Any = advlab.attack(model, None, name, samples=samples, batch_size=batch, **options)
                is_judged = result.attack.goal == "bounded" or radius is None
                found[f"{name} {norm}"] = (result.success if is_judged else _within(result, radius or 0)).tolist()
    return found


def _within(result: Any, radius: float) -> Any:
    """Of a minimal method a success is one within the budget of the bounded ones."""
    from advlab.distances import distance, exceeds

    norm = result.attack.threat.norm
    return result.success & ~exceeds(distance(result.x, result.x_adv, norm), norm, radius)


def measured(samples: int, way: str) -> dict[str, list[bool]]:
    """The flags of one way of running, in a process of its own."""
    options = WAYS[way]
    words = [sys.executable, __file__, "run", "--samples", str(samples), "--batch", str(options["batch"])]
    words += ["--workers", str(options.get("workers", 0))]
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": str(options["threads"]), "TF_CPP_MIN_LOG_LEVEL": "3"}
    answer = subprocess.run(words, check=True, capture_output=True, text=True, env=environment).stdout
    return json.loads(answer.splitlines()[-1])


def table(samples: int) -> Iterator[str]:
    """Differing flags of each method in each way."""
    reference, *others = WAYS
    found = {}
    for way in WAYS:
        found[way] = measured(samples, way)
        print(way, "done", file=sys.stderr, flush=True)
    images = sum(map(len, found[reference].values()))
    yield f"| method | images | succeed | {' | '.join(others)} |"
    yield f"|---|--:|--:|{'--:|' * len(others)}"
    totals = dict.fromkeys(others, 0)
    for name, expected in found[reference].items():
        differing = {way: sum(a != b for a, b in zip(expected, found[way][name], strict=True)) for way in others}
        totals = {way: totals[way] + count for way, count in differing.items()}
        yield f"| `{name}` | {len(expected)} | {sum(expected)} | {' | '.join(map(str, differing.values()))} |"
    yield f"| all | {images:,} | | {' | '.join(f'{count} ({count / images:.2%})' for count in totals.values())} |"


def main() -> None:
    """Measure, print and, if requested, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", nargs="?", choices=["run"], help="one way of running, as JSON")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--write", action="store_true", help=f"write docs/{PAGE.name}")
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(flags(arguments.samples, arguments.batch, arguments.workers)))
        return
    text = "\n".join(table(arguments.samples))
    print(text)
    if arguments.write:
        write_block("agreement", text, PAGE)


if __name__ == "__main__":
    main()
