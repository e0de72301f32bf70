"""What is installed, what is found, what is broken, and how to fix it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from advlab import workspace, writing
from advlab.data import official
from advlab.errors import DAMAGE, AdvlabError
from advlab.provenance import versions

SCHEMA = 1


class Check(NamedTuple):
    """One thing that was looked at. ``state``: ``ok``, ``note`` (works without) or ``broken``; ``fix``: what to do."""

    name: str
    state: str
    text: str
    fix: str = ""


class Diagnosis(NamedTuple):
    """All that was looked at."""

    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing is broken."""
        return all(check.state != "broken" for check in self.checks)

    def __str__(self) -> str:
        width = max(len(check.name) for check in self.checks)
        lines = []
        for check in self.checks:
            lines.append(f"{check.state:<6}  {check.name:<{width}}  {check.text}")
            lines += [f"{'':{width + 10}}Fix: {check.fix}"] if check.fix else []
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """As ``docs/json.md`` says."""
        return {"schema": SCHEMA, "healthy": self.healthy, "checks": [check._asdict() for check in self.checks]}


def doctor() -> Diagnosis:
    """Look at versions, devices, data sets, models and the workspace; change nothing, download nothing."""
    return Diagnosis((*_libraries(), _device(), *_data_sets(), *_workspace()))


def _libraries() -> Iterator[Check]:
    for name, version in versions().items():
        missing = version == "unknown"
        yield Check(
            name,
            "broken" if missing else "ok",
            "not installed" if missing else version,
            f"pip install {name}" if missing else "",
        )


def _device() -> Check:
    try:
        from advlab.classifiers.devices import device_name, prepare

        prepare()
        return Check("device", "ok", device_name())
    except AdvlabError as error:
        return Check("device", "broken", str(error), "Choose another with --device or ADVLAB_DEVICE.")
    except (ImportError, *DAMAGE) as error:
        reason = " ".join(str(error).split())[:200]
        return Check(
            "device", "broken", f"TensorFlow cannot be loaded: {reason}", "pip install --force-reinstall tensorflow"
        )


def _data_sets() -> Iterator[Check]:
    yield Check("digits", "ok", "comes with scikit-learn")
    base = os.environ.get("ADVLAB_DATA")
    if base and not Path(base).expanduser().is_dir():
        yield Check(
            "ADVLAB_DATA", "broken", f"names '{base}', which is no folder", "Name the folder of your data sets."
        )
    for name, source in official.SOURCES.items():
        paths = [official.find(name, file) for file in source.md5]
        found = [path for path in paths if path is not None]
        jpeg = workspace.data_folder("cifar10-jpeg") if name == "cifar10" else None
        if len(found) == len(paths):
            yield Check(name, "ok", f"in {found[0].parent}")
        elif jpeg and (jpeg / "images.tar.gz").is_file():
            yield Check(name, "ok", f"re-encoded as JPEG, in {jpeg}")
        else:
            text = f"{len(found)} of {len(paths)} files found"
            yield Check(name, "note", text, f"Downloaded when first used; or put the files into $ADVLAB_DATA/{name}/.")


def _workspace() -> Iterator[Check]:
    folder = workspace.root()
    ready, recipes = len(workspace.weights()), len(workspace.recipes())
    yield Check("models", "ok" if ready else "broken", f"{ready} ready to be attacked, {recipes} recipes")
    try:
        writing.require_writable(folder / "attacks" / "probe.h5")
        yield Check("workspace", "ok", f"{folder.resolve()}, writable")
    except (AdvlabError, OSError):
        yield Check(
            "workspace", "broken", f"{folder.resolve()} cannot be written to", "Choose another with --workspace DIR."
        )
