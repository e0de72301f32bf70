"""Shared by the scripts of this folder: the description of the machine, and the blocks of ``RESULTS.md``."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from readme import fill

from advlab import writing

RESULTS = Path(__file__).with_name("RESULTS.md")


def machine() -> str:
    """Processor, cores and memory in words."""
    cpu = platform.processor() or platform.machine()
    if (cpuinfo := Path("/proc/cpuinfo")).exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB"


def write_block(name: str, text: str, path: Path = RESULTS) -> None:
    """Replace the block ``name`` of ``RESULTS.md`` and leave the others; a new one goes to the end."""
    page = path.read_text("utf-8") if path.exists() else ""
    if f"<!-- begin {name} -->" not in page:
        page += f"<!-- begin {name} -->\n<!-- end {name} -->\n"
    with writing.atomic_write(path) as temporary:
        temporary.write_text(fill(page, name, text), "utf-8")
