"""Commands killed at a write: no half file under a final name, and the same command continues to the same files.

A few deaths of each run with the other tests, ``make fuzz`` draws some hundred: docs/reliability.md says what it found.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import advlab
from advlab.classifiers.card import ATTRIBUTE
from advlab.results.certificate import Certificate

MINUTES = float(os.environ.get("ADVLAB_FUZZ", "0"))
KINDS = ("SIGKILL", "SIGTERM", "short", "full")
DEATHS = 20 if MINUTES else 3
ATTACK = ["attack", "--model", "digits", "--samples", "60"]
COMMANDS: dict[str, list[str]] = {
    "attack": [*ATTACK, "--method", "pgd"],
    "attack, minimal": [*ATTACK, "--method", "ddn", "--set", "steps=30"],
    "run": ["run", "quick", "--model", "digits", "--samples", "60", "--force"],
    "curve": ["curve", "--model", "digits", "--method", "pgd", "--set", "steps=10", "--samples", "30"],
    "train": ["train", "small.toml"],
    "study": ["study", "study.toml"],
    "certify": ["certify", "digits", "--epsilon", "0.02", "--samples", "60", "--method", "exact"],
    "benchmark": ["benchmark", "benchmark.toml"],
    "export": ["export", "given.h5", "--npy", "images.npy", "--csv", "table.csv"],
    "report": ["report", "given.h5", "--output", "page.html"],
}
FILES = {
    "small.toml": """title = "T"
dataset = "digits"
[architecture]
name = "mlp"
hidden = [8]
[training]
optimizer = "adam"
batch_size = 32
epochs = 4
checkpoint_every = 1
""",
    "study.toml": """title = "T"
recipe = "digits"
suite = "quick"
samples = 20
[[row]]
name = "one"
training = { epochs = 1 }
[[row]]
name = "two"
architecture = { hidden = [4] }
training = { epochs = 1 }
""",
    "benchmark.toml": """title = "T"
classifiers = ["digits"]
attacks = ["fgsm", "ddn"]
samples = 20
epsilons = { l2 = [0.5, 1.5] }
""",
}


class Server:
    """``mortal.py`` in a process of its own: TensorFlow must not have run where it is forked."""

    def __init__(self) -> None:
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        command = [sys.executable, str(Path(__file__).with_name("mortal.py"))]
        self.process = subprocess.Popen(command, env=environment, **pipes)
        assert self.process.stdout.readline() == "ready\n"

    def run(self, words: list[str], folder: Path, fault: dict[str, Any] | None = None) -> dict[str, Any]:
        """Exit code, number of writes and standard error of a command."""
        self.process.stdin.write(json.dumps({"words": words, "folder": str(folder), "fault": fault}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.process.stdin.close()
    made.process.wait(timeout=30)


def fresh(folder: Path, given: Path) -> Path:
    """A workspace with the declarations, and an archive."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text, "utf-8")
    shutil.copy(given, folder / "given.h5")
    return folder


def finished(folder: Path) -> list[Path]:
    """What lies under a final name."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    hidden = (".", "stdout", "stderr")
    return [p for p in paths if not p.name.startswith(hidden) and ".partial." not in p.name and p.suffix != ".lock"]


def signature(path: Path) -> object:
    """What must be the same after a death; raises where the file is not whole."""
    content = path.read_bytes()
    assert content
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            is_model = ATTRIBUTE in file.attrs and "model_config" in file.attrs
            is_certificate = "status" in file
        if is_model:
            return advlab.load_classifier(str(path)).digest
        if is_certificate:
            # Which images are bounded together moves the last bits of a margin.
            return Certificate.load(path).status.tobytes()
        result = advlab.load_result(path)
        return [np.asarray(a).tobytes() for a in (result.x_adv, result.adversarial_probabilities, result.attempted)]
    if path.suffix == ".json":
        return _without_times(json.loads(content))
    if path.suffix in (".html", ".svg"):
        assert content.rstrip().endswith((b"</html>", b"</svg>"))
        return None
    if path.suffix in (".md", ".csv", ".tex") and path.parent.name != "w":
        return None  # tables with seconds in them
    return hashlib.sha256(content).hexdigest()


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        # Digests of archives are those of files that say when they were made.
        changing = ("seconds", "versions", "digest", "created", "history")
        return {k: _without_times(v) for k, v in value.items() if not any(word in k for word in changing)}
    return [_without_times(v) for v in value] if isinstance(value, list) else value


def signatures(folder: Path) -> dict[str, object]:
    return {str(path.relative_to(folder)): signature(path) for path in finished(folder)}


def again(words: list[str], folder: Path) -> list[str]:
    """The command that continues, as its message says."""
    if words[0] == "train":
        if list((folder / "models").glob("small.partial.h5")):
            return [*words, "--resume", *(["--force"] if (folder / "models/small.h5").exists() else [])]
        return [*words, "--force"]
    if words[0] in ("study", "benchmark") and list(folder.rglob("*.json")):
        return [*words, "--resume"]
    return [*words, "--force"] if words[0] == "export" else words


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    path = tmp_path_factory.mktemp("given") / "given.h5"
    advlab.attack("digits", None, "fgsm", samples=20, output=path)
    return path


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.thorough] * (n not in ("attack", "train"))) for n in COMMANDS]
)
def test_a_death_costs_nothing_that_was_kept(name, server, given, tmp_path):
    words, folder = COMMANDS[name], tmp_path / "w"
    alone = server.run(words, fresh(folder, given))
    assert alone["code"] == 0, alone["errors"]
    expected, writes = signatures(folder), alone["writes"]
    assert writes
    draw = random.Random(name)
    after_work = 0
    for number in range(DEATHS):
        kind = KINDS[(number + len(name)) % len(KINDS)]
        fault = {"kind": kind, "number": draw.randint(1, writes)}
        before = list(fresh(folder, given).rglob("*"))
        died = server.run(words, folder, fault)
        about = f"{name}, {fault}: {died['errors']}"
        assert died["code"] in {"SIGKILL": (-9,), "short": (-9,), "SIGTERM": (0, 1), "full": (0, 1)}[kind], about
        assert "Traceback" not in died["errors"], about
        signatures(folder)  # all that has a final name is whole
        left = [path for path in set(folder.rglob("*")) - set(before) if path.is_file() and path.suffix != ".lock"]
        after_work += any(not path.name.startswith(".") for path in left)
        continued = server.run(again(words, folder), folder)
        assert continued["code"] == 0, f"{about} {continued['errors']}"
        assert signatures(folder) == expected, about
        leftovers = [p.name for p in folder.rglob("*") if p.name.startswith(".") or p.suffix == ".lock"]
        assert not leftovers, about
        assert not list(folder.rglob("*.partial.h5")), about
    print(f"\n{name}: {writes} writes, {DEATHS} deaths, {after_work} after work was kept")
