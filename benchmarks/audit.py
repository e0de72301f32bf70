"""What the audit finds, and what it misses: every row of the gallery in tests/gallery, beside its truth.

    python benchmarks/audit.py [--quick] [--only TEXT] [--store FILE] [--page]

Writes docs/audit.md. The truth is what an attack leaves that was written by hand for that very classifier. ``--store``
keeps what was measured, row by row, and goes on from there; ``--page`` writes the page of what it has so far.
``--quick`` takes 30 images and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from blocks import machine

from advlab import writing

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.gallery.measure import DEFENCES, HONEST, SAMPLES, Measured, measure
from tests.gallery.truth import Row

PAGE = Path(__file__).parent.parent / "docs" / "audit.md"
HALVES = {"tuned": "Looked at while the findings were written", "aside": "Kept aside from that"}
HEAD = """# What the audit sees, and what it misses

`advlab audit` says how robust a classifier is, and what speaks against that number. Here it is held to the truth:
{defences} defences that mask their gradient and {honest} honest classifiers, all small, trained in seconds on the
embedded digits, and audited on their first {samples} test images. *Truth* is the share of images that an attack leaves
which was written by hand for that very classifier, with all that is known of it: a layer passed straight through, made
smooth, averaged over its randomness, or left out; of a linear classifier the closed form. *PGD* is the plain attack
that a mask is there to fool, *audit* the audit's number, which should be within 3 points of the truth; *recovered by*
names the steps that brought it down after a finding. A finding that is due and missing is a false negative; any finding
against an honest classifier is a false positive, but for what is true of it (an untrained network does classify no
better than chance).

What recovers a number has 120 s, so that a slower machine may say more: with other work beside it, the audit of the
opaque softmax ran out of time at 63 %.

Generated on {day} by `python benchmarks/audit.py`: do not edit. {machine}; seconds are those of one audit."""


def summary(name: str, rows: tuple[Row, ...], measured: dict[str, Measured]) -> Iterator[str]:
    """One line for each half: how many are right."""
    for half in HALVES:
        found = [measured[row.name] for row in rows if row.half == half and row.name in measured]
        within = sum(not m.off for m in found)
        silent = sum(m.silent for m in found) if rows is DEFENCES else sum(bool(m.findings) for m in found)
        wrong = "false negatives" if rows is DEFENCES else "false positives"
        yield f"| {name}, {half} | {len(found)} | {within} | {silent} {wrong} |"


def section(title: str, rows: tuple[Row, ...], measured: dict[str, Measured]) -> Iterator[str]:
    """The rows of one kind, half by half."""
    for half, words in HALVES.items():
        yield from (f"\n## {title}: {words.lower()}", "")
        yield from (
            "| classifier | under | clean | truth | PGD | audit | recovered by | findings | s |",
            "|---|---|--:|--:|--:|--:|---|---|--:|",
        )
        for row in rows:
            if row.half == half and row.name not in measured:
                yield f"| {row.name} | {row.norm} {row.epsilon:g} | not measured yet | | | | | | |"
            elif row.half == half:
                m = measured[row.name]
                codes = ", ".join(f"`{code}`" for code in m.findings) or "none"
                shares = " | ".join(f"{share:.0%}" for share in (m.clean, m.truth, m.pgd, m.audit))
                steps = ", ".join(m.recovered)
                yield f"| {row.name} | {row.norm} {row.epsilon:g} | {shares} | {steps} | {codes} | {m.seconds:.0f} |"


def failures(measured: dict[str, Measured]) -> Iterator[str]:
    """What is wrong, in words."""
    yield from ("\n## What it gets wrong", "")
    lines = []
    for row in (*DEFENCES, *HONEST):
        if row.name not in measured:
            continue
        m = measured[row.name]
        wrong = [f"it says {m.audit:.0%} where the truth is {m.truth:.0%}"] if m.off else []
        wrong += ["no finding warns of it"] if row in DEFENCES and m.silent else []
        wrong += [f"{', '.join(m.findings)} is a false alarm"] if row in HONEST and m.findings else []
        if wrong:
            lines.append(f"- **{row.name}** ({row.half}): {', and '.join(wrong)}. {row.known}".rstrip())
    yield from lines or ["Nothing."]


def page(measured: dict[str, Measured], samples: int) -> str:
    """The whole page."""
    head = HEAD.format(defences=len(DEFENCES), honest=len(HONEST), samples=samples, day=date.today(), machine=machine())
    lines = [head, "", "| | classifiers | number within 3 points | |", "|---|--:|--:|---|"]
    lines += [*summary("defences", DEFENCES, measured), *summary("honest", HONEST, measured)]
    lines += [*failures(measured), *section("Defences that mask their gradient", DEFENCES, measured)]
    return "\n".join([*lines, *section("Honest classifiers", HONEST, measured)]) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="30 images; prints, and writes nothing")
    parser.add_argument("--only", default="", help="rows whose name has this in it; prints, and writes nothing")
    parser.add_argument("--store", type=Path, help="a file of what was measured, to go on from")
    parser.add_argument("--page", action="store_true", help="measure nothing more; write the page of what --store has")
    arguments = parser.parse_args()
    samples, store = 30 if arguments.quick else SAMPLES, arguments.store
    measured: dict[str, Measured] = {}
    if store is not None and store.exists():
        rows = map(json.loads, store.read_text("utf-8").splitlines())
        measured = {row["name"]: Measured(**row) for row in rows}
    for row in () if arguments.page else (*DEFENCES, *HONEST):
        if arguments.only in row.name and row.name not in measured:
            measured[row.name] = measure(row, samples)
            print(measured[row.name], flush=True)
            if store is not None:
                with store.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(measured[row.name]._asdict()) + "\n")
    if not arguments.quick and not arguments.only:
        with writing.atomic_write(PAGE) as temporary:
            temporary.write_text(page(measured, samples), "utf-8")


if __name__ == "__main__":
    main()
